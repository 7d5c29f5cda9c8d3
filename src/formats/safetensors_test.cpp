#include "formats/safetensors.h"

#include <gtest/gtest.h>

#include "formats/test_models.h"

namespace sparing {
namespace {

std::string file_of(const std::string& json, std::size_t data) {
  const std::uint64_t length = json.size();
  return std::string(reinterpret_cast<const char*>(&length), 8) + json + std::string(data, '\0');
}

Result<SafetensorsHeader> parse(const std::string& file) {
  return parse_safetensors(std::as_bytes(std::span(file)), "[open] x");
}

std::string error_of(const std::string& file) {
  const auto parsed = parse(file);
  return parsed.ok() ? "accepted" : parsed.error().message;
}

std::string tensor(const std::string& dtype, const std::string& shape, const std::string& offsets) {
  return "{\"dtype\":\"" + dtype + "\",\"shape\":" + shape + ",\"data_offsets\":" + offsets + "}";
}

TEST(Safetensors, ReadsWhatItWrites) {
  const std::vector<SafeTensorPlan> plans = {
      {"b", DType::f32, {2, 3}}, {"a", DType::u8, {5}}, {"scalar", DType::f16, {}}};
  test::Folder folder;
  auto writer = SafetensorsWriter::create(folder / "m", plans, {{"format", "pt"}});
  ASSERT_TRUE(writer.ok());
  const std::string data = "0123456789abcdefghijklmnopqrstu";
  ASSERT_EQ(data.size(), 31u);
  ASSERT_TRUE(writer->write(std::as_bytes(std::span(data)).first(7)).ok());
  ASSERT_TRUE(writer->write(std::as_bytes(std::span(data)).subspan(7)).ok());
  const auto hash = writer->commit();
  ASSERT_TRUE(hash.ok());
  const std::string file = test::read_text(folder / "m");
  EXPECT_EQ(*hash, sha256_hex(std::as_bytes(std::span(file))));
  const auto header = parse(file);
  ASSERT_TRUE(header.ok()) << header.error().message;
  ASSERT_EQ(header->tensors.size(), 3u);
  EXPECT_EQ(header->metadata.at("format"), "pt");
  EXPECT_EQ(header->tensors[0].name, "b");
  EXPECT_EQ(header->tensors[0].begin % 64, 0u);
  EXPECT_EQ(header->tensors[0].shape, (std::vector<std::int64_t>{2, 3}));
  EXPECT_EQ(file.substr(header->tensors[1].begin, 5), "opqrs");
  EXPECT_EQ(header->tensors[2].end, file.size());
}

TEST(Safetensors, UnfinishedFileDoesNotAppear) {
  test::Folder folder;
  {
    auto writer = SafetensorsWriter::create(folder / "m", {{"a", DType::u8, {8}}});
    ASSERT_TRUE(writer->write(std::as_bytes(std::span("abc", 3))).ok());
    EXPECT_FALSE(writer->commit().ok());
  }
  EXPECT_TRUE(folder.empty());
}

TEST(Safetensors, RefusesLyingHeaders) {
  const auto one = [](const std::string& entry) { return "{\"a\":" + entry + "}"; };
  const std::string good = tensor("F32", "[2]", "[0,8]");
  EXPECT_EQ(error_of(file_of(one(good), 8)), "accepted");
  const std::pair<std::string, const char*> cases[] = {
      {"", "no safetensors file"},
      {"1234567", "no safetensors file"},
      {std::string(8, '\xff'), "header of 18446744073709551615 bytes"},
      {std::string("\x10\0\0\0\0\0\0\0{}", 10), "truncated"},
      {std::string(8, '\0'), "not a JSON object"},
      {file_of("[]", 0), "not a JSON object"},
      {file_of("{\"a\":", 0), "not valid JSON"},
      {file_of("{} x", 0), "not valid JSON"},
      {file_of(one("3"), 0), "needs dtype"},
      {file_of(one(tensor("F8_E4M3", "[8]", "[0,8]")), 8), "F8_E4M3"},
      {file_of(one(tensor("F32", "[-2]", "[0,8]")), 8), "bad size -2"},
      {file_of(one(tensor("F32", "[2.0]", "[0,8]")), 8), "bad size 2.0"},
      {file_of(one(tensor("F32", "2", "[0,8]")), 8), "shape must be a list"},
      {file_of(one(tensor("F32", "[4294967296,4294967296]", "[0,8]")), 8), "overflows"},
      {file_of(one(tensor("F32", "[2]", "[8,0]")), 8), "bad data_offsets"},
      {file_of(one(tensor("F32", "[2]", "[0,8,9]")), 8), "bad data_offsets"},
      {file_of(one(tensor("F32", "[2]", "[0,-8]")), 8), "bad data_offsets"},
      {file_of(one(tensor("F32", "[2]", "[0,8]")), 7), "truncated"},
      {file_of(one(tensor("F32", "[3]", "[0,8]")), 8), "its shape needs 12"},
      {file_of(one(tensor("F32", "[2]", "[0,8]")), 9), "belong to no tensor"},
      {file_of(one(tensor("F32", "[2]", "[4,12]")), 12), "belong to none"},
      {file_of("{\"a\":" + good + ",\"b\":" + tensor("F32", "[2]", "[4,12]") + "}", 12), "overlaps"},
      {file_of("{\"a\":" + good + ",\"a\":" + tensor("F32", "[2]", "[8,16]") + "}", 16), "occurs twice"},
      {file_of("{\"__metadata__\":{\"a\":1}}", 0), "must be a string"},
      {file_of("{\"a\\n\\u0007\":1}", 0), "a\\x0a\\x07"},
  };
  for (const auto& [file, message] : cases) {
    EXPECT_NE(error_of(file).find(message), std::string::npos) << message << " | " << error_of(file);
    EXPECT_EQ(error_of(file).find('\n'), std::string::npos);
  }
}

TEST(Safetensors, EveryTruncationIsRefused) {
  const std::string file = file_of("{\"a\":" + tensor("F16", "[3]", "[0,6]") + "}", 6);
  ASSERT_EQ(error_of(file), "accepted");
  for (std::size_t size = 0; size < file.size(); ++size) EXPECT_NE(error_of(file.substr(0, size)), "accepted") << size;
}

TEST(Safetensors, ShardsComeFromTheIndex) {
  test::Folder folder;
  const auto shard = [&](const char* name, const char* tensor_name) {
    auto writer = SafetensorsWriter::create(folder / name, {{tensor_name, DType::u8, {4}}});
    ASSERT_TRUE(writer->write(std::as_bytes(std::span("abcd", 4))).ok());
    ASSERT_TRUE(writer->commit().ok());
  };
  shard("one.safetensors", "a");
  shard("two.safetensors", "b");
  const auto index = folder / "model.safetensors.index.json";
  test::write_text(index, R"({"weight_map":{"a":"one.safetensors","b":"two.safetensors"}})");
  const auto files = read_safetensors_index(index);
  ASSERT_TRUE(files.ok());
  const auto set = open_safetensors(*files);
  ASSERT_TRUE(set.ok());
  EXPECT_EQ(set->tensors.size(), 2u);

  shard("two.safetensors", "a");
  EXPECT_NE(open_safetensors(*files).error().message.find("another shard"), std::string::npos);
  for (const char* bad : {R"({"weight_map":{"a":"../x"}})", R"({"weight_map":{}})", R"({"weight_map":{"a":3}})", "[]",
                          R"({"weight_map":{"a":".."}})"}) {
    test::write_text(index, bad);
    EXPECT_FALSE(read_safetensors_index(index).ok()) << bad;
  }
  test::write_text(index, R"({"weight_map":{"a":"missing.safetensors"}})");
  EXPECT_FALSE(open_safetensors(*read_safetensors_index(index)).ok());
}

}  // namespace
}  // namespace sparing
