// Byte-pair encoding (Sennrich, Haddow and Birch, 2016) with the rules of Hugging Face's tokenizers, and
// SentencePiece's variant (Kudo and Richardson, 2018), in which the piece's own score takes the place of a merge list.

#include <algorithm>
#include <array>
#include <atomic>
#include <bit>
#include <cstdio>
#include <numeric>
#include <queue>

#include "text/model.h"
#include "text/unicode.h"

namespace sparing {
namespace {

struct Found {
  std::uint32_t rank;
  Token id;
};
constexpr std::uint32_t kNoRank = 0xFFFFFFFFu;

/// (left, right) -> rank and result of a merge.
class MergeTable {
 public:
  explicit MergeTable(const std::vector<Merge>& merges) {
    slots_.resize(std::bit_ceil(std::max<std::size_t>(2 * merges.size(), 16)));
    mask_ = slots_.size() - 1;
    for (std::size_t rank = 0; rank < merges.size(); ++rank) {
      const Merge& m = merges[rank];
      std::uint64_t i = hash(m.left, m.right) & mask_;
      while (slots_[i].found.id >= 0 && (slots_[i].left != m.left || slots_[i].right != m.right)) i = (i + 1) & mask_;
      slots_[i] = {m.left, m.right, {static_cast<std::uint32_t>(rank), m.result}};
    }
  }
  Found find(Token left, Token right) const {
    for (std::uint64_t i = hash(left, right) & mask_;; i = (i + 1) & mask_) {
      const Slot& s = slots_[i];
      if (s.found.id < 0) return {kNoRank, -1};
      if (s.left == left && s.right == right) return s.found;
    }
  }

 private:
  struct Slot {
    Token left = -1, right = -1;
    Found found{kNoRank, -1};
  };
  static std::uint64_t hash(Token left, Token right) {
    const std::uint64_t key =
        static_cast<std::uint64_t>(static_cast<std::uint32_t>(left)) << 32 | static_cast<std::uint32_t>(right);
    const std::uint64_t h = key * 0x9E3779B97F4A7C15ull;
    return (h ^ (h >> 32)) * 0xD6E8FEB86659FD93ull >> 20;
  }
  std::vector<Slot> slots_;
  std::uint64_t mask_ = 0;
};

struct Symbol {
  Token id;
  std::uint32_t begin, length;  ///< in the word; length 0: merged away
  std::int32_t previous, next;
};

class Bpe final : public TokenModel {
 public:
  Bpe(const TokenizerSpec& spec, const PieceIndex& index) : spec_(spec), index_(index), table_(spec.merges) {
    if (spec.byte_level) {
      for (int b = 0; b < 256; ++b) {
        const char c = static_cast<char>(b);
        bytes_[static_cast<std::size_t>(b)] = index.find(spec.pieces, {&c, 1});
      }
    } else {
      fallback_ = byte_fallback_ids(spec, index);
    }
    if (spec.model == TokenizerSpec::Model::bpe_by_score) rank_scores();
    if (!spec.byte_level) find_breaker();
    whole_ = std::vector<std::atomic<std::uint8_t>>(spec.pieces.size());
  }

  void encode(std::string_view word, std::vector<Token>& out) const override {
    if (breaker_.empty()) {
      encode_part(word, out);
      return;
    }
    std::size_t begin = 0;
    for (std::size_t at = word.find(breaker_); at != std::string_view::npos;) {
      if (at > begin && !word.substr(0, at).ends_with(breaker_)) {
        encode_part(word.substr(begin, at - begin), out);
        begin = at;
      }
      at = word.find(breaker_, at + breaker_.size());
    }
    encode_part(word.substr(begin), out);
  }

 private:
  void encode_part(std::string_view word, std::vector<Token>& out) const {
    if (word.empty()) return;
    const Token whole = index_.find(spec_.pieces, word);
    if (whole >= 0) {
      if (spec_.ignore_merges) {
        out.push_back(whole);
        return;
      }
      // A piece almost always encodes to itself; whether it does is found out once.
      auto& state = whole_[static_cast<std::size_t>(whole)];
      const std::uint8_t known = state.load(std::memory_order_relaxed);
      if (known == kItself) {
        out.push_back(whole);
        return;
      }
      if (known == kUnknown) {
        const std::size_t before = out.size();
        merge(word, out);
        const bool itself = out.size() == before + 1 && out[before] == whole;
        state.store(itself ? kItself : kOther, std::memory_order_relaxed);
        return;
      }
    }
    merge(word, out);
  }

