#pragma once
// Sparing's own form of a tokenizer: small, quick to load, checked by hash.
//
//   "SPTK", u32 version (1), u32 kind (0: spec, 1: SentencePiece model), u32 zero, u64 payload size,
//   32 bytes SHA-256 of what follows, payload as one zstd frame.
// Pieces that merges make are not stored: the reader joins them again. All integers are little-endian. The reader
// treats the bytes as hostile: every count is bounded by the bytes there are, joined pieces by a fixed total.

#include <string>
#include <string_view>

#include "base/mapped_file.h"
#include "text/tokenizer_spec.h"

namespace sparing {

inline constexpr std::uint32_t kCompactVersion = 1;
enum class CompactKind : std::uint32_t { spec = 0, sentencepiece = 1 };

std::string write_compact(const TokenizerSpec& spec);
Result<TokenizerSpec> read_compact_spec(std::string_view payload);
/// The payload within its header, hash and compression.
std::string seal_compact(CompactKind kind, std::string_view payload);
/// Checks and unpacks; errors name what is wrong.
Result<std::pair<CompactKind, std::string>> open_compact(Bytes data);
Result<std::shared_ptr<const Tokenizer>> load_compact(Bytes data);

}  // namespace sparing
