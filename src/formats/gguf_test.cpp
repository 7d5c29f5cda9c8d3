#include "formats/gguf.h"

#include <gtest/gtest.h>

#include "formats/test_models.h"

namespace sparing {
namespace {

/// Builds hostile files piece by piece.
struct Raw {
  std::string bytes = "GGUF";
  template <class T>
  Raw& number(T value) {
    bytes.append(reinterpret_cast<const char*>(&value), sizeof(T));
    return *this;
  }
  Raw& u32(std::uint32_t v) { return number(v); }
  Raw& u64(std::uint64_t v) { return number(v); }
  Raw& text(const std::string& s) {
    u64(s.size());
    bytes += s;
    return *this;
  }
  Raw& head(std::uint64_t tensors, std::uint64_t pairs) { return u32(3).u64(tensors).u64(pairs); }
  Raw& tensor(const std::string& name, std::vector<std::uint64_t> shape, std::uint32_t type, std::uint64_t offset) {
    text(name).u32(static_cast<std::uint32_t>(shape.size()));
    for (const auto size : shape) u64(size);
    return u32(type).u64(offset);
  }
  Raw& data(std::size_t size) {
    bytes.resize((bytes.size() + 31) / 32 * 32 + size, '\0');
    return *this;
  }
};

std::string error_of(const std::string& file) {
  const auto parsed = parse_gguf(std::as_bytes(std::span(file)), "[open] x");
  return parsed.ok() ? "accepted" : parsed.error().message;
}

TEST(Gguf, ReadsWhatItWrites) {
  test::Folder folder;
  GgufMetadata metadata;
  metadata.put("s", "text");
  metadata.put("u", std::uint32_t{7});
  metadata.put("f", 1.5f);
  metadata.put("b", true);
  metadata.put("list", std::vector<std::string>{"a", "", "ccc"});
  metadata.put("ints", std::vector<std::int32_t>{-1, 5});
  metadata.put("reals", std::vector<float>{0.5f});
  auto writer = GgufWriter::create(folder / "m", metadata, {{"x", {3, 2}, GgmlType::f32}, {"y", {32}, GgmlType::q8_0}});
  ASSERT_TRUE(writer.ok());
  const std::string data(24 + 34, 'z');
  ASSERT_TRUE(writer->write(std::as_bytes(std::span(data)).first(25)).ok());
  ASSERT_TRUE(writer->write(std::as_bytes(std::span(data)).subspan(25)).ok());
  ASSERT_TRUE(writer->commit().ok());
  const std::string file = test::read_text(folder / "m");
  const auto header = parse_gguf(std::as_bytes(std::span(file)), "x");
  ASSERT_TRUE(header.ok()) << header.error().message;
  EXPECT_EQ(header->find("s")->string(), "text");
  EXPECT_EQ(header->find("u")->integer(), 7);
  EXPECT_EQ(header->find("f")->real(), 1.5);
  EXPECT_EQ(header->find("b")->boolean(), true);
  EXPECT_EQ(header->find("list")->strings(), (std::vector<std::string>{"a", "", "ccc"}));
  EXPECT_EQ(header->find("ints")->integer(0), -1);
  EXPECT_EQ(header->find("ints")->integer(2), std::nullopt);
  EXPECT_EQ(header->find("reals")->real(0), 0.5);
  EXPECT_EQ(header->find("s")->integer(), std::nullopt);
  EXPECT_EQ(header->find("nothing"), nullptr);
  ASSERT_EQ(header->tensors.size(), 2u);
  EXPECT_EQ(header->tensors[0].rows(), 2);
  EXPECT_EQ(header->tensors[0].cols(), 3);
  EXPECT_EQ(header->tensors[1].bytes.size(), 34u);
  EXPECT_EQ((header->tensors[1].bytes.data() - header->tensors[0].bytes.data()), 32);
}

TEST(Gguf, RefusesLyingHeaders) {
  EXPECT_EQ(error_of(Raw().head(1, 0).tensor("a", {8}, 0, 0).data(32).bytes), "accepted");
  const std::pair<std::string, const char*> cases[] = {
      {"", "not a GGUF file"},
      {"GGML", "not a GGUF file"},
      {"GGUF", "truncated"},
      {Raw().u32(1).u64(0).u64(0).bytes, "version 1"},
      {Raw().u32(99).u64(0).u64(0).bytes, "version 99"},
      {Raw().u32(0x03000000).u64(0).u64(0).bytes, "big-endian"},
      {Raw().head(~0ull, 0).bytes, "truncated or damaged"},
      {Raw().head(0, ~0ull).bytes, "truncated or damaged"},
      {Raw().head(0, 1).text("key").u32(77).data(64).bytes, "unknown type 77"},
      {Raw().head(0, 1).text("key").u32(8).u64(~0ull).data(64).bytes, "truncated or broken"},
      {Raw().head(0, 1).text("key").u32(9).u32(6).u64(~0ull / 2).data(64).bytes, "truncated or broken"},
      {Raw().head(0, 1).text("key").u32(9).u32(8).u64(1ull << 60).data(64).bytes, "truncated or broken"},
      {Raw().head(0, 1).text("key").u32(9).u32(9).u64(1ull << 60).data(64).bytes, "truncated or broken"},
      {Raw().head(0, 2).text("key").u32(4).u32(1).text("key").u32(4).u32(1).bytes, "occurs twice"},
      {Raw().head(0, 1).text("general.alignment").u32(4).u32(33).bytes, "power of two"},
      {Raw().head(0, 1).text("general.alignment").u32(4).u32(0).bytes, "power of two"},
      {Raw().head(1, 0).tensor("a", {8}, 0, 32).data(32).bytes, "truncated"},
      {Raw().head(1, 0).tensor("a", {8}, 0, ~0ull - 31).data(32).bytes, "truncated"},
      {Raw().head(1, 0).tensor("a", {8}, 0, 4).data(64).bytes, "not a multiple of 32"},
      {Raw().head(1, 0).tensor("a", {8, 1, 1, 1, 1}, 0, 0).data(64).bytes, "5 dimensions"},
      {Raw().head(1, 0).tensor("a", {0}, 0, 0).data(64).bytes, "absurd"},
      {Raw().head(1, 0).tensor("a", {1ull << 40, 1ull << 40}, 0, 0).data(64).bytes, "absurd"},
      {Raw().head(1, 0).tensor("a", {~0ull}, 0, 0).data(64).bytes, "absurd"},
      {Raw().head(1, 0).tensor("a", {1ull << 62}, 0, 0).data(64).bytes, "overflows"},
      {Raw().head(1, 0).tensor("a", {33}, 2, 0).data(64).bytes, "blocks of 32"},
      {Raw().head(1, 0).tensor("a", {256}, 16, 0).data(256).bytes, "IQ2_XXS"},
      {Raw().head(1, 0).tensor("a", {256}, 1234, 0).data(256).bytes, "1234"},
      {Raw().head(2, 0).tensor("a", {8}, 0, 0).tensor("a", {8}, 0, 32).data(64).bytes, "occurs twice"},
      {Raw().head(2, 0).tensor("a", {16}, 0, 0).tensor("b", {8}, 0, 32).data(64).bytes, "overlap"},
  };
  for (const auto& [file, message] : cases) {
    EXPECT_NE(error_of(file).find(message), std::string::npos) << message << " | " << error_of(file);
  }
}

TEST(Gguf, NestedArraysAreBounded) {
  Raw raw;
  raw.head(0, 1).text("key").u32(9);
  for (int depth = 0; depth < 100; ++depth) raw.u32(9).u64(1);
  raw.u32(0).u64(0).data(64);
  EXPECT_NE(error_of(raw.bytes), "accepted");
}

TEST(Gguf, EveryTruncationIsRefused) {
  test::Folder folder;
  test::write_gguf(test::random_model(test::small_config("llama")), folder / "m.gguf");
  const std::string file = test::read_text(folder / "m.gguf");
  ASSERT_EQ(error_of(file), "accepted");
  // The last tensor's padding may be cut off; anything more may not.
  for (std::size_t size = 0; size + 256 < file.size(); size += size < 4096 ? 1 : 997) {
    EXPECT_NE(error_of(file.substr(0, size)), "accepted") << size;
  }
}

}  // namespace
}  // namespace sparing
