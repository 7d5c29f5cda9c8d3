// Unigram segmentation (Kudo, 2018): the most probable sequence of pieces, by Viterbi over the bytes.

#include <algorithm>
#include <limits>

#include "text/model.h"
#include "text/unicode.h"

namespace sparing {
namespace {

/// How much worse than the worst piece an unknown character is; SentencePiece's constant.
constexpr double kUnknownPenalty = 10.0;

class Unigram final : public TokenModel {
 public:
  Unigram(const TokenizerSpec& spec, const PieceIndex& index) : spec_(spec), index_(index) {
    double least = std::numeric_limits<double>::infinity();
    for (const double s : spec.unigram_scores) least = std::min(least, s);
    unknown_score_ = least - kUnknownPenalty;
    if (spec.byte_fallback) fallback_ = byte_fallback_ids(spec, index);
    // Which piece lengths begin with a byte: common prefixes are looked up by length.
    lengths_.resize(256);
    for (std::size_t id = 0; id < spec.pieces.size(); ++id) {
      const std::string_view piece = spec.pieces[id];
      if (piece.empty() || !spec.in_model[id]) continue;
      lengths_[static_cast<unsigned char>(piece[0])].push_back(static_cast<std::uint32_t>(piece.size()));
    }
    for (auto& l : lengths_) {
      std::sort(l.begin(), l.end());
      l.erase(std::unique(l.begin(), l.end()), l.end());
    }
  }

  void encode(std::string_view word, std::vector<Token>& out) const override {
    struct Node {
      double score = 0;
      Token id = -1;
      std::int64_t from = -1;
    };
    std::vector<Node> best(word.size() + 1);
    const auto offer = [&](std::size_t from, std::size_t to, double score, Token id) {
      Node& node = best[to];
      const double total = score + best[from].score;
      if (node.from < 0 || total > node.score) node = {total, id, static_cast<std::int64_t>(from)};
    };
    for (std::size_t at = 0; at < word.size();) {
      const std::size_t character = char_length(word[at]);
      bool single = false;
      for (const std::uint32_t length : lengths_[static_cast<unsigned char>(word[at])]) {
        if (length > word.size() - at) break;
        const Token id = index_.find(spec_.pieces, word.substr(at, length));
        if (id < 0) continue;
        offer(at, at + length, spec_.unigram_scores[static_cast<std::size_t>(id)], id);
        single |= length == character;
      }
      if (!single) offer(at, at + character, unknown_score_, -1);
      at += character;
    }
    struct Piece {
      std::size_t begin, end;
      Token id;
    };
    std::vector<Piece> path;
    for (std::size_t end = word.size(); end > 0;) {
      const auto begin = static_cast<std::size_t>(best[end].from);
      // Neighbouring unknown characters are one unknown piece.
      if (is_unknown(best[end].id) && !path.empty() && is_unknown(path.back().id)) {
        path.back().begin = begin;
      } else {
        path.push_back({begin, end, best[end].id});
      }
      end = begin;
    }
    for (auto p = path.rbegin(); p != path.rend(); ++p) emit(word.substr(p->begin, p->end - p->begin), p->id, out);
  }

 private:
  bool is_unknown(Token id) const { return id < 0 || id == spec_.unk; }

  void emit(std::string_view piece, Token id, std::vector<Token>& out) const {
    if (!is_unknown(id)) {
      out.push_back(id);
      return;
    }
    if (const Token fused = index_.find(spec_.pieces, piece); fused >= 0) {
      out.push_back(fused);
      return;
    }
    if (!fallback_.empty() && std::all_of(piece.begin(), piece.end(),
                                          [&](char c) { return fallback_[static_cast<unsigned char>(c)] >= 0; })) {
      for (const char c : piece) out.push_back(fallback_[static_cast<unsigned char>(c)]);
      return;
    }
    if (spec_.unk >= 0) out.push_back(spec_.unk);
  }

  const TokenizerSpec& spec_;
  const PieceIndex& index_;
  double unknown_score_ = 0;
  std::vector<Token> fallback_;
  std::vector<std::vector<std::uint32_t>> lengths_;
};

}  // namespace

Result<std::unique_ptr<const TokenModel>> make_unigram(const TokenizerSpec& spec, const PieceIndex& index) {
  return std::unique_ptr<const TokenModel>(new Unigram(spec, index));
}

}  // namespace sparing
