// The payload of the compact form: writer and reader share one description of every field.

#include "text/compact.h"

#include <algorithm>
#include <bit>
#include <cstring>

namespace sparing {
namespace {

constexpr std::uint64_t kMostPieces = 16'000'000, kMostBytes = 1ull << 28;

class Writer {
 public:
  static constexpr bool writing = true;
  std::string bytes;
  bool ok = true;

  void number(std::uint64_t v) {
    for (; v >= 0x80; v >>= 7) bytes.push_back(static_cast<char>(v | 0x80));
    bytes.push_back(static_cast<char>(v));
  }
  void raw(const void* data, std::size_t size) { bytes.append(static_cast<const char*>(data), size); }
};

class Reader {
 public:
  static constexpr bool writing = false;
  explicit Reader(std::string_view data) : data_(data) {}
  bool ok = true;

  std::uint64_t number() {
    std::uint64_t v = 0;
    for (int shift = 0; shift < 64; shift += 7) {
      if (at_ >= data_.size()) break;
      const auto b = static_cast<unsigned char>(data_[at_++]);
      v |= static_cast<std::uint64_t>(b & 0x7F) << shift;
      if (b < 0x80) return v;
    }
    ok = false;
    return 0;
  }
  std::string_view raw(std::uint64_t size) {
    if (size > data_.size() - at_) {
      ok = false;
      return {};
    }
    at_ += size;
    return data_.substr(at_ - size, size);
  }
  std::size_t left() const { return data_.size() - at_; }

 private:
  std::string_view data_;
  std::size_t at_ = 0;
};

// field(stream, value): writes the value, or reads it in place.
template <class S>
void field(S& s, bool& v) {
  if constexpr (S::writing) {
    s.number(v);
  } else {
    const auto n = s.number();
    v = n == 1;
    if (n > 1) s.ok = false;
  }
}
template <class S>
void field(S& s, std::uint32_t& v) {
  if constexpr (S::writing) {
    s.number(v);
  } else {
    const auto n = s.number();
    if (n > 0xFFFFFFFFu) s.ok = false;
    v = static_cast<std::uint32_t>(n);
  }
}
/// Ids from -1.
template <class S>
void field(S& s, Token& v) {
  if constexpr (S::writing) {
    s.number(static_cast<std::uint64_t>(static_cast<std::int64_t>(v) + 1));
  } else {
    const auto n = s.number();
    if (n > kMostPieces) s.ok = false;
    v = s.ok ? static_cast<Token>(n) - 1 : -1;
  }
}
template <class S, class E>
void choice(S& s, E& v, E last) {
  if constexpr (S::writing) {
    s.number(static_cast<std::uint64_t>(v));
  } else {
    const auto n = s.number();
    if (n > static_cast<std::uint64_t>(last)) s.ok = false;
    v = s.ok ? static_cast<E>(n) : E{};
  }
}
template <class S>
void field(S& s, std::string& v) {
  if constexpr (S::writing) {
    s.number(v.size());
    s.raw(v.data(), v.size());
  } else {
    v = std::string(s.raw(s.number()));
  }
}
/// A list; each item takes a byte or more, which bounds a count that lies.
template <class S, class T, class F>
void list(S& s, std::vector<T>& v, const F& item) {
  std::uint64_t n = v.size();
  if constexpr (S::writing) {
    s.number(n);
  } else {
    n = s.number();
    if (n > s.left()) s.ok = false;
    v.clear();
  }
  for (std::uint64_t i = 0; i < n && s.ok; ++i) {
    if constexpr (!S::writing) v.emplace_back();
    item(v[i]);
  }
}
template <class S>
void field(S& s, TextPattern& p) {
  field(s, p.regex);
  field(s, p.text);
}

template <class S>
void steps(S& s, TokenizerSpec& spec) {
  list(s, spec.added, [&](AddedToken& t) {
    field(s, t.id);
    field(s, t.content);
    for (bool* b : {&t.special, &t.single_word, &t.lstrip, &t.rstrip, &t.normalized}) field(s, *b);
  });
  list(s, spec.normalizer, [&](NormalizerStep& n) {
    choice(s, n.kind, NormalizerStep::Kind::replace);
    field(s, n.pattern);
    field(s, n.text);
    field(s, n.left);
    field(s, n.right);
  });
  list(s, spec.pre_tokenizer, [&](PreTokenizerStep& p) {
    choice(s, p.kind, PreTokenizerStep::Kind::whitespace);
    field(s, p.pattern);
    choice(s, p.behavior, PreTokenizerStep::Behavior::contiguous);
    field(s, p.replacement);
    choice(s, p.prepend, PreTokenizerStep::Prepend::first);
    for (bool* b : {&p.invert, &p.add_prefix_space, &p.use_regex, &p.individual, &p.split}) field(s, *b);
  });
  list(s, spec.decoder, [&](DecoderStep& d) {
    choice(s, d.kind, DecoderStep::Kind::metaspace);
    field(s, d.pattern);
    field(s, d.text);
    field(s, d.start);
    field(s, d.stop);
    choice(s, d.prepend, PreTokenizerStep::Prepend::first);
  });
  list(s, spec.prefix, [&](Token& t) { field(s, t); });
  list(s, spec.suffix, [&](Token& t) { field(s, t); });
  for (Token* t : {&spec.unk, &spec.bos, &spec.eos, &spec.pad}) field(s, *t);
  for (bool* b : {&spec.byte_fallback, &spec.fuse_unk, &spec.ignore_merges, &spec.has_decoder}) field(s, *b);
}

/// Fixed-width numbers as planes of bytes, which compress better than the numbers.
template <class T>
void write_planes(Writer& s, std::size_t n, int width, const T& value) {
  for (int plane = 0; plane < width; ++plane) {
    for (std::size_t i = 0; i < n; ++i) s.bytes.push_back(static_cast<char>(value(i) >> (8 * plane) & 0xFF));
  }
}
class Planes {
 public:
  Planes(Reader& s, std::uint64_t n, int width)
      : n_(n), width_(width), data_(s.raw(n * static_cast<unsigned>(width))) {}
  std::uint64_t operator[](std::size_t i) const {
    std::uint64_t v = 0;
    for (int plane = 0; plane < width_; ++plane) {
      v |= static_cast<std::uint64_t>(static_cast<unsigned char>(data_[static_cast<unsigned>(plane) * n_ + i]))
           << (8 * plane);
    }
    return v;
  }