  /// SentencePiece-style models get a whole text as one word. Where no piece holds a space mark after anything else,
  /// nothing merges across the place before a mark, and the text can be taken apart there. (Not with ignore_merges,
  /// which looks the whole word up.)
  void find_breaker() {
    if (spec_.ignore_merges) return;
    std::size_t most = 0;
    for (const std::string_view mark : {std::string_view("\xE2\x96\x81"), std::string_view(" ")}) {
      if (index_.find(spec_.pieces, mark) < 0) continue;
      std::size_t begin_with = 0;
      bool inside = false;
      for (std::size_t i = 0; i < spec_.pieces.size() && !inside; ++i) {
        if (!spec_.in_model[i]) continue;
        std::string_view piece = spec_.pieces[i];
        begin_with += piece.starts_with(mark);
        while (piece.starts_with(mark)) piece.remove_prefix(mark.size());
        inside = piece.find(mark) != std::string_view::npos;
      }
      if (!inside && begin_with > most) {
        most = begin_with;
        breaker_ = mark;
      }
    }
  }

  static constexpr std::uint8_t kUnknown = 0, kItself = 1, kOther = 2;

  void rank_scores() {
    const std::size_t n = spec_.pieces.size();
    std::vector<std::uint32_t> order(n);
    std::iota(order.begin(), order.end(), 0u);
    std::stable_sort(order.begin(), order.end(),
                     [&](std::uint32_t a, std::uint32_t b) { return spec_.scores[a] > spec_.scores[b]; });
    rank_.resize(n);
    std::uint32_t rank = 0;
    for (std::size_t i = 0; i < n; ++i) {
      if (i > 0 && spec_.scores[order[i]] < spec_.scores[order[i - 1]]) ++rank;
      rank_[order[i]] = rank;
    }
  }

  Found find(std::string_view word, const Symbol& left, const Symbol& right) const {
    if (rank_.empty()) return table_.find(left.id, right.id);
    if (left.begin + left.length != right.begin) return {kNoRank, -1};
    const Token id = index_.find(spec_.pieces, word.substr(left.begin, left.length + right.length));
    return {id < 0 ? kNoRank : rank_[static_cast<std::size_t>(id)], id};
  }

  /// The word's first symbols: bytes or characters, with what stands for those that the vocabulary lacks.
  void symbols(std::string_view word, std::vector<Symbol>& out) const {
    const auto add = [&](Token id, std::size_t begin, std::size_t length) {
      out.push_back({id, static_cast<std::uint32_t>(begin), static_cast<std::uint32_t>(length), 0, 0});
    };
    if (spec_.byte_level) {
      byte_symbols(word, add);
      return;
    }
    std::size_t unknown_begin = 0, unknown_length = 0;
    for (std::size_t at = 0; at < word.size();) {
      const std::size_t length = char_length(word[at]);
      const Token id = index_.find(spec_.pieces, word.substr(at, length));
      if (id >= 0) {
        if (unknown_length > 0) add(spec_.unk, unknown_begin, unknown_length);
        unknown_length = 0;
        add(id, at, length);
      } else if (has_bytes(word, at, length)) {
        for (std::size_t i = 0; i < length; ++i) {
          add(fallback_[static_cast<unsigned char>(word[at + i])], at + i, 1);
        }
      } else if (spec_.unk >= 0) {
        if (unknown_length > 0 && !spec_.fuse_unk) {
          add(spec_.unk, unknown_begin, unknown_length);
          unknown_length = 0;
        }
        if (unknown_length == 0) unknown_begin = at;
        unknown_length += length;
      }
      at += length;
    }
    if (unknown_length > 0) add(spec_.unk, unknown_begin, unknown_length);
  }

  template <class Add>
  void byte_symbols(std::string_view word, const Add& add) const {
    std::size_t unknown = 0;
    for (std::size_t at = 0; at < word.size(); ++at) {
      const Token id = bytes_[static_cast<unsigned char>(word[at])];
      if (id >= 0) {
        if (unknown > 0) add(spec_.unk, at - unknown, unknown);
        unknown = 0;
        add(id, at, 1);
      } else if (spec_.unk >= 0) {
        if (unknown > 0 && !spec_.fuse_unk) {
          add(spec_.unk, at - unknown, unknown);
          unknown = 0;
        }
        ++unknown;
      }
    }
    if (unknown > 0) add(spec_.unk, word.size() - unknown, unknown);
  }

