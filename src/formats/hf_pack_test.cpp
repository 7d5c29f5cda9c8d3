#include "formats/hf_pack.h"

#include <gtest/gtest.h>

#include <map>

#include "codecs/int_group.h"
#include "formats/export.h"
#include "formats/test_models.h"

namespace sparing {
namespace {

namespace fs = std::filesystem;

const fs::path kGolden = fs::path(SPARING_SOURCE_DIR) / "tests/golden/packed";

std::shared_ptr<const Checkpoint> open(const fs::path& path) {
  auto opened = open_checkpoint(path.string());
  EXPECT_TRUE(opened.ok()) << opened.error().message;
  return opened.ok() ? *opened : nullptr;
}

Status pack(const Checkpoint& checkpoint, const fs::path& out, HfPacking packing) {
  HfExport options;
  options.packing = packing;
  return export_hf(checkpoint, out, options);
}

std::map<std::string, std::vector<std::byte>> tensors_of(const fs::path& folder) {
  std::map<std::string, std::vector<std::byte>> tensors;
  const auto set = open_safetensors({folder / "model.safetensors"});
  EXPECT_TRUE(set.ok());
  for (const auto& [name, item] : set->tensors) {
    const Bytes bytes = item.bytes();
    tensors[name].assign(bytes.begin(), bytes.end());
  }
  return tensors;
}

std::vector<float> values_of(const Checkpoint& checkpoint, const TensorShape& shape) {
  std::vector<float> values(static_cast<std::size_t>(shape.rows * shape.cols));
  decode_effective_rows(*checkpoint.weight(shape.name), 0, shape.rows, values.data());
  return values;
}

// The toolkits' own packers wrote the golden directories: written again, every tensor has their very bytes.
TEST(HfPack, GivesTheToolkitsBytesBack) {
  const std::pair<const char*, HfPacking> cases[] = {{"gptq-4", HfPacking::gptq},
                                                     {"gptq-4-order", HfPacking::gptq},
                                                     {"gptq-8", HfPacking::gptq},
                                                     {"compressed-4", HfPacking::compressed},
                                                     {"compressed-4-order", HfPacking::compressed},
                                                     {"compressed-3-channel", HfPacking::compressed}};
  for (const auto& [name, packing] : cases) {
    SCOPED_TRACE(name);
    const auto source = open(kGolden / name);
    const test::Folder folder;
    const Status status = pack(*source, folder / "out", packing);
    ASSERT_TRUE(status.ok()) << status.error().message;
    const auto theirs = tensors_of(kGolden / name), ours = tensors_of(folder / "out");
    std::size_t compared = 0;
    for (const auto& [tensor, bytes] : theirs) {
      // Scales that came as bf16 leave as f16; here every value is both.
      if (tensor.ends_with("weight_scale") && std::string(name) == "compressed-4") continue;
      ASSERT_TRUE(ours.contains(tensor)) << tensor;
      EXPECT_TRUE(ours.at(tensor) == bytes) << tensor;
      ++compared;
    }
    EXPECT_GE(compared, 18u);
    EXPECT_EQ(ours.size(), theirs.size());
  }
}

TEST(HfPack, EitherLayoutReadsBackTheSameValues) {
  for (const char* name :
       {"gptq-4", "gptq-4-order", "gptq-3-v2", "awq", "compressed-4-order", "compressed-3-channel"}) {
    for (const HfPacking packing : {HfPacking::gptq, HfPacking::compressed}) {
      const auto source = open(kGolden / name);
      const test::Folder folder;
      const Status status = pack(*source, folder / "out", packing);
      ASSERT_TRUE(status.ok()) << name << ": " << status.error().message;
      const auto made = open(folder / "out");
      for (const TensorShape& shape : expected_tensors(source->config())) {
        if (shape.is_vector()) continue;
        EXPECT_EQ(values_of(*source, shape), values_of(*made, shape)) << name << shape.name;
      }
      EXPECT_LT(made->total_bytes(), 80'000u);
    }
  }
}

/// A checkpoint with one linear's coding replaced.
class Replaced : public Checkpoint {
 public:
  Replaced(std::shared_ptr<const Checkpoint> base, CodedWeight weight)
      : base_(std::move(base)), weight_(std::move(weight)) {}
  CheckpointFormat format() const override { return base_->format(); }
  const std::filesystem::path& path() const override { return base_->path(); }
  const ModelConfig& config() const override { return base_->config(); }
  const std::vector<TensorEntry>& tensors() const override { return base_->tensors(); }
  Result<CodedWeight> weight(const std::string& name, Arena* arena) const override {
    if (name == "layers.0.mlp.up") return weight_;
    return base_->weight(name, arena);
  }
  Result<std::vector<float>> vector(const std::string& name) const override { return base_->vector(name); }
  Result<std::vector<Bytes>> stored(const std::string& name) const override { return base_->stored(name); }
  void forget(const std::string& name) const override { base_->forget(name); }
  const TokenizerSource& tokenizer() const override { return base_->tokenizer(); }
  std::uint64_t total_bytes() const override { return base_->total_bytes(); }
  const std::map<std::string, std::string>& carried() const override { return base_->carried(); }

 private:
  std::shared_ptr<const Checkpoint> base_;
  CodedWeight weight_;
};

TEST(HfPack, RefusesWhatTheFormatsCannotSay) {
  const auto base = open(kGolden / "gptq-4");
  const auto coded = [&](IntGroupSpec spec, const std::function<void(IntGroupParts&)>& edit = {}) {
    if (spec.zero != ZeroKind::constant) spec.zero_offset = 0;
    const std::int64_t groups = (64 + spec.groups.group - 1) / spec.groups.group;
    IntGroupParts parts;
    parts.codes.assign(96 * 64, 1);
    parts.scale_f16.assign(static_cast<std::size_t>(96 * groups), f32_to_f16(0.5f));
    if (spec.zero == ZeroKind::integer) parts.zero_codes.assign(static_cast<std::size_t>(96 * groups), 3);
    if (spec.zero == ZeroKind::f16_min) parts.zero_f16.assign(static_cast<std::size_t>(96 * groups), f32_to_f16(0.1f));
    if (edit) edit(parts);
    CodedWeight weight{96, 64, {}, {}};
    auto term = pack(spec, 96, 64, parts);
    EXPECT_TRUE(term.ok()) << term.error().message;
    weight.terms.push_back(*std::move(term));
    return weight;
  };
  const auto error = [&](CodedWeight weight, HfPacking packing) {
    const test::Folder folder;
    const Status status = pack(Replaced(base, std::move(weight)), folder / "out", packing);
    EXPECT_FALSE(fs::exists(folder / "out"));
    return status.ok() ? std::string("packed") : status.error().message;
  };
  const GroupSpec g32{.group = 32};
  const IntGroupSpec plain{.bits = 4, .groups = g32, .zero = ZeroKind::integer, .zero_bits = 4};
  const auto expect = [&](const std::string& message, const char* words) {
    EXPECT_NE(message.find(words), std::string::npos) << message;
    EXPECT_EQ(message.find("[export] tensor layers.0.mlp.up "), 0u) << message;
  };
  const auto gptq = HfPacking::gptq, compressed = HfPacking::compressed;
  expect(error(coded({.bits = 3, .groups = g32}), gptq), "one setting for all");
  expect(error(coded({.bits = 4, .groups = {.group = 64}}), compressed), "one setting for all");
  expect(error(coded({.bits = 4, .groups = {.group = 24}}), gptq), "divide");
  expect(error(coded({.bits = 4, .groups = g32, .zero = ZeroKind::f16_min}), gptq), "minima");
  expect(error(dense_weight(96, 64, DType::f16, Blob::of(Buffer(96 * 64 * 2))), gptq), "integer codes");
  expect(error(coded(plain, [](IntGroupParts& p) { p.zero_codes[5] = 0; }), gptq), "zero of 0");
  const test::Folder folder;
  EXPECT_TRUE(
      pack(Replaced(base, coded(plain, [](IntGroupParts& p) { p.zero_codes[5] = 0; })), folder / "out", compressed)
          .ok());
}

TEST(HfPack, ScalesAreHalvesAndNothingElseIsAsked) {
  const auto base = open(kGolden / "gptq-4");
  const test::Folder folder;
  HfExport options;
  options.packing = HfPacking::gptq;
  options.dtype = DType::bf16;
  EXPECT_FALSE(export_hf(*base, folder / "out", options).ok());
  options.dtype = DType::f16;
  options.packing = HfPacking::awq;
  EXPECT_FALSE(export_hf(*base, folder / "out", options).ok());
}

}  // namespace
}  // namespace sparing
