#include "formats/hf_packed.h"

#include <gtest/gtest.h>

#include "codecs/int_group.h"
#include "formats/export.h"
#include "formats/test_models.h"
#include "formats/verify.h"

namespace sparing {
namespace {

namespace fs = std::filesystem;

const fs::path kGolden = fs::path(SPARING_SOURCE_DIR) / "tests/golden/packed";

std::vector<float> values_of(const Checkpoint& checkpoint, const TensorShape& shape) {
  std::vector<float> values(static_cast<std::size_t>(shape.rows * shape.cols));
  const auto weight = checkpoint.weight(shape.name);
  EXPECT_TRUE(weight.ok()) << weight.error().message;
  if (weight.ok()) decode_effective_rows(*weight, 0, shape.rows, values.data());
  return values;
}

TEST(HfPacked, ReadsWhatTheToolkitsPacked) {
  const auto expected = nlohmann::json::parse(test::read_text(kGolden / "expected.json"), nullptr, false);
  ASSERT_EQ(expected.size(), 8u);
  for (const auto& [name, digests] : expected.items()) {
    SCOPED_TRACE(name);
    const auto opened = open_checkpoint((kGolden / name).string());
    ASSERT_TRUE(opened.ok()) << opened.error().message;
    EXPECT_TRUE(verify_checkpoint(**opened).ok());
    std::size_t compared = 0;
    for (const TensorEntry& entry : (*opened)->tensors()) {
      const auto digest = digests.find(hf_tensor_name(entry.shape.name));
      if (digest == digests.end()) continue;
      const std::vector<float> values = values_of(**opened, entry.shape);
      EXPECT_EQ(sha256_hex(test::bytes_of(values)), digest->get<std::string>()) << entry.shape.name;
      const auto weight = *(*opened)->weight(entry.shape.name);
      EXPECT_EQ(codec_name(weight.terms[0].spec), "int_group");
      EXPECT_EQ(weight.input.kind != TransformKind::identity, name == "gptq-3-v2" || name.ends_with("order"));
      EXPECT_LT(entry.stored_bytes, values.size() * 2);
      ++compared;
    }
    EXPECT_EQ(compared, 7u);
  }
}

TEST(HfPacked, ZerosThatAreAlikeAreAConstant) {
  const auto symmetric = open_checkpoint((kGolden / "gptq-4-order").string());
  const auto even = (*symmetric)->weight("layers.0.mlp.up");
  ASSERT_TRUE(even.ok()) << even.error().message;
  const auto& spec = std::get<IntGroupSpec>(even->terms[0].spec);
  EXPECT_EQ(spec.zero, ZeroKind::constant);
  EXPECT_EQ(spec.zero_offset, 8);
  const auto asymmetric = open_checkpoint((kGolden / "awq").string());
  EXPECT_EQ(std::get<IntGroupSpec>((*asymmetric)->weight("layers.0.mlp.up")->terms[0].spec).zero, ZeroKind::integer);
}

/// A golden directory with its config or its tensors changed.
struct Damaged {
  explicit Damaged(const std::string& name, const std::function<void(nlohmann::json&)>& edit) {
    fs::copy(kGolden / name, folder / "m");
    auto config = nlohmann::json::parse(test::read_text(kGolden / name / "config.json"), nullptr, false);
    edit(config);
    test::write_text(folder / "m" / "config.json", dump_json(config));
  }
  std::string error() const {
    const auto opened = open_checkpoint((folder / "m").string());
    if (!opened.ok()) return opened.error().message;
    const auto verified = verify_checkpoint(**opened);
    return verified.ok() ? "it opened" : verified.error().message;
  }
  test::Folder folder;
};

TEST(HfPacked, RefusesByName) {
  using Edit = std::function<void(nlohmann::json&)>;
  const auto with = [](const char* key, nlohmann::json value) -> Edit {
    return [=](nlohmann::json& config) { config["quantization_config"][key] = value; };
  };
  const auto weights = [](const char* key, nlohmann::json value) -> Edit {
    return [=](nlohmann::json& config) {
      config["quantization_config"]["config_groups"]["group_0"]["weights"][key] = value;
    };
  };
  const std::tuple<const char*, Edit, const char*> cases[] = {
      {"gptq-4", with("bits", 5), "bits"},
      {"gptq-4", with("bits", 8), "shape"},
      {"gptq-4", with("group_size", 0), "group_size"},
      {"gptq-4", with("group_size", 64), "shape"},
      {"gptq-4", with("checkpoint_format", "marlin"), "marlin"},
      {"gptq-4", with("dynamic", {{"-:.*", nlohmann::json::object()}}), "dynamic"},
      {"gptq-4", with("quant_method", "awq"), "shape"},
      {"awq", with("version", "gemv"), "gemv"},
      {"awq", with("bits", 3), "bits"},
      {"awq", with("zero_point", false), "zero points"},
      {"compressed-4", with("format", "float-quantized"), "float-quantized"},
      {"compressed-4", with("config_groups", nlohmann::json::object()), "config_groups"},
      {"compressed-4", weights("type", "float"), "float"},
      {"compressed-4", weights("strategy", "block"), "block"},
      {"compressed-4", weights("num_bits", 9), "num_bits"},
      {"compressed-4", weights("symmetric", false), "zero points are missing"},
  };
  for (const auto& [name, edit, message] : cases) {
    const std::string error = Damaged(name, edit).error();
    EXPECT_NE(error.find(message), std::string::npos) << error;
    EXPECT_EQ(error.find('\n'), std::string::npos);
  }
}

PackedPart part(std::vector<std::byte>& held, DType dtype, const std::vector<std::int64_t>& shape) {
  std::size_t count = size_of(dtype);
  for (const std::int64_t extent : shape) count *= static_cast<std::size_t>(extent);
  held.assign(count, std::byte{});
  return {{"m", dtype, shape, 0, count}, held, nullptr};
}

TEST(HfPacked, HostileContents) {
  std::vector<std::byte> codes, scales, order;
  PackedLinear p{{HfPacking::compressed, 4, 8, false, true}, 8, 16, 2, {}, {}, {}, {}};
  p.codes = part(codes, DType::i32, {8, 2});
  p.scales = part(scales, DType::f32, {8, 2});
  p.order = part(order, DType::i32, {16});
  const auto error = [&] {
    const auto weight = transcode_packed(p);
    return weight.ok() ? std::string("read") : weight.error().message;
  };
  EXPECT_NE(error().find("gives group 0 16 inputs"), std::string::npos);
  for (const std::int32_t group : {-1, 2, INT32_MIN}) {
    std::memcpy(order.data() + 8, &group, 4);
    EXPECT_NE(error().find("of 2"), std::string::npos);
  }
  p.order.reset();
  EXPECT_EQ(error(), "read");
  // 1/3 is no f16: the values are kept, not the codes.
  const float third = 1.0f / 3;
  std::memcpy(scales.data(), &third, 4);
  const auto dense = transcode_packed(p);
  ASSERT_TRUE(dense.ok());
  EXPECT_EQ(codec_name(dense->terms[0].spec), "dense");
  float row[16];
  decode_effective_rows(*dense, 0, 1, row);
  EXPECT_EQ(row[3], third * -8.0f);
}

}  // namespace
}  // namespace sparing
