#include "formats/export.h"

#include <gtest/gtest.h>
#include <sys/resource.h>

#include <csignal>

#include "codecs/random_weights.h"
#include "formats/sparing_writer.h"
#include "formats/test_models.h"
#include "formats/verify.h"

namespace sparing {
namespace {

namespace fs = std::filesystem;

std::shared_ptr<const Checkpoint> open(const fs::path& path) {
  auto opened = open_checkpoint(path.string());
  EXPECT_TRUE(opened.ok()) << (opened.ok() ? "" : opened.error().message);
  return opened.ok() ? *opened : nullptr;
}

std::vector<float> values_of(const Checkpoint& checkpoint, const TensorShape& shape) {
  if (shape.is_vector()) return *checkpoint.vector(shape.name);
  std::vector<float> values(static_cast<std::size_t>(shape.rows * shape.cols));
  decode_effective_rows(*checkpoint.weight(shape.name), 0, shape.rows, values.data());
  return values;
}

/// Largest difference of any weight.
double distance(const Checkpoint& a, const Checkpoint& b) {
  double worst = 0;
  for (const TensorEntry& entry : a.tensors()) {
    const auto x = values_of(a, entry.shape), y = values_of(b, entry.shape);
    for (std::size_t i = 0; i < x.size(); ++i) worst = std::max(worst, static_cast<double>(std::abs(x[i] - y[i])));
  }
  return worst;
}

GgufVocab vocab_of(std::int32_t size) {
  GgufVocab vocab;
  vocab.model = "gpt2";
  vocab.pre = "smollm";
  for (std::int32_t i = 0; i < size; ++i) vocab.tokens.push_back("t" + std::to_string(i));
  vocab.bos = 1;
  vocab.eos = 2;
  return vocab;
}

TEST(Export, EveryArchitectureComesBackUnchanged) {
  for (const char* architecture : {"llama", "mistral", "qwen2", "qwen3"}) {
    for (const bool tied : {true, false}) {
      SCOPED_TRACE(architecture);
      ModelConfig config = test::small_config(architecture);
      config.tied_head = tied;
      config.eos = {2, 5, 7};
      test::Folder folder;
      test::write_hf(test::random_model(config), folder / "in");
      const auto source = open(folder / "in");
      ASSERT_TRUE(export_hf(*source, folder / "hf", {.tokenizer_json = "{}", .eos_token = "t2"}).ok());
      const GgufVocab vocab = vocab_of(40);
      ASSERT_TRUE(export_gguf(*source, folder / "m.gguf", {.vocab = &vocab}).ok());
      ASSERT_TRUE(export_gguf(*open(folder / "m.gguf"), folder / "again.gguf", {.type = GgmlType::f32}).ok());
      for (const char* name : {"hf", "m.gguf", "again.gguf"}) {
        const auto read = open(folder / name);
        ASSERT_NE(read, nullptr);
        ModelConfig expected = config;
        if (read->config().architecture == "llama") expected.architecture = "llama";
        expected.name = read->config().name;
        EXPECT_EQ(read->config(), expected);
        EXPECT_EQ(distance(*source, *read), 0) << name;
        EXPECT_TRUE(verify_checkpoint(*read).ok());
      }
    }
  }
}

// llama.cpp has another name for a llama whose layers differ; there is none for the others.
TEST(Export, LayersOfDifferentWidths) {
  for (const char* architecture : {"llama", "qwen2"}) {
    SCOPED_TRACE(architecture);
    ModelConfig config = test::small_config(architecture);
    ASSERT_GE(config.layers.size(), 2u);
    config.layers.back().ffn -= 4;
    config.layers.front() = {config.layers.front().heads / config.layers.front().kv_heads, 1,
                             config.layers.front().ffn};
    test::Folder folder;
    test::write_hf(test::random_model(config), folder / "in");
    const auto source = open(folder / "in");
    ASSERT_NE(source, nullptr);
    const GgufVocab vocab = vocab_of(40);
    const auto written = export_gguf(*source, folder / "m.gguf", {.vocab = &vocab});
    if (std::string(architecture) != "llama") {
      ASSERT_FALSE(written.ok());
      EXPECT_NE(written.error().message.find("different widths"), std::string::npos) << written.error().message;
      EXPECT_FALSE(fs::exists(folder / "m.gguf"));
      continue;
    }
    ASSERT_TRUE(written.ok()) << written.error().message;
    const auto read = open(folder / "m.gguf");
    ASSERT_NE(read, nullptr);
    EXPECT_EQ(read->config().layers, config.layers);
    EXPECT_EQ(read->config().architecture, "llama");
    EXPECT_EQ(distance(*source, *read), 0);
  }
}

TEST(Export, DtypesAndShards) {
  test::Folder folder;
  test::write_hf(test::random_model(test::small_config("llama")), folder / "in", DType::f32);
  const auto source = open(folder / "in");
  const std::pair<DType, double> dtypes[] = {{DType::f32, 0}, {DType::f16, 0}, {DType::bf16, 0.01}};
  for (const auto& [dtype, bound] : dtypes) {
    const auto out = folder / std::string(name_of(dtype));
    ASSERT_TRUE(export_hf(*source, out, {.dtype = dtype, .shard_bytes = 20000}).ok());
    EXPECT_TRUE(fs::exists(out / "model.safetensors.index.json"));
    const auto read = open(out);
    ASSERT_NE(read, nullptr);
    EXPECT_LE(distance(*source, *read), bound);
    EXPECT_EQ(read->tensors()[0].coding, name_of(dtype));
  }
  EXPECT_FALSE(export_hf(*source, folder / "x", {.dtype = DType::u8}).ok());
}

TEST(Export, Q8StaysOnItsGridAndFallsBackWhereBlocksDoNotDivide) {
  ModelConfig config = test::small_config("llama");
  config.layers[1].ffn = 33;
  test::Folder folder;
  test::write_hf(test::random_model(config), folder / "in");
  const auto source = open(folder / "in");
  const GgufVocab vocab = vocab_of(40);
  ASSERT_TRUE(export_gguf(*source, folder / "q8.gguf", {.type = GgmlType::q8_0, .vocab = &vocab}).ok());
  const auto read = open(folder / "q8.gguf");
  ASSERT_NE(read, nullptr);
  EXPECT_LT(distance(*source, *read), 0.01);
  for (const TensorEntry& entry : read->tensors()) {
    if (entry.shape.name == "layers.1.mlp.down") {
      EXPECT_EQ(entry.coding, "F16");
    } else {
      EXPECT_EQ(entry.coding, entry.shape.is_vector() ? "F32" : "Q8_0");
    }
  }
  EXPECT_EQ(read->config().layers, config.layers);
  // transformers has one width for all layers.
  const Status plain = export_hf(*source, folder / "hf", {});
  ASSERT_FALSE(plain.ok());
  EXPECT_NE(plain.error().message.find("different widths"), std::string::npos);
}

TEST(Export, CodedWeightsGoIntoGgufAsTheyAre) {
  ModelConfig config = test::small_config("llama");
  config.layers[1].ffn = 72;
  test::Folder folder;
  test::write_hf(test::random_model(config), folder / "in");
  const auto source = open(folder / "in");
  SparingModel model;
  model.config = config;
  const auto coded = [&](const TensorEntry& entry, const IntGroupSpec& spec) {
    Rng rng(7);
    CodedWeight w;
    w.rows = entry.shape.rows;
    w.cols = entry.shape.cols;
    w.terms.push_back(testing::random_term(spec, w.rows, w.cols, 7));
    return w;
  };
  for (const TensorEntry& entry : source->tensors()) {
    const std::string& name = entry.shape.name;
    if (entry.shape.is_vector()) {
      model.vectors.emplace_back(name, *source->vector(name));
    } else if (name == "embed") {
      model.weights.emplace_back(name, coded(entry, {8, {.group = 32}, ZeroKind::constant, 0, 128}));
    } else if (name.ends_with(".q") || name.ends_with(".k")) {
      model.weights.emplace_back(name, coded(entry, {4, {.group = 32}, ZeroKind::constant, 0, 8}));
    } else if (name.ends_with("mlp.down")) {
      model.weights.emplace_back(name, coded(entry, {4, {.group = 24}, ZeroKind::constant, 0, 8}));
    } else {
      model.weights.emplace_back(name, coded(entry, {4, {.group = 64}, ZeroKind::integer, 4, 0}));
    }
  }
  ASSERT_TRUE(write_sparing_directory(model, folder / "small").ok());
  const auto small = open(folder / "small");
  const GgufVocab vocab = vocab_of(40);
  std::vector<GgufTensorReport> report;
  ASSERT_TRUE(export_gguf(*small, folder / "m.gguf", {.vocab = &vocab, .report = &report}).ok());
  const auto read = open(folder / "m.gguf");
  ASSERT_NE(read, nullptr);
  const std::map<std::string, std::string> codings = {
      {"embed", "Q8_0"},           {"layers.0.attn.q", "Q4_0"},   {"layers.1.attn.k", "Q4_0"},
      {"layers.0.mlp.up", "Q5_0"}, {"layers.0.mlp.down", "Q8_0"}, {"layers.1.mlp.down", "F16"}};
  for (std::size_t i = 0; i < report.size(); ++i) {
    const TensorShape& shape = small->tensors()[i].shape;
    ASSERT_EQ(report[i].tensor, shape.name);
    if (const auto found = codings.find(shape.name); found != codings.end()) {
      EXPECT_EQ(read->tensors()[i].coding, found->second) << shape.name;
    }
    const bool nearest = shape.name.ends_with("mlp.down");
    EXPECT_EQ(report[i].exact, !nearest) << shape.name;
    const auto a = values_of(*small, shape), b = values_of(*read, shape);
    double error = 0, size = 0;
    for (std::size_t j = 0; j < a.size(); ++j) error += (a[j] - b[j]) * (a[j] - b[j]), size += a[j] * a[j];
    EXPECT_NEAR(report[i].relative_error(), std::sqrt(error / size), 1e-5) << shape.name;
    EXPECT_LE(report[i].relative_error(), nearest ? 0.01 : 0.0) << shape.name;
  }
  // A looser bound takes smaller types; a tight one the floats.
  ASSERT_TRUE(export_gguf(*small, folder / "loose.gguf", {.max_error = 0.2, .vocab = &vocab}).ok());
  const auto coding_of_down = [&](const char* file) -> std::string {
    const auto made = open(folder / file);
    for (const TensorEntry& entry : made->tensors()) {
      if (entry.shape.name == "layers.0.mlp.down") return entry.coding;
    }
    return "missing";
  };
  EXPECT_EQ(coding_of_down("loose.gguf"), "Q4_0");
  ASSERT_TRUE(export_gguf(*small, folder / "tight.gguf", {.max_error = 0, .vocab = &vocab, .report = &report}).ok());
  EXPECT_EQ(coding_of_down("tight.gguf"), "F32");
}

TEST(Export, RopeScalingSurvives) {
  test::Folder folder;
  const GgufVocab vocab = vocab_of(40);
  for (const auto scaling : {RopeConfig::Scaling::linear, RopeConfig::Scaling::llama3}) {
    ModelConfig config = test::small_config("llama");
    config.rope.theta = 500000;
    config.rope.scaling = scaling;
    config.rope.factor = 32;
    const std::string tag = std::to_string(static_cast<int>(scaling));
    test::write_hf(test::random_model(config), folder / ("in" + tag));
    ASSERT_TRUE(export_gguf(*open(folder / ("in" + tag)), folder / (tag + ".gguf"), {.vocab = &vocab}).ok());
    const auto gguf = open(folder / (tag + ".gguf"));
    const bool divided = scaling == RopeConfig::Scaling::llama3;
    EXPECT_EQ(gguf->config().rope.divisors, divided ? llama3_divisors(config.rope) : std::vector<float>());
    ASSERT_TRUE(export_hf(*gguf, folder / ("out" + tag), {}).ok());
    EXPECT_EQ(open(folder / ("out" + tag))->config().rope, config.rope);
  }
}

TEST(Export, VocabularyIsPaddedToTheEmbeddingAndNeverCut) {
  test::Folder folder;
  test::write_hf(test::random_model(test::small_config("llama")), folder / "in");
  const auto source = open(folder / "in");
  const GgufVocab small = vocab_of(38), large = vocab_of(41);
  ASSERT_TRUE(export_gguf(*source, folder / "m.gguf", {.vocab = &small}).ok());
  const auto read = open(folder / "m.gguf");
  EXPECT_EQ(std::get<GgufVocab>(read->tokenizer()).tokens.size(), 40u);
  EXPECT_EQ(std::get<GgufVocab>(read->tokenizer()).tokens[39], "[PAD39]");
  const Status refused = export_gguf(*source, folder / "n.gguf", {.vocab = &large});
  ASSERT_FALSE(refused.ok());
  EXPECT_NE(refused.error().message.find("41 tokens"), std::string::npos);
  EXPECT_FALSE(export_gguf(*source, folder / "n.gguf", {}).ok());
  EXPECT_FALSE(fs::exists(folder / "n.gguf"));
}

TEST(Export, RefusalsLeaveNothing) {
  test::Folder folder;
  test::Model model = test::random_model(test::small_config("llama"));
  model.tensors["layers.1.mlp.up"][5] = 1e6f;
  test::write_hf(model, folder / "in", DType::f32);
  const auto source = open(folder / "in");
  const GgufVocab vocab = vocab_of(40);
  const auto refused = [&](const Status& status, const char* message) {
    ASSERT_FALSE(status.ok());
    EXPECT_NE(status.error().message.find(message), std::string::npos) << status.error().message;
  };
  refused(export_hf(*source, folder / "hf", {}), "layers.1.mlp.up holds 1000000");
  refused(export_gguf(*source, folder / "m.gguf", {.type = GgmlType::f16, .vocab = &vocab}),
          "layers.1.mlp.up holds 1000000");
  EXPECT_TRUE(export_gguf(*source, folder / "bf16.gguf", {.type = GgmlType::bf16, .vocab = &vocab}).ok());
  refused(export_gguf(*source, folder / "bf16.gguf", {.type = GgmlType::bf16, .vocab = &vocab}), "exists");
  refused(export_hf(*source, folder / "in", {.dtype = DType::f32}), "exists");
  refused(export_gguf(*source, folder / "m.gguf", {.type = GgmlType::q4_k, .vocab = &vocab}), "Q4_K");
  EXPECT_EQ(std::distance(fs::directory_iterator(folder.path()), fs::directory_iterator()), 2);
}

std::map<std::string, std::string> general_keys(const fs::path& path) {
  const std::string file = test::read_text(path);
  const auto header = parse_gguf(std::as_bytes(std::span(file)), "test");
  EXPECT_TRUE(header.ok());
  std::map<std::string, std::string> found;
  for (const auto& [key, value] : header->metadata) {
    if (!key.starts_with("general.") || key == "general.file_type") continue;
    if (const auto text = value.string()) found[key] = *text;
    if (const auto list = value.strings()) {
      for (const auto& item : *list) found[key] += item + ",";
    }
    if (const auto number = value.integer(); number && !value.is_array()) found[key] = std::to_string(*number);
  }
  return found;
}

TEST(Export, WhatAGgufSaysAboutItselfSurvivesEveryWay) {
  test::Folder folder;
  const test::Model model = test::random_model(test::small_config("llama"));
  GgufMetadata metadata = test::gguf_metadata(model.config);
  metadata.put("general.author", "A: \"B\" \\ # 'C'");
  metadata.put("general.url", "https://example.org/x#y");
  metadata.put("general.size_label", "260K");
  metadata.put("general.license.link", "https://example.org/licence");
  metadata.put("general.tags", std::vector<std::string>{"text-generation", "a, b"});
  metadata.put("general.languages", std::vector<std::string>{"en", "no"});
  metadata.put("general.base_model.count", std::uint32_t{1});
  metadata.put("general.base_model.0.repo_url", "https://example.org/base");
  metadata.put("general.file_type", std::uint32_t{1});
  test::write_gguf(model, folder / "in.gguf", GgmlType::f16, &metadata);
  const GgufVocab vocab = vocab_of(40);
  ASSERT_TRUE(export_gguf(*open(folder / "in.gguf"), folder / "a.gguf", {.vocab = &vocab}).ok());
  ASSERT_TRUE(export_hf(*open(folder / "a.gguf"), folder / "hf", {}).ok());
  ASSERT_TRUE(export_gguf(*open(folder / "hf"), folder / "b.gguf", {.vocab = &vocab}).ok());
  auto expected = general_keys(folder / "in.gguf");
  EXPECT_EQ(expected["general.author"], "A: \"B\" \\ # 'C'");
  expected["general.quantization_version"] = "2";
  expected["general.type"] = "model";
  EXPECT_EQ(general_keys(folder / "a.gguf"), expected);
  expected["general.name"] = general_keys(folder / "b.gguf")["general.name"];
  EXPECT_EQ(general_keys(folder / "b.gguf"), expected);
}

TEST(Export, AModelCardsFrontMatterBecomesGeneralKeys) {
  test::Folder folder;
  test::write_hf(test::random_model(test::small_config("llama")), folder / "in");
  test::write_text(folder / "in" / "README.md",
                   "---\nlicense: apache-2.0 # yes\nlanguage: en\ntags:\n- llama\n- 'it''s'\nbase_model: [org/base]\n"
                   "widget:\n  - text: hello\ndescription: |\n  license: none\n---\n# Card\nlicense: mit\n");
  const GgufVocab vocab = vocab_of(40);
  ASSERT_TRUE(export_gguf(*open(folder / "in"), folder / "m.gguf", {.vocab = &vocab}).ok());
  auto found = general_keys(folder / "m.gguf");
  EXPECT_EQ(found["general.license"], "apache-2.0");
  EXPECT_EQ(found["general.languages"], "en,");
  EXPECT_EQ(found["general.tags"], "llama,it's,");
  EXPECT_EQ(found["general.base_model.count"], "1");
  EXPECT_EQ(found["general.base_model.0.organization"], "org");
  EXPECT_FALSE(found.contains("general.description"));
}

/// No file may grow beyond a size while it lives: how a full disk looks to a writer.
class FullDisk {
 public:
  explicit FullDisk(std::uint64_t bytes) : handler_(std::signal(SIGXFSZ, SIG_IGN)) {
    ::getrlimit(RLIMIT_FSIZE, &before_);
    const struct rlimit limit = {bytes, before_.rlim_max};
    ::setrlimit(RLIMIT_FSIZE, &limit);
  }
  ~FullDisk() {
    ::setrlimit(RLIMIT_FSIZE, &before_);
    std::signal(SIGXFSZ, handler_);
  }
  FullDisk(const FullDisk&) = delete;
  FullDisk& operator=(const FullDisk&) = delete;

