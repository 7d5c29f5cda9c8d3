#pragma once
// Tiny models for tests, with weights from a formula that tests/golden/make_runtime_golden.py repeats.

#include <cmath>
#include <memory>
#include <string>
#include <vector>

#include "base/rng.h"
#include "codecs/int_group.h"
#include "codecs/lowrank.h"
#include "formats/checkpoint.h"
#include "tensor/half.h"
#include "text/tokenizer.h"

namespace sparing::testing {

inline std::vector<float> uniform(const std::string& name, std::size_t count) {
  std::uint64_t seed = 0xCBF29CE484222325ull;
  for (const char c : name) seed = (seed ^ static_cast<unsigned char>(c)) * 0x100000001B3ull;
  std::vector<float> values(count);
  for (std::size_t i = 0; i < count; ++i) {
    std::uint64_t z = seed + (i + 1) * 0x9E3779B97F4A7C15ull;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ull;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBull;
    values[i] = static_cast<float>((z ^ (z >> 31)) >> 40) * 0x1.0p-24f;
  }
  return values;
}

/// Sequences of equal length; the same whatever follows.
inline std::vector<std::vector<Token>> random_text(std::int64_t count, std::int64_t length, std::int32_t vocab,
                                                   std::uint64_t seed) {
  Rng rng(seed);
  std::vector<std::vector<Token>> text;
  for (std::int64_t s = 0; s < count; ++s) {
    auto& sequence = text.emplace_back(static_cast<std::size_t>(length));
    for (Token& token : sequence) token = static_cast<Token>(rng.below(static_cast<std::uint64_t>(vocab)));
  }
  return text;
}

/// Llama with everything that the tests vary at its plainest.
inline ModelConfig tiny_config() {
  ModelConfig c;
  c.architecture = "llama";
  c.name = "tiny";
  c.hidden = 64;
  c.head_dim = 16;
  c.vocab = 97;
  c.context = 128;
  c.layers.assign(3, {.heads = 4, .kv_heads = 2, .ffn = 96});
  c.rope.dimension = 16;
  return c;
}

enum class Coding { f32, int4, lowrank };  ///< lowrank: a term of it on int4

/// A checkpoint made on the spot.
class FormulaCheckpoint : public Checkpoint {
 public:
  explicit FormulaCheckpoint(ModelConfig config, Coding coding = Coding::f32)
      : config_(std::move(config)), coding_(coding) {
    const std::int64_t d = config_.head_dim, h = config_.hidden;
    const auto add = [&](std::string name, std::int64_t rows, std::int64_t cols) {
      tensors_.push_back({.shape = {.name = std::move(name), .rows = rows, .cols = cols},
                          .coding = "F32",
                          .stored_bytes = static_cast<std::uint64_t>(rows * std::max<std::int64_t>(cols, 1) * 4)});
    };
    add("embed", config_.vocab, h);
    for (std::size_t i = 0; i < config_.layers.size(); ++i) {
      const LayerConfig& l = config_.layers[i];
      const std::string p = "layers." + std::to_string(i) + ".";
      add(p + "attn.q", l.heads * d, h);
      add(p + "attn.k", l.kv_heads * d, h);
      add(p + "attn.v", l.kv_heads * d, h);
      add(p + "attn.o", h, l.heads * d);
      add(p + "mlp.gate", l.ffn, h);
      add(p + "mlp.up", l.ffn, h);
      add(p + "mlp.down", h, l.ffn);
      for (const char* bias : {"attn.q", "attn.k", "attn.v"}) {
        add(p + bias + ".bias", bias[5] == 'q' ? l.heads * d : l.kv_heads * d, 0);
      }
      for (const char* bias : {"attn.o.bias", "mlp.down.bias", "attn_norm", "mlp_norm"}) add(p + bias, h, 0);
      for (const char* bias : {"mlp.gate.bias", "mlp.up.bias"}) add(p + bias, l.ffn, 0);
      for (const char* norm : {"attn.q_norm", "attn.k_norm"}) add(p + norm, d, 0);
    }
    add("norm", h, 0);
    if (!config_.tied_head) add("head", config_.vocab, h);
  }

