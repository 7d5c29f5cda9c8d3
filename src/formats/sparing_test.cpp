#include <gtest/gtest.h>

#include "codecs/int_group.h"
#include "codecs/transform.h"
#include "formats/sparing_manifest.h"
#include "formats/sparing_writer.h"
#include "formats/test_models.h"
#include "formats/verify.h"

namespace sparing {
namespace {

namespace fs = std::filesystem;

/// 4-bit codes with random scales; the values do not matter here.
CodedWeight coded(std::int64_t rows, std::int64_t cols, std::uint64_t seed) {
  IntGroupSpec spec;
  spec.groups.group = 32;
  Rng rng(seed);
  IntGroupParts parts;
  for (std::int64_t i = 0; i < rows * cols; ++i) parts.codes.push_back(static_cast<std::uint8_t>(rng.below(16)));
  for (std::int64_t i = 0; i < rows * ((cols + 31) / 32); ++i) {
    parts.scale_f16.push_back(f32_to_f16(static_cast<float>(rng.uniform())));
  }
  CodedWeight weight{rows, cols, {}, {}};
  weight.terms.push_back(*pack(spec, rows, cols, parts));
  return weight;
}

CodedWeight dense(std::int64_t rows, std::int64_t cols, std::uint64_t seed) {
  Rng rng(seed);
  Buffer buffer(static_cast<std::size_t>(rows * cols) * 4);
  for (float& v : buffer.as<float>()) v = static_cast<float>(rng.normal());
  return dense_weight(rows, cols, DType::f32, Blob::of(std::move(buffer)));
}

CodedWeight permuted(std::int64_t rows, std::int64_t cols, std::uint64_t seed) {
  CodedWeight weight = coded(rows, cols, seed);
  std::vector<std::uint32_t> index;
  for (std::int64_t i = 0; i < cols; ++i) index.push_back(static_cast<std::uint32_t>(cols - 1 - i));
  weight.input = *permutation_transform(index);
  return weight;
}

SparingModel sample() {
  SparingModel model;
  model.config = test::small_config("llama");
  model.config.layers[1] = {2, 1, 33};
  std::uint64_t seed = 1;
  for (const TensorShape& shape : expected_tensors(model.config)) {
    if (shape.is_vector()) {
      std::vector<float> values(static_cast<std::size_t>(shape.rows), 0.5f);
      if (shape.name == "norm") values[3] = 0.1f;  // not an f16
      model.vectors.emplace_back(shape.name, std::move(values));
    } else if (shape.name == "layers.0.mlp.up") {
      model.weights.emplace_back(shape.name, dense(shape.rows, shape.cols, seed++));
    } else if (shape.name == "layers.1.attn.q") {
      model.weights.emplace_back(shape.name, permuted(shape.rows, shape.cols, seed++));
    } else {
      model.weights.emplace_back(shape.name, coded(shape.rows, shape.cols, seed++));
    }
  }
  model.compact_tokenizer = "compact";
  model.carried = {{"LICENSE", "free"}, {"chat_template.jinja", "T"}, {"generation_config.json", "{}"}};
  model.recipe_json = R"({"method":"rtn","bits":4})";
  model.provenance_json = R"({"source":"abc"})";
  return model;
}

std::string error_of(const fs::path& folder) {
  const auto opened = open_checkpoint(folder.string());
  if (!opened.ok()) return opened.error().message;
  const auto verified = verify_checkpoint(**opened);
  return verified.ok() ? "accepted" : verified.error().message;
}

std::uint64_t bytes_in(const fs::path& folder) {
  std::uint64_t total = 0;
  for (const auto& entry : fs::directory_iterator(folder)) total += entry.file_size();
  return total;
}

TEST(SparingDirectory, ReadsWhatItWritesInThePredictedBytes) {
  const SparingModel model = sample();
  test::Folder folder;
  ASSERT_TRUE(write_sparing_directory(model, folder / "out").ok());
  EXPECT_EQ(bytes_in(folder / "out"), *sparing_directory_bytes(model));
  const auto opened = open_checkpoint((folder / "out").string());
  ASSERT_TRUE(opened.ok()) << opened.error().message;
  const Checkpoint& checkpoint = **opened;
  EXPECT_EQ(checkpoint.format(), CheckpointFormat::sparing);
  EXPECT_EQ(checkpoint.config(), model.config);
  EXPECT_EQ(checkpoint.total_bytes(), bytes_in(folder / "out"));
  EXPECT_EQ(checkpoint.carried(), model.carried);
  ASSERT_TRUE(std::holds_alternative<CompactTokenizer>(checkpoint.tokenizer()));
  for (const auto& [name, weight] : model.weights) {
    const auto read = checkpoint.weight(name);
    ASSERT_TRUE(read.ok()) << read.error().message;
    ASSERT_EQ(read->terms.size(), weight.terms.size());
    EXPECT_EQ(read->terms[0].spec, weight.terms[0].spec);
    EXPECT_TRUE(std::ranges::equal(read->terms[0].blob.bytes, weight.terms[0].blob.bytes)) << name;
    EXPECT_TRUE(std::ranges::equal(read->input.blob.bytes, weight.input.blob.bytes)) << name;
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(read->terms[0].blob.bytes.data()) % 64, 0u);
  }
  for (const auto& [name, values] : model.vectors) EXPECT_EQ(*checkpoint.vector(name), values);
  const auto report = verify_checkpoint(checkpoint);
  ASSERT_TRUE(report.ok()) << report.error().message;
  EXPECT_EQ(report->tensors, checkpoint.tensors().size());
  EXPECT_EQ(report->hashes, checkpoint.tensors().size() + 6);
}

TEST(SparingDirectory, LedgerHoldsEveryByteButItsOwn) {
  test::Folder folder;
  ASSERT_TRUE(write_sparing_directory(sample(), folder / "out").ok());
  const auto manifest = manifest_from_json(test::read_text(folder / "out/sparing.json"), "x");
  ASSERT_TRUE(manifest.ok());
  std::uint64_t total = 0;
  for (const auto& [role, bytes] : manifest->ledger) total += bytes;
  EXPECT_EQ(total + fs::file_size(folder / "out/sparing.json"), bytes_in(folder / "out"));
}

TEST(SparingDirectory, EqualModelsAreEqualFiles) {
  test::Folder folder;
  ASSERT_TRUE(write_sparing_directory(sample(), folder / "a").ok());
  ASSERT_TRUE(write_sparing_directory(sample(), folder / "b").ok());
  for (const auto& entry : fs::directory_iterator(folder / "a")) {
    EXPECT_EQ(test::read_text(entry.path()), test::read_text(folder / "b" / entry.path().filename()));
  }
}

TEST(SparingDirectory, PredictionNeedsNoContents) {
  SparingModel model = sample();
  const std::uint64_t bytes = *sparing_directory_bytes(model);
  for (auto& [name, weight] : model.weights) {
    const auto without = [](Blob& blob) {
      blob = {Bytes(static_cast<const std::byte*>(nullptr), blob.bytes.size()), nullptr};
    };
    for (Term& term : weight.terms) without(term.blob);
    without(weight.input.blob);
  }
  EXPECT_EQ(*sparing_directory_bytes(model), bytes);
}

TEST(SparingDirectory, ExistingOutputStaysAndFailureLeavesNothing) {
  test::Folder folder;
  fs::create_directory(folder / "out");
  const Status exists = write_sparing_directory(sample(), folder / "out");
  ASSERT_FALSE(exists.ok());
  EXPECT_NE(exists.error().message.find("exists"), std::string::npos);
  EXPECT_TRUE(fs::is_empty(folder / "out"));
  EXPECT_FALSE(write_sparing_directory(sample(), folder / "no/such/parent").ok());
  SparingModel broken = sample();
  broken.carried["../escape"] = "x";
  EXPECT_FALSE(write_sparing_directory(broken, folder / "new").ok());
  broken = sample();
  broken.weights.pop_back();
  EXPECT_FALSE(write_sparing_directory(broken, folder / "new").ok());
  EXPECT_EQ(std::distance(fs::directory_iterator(folder.path()), fs::directory_iterator()), 1);
}

TEST(SparingDirectory, OneFlippedBitIsFoundAndNamed) {
  test::Folder folder;
  ASSERT_TRUE(write_sparing_directory(sample(), folder / "out").ok());
  const auto shard = folder / "out/sparing-00001-of-00001.safetensors";
  const std::string good = test::read_text(shard);
  const auto header = parse_safetensors(std::as_bytes(std::span(good)), "x");
  for (const SafeTensor& tensor : header->tensors) {
    if (tensor.name != "layers.1.mlp.down") continue;
    std::string bad = good;
    bad[tensor.begin + 5] = static_cast<char>(bad[tensor.begin + 5] ^ 1);
    test::write_text(shard, bad);
    EXPECT_NE(error_of(folder / "out").find("tensor layers.1.mlp.down has hash"), std::string::npos);
    bad = good;
    bad[tensor.end - 1] ^= 1;  // padding belongs to no tensor, but to the file
    test::write_text(shard, bad);
    EXPECT_NE(error_of(folder / "out"), "accepted");
  }
  test::write_text(shard, good);
  EXPECT_EQ(error_of(folder / "out"), "accepted");
  test::write_text(folder / "out/LICENSE", "not so free");
  EXPECT_NE(error_of(folder / "out").find("LICENSE"), std::string::npos);
}

TEST(SparingDirectory, UnknownThingsAreRefusedByName) {
  test::Folder folder;
  ASSERT_TRUE(write_sparing_directory(sample(), folder / "out").ok());
  const auto path = folder / "out/sparing.json";
  const auto good = nlohmann::json::parse(test::read_text(path));
  const auto error_with = [&](const std::function<void(nlohmann::json&)>& edit) {
    auto json = good;
    edit(json);
    test::write_text(path, json.dump());
    return error_of(folder / "out");
  };
  EXPECT_EQ(error_with([](auto&) {}), "accepted");
  const std::pair<std::function<void(nlohmann::json&)>, const char*> cases[] = {
      {[](auto& j) { j["format"] = "other"; }, "format"},
      {[](auto& j) { j["oldest_reader"] = 2; }, "needs a reader of version 2"},
      {[](auto& j) { j["surprise"] = 1; }, "surprise"},
      {[](auto& j) { j["codings"][0]["codec"] = "magic"; }, "magic"},
      {[](auto& j) { j["codings"][0]["version"] = 9; }, "version 9"},
      {[](auto& j) { j["codings"][0]["extra"] = 9; }, "extra"},
      {[](auto& j) { j["transforms"][0]["transform"] = "fourier"; }, "fourier"},
      {[](auto& j) { j["tensors"]["embed"]["more"] = 1; }, "more"},
      {[](auto& j) { j["tensors"]["embed"]["terms"] = {99}; }, "no coding 99"},
      {[](auto& j) { j["tensors"]["embed"]["terms"] = nlohmann::json::array(); }, "1 to 16 terms"},
      {[](auto& j) { j["tensors"]["embed"]["input"] = 7; }, "no transform 7"},
      {[](auto& j) { j["tensors"]["embed"]["input"] = 0; }, "embed.input is missing"},
      {[](auto& j) {
         j["tensors"]["embed"]["shape"] = {40, 65};
       },
       "different shapes"},
      {[](auto& j) {
         j["tensors"]["embed"]["shape"] = {0, 64};
       },
       "bad shape"},
      {[](auto& j) { j["tensors"]["embed"]["sha256"] = "xyz"; }, "sha256"},
      {[](auto& j) { j["tensors"].erase("norm"); }, "tensor norm is missing"},
      {[](auto& j) { j["tensors"]["extra"] = j["tensors"]["norm"]; }, "extra"},
      {[](auto& j) { j["files"]["../x"] = std::string(64, '0'); }, "../x"},
      {[](auto& j) { j["files"]["gone"] = std::string(64, '0'); }, "gone"},
      {[](auto& j) { j["files"].erase("sparing-00001-of-00001.safetensors"); }, "is missing in the shards"},
      {[](auto& j) { j["codings"][0]["bits"] = 5; }, "where its coding needs"},
  };
  for (const auto& [edit, message] : cases) {
    const std::string error = error_with(edit);
    EXPECT_NE(error.find(message), std::string::npos) << message << " | " << error;
  }
}

TEST(SparingDirectory, HostileIndicesNeverReachAKernel) {
  test::Folder folder;
  ASSERT_TRUE(write_sparing_directory(sample(), folder / "out").ok());
  const auto shard = folder / "out/sparing-00001-of-00001.safetensors";
  std::string bytes = test::read_text(shard);
  const auto header = parse_safetensors(std::as_bytes(std::span(bytes)), "x");
  for (const SafeTensor& tensor : header->tensors) {
    if (tensor.name == "layers.1.attn.q.input") bytes[tensor.begin] = static_cast<char>(0xFF);
  }
  test::write_text(shard, bytes);
  EXPECT_NE(error_of(folder / "out").find("layers.1.attn.q"), std::string::npos);
}

TEST(WeightRecord, RoundTrip) {
  for (const CodedWeight& weight : {coded(17, 37, 1), dense(3, 5, 2), permuted(16, 64, 3)}) {
    const auto text = encode_weight_record("layers.0.attn.q", weight);
    ASSERT_TRUE(text.ok()) << text.error().message;
    EXPECT_EQ(text->size() % 64, 0u);
    EXPECT_EQ(*text, *encode_weight_record("layers.0.attn.q", weight));
    for (const std::size_t shift : {0, 1}) {
      Buffer buffer(text->size() + shift);
      std::memcpy(buffer.data() + shift, text->data(), text->size());
      const auto read = decode_weight_record({{buffer.data() + shift, text->size()}, nullptr});
      ASSERT_TRUE(read.ok()) << read.error().message;
      EXPECT_EQ(read->first, "layers.0.attn.q");
      EXPECT_EQ(read->second.terms[0].spec, weight.terms[0].spec);
      EXPECT_TRUE(std::ranges::equal(read->second.terms[0].blob.bytes, weight.terms[0].blob.bytes));
      EXPECT_TRUE(std::ranges::equal(read->second.input.blob.bytes, weight.input.blob.bytes));
    }
  }
}

TEST(WeightRecord, DamageIsRefused) {
  const std::string text = *encode_weight_record("a", coded(16, 32, 1));
  const auto decode = [](const std::string& bytes) {
    return decode_weight_record({std::as_bytes(std::span(bytes)), nullptr});
  };
  ASSERT_TRUE(decode(text).ok());
  for (std::size_t size = 0; size < text.size(); ++size) EXPECT_FALSE(decode(text.substr(0, size)).ok()) << size;
  EXPECT_FALSE(decode(text + std::string(64, '\0')).ok());
}

}  // namespace
}  // namespace sparing
