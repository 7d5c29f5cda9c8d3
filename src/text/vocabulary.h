#pragma once
// Pieces by id and ids by piece: a flat table of hashes over the spec's PieceList.

#include <cstdint>
#include <string_view>
#include <vector>

#include "text/tokenizer_spec.h"

namespace sparing {

/// A fast hash of a short string (multiply and fold, eight bytes at a time). Not for adversaries: chains are bounded
/// by the table, not by the hash.
std::uint64_t hash_bytes(std::string_view bytes);

class PieceIndex {
 public:
  /// Indexes the non-empty pieces for which `in_model` holds and `literal` does not. Of equal pieces the last id wins.
  explicit PieceIndex(const TokenizerSpec& spec);
  /// The id of a piece, or -1.
  Token find(const PieceList& pieces, std::string_view piece) const {
    if (piece.size() > longest_) return -1;
    const std::uint64_t h = hash_bytes(piece);
    const auto tag = static_cast<std::uint32_t>(h >> 32);
    for (std::uint64_t i = h & mask_;; i = (i + 1) & mask_) {
      if (slots_[i].id < 0) return -1;
      if (slots_[i].tag == tag && pieces[static_cast<std::size_t>(slots_[i].id)] == piece) return slots_[i].id;
    }
  }
  std::size_t longest() const { return longest_; }

 private:
  struct Slot {
    std::uint32_t tag = 0;
    Token id = -1;
  };
  std::vector<Slot> slots_;
  std::uint64_t mask_ = 0;
  std::size_t longest_ = 0;
};

}  // namespace sparing
