#include <zstd.h>

#include <cstring>
#include <memory>

#include "base/sha256.h"
#include "text/compact.h"
#include "text/sentencepiece.h"

namespace sparing {
namespace {

constexpr std::size_t kHashAt = 24, kHeader = kHashAt + 32;
constexpr std::uint64_t kLargest = 1ull << 28;
constexpr int kLevel = 19;

void put(std::string& out, std::uint64_t value, int bytes) {
  for (int i = 0; i < bytes; ++i) out.push_back(static_cast<char>(value >> (8 * i) & 0xFF));
}
std::uint64_t get(Bytes data, std::size_t at, int bytes) {
  std::uint64_t value = 0;
  for (int i = 0; i < bytes; ++i) {
    value |= std::to_integer<std::uint64_t>(data[at + static_cast<std::size_t>(i)]) << (8 * i);
  }
  return value;
}
std::string raw_hash(Bytes data) {
  const std::string hex = sha256_hex(data);
  std::string out;
  const auto digit = [](char c) { return c <= '9' ? c - '0' : c - 'a' + 10; };
  for (std::size_t i = 0; i + 1 < hex.size(); i += 2) {
    out.push_back(static_cast<char>(digit(hex[i]) * 16 + digit(hex[i + 1])));
  }
  return out;
}
Error bad(const std::string& what) {
  return input_error("[compact tokenizer] " + what + ": compress or convert the model again");
}

}  // namespace

std::string seal_compact(CompactKind kind, std::string_view payload) {
  std::string packed(ZSTD_compressBound(payload.size()), '\0');
  packed.resize(ZSTD_compress(packed.data(), packed.size(), payload.data(), payload.size(), kLevel));
  std::string out = "SPTK";
  put(out, kCompactVersion, 4);
  put(out, static_cast<std::uint32_t>(kind), 4);
  put(out, 0, 4);
  put(out, payload.size(), 8);
  out += raw_hash(std::as_bytes(std::span(packed)));
  return out + packed;
}

Result<std::pair<CompactKind, std::string>> open_compact(Bytes data) {
  if (data.size() < kHeader || std::memcmp(data.data(), "SPTK", 4) != 0) return bad("not a compact tokenizer");
  if (const auto version = get(data, 4, 4); version != kCompactVersion) {
    return bad("version " + std::to_string(version) + " (this program reads 1)");
  }
  const std::uint64_t kind = get(data, 8, 4), size = get(data, 16, 8);
  if (kind > 1 || get(data, 12, 4) != 0) return bad("kind " + std::to_string(kind) + " is unknown");
  const Bytes packed = data.subspan(kHeader);
  if (raw_hash(packed) != std::string_view(reinterpret_cast<const char*>(data.data()) + kHashAt, 32)) {
    return bad("its bytes do not have the hash they should have");
  }
  if (size > kLargest || ZSTD_getFrameContentSize(packed.data(), packed.size()) != size) {
    return bad("a payload of " + std::to_string(size) + " bytes does not match its frame");
  }
  std::string payload(size, '\0');
  const std::size_t got = ZSTD_decompress(payload.data(), payload.size(), packed.data(), packed.size());
  if (ZSTD_isError(got) || got != size) return bad("its zstd frame is broken");
  return std::pair{static_cast<CompactKind>(kind), std::move(payload)};
}

Result<std::shared_ptr<const Tokenizer>> load_compact(Bytes data) {
  SPARING_TRY(auto opened, open_compact(data));
  if (opened.first == CompactKind::sentencepiece) return load_sentencepiece_payload(opened.second);
  SPARING_TRY(TokenizerSpec spec, read_compact_spec(opened.second));
  return make_tokenizer(std::move(spec));
}

}  // namespace sparing