  bool has_bytes(std::string_view word, std::size_t at, std::size_t length) const {
    if (!spec_.byte_fallback) return false;
    for (std::size_t i = 0; i < length; ++i) {
      if (fallback_[static_cast<unsigned char>(word[at + i])] < 0) return false;
    }
    return true;
  }

  void merge(std::string_view word, std::vector<Token>& out) const {
    thread_local std::vector<Symbol> scratch;
    scratch.clear();
    symbols(word, scratch);
    if (scratch.size() <= 24) {
      merge_short(word, scratch);
      for (const Symbol& s : scratch) out.push_back(s.id);
      return;
    }
    merge_long(word, scratch);
    for (const Symbol& s : scratch) {
      if (s.length > 0) out.push_back(s.id);
    }
    if (scratch.capacity() > 65536) std::vector<Symbol>().swap(scratch);
  }

  void merge_short(std::string_view word, std::vector<Symbol>& s) const {
    std::array<Found, 24> pair;
    for (std::size_t i = 0; i + 1 < s.size(); ++i) pair[i] = find(word, s[i], s[i + 1]);
    while (s.size() > 1) {
      std::size_t best = 0;
      for (std::size_t i = 1; i + 1 < s.size(); ++i) {
        if (pair[i].rank < pair[best].rank) best = i;
      }
      if (pair[best].rank == kNoRank) return;
      s[best].id = pair[best].id;
      s[best].length += s[best + 1].length;
      s.erase(s.begin() + static_cast<std::ptrdiff_t>(best) + 1);
      for (std::size_t i = best + 1; i + 1 < s.size(); ++i) pair[i] = pair[i + 1];
      if (best + 1 < s.size()) pair[best] = find(word, s[best], s[best + 1]);
      if (best > 0) pair[best - 1] = find(word, s[best - 1], s[best]);
    }
  }

  void merge_long(std::string_view word, std::vector<Symbol>& s) const {
    struct Candidate {
      std::uint32_t rank;
      std::int32_t left;
      Token id;
      std::uint32_t length;  ///< of both symbols: tells a stale candidate
      bool operator<(const Candidate& o) const { return rank != o.rank ? rank > o.rank : left > o.left; }
    };
    std::priority_queue<Candidate> queue;
    const auto at = [&](std::int32_t i) -> Symbol& { return s[static_cast<std::size_t>(i)]; };
    const auto consider = [&](std::int32_t l, std::int32_t r) {
      if (l < 0 || r < 0) return;
      const Found f = find(word, at(l), at(r));
      if (f.rank != kNoRank) queue.push({f.rank, l, f.id, at(l).length + at(r).length});
    };
    const auto n = static_cast<std::int32_t>(s.size());
    for (std::int32_t i = 0; i < n; ++i) {
      at(i).previous = i - 1;
      at(i).next = i + 1 < n ? i + 1 : -1;
    }
    for (std::int32_t i = 0; i + 1 < n; ++i) consider(i, i + 1);
    while (!queue.empty()) {
      const Candidate c = queue.top();
      queue.pop();
      Symbol& left = at(c.left);
      if (left.length == 0 || left.next < 0 || left.length + at(left.next).length != c.length) continue;
      Symbol& right = at(left.next);
      const Found now = find(word, left, right);
      if (now.id != c.id) continue;
      left.id = c.id;
      left.length += right.length;
      right.length = 0;
      left.next = right.next;
      if (left.next >= 0) at(left.next).previous = c.left;
      consider(left.previous, c.left);
      consider(c.left, left.next);
    }
  }

  const TokenizerSpec& spec_;
  const PieceIndex& index_;
  MergeTable table_;
  std::array<Token, 256> bytes_{};
  std::vector<Token> fallback_;
  std::string_view breaker_;
  std::vector<std::uint32_t> rank_;  ///< by score: of each piece; equal scores, equal ranks
  mutable std::vector<std::atomic<std::uint8_t>> whole_;
};

}  // namespace

std::vector<Token> byte_fallback_ids(const TokenizerSpec& spec, const PieceIndex& index) {
  std::vector<Token> ids(256, -1);
  for (unsigned b = 0; b < 256; ++b) {
    char name[8];
    std::snprintf(name, sizeof name, "<0x%02X>", b);
    ids[b] = index.find(spec.pieces, name);
  }
  return ids;
}

Result<std::unique_ptr<const TokenModel>> make_bpe(const TokenizerSpec& spec, const PieceIndex& index) {
  return std::unique_ptr<const TokenModel>(new Bpe(spec, index));
}

}  // namespace sparing