 private:
  std::uint64_t n_;
  int width_;
  std::string_view data_;
};

int id_width(std::size_t pieces) {
  return pieces <= 0x10000 ? 2 : 3;
}

/// Ids for which `holds`, as gaps.
template <class F>
void write_ids(Writer& s, std::size_t n, const F& holds) {
  std::vector<std::size_t> ids;
  for (std::size_t i = 0; i < n; ++i) {
    if (holds(i)) ids.push_back(i);
  }
  s.number(ids.size());
  for (std::size_t i = 0; i < ids.size(); ++i) s.number(i == 0 ? ids[i] : ids[i] - ids[i - 1] - 1);
}
std::vector<std::size_t> read_ids(Reader& s, std::size_t n) {
  const std::uint64_t count = s.number();
  std::vector<std::size_t> ids;
  if (count > n || count > s.left()) s.ok = false;
  std::uint64_t next = 0;
  for (std::uint64_t i = 0; i < count && s.ok; ++i) {
    const std::uint64_t gap = s.number();
    if (gap >= n || next + gap >= n) {
      s.ok = false;
      break;
    }
    ids.push_back(next + gap);
    next += gap + 1;
  }
  return ids;
}

/// Which pieces the reader can join from merges: those whose parts it has when it comes to the merge.
std::vector<bool> joinable(const TokenizerSpec& spec) {
  const std::size_t n = spec.pieces.size();
  std::vector<bool> made(n, false), have(n, true), join(n, false);
  for (const Merge& m : spec.merges) have[static_cast<std::size_t>(m.result)] = false;
  for (const Merge& m : spec.merges) {
    const auto l = static_cast<std::size_t>(m.left), r = static_cast<std::size_t>(m.right),
               x = static_cast<std::size_t>(m.result);
    if (made[x]) continue;
    made[x] = true;  // only the first merge of a piece counts, here and in the reader
    const std::string_view piece = spec.pieces[x], left = spec.pieces[l], right = spec.pieces[r];
    join[x] = (have[l] || join[l]) && (have[r] || join[r]) && l != x && r != x &&
              piece.size() == left.size() + right.size() && piece.starts_with(left) && piece.ends_with(right);
    have[x] = true;
  }
  return join;
}

void write_pieces(Writer& s, const TokenizerSpec& spec) {
  const std::size_t n = spec.pieces.size();
  s.number(n);
  const std::vector<bool> join = joinable(spec);
  const auto stored = [&](std::size_t i) { return !join[i]; };
  write_ids(s, n, stored);
  for (std::size_t i = 0; i < n; ++i) {
    if (stored(i)) s.number(spec.pieces[i].size());
  }
  for (std::size_t i = 0; i < n; ++i) {
    if (stored(i)) s.raw(spec.pieces[i].data(), spec.pieces[i].size());
  }
  write_ids(s, n, [&](std::size_t i) { return !spec.in_model[i]; });
  write_ids(s, n, [&](std::size_t i) { return spec.byte_level && spec.literal[i]; });
}

void write_merges(Writer& s, const TokenizerSpec& spec) {
  const std::size_t n = spec.merges.size();
  const int width = id_width(spec.pieces.size());
  s.number(n);
  write_planes(s, n, width, [&](std::size_t i) { return static_cast<std::uint32_t>(spec.merges[i].left); });
  write_planes(s, n, width, [&](std::size_t i) { return static_cast<std::uint32_t>(spec.merges[i].right); });
  // Results mostly count up: runs of (first id, length).
  for (std::size_t i = 0; i < n;) {
    std::size_t end = i + 1;
    while (end < n && spec.merges[end].result == spec.merges[end - 1].result + 1) ++end;
    s.number(static_cast<std::uint64_t>(spec.merges[i].result));
    s.number(end - i);
    i = end;
  }
}

void read_merges(Reader& s, TokenizerSpec& spec, std::vector<bool>& have) {
  const std::size_t pieces = spec.pieces.size();
  const std::uint64_t n = s.number();
  const int width = id_width(pieces);
  if (!s.ok || n > s.left()) {
    s.ok = false;
    return;
  }
  const Planes left(s, n, width), right(s, n, width);
  if (!s.ok) return;
  spec.merges.reserve(n);
  while (spec.merges.size() < n && s.ok) {
    const std::uint64_t first = s.number(), count = s.number();
    if (!s.ok || count == 0 || count > n - spec.merges.size() || first >= pieces || count > pieces - first) {
      s.ok = false;
      return;
    }
    for (std::uint64_t k = 0; k < count; ++k) {
      const std::size_t i = spec.merges.size(), l = left[i], r = right[i], x = first + k;
      if (l >= pieces || r >= pieces) {
        s.ok = false;
        return;
      }
      if (!have[x]) {
        const std::uint64_t size = spec.pieces[l].size() + spec.pieces[r].size();
        if (!have[l] || !have[r] || size > kMostBytes - spec.pieces.total_bytes()) {
          s.ok = false;
          return;
        }
        spec.pieces.set_joined(x, l, r);
        have[x] = true;
      }
      spec.merges.push_back({static_cast<Token>(l), static_cast<Token>(r), static_cast<Token>(x)});
    }
  }
}

/// Reads the pieces that are stored; returns which those are.
std::vector<bool> read_pieces(Reader& s, TokenizerSpec& spec) {
  const std::uint64_t n = s.number();
  // A piece that is not stored needs a merge of four bytes or more.
  if (!s.ok || n == 0 || n > kMostPieces || n > s.left()) {
    s.ok = false;
    return {};
  }
  const std::vector<std::size_t> stored = read_ids(s, n);
  std::vector<std::uint64_t> lengths;
  std::uint64_t total = 0;
  for (std::size_t i = 0; i < stored.size() && s.ok; ++i) {
    lengths.push_back(s.number());
    if (lengths.back() > s.left()) s.ok = false;
    total += s.ok ? lengths.back() : 0;
  }
  if (!s.ok || total > s.left()) {
    s.ok = false;
    return {};
  }
  std::vector<bool> have(n, false);
  spec.pieces.reserve(n, 8 * n + total);
  spec.pieces.resize(n);
  for (std::size_t i = 0; i < stored.size(); ++i) {
    spec.pieces.set(stored[i], s.raw(lengths[i]));
    have[stored[i]] = true;
  }
  spec.in_model.assign(n, true);
  for (const std::size_t id : read_ids(s, n)) spec.in_model[id] = false;
  spec.literal.assign(n, false);
  for (const std::size_t id : read_ids(s, n)) spec.literal[id] = true;
  return have;
}

}  // namespace

std::string write_compact(const TokenizerSpec& spec) {
  Writer s;
  TokenizerSpec::Model model = spec.model;
  choice(s, model, TokenizerSpec::Model::unigram);
  bool byte_level = spec.byte_level;
  field(s, byte_level);
  TokenizerSpec copy;
  copy.added = spec.added;
  copy.normalizer = spec.normalizer;
  copy.pre_tokenizer = spec.pre_tokenizer;
  copy.decoder = spec.decoder;
  copy.prefix = spec.prefix;
  copy.suffix = spec.suffix;
  copy.unk = spec.unk;
  copy.bos = spec.bos;
  copy.eos = spec.eos;
  copy.pad = spec.pad;
  copy.byte_fallback = spec.byte_fallback;
  copy.fuse_unk = spec.fuse_unk;
  copy.ignore_merges = spec.ignore_merges;
  copy.has_decoder = spec.has_decoder;
  steps(s, copy);
  write_pieces(s, spec);
  if (model == TokenizerSpec::Model::bpe) {
    write_merges(s, spec);
  } else if (model == TokenizerSpec::Model::bpe_by_score) {
    write_planes(s, spec.scores.size(), 4, [&](std::size_t i) { return std::bit_cast<std::uint32_t>(spec.scores[i]); });
  } else {
    write_planes(s, spec.unigram_scores.size(), 8,
                 [&](std::size_t i) { return std::bit_cast<std::uint64_t>(spec.unigram_scores[i]); });
  }
  return seal_compact(CompactKind::spec, s.bytes);
}

Result<TokenizerSpec> read_compact_spec(std::string_view payload) {
  Reader s(payload);
  TokenizerSpec spec;
  choice(s, spec.model, TokenizerSpec::Model::unigram);
  field(s, spec.byte_level);
  steps(s, spec);
  std::vector<bool> have;
  if (s.ok) have = read_pieces(s, spec);
  const std::size_t n = spec.pieces.size();
  if (s.ok && spec.model == TokenizerSpec::Model::bpe) {
    have.resize(n);
    read_merges(s, spec, have);
  } else if (s.ok && spec.model == TokenizerSpec::Model::bpe_by_score) {
    const Planes planes(s, n, 4);
    for (std::size_t i = 0; i < n && s.ok; ++i) {
      spec.scores.push_back(std::bit_cast<float>(static_cast<std::uint32_t>(planes[i])));
      if (spec.scores.back() != spec.scores.back()) s.ok = false;
    }
  } else if (s.ok) {
    const Planes planes(s, n, 8);
    for (std::size_t i = 0; i < n && s.ok; ++i) {
      spec.unigram_scores.push_back(std::bit_cast<double>(planes[i]));
      if (spec.unigram_scores.back() != spec.unigram_scores.back()) s.ok = false;
    }
  }
  if (std::find(have.begin(), have.end(), false) != have.end()) s.ok = false;
  if (!s.ok || s.left() != 0) {
    return input_error("[compact tokenizer] its contents are inconsistent: compress or convert the model again");
  }
  return spec;
}

}  // namespace sparing
