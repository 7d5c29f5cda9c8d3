#include "formats/prefix.h"

#include <gtest/gtest.h>

#include "codecs/random_weights.h"
#include "formats/sparing_writer.h"
#include "formats/test_models.h"

namespace sparing {
namespace {

constexpr std::size_t kBlocks = 4;

/// Every layer's matrices a stack, the embedding codes with one block on top of them, k of one layer dense over blocks.
SparingModel stacked() {
  SparingModel model;
  model.config = test::small_config("llama");
  std::uint64_t seed = 1;
  const SignLowRankSpec spec{{.rank = 2, .inner = {8, 16}, .outer = {8, 16}}};
  for (const TensorShape& shape : expected_tensors(model.config)) {
    if (shape.is_vector()) {
      model.vectors.emplace_back(shape.name, std::vector<float>(static_cast<std::size_t>(shape.rows), 0.5f));
      continue;
    }
    CodedWeight weight{shape.rows, shape.cols, {}, {}};
    const auto block = [&] { return testing::random_sign_lowrank(spec, shape.rows, shape.cols, seed++); };
    const auto values = [&] { return testing::random_dense(DType::f16, shape.rows, shape.cols, seed++); };
    if (shape.name == "embed") {
      weight.terms = {values(), block()};
    } else if (shape.name == "layers.0.attn.k") {
      weight.terms = {block(), values()};
    } else {
      for (std::size_t b = 0; b < kBlocks; ++b) weight.terms.push_back(block());
    }
    model.weights.emplace_back(shape.name, std::move(weight));
  }
  model.compact_tokenizer = "compact";
  model.recipe_json = model.provenance_json = "{}";
  return model;
}

class PrefixTest : public ::testing::Test {
 protected:
  void SetUp() override {
    ASSERT_TRUE(write_sparing_directory(stacked(), folder_ / "out").ok());
    auto opened = open_checkpoint((folder_ / "out").string());
    ASSERT_TRUE(opened.ok()) << opened.error().message;
    whole_ = *opened;
  }
  std::map<std::string, std::size_t> blocks(const Checkpoint& model) const {
    std::map<std::string, std::size_t> counts;
    for (const TensorEntry& entry : model.tensors())
      if (!entry.shape.is_vector()) counts[entry.shape.name] = model.weight(entry.shape.name)->terms.size();
    return counts;
  }
  test::Folder folder_;
  std::shared_ptr<const Checkpoint> whole_;
};

TEST_F(PrefixTest, LoadsWhatFitsLevelByLevelAndMoreBeginsWithLess) {
  const std::uint64_t all = whole_->total_bytes();
  EXPECT_EQ(prefix_of(whole_, all)->get(), whole_.get());
  std::map<std::string, std::size_t> last = blocks(*whole_);
  std::uint64_t last_bytes = all;
  int sizes = 0;
  for (std::uint64_t bytes = all - 1;; bytes = last_bytes - 1, ++sizes) {
    const auto cut = prefix_of(whole_, bytes);
    if (!cut.ok()) break;
    const Checkpoint& model = **cut;
    EXPECT_LE(model.total_bytes(), bytes);
    const auto counts = blocks(model);
    std::uint64_t dropped = 0;
    std::size_t most = 0, least = kBlocks;
    for (std::size_t e = 0; e < model.tensors().size(); ++e) {
      const std::string& name = model.tensors()[e].shape.name;
      const std::uint64_t gone = whole_->tensors()[e].stored_bytes - model.tensors()[e].stored_bytes;
      dropped += gone;
      if (!counts.contains(name)) continue;
      const CodedWeight before = *whole_->weight(name), now = *model.weight(name);
      std::uint64_t stored = 0;
      for (std::size_t t = 0; t < before.terms.size(); ++t) {
        if (t < now.terms.size()) {
          EXPECT_EQ(now.terms[t].blob.bytes.data(), before.terms[t].blob.bytes.data()) << "read in place";
        } else {
          stored += before.terms[t].blob.bytes.size();
        }
      }
      EXPECT_EQ(stored, gone) << name;
      EXPECT_EQ(model.stored(name)->size(), whole_->stored(name)->size() - (before.terms.size() - now.terms.size()));
      EXPECT_LE(now.terms.size(), last.at(name)) << name;
      EXPECT_GE(now.terms.size(), 1u) << name;
      if (before.terms.size() == kBlocks) {
        most = std::max(most, now.terms.size());
        least = std::min(least, now.terms.size());
      }
    }
    EXPECT_LE(most - least, 1u);
    EXPECT_EQ(model.total_bytes() + dropped, all);
    EXPECT_LT(model.total_bytes(), last_bytes);
    EXPECT_EQ(counts.at("layers.0.attn.k"), 2u) << "what lies under values cannot go";
    last = counts;
    last_bytes = model.total_bytes();
  }
  // 13 stacks of 4 and the embedding's block.
  EXPECT_EQ(sizes, 13 * 3 + 1);
  EXPECT_EQ(last.at("embed"), 1u);
  EXPECT_EQ(last.at("layers.1.mlp.down"), 1u);
}

TEST_F(PrefixTest, TooFewBytesAndOtherModelsAreRefused) {
  const auto few = prefix_of(whole_, 1000);
  ASSERT_FALSE(few.ok());
  EXPECT_EQ(few.error().kind, ErrorKind::resource);
  EXPECT_NE(few.error().message.find("at least"), std::string::npos) << few.error().message;
  std::filesystem::create_directory(folder_ / "plain");
  test::write_hf(test::random_model(test::small_config("llama")), folder_ / "plain");
  const auto plain = prefix_of(*open_checkpoint((folder_ / "plain").string()), 1000);
  ASSERT_FALSE(plain.ok());
  EXPECT_NE(plain.error().message.find("bitstack"), std::string::npos) << plain.error().message;
}

}  // namespace
}  // namespace sparing