  CheckpointFormat format() const override { return CheckpointFormat::huggingface; }
  const ModelConfig& config() const override { return config_; }
  const std::filesystem::path& path() const override { return path_; }
  const std::vector<TensorEntry>& tensors() const override { return tensors_; }
  Result<std::vector<Bytes>> stored(const std::string&) const override { return std::vector<Bytes>{}; }
  void forget(const std::string&) const override {}
  const TokenizerSource& tokenizer() const override { return tokenizer_; }
  std::uint64_t total_bytes() const override { return 0; }
  const std::map<std::string, std::string>& carried() const override { return carried_; }

  Result<CodedWeight> weight(const std::string& name, Arena* = nullptr) const override {
    const TensorShape* shape = find(name);
    if (shape == nullptr || shape->is_vector()) return input_error("[test] no matrix " + name);
    const auto count = static_cast<std::size_t>(shape->rows * shape->cols);
    if (coding_ != Coding::f32 && name != "embed") {
      SPARING_TRY(CodedWeight weight, int4(name, *shape));
      if (coding_ == Coding::lowrank) {
        SPARING_TRY(Term term, lowrank(name, *shape));
        weight.terms.push_back(std::move(term));
      }
      return weight;
    }
    Buffer data(count * 4);
    const auto u = uniform(name, count);
    for (std::size_t i = 0; i < count; ++i) data.as<float>()[i] = (u[i] - 0.5f) * 0.5f;
    return dense_weight(shape->rows, shape->cols, DType::f32, Blob::of(std::move(data)));
  }
  Result<std::vector<float>> vector(const std::string& name) const override {
    const TensorShape* shape = find(name);
    if (shape == nullptr || !shape->is_vector()) return input_error("[test] no vector " + name);
    auto values = uniform(name, static_cast<std::size_t>(shape->rows));
    for (float& v : values) v += name.ends_with(".bias") ? -0.5f : 0.5f;
    return values;
  }

 private:
  const TensorShape* find(const std::string& name) const {
    for (const TensorEntry& entry : tensors_) {
      if (entry.shape.name == name) return &entry.shape;
    }
    return nullptr;
  }
  static Result<CodedWeight> int4(const std::string& name, const TensorShape& shape) {
    const IntGroupSpec spec{.bits = 4, .groups = {.group = 32}};
    const std::int64_t groups = (shape.cols + 31) / 32;
    IntGroupParts parts;
    for (const float u : uniform(name, static_cast<std::size_t>(shape.rows * shape.cols))) {
      parts.codes.push_back(static_cast<std::uint8_t>(u * 16));
    }
    parts.scale_f16.assign(static_cast<std::size_t>(shape.rows * groups), f32_to_f16(0.03f));
    SPARING_TRY(Term term, pack(spec, shape.rows, shape.cols, parts));
    CodedWeight weight{.rows = shape.rows, .cols = shape.cols, .input = {}, .terms = {}};
    weight.terms.push_back(std::move(term));
    return weight;
  }

  static Result<Term> lowrank(const std::string& name, const TensorShape& shape) {
    const LowRankSpec spec{.rank = 5, .inner = {8, 32}, .outer = {4, 16}};
    const auto factor = [&](const char* which, const FactorSpec& s, std::int64_t n) {
      FactorParts parts;
      for (const float u : uniform(name + which, static_cast<std::size_t>(spec.rank * n)))
        parts.codes.push_back(static_cast<std::uint16_t>(u * static_cast<float>(1 << s.bits)));
      parts.scales.assign(static_cast<std::size_t>(spec.rank * ((n + s.group - 1) / s.group)),
                          f32_to_f16(0.3f / static_cast<float>(1 << (s.bits - 1))));
      return parts;
    };
    return pack(spec, shape.rows, shape.cols, factor(" inner", spec.inner, shape.cols),
                factor(" outer", spec.outer, shape.rows));
  }

  ModelConfig config_;
  Coding coding_;
  std::vector<TensorEntry> tensors_;
  std::filesystem::path path_ = "tiny";
  TokenizerSource tokenizer_;
  std::map<std::string, std::string> carried_;
};

}  // namespace sparing::testing
