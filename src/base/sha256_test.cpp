#include "base/sha256.h"

#include <gtest/gtest.h>

#include <string>

namespace sparing {
namespace {

Bytes bytes_of(const std::string& text) {
  return std::as_bytes(std::span(text));
}

// FIPS 180-2, appendix B, and the empty message.
TEST(Sha256, KnownDigests) {
  EXPECT_EQ(sha256_hex(bytes_of("abc")), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  EXPECT_EQ(sha256_hex({}), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  EXPECT_EQ(sha256_hex(bytes_of(std::string(1'000'000, 'a'))),
            "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

TEST(Sha256, AStreamEqualsTheWhole) {
  const std::string text(100'003, 'x');
  for (std::size_t piece : {1ul, 63ul, 64ul, 65ul, 4096ul}) {
    Sha256 hash;
    for (std::size_t at = 0; at < text.size(); at += piece)
      hash.update(bytes_of(text).subspan(at, std::min(piece, text.size() - at)));
    EXPECT_EQ(hash.finish(), sha256_hex(bytes_of(text))) << piece;
  }
}

}  // namespace
}  // namespace sparing
