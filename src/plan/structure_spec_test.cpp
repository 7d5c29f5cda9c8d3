#include "plan/structure_spec.h"

#include <functional>

#include <gtest/gtest.h>

namespace sparing {
namespace {

using Json = nlohmann::ordered_json;

ModelConfig three_layers() {
  ModelConfig config;
  config.architecture = "llama";
  config.hidden = 64;
  config.head_dim = 16;
  config.vocab = 100;
  config.context = 64;
  config.layers = {{8, 4, 96}, {8, 4, 96}, {4, 2, 128}};
  return config;
}

std::string message_of(const Error& error) {
  EXPECT_EQ(error.message.find('\n'), std::string::npos);
  return error.message;
}

StructureSpec some() {
  return {"ziplm",
          {{"damping", "0.02"}},
          {true, {}, 4096, 256},
          {{0, 64, -1, false}, {1, -1, -1, true}, {2, -1, 1, false}}};
}

TEST(StructureSpec, ReadsBackWhatItWrote) {
  const auto read = structure_from_json(Json::parse(structure_to_json(some()).dump()));
  ASSERT_TRUE(read.ok()) << read.error().message;
  EXPECT_EQ(*read, some());
}

TEST(StructureSpec, LeavesWhatStays) {
  const auto left = thinned_config(three_layers(), some().layers);
  ASSERT_TRUE(left.ok()) << left.error().message;
  ASSERT_EQ(left->layers.size(), 2u);
  EXPECT_EQ(left->layers[0], (LayerConfig{8, 4, 64}));
  EXPECT_EQ(left->layers[1], (LayerConfig{2, 1, 128}));
}

TEST(StructureSpec, RefusesWhatTheModelHasNot) {
  const ModelConfig config = three_layers();
  const auto refused = [&](std::vector<LayerStructure> layers, const std::string& part) {
    const auto left = thinned_config(config, layers);
    ASSERT_FALSE(left.ok()) << part;
    EXPECT_NE(message_of(left.error()).find(part), std::string::npos) << left.error().message;
  };
  refused({{0, 97, -1, false}}, "channels 97");
  refused({{0, 0, -1, false}}, "channels 0");
  refused({{2, -1, 3, false}}, "key-value heads 3");
  refused({{3, 32, -1, false}}, "layer 3");
  refused({{1, 32, -1, false}, {0, 32, -1, false}}, "layer 0");
  refused({{1, 32, -1, false}, {1, 48, -1, false}}, "layer 1");
  refused({{0, -1, -1, true}, {1, -1, -1, true}, {2, -1, -1, true}}, "every layer");
}

TEST(StructureSpec, RefusesDamagedJsonByName) {
  const auto refused = [](const std::function<void(Json&)>& damage, const std::string& part) {
    Json json = structure_to_json(some());
    damage(json);
    const auto read = structure_from_json(Json::parse(json.dump()));
    ASSERT_FALSE(read.ok()) << part;
    EXPECT_NE(message_of(read.error()).find(part), std::string::npos) << read.error().message;
  };
  refused([](Json& j) { j.erase("method"); }, "method");
  refused([](Json& j) { j["method"] = 3; }, "method");
  refused([](Json& j) { j["tokens"] = 0; }, "tokens");
  refused([](Json& j) { j["layers"] = Json::array(); }, "layers");
  refused([](Json& j) { j["layers"] = 7; }, "layers");
  refused([](Json& j) { j["layers"][0]["width"] = 7; }, "width");
  refused([](Json& j) { j["layers"][0]["ffn"] = -7; }, "-7");
  refused([](Json& j) { j["layers"][1]["drop"] = "yes"; }, "drop");
  refused([](Json& j) { j["seed"] = 1; }, "seed");
}

TEST(Prune, PatternsNamePlacesAndLaterOnesWin) {
  const auto layers =
      parse_prune({"layers.*.mlp=64", "layers.2.mlp=96", "layers.[12].attn=2", "layers.0=0"}, three_layers());
  ASSERT_TRUE(layers.ok()) << layers.error().message;
  // Layer 2 has two key-value heads: nothing to take out there.
  const std::vector<LayerStructure> expected = {{0, -1, -1, true}, {1, 64, 2, false}, {2, 96, -1, false}};
  EXPECT_EQ(*layers, expected);
  const auto nothing = parse_prune({"layers.0.mlp=96"}, three_layers());
  ASSERT_TRUE(nothing.ok());
  EXPECT_TRUE(nothing->empty());
}

TEST(Prune, SaysWhatIsWrong) {
  const auto refused = [](const std::string& text, const std::string& part) {
    const auto layers = parse_prune({text}, three_layers());
    ASSERT_FALSE(layers.ok()) << text;
    EXPECT_NE(message_of(layers.error()).find(part), std::string::npos) << layers.error().message;
  };
  refused("layers.*.mlp", "no count");
  refused("=3", "no count");
  refused("layers.*.mlp=many", "'many'");
  refused("layers.*.mlp=-3", "'-3'");
  refused("layers.*.mlp=97", "97");
  refused("layers.*.norm=3", "no place");
  refused("layers.7=0", "no place");
  refused("layers.1=2", "dropped");
  refused("layers.*=0", "every layer");
}

}  // namespace
}  // namespace sparing
