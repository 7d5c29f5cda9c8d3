#include "formats/checkpoint.h"

#include <gtest/gtest.h>

#include <cstdlib>

#include "formats/test_models.h"

namespace sparing {
namespace {

std::shared_ptr<const Checkpoint> open(const std::filesystem::path& path) {
  auto opened = open_checkpoint(path.string());
  EXPECT_TRUE(opened.ok()) << (opened.ok() ? "" : opened.error().message);
  return opened.ok() ? *opened : nullptr;
}

std::string error_of(const std::string& path) {
  const auto opened = open_checkpoint(path);
  return opened.ok() ? "accepted" : opened.error().message;
}

void expect_equal(const Checkpoint& checkpoint, const test::Model& model) {
  for (const TensorEntry& entry : checkpoint.tensors()) {
    const TensorShape& shape = entry.shape;
    const auto& truth = model.tensors.at(shape.name);
    std::vector<float> read(truth.size());
    if (shape.is_vector()) {
      const auto vector = checkpoint.vector(shape.name);
      ASSERT_TRUE(vector.ok()) << vector.error().message;
      read = *vector;
    } else {
      const auto weight = checkpoint.weight(shape.name);
      ASSERT_TRUE(weight.ok()) << weight.error().message;
      decode_effective_rows(*weight, 0, shape.rows, read.data());
      checkpoint.forget(shape.name);
    }
    EXPECT_EQ(read, truth) << shape.name;
  }
}

TEST(Checkpoint, EveryFormatGivesTheSameModel) {
  for (const char* architecture : {"llama", "mistral", "qwen2", "qwen3"}) {
    for (const bool tied : {true, false}) {
      ModelConfig config = test::small_config(architecture);
      config.tied_head = tied;
      const test::Model model = test::random_model(config);
      test::Folder folder;
      test::write_hf(model, folder / "hf");
      test::write_hf(model, folder / "hf32", DType::f32);
      test::write_gguf(model, folder / "m.gguf");
      test::write_gguf(model, folder / "m32.gguf", GgmlType::f32);
      for (const char* name : {"hf", "hf32", "m.gguf", "m32.gguf", "hf/model.safetensors"}) {
        SCOPED_TRACE(std::string(architecture) + " " + name);
        const auto checkpoint = open(folder / name);
        ASSERT_NE(checkpoint, nullptr);
        ModelConfig read = checkpoint->config();
        if (read.architecture == "llama") read.architecture = config.architecture;
        EXPECT_EQ(read, config);
        expect_equal(*checkpoint, model);
      }
    }
  }
}

TEST(Checkpoint, LayersMayDifferInWidth) {
  ModelConfig config = test::small_config("llama");
  config.layers[1] = {2, 1, 32};
  const test::Model model = test::random_model(config);
  test::Folder folder;
  test::write_hf(model, folder / "hf");
  test::write_gguf(model, folder / "m.gguf");
  for (const char* name : {"hf", "m.gguf"}) {
    const auto checkpoint = open(folder / name);
    ASSERT_NE(checkpoint, nullptr);
    EXPECT_EQ(checkpoint->config().layers, config.layers);
    expect_equal(*checkpoint, model);
  }
}

TEST(Checkpoint, BlocksStayBlocks) {
  const test::Model model = test::random_model(test::small_config("llama"));
  test::Folder folder;
  test::write_gguf(model, folder / "m.gguf", GgmlType::q8_0);
  const auto checkpoint = open(folder / "m.gguf");
  ASSERT_NE(checkpoint, nullptr);
  const auto weight = checkpoint->weight("layers.0.attn.q");
  ASSERT_TRUE(weight.ok());
  EXPECT_TRUE(std::holds_alternative<IntGroupSpec>(weight->terms.at(0).spec));
  std::vector<float> read(64 * 64);
  decode_rows(*weight, 0, 64, read.data());
  const auto& truth = model.tensors.at("layers.0.attn.q");
  for (std::size_t i = 0; i < read.size(); ++i) EXPECT_NEAR(read[i], truth[i], 0.005);
}

TEST(Checkpoint, DenseTensorsAreViewsIntoTheMap) {
  const test::Model model = test::random_model(test::small_config("llama"));
  test::Folder folder;
  test::write_hf(model, folder / "hf");
  const auto checkpoint = open(folder / "hf");
  const auto a = checkpoint->weight("layers.1.mlp.up"), b = checkpoint->weight("layers.1.mlp.up");
  EXPECT_EQ(a->terms.at(0).blob.bytes.data(), b->terms.at(0).blob.bytes.data());
}

TEST(Checkpoint, CarriesTextAlong) {
  const test::Model model = test::random_model(test::small_config("llama"));
  test::Folder folder;
  test::write_hf(model, folder / "hf");
  test::write_text(folder / "hf/LICENSE.txt", "Apache");
  test::write_text(folder / "hf/README.md", "# card");
  test::write_text(folder / "hf/generation_config.json", R"({"eos_token_id":[2,9]})");
  test::write_text(folder / "hf/tokenizer_config.json",
                   R"({"chat_template":[{"name":"tools","template":"T"},{"name":"default","template":"D"}]})");
  test::write_text(folder / "hf/NOTICE", std::string(2 << 20, 'x'));
  const auto checkpoint = open(folder / "hf");
  ASSERT_NE(checkpoint, nullptr);
  EXPECT_EQ(checkpoint->config().eos, (std::vector<std::int32_t>{2, 9}));
  EXPECT_EQ(checkpoint->chat_template(), "D");
  EXPECT_EQ(checkpoint->carried().at("LICENSE.txt"), "Apache");
  EXPECT_FALSE(checkpoint->carried().contains("NOTICE"));
  test::write_text(folder / "hf/chat_template.jinja", "J");
  EXPECT_EQ(open(folder / "hf")->chat_template(), "J");

  test::write_gguf(model, folder / "m.gguf");
  const auto gguf = open(folder / "m.gguf");
  EXPECT_EQ(gguf->chat_template(), "{{ messages }}");
  EXPECT_NE(gguf->carried().at("README.md").find("license: \"apache-2.0\""), std::string::npos);
}

TEST(Checkpoint, MissingExtraAndMisshapenTensorsAreNamed) {
  const ModelConfig config = test::small_config("llama");
  test::Folder folder;
  const auto written = [&](const ModelConfig& weights, const std::function<void(nlohmann::json&)>& edit) {
    test::write_hf(test::random_model(weights), folder / "hf", DType::f16, edit);
    return error_of((folder / "hf").string());
  };
  EXPECT_EQ(written(config, {}), "accepted");
  EXPECT_NE(written(config, [](auto& c) { c["num_hidden_layers"] = 3; }).find("model.layers.2.input_layernorm.weight"),
            std::string::npos);
  EXPECT_NE(written(config, [](auto& c) { c["num_hidden_layers"] = 1; }).find("not part of a llama"),
            std::string::npos);
  EXPECT_NE(written(config, [](auto& c) { c["intermediate_size"] = 95; }).find("[96, 64] where"), std::string::npos);
  EXPECT_NE(written(config, [](auto& c) { c["tie_word_embeddings"] = false; }).find("lm_head.weight"),
            std::string::npos);
  EXPECT_EQ(written(config, [](auto& c) { c.erase("tie_word_embeddings"); }), "accepted");
  EXPECT_TRUE(open(folder / "hf")->config().tied_head);
  std::filesystem::remove(folder / "hf/config.json");
  EXPECT_NE(error_of((folder / "hf").string()).find("config.json is missing"), std::string::npos);
}

TEST(Checkpoint, NotANumberIsRefusedByName) {
  test::Model model = test::random_model(test::small_config("llama"));
  test::Folder folder;
  model.tensors["layers.1.mlp.up"][77] = std::nanf("");
  model.tensors["norm"][3] = INFINITY;
  test::write_hf(model, folder / "hf");
  test::write_gguf(model, folder / "m.gguf");
  for (const char* name : {"hf", "m.gguf"}) {
    const auto checkpoint = open(folder / name);
    EXPECT_TRUE(checkpoint->weight("layers.1.mlp.gate").ok());
    EXPECT_FALSE(checkpoint->weight("layers.1.mlp.up").ok());
    EXPECT_FALSE(checkpoint->vector("norm").ok());
  }
}

TEST(Checkpoint, PicklesAndStrangersAreRefused) {
  test::Folder folder;
  const std::pair<const char*, std::string> files[] = {{"a.pt", "x"},
                                                       {"b.pth", "x"},
                                                       {"pytorch_model.bin", std::string("PK\x03\x04", 4) + "zip"},
                                                       {"c.bin", std::string("\x80\x02\x8a\x0a", 4)},
                                                       {"d.bin", std::string(4096, 'q')},
                                                       {"e.gguf", "not one"},
                                                       {"f.txt", "hello"},
                                                       {"g.bin", ""}};
  for (const auto& [name, content] : files) {
    test::write_text(folder / name, content);
    EXPECT_NE(error_of((folder / name).string()), "accepted") << name;
  }
  for (const char* name : {"a.pt", "b.pth", "pytorch_model.bin", "c.bin"}) {
    EXPECT_NE(error_of((folder / name).string()).find("pickle"), std::string::npos) << name;
  }
  EXPECT_NE(error_of((folder / "nowhere").string()).find("no such file"), std::string::npos);
  EXPECT_NE(error_of(""), "accepted");
  EXPECT_NE(error_of("/dev/null"), "accepted");
}

TEST(Checkpoint, FoundInTheLocalCache) {
  const test::Model model = test::random_model(test::small_config("llama"));
  test::Folder folder;
  const auto repository = folder / "hub/models--org--tiny";
  test::write_hf(model, repository / "snapshots/abc123");
  std::filesystem::create_directories(repository / "refs");
  test::write_text(repository / "refs/main", "abc123\n");
  ::setenv("HF_HUB_CACHE", (folder / "hub").c_str(), 1);
  EXPECT_EQ(error_of("org/tiny"), "accepted");
  EXPECT_EQ(error_of("org/tiny@abc123"), "accepted");
  EXPECT_NE(error_of("org/other").find("local Hugging Face cache"), std::string::npos);
  EXPECT_NE(error_of("org/../tiny").find("no such file"), std::string::npos);
  ::unsetenv("HF_HUB_CACHE");
}

TEST(Checkpoint, HashFollowsContent) {
  test::Model model = test::random_model(test::small_config("llama"));
  test::Folder folder;
  test::write_hf(model, folder / "a");
  test::write_hf(model, folder / "b");
  model.tensors["norm"][0] = 2;
  test::write_hf(model, folder / "c");
  EXPECT_EQ(*checkpoint_hash(*open(folder / "a")), *checkpoint_hash(*open(folder / "b")));
  EXPECT_NE(*checkpoint_hash(*open(folder / "a")), *checkpoint_hash(*open(folder / "c")));
}

TEST(Checkpoint, Stories) {
  const char* set = std::getenv("SPARING_DATA");
  const std::filesystem::path data =
      set != nullptr ? set : std::filesystem::path(SPARING_SOURCE_DIR) / "../shared/data";
  const auto folder = data / "stories260K";
  if (!std::filesystem::exists(folder)) GTEST_SKIP() << folder << " is not there: set SPARING_DATA";
  const auto legacy = open(folder / "checkpoint_legacy.bin"), v1 = open(folder / "checkpoint_v1.bin");
  ASSERT_NE(legacy, nullptr);
  ASSERT_NE(v1, nullptr);
  EXPECT_EQ(legacy->config().layers.size(), 5u);
  EXPECT_EQ(legacy->config().vocab, 512);
  EXPECT_TRUE(std::holds_alternative<Llama2cVocab>(legacy->tokenizer()));
  EXPECT_EQ(*checkpoint_hash(*legacy), *checkpoint_hash(*v1));
}

}  // namespace
}  // namespace sparing