 private:
  void (*handler_)(int);
  struct rlimit before_ = {};
};

TEST(Export, FullDiskIsOneLineAndLeavesNothing) {
  test::Folder folder;
  test::write_hf(test::random_model(test::small_config("llama")), folder / "in");
  const auto source = open(folder / "in");
  const GgufVocab vocab = vocab_of(40);
  SparingModel model;
  model.config = source->config();
  for (const TensorEntry& entry : source->tensors()) {
    if (entry.shape.is_vector()) {
      model.vectors.emplace_back(entry.shape.name, *source->vector(entry.shape.name));
    } else {
      model.weights.emplace_back(entry.shape.name, *source->weight(entry.shape.name));
    }
  }
  const FullDisk full(30000);
  for (const Status& status :
       {export_hf(*source, folder / "out", {}), export_gguf(*source, folder / "out", {.vocab = &vocab}),
        write_sparing_directory(model, folder / "out")}) {
    ASSERT_FALSE(status.ok());
    EXPECT_EQ(status.error().kind, ErrorKind::resource);
    EXPECT_EQ(status.error().message.find(".partial"), std::string::npos) << status.error().message;
    EXPECT_EQ(status.error().message.find('\n'), std::string::npos);
  }
  EXPECT_EQ(std::distance(fs::directory_iterator(folder.path()), fs::directory_iterator()), 1);
}

}  // namespace
}  // namespace sparing
