#pragma once
// Small random models on disk in every format, for the tests of this folder.

#include <cmath>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "base/rng.h"
#include "base/testing.h"
#include "formats/gguf_config.h"
#include "formats/gguf_writer.h"
#include "formats/hf_config.h"
#include "formats/json.h"
#include "formats/safetensors.h"
#include "tensor/half.h"

namespace sparing::test {

using Folder = testkit::TemporaryFolder;

inline void write_text(const std::filesystem::path& path, const std::string& text) {
  std::ofstream(path, std::ios::binary) << text;
}
inline std::string read_text(const std::filesystem::path& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

/// A model and its true weights: f16-representable values by canonical name, row-major, half-rotation order.
struct Model {
  ModelConfig config;
  std::map<std::string, std::vector<float>> tensors;
};

inline ModelConfig small_config(const std::string& architecture) {
  ModelConfig config;
  config.architecture = architecture;
  config.name = "tiny";
  config.hidden = 64;
  config.head_dim = 16;
  config.vocab = 40;
  config.context = 128;
  config.layers.assign(2, {4, 2, 96});
  config.rope.dimension = 16;
  config.tied_head = true;
  config.qkv_bias = architecture == "qwen2";
  config.qk_norm = architecture == "qwen3";
  if (architecture == "mistral") config.sliding_window = 32;
  config.bos = 1;
  config.eos = {2};
  return config;
}

inline Model random_model(const ModelConfig& config, std::uint64_t seed = 1) {
  Model model{config, {}};
  Rng rng(seed);
  for (const TensorShape& shape : expected_tensors(config)) {
    auto& values = model.tensors[shape.name];
    values.resize(static_cast<std::size_t>(shape.rows * (shape.is_vector() ? 1 : shape.cols)));
    const double scale = shape.is_vector() ? 0.1 : 1.0 / std::sqrt(static_cast<double>(shape.cols));
    const bool norm = shape.name.ends_with("norm");
    for (float& v : values) v = f16_to_f32(f32_to_f16(static_cast<float>(rng.normal() * scale + (norm ? 1 : 0))));
  }
  return model;
}

inline Bytes bytes_of(const std::vector<float>& values) {
  return std::as_bytes(std::span(values));
}

inline std::vector<std::uint16_t> as_f16(const std::vector<float>& values) {
  std::vector<std::uint16_t> out;
  for (const float v : values) out.push_back(f32_to_f16(v));
  return out;
}

/// config.json and model.safetensors, dtype f32 or f16. `edit` may change config.json before it is written.
inline void write_hf(const Model& model, const std::filesystem::path& folder, DType dtype = DType::f16,
                     const std::function<void(nlohmann::json&)>& edit = {}) {
  std::filesystem::create_directories(folder);
  nlohmann::json config = config_to_hf(model.config);
  if (edit) edit(config);
  write_text(folder / "config.json", dump_json(config));
  std::vector<SafeTensorPlan> plans;
  for (const TensorShape& shape : expected_tensors(model.config)) {
    SafeTensorPlan plan{hf_tensor_name(shape.name), dtype, {shape.rows}};
    if (!shape.is_vector()) plan.shape.push_back(shape.cols);
    plans.push_back(std::move(plan));
  }
  auto writer = SafetensorsWriter::create(folder / "model.safetensors", plans);
  for (const TensorShape& shape : expected_tensors(model.config)) {
    const auto& values = model.tensors.at(shape.name);
    if (dtype == DType::f32) {
      (void)writer->write(bytes_of(values));
    } else {
      const auto halves = as_f16(values);
      (void)writer->write(std::as_bytes(std::span(halves)));
    }
  }
  (void)writer->commit();
}

/// Rows of [heads * head_dim, cols] put into interleaved order: what llama's q and k are in GGUF and llama2.c.
inline std::vector<float> interleave(const std::vector<float>& values, std::int64_t rows, std::int64_t cols,
                                     const ModelConfig& config) {
  const auto order =
      interleaved_rows(static_cast<std::int32_t>(rows / config.head_dim), config.head_dim, config.rope.dimension);
  std::vector<float> out(values.size());
  for (std::int64_t r = 0; r < rows; ++r) {
    std::copy_n(values.begin() + r * cols, cols, out.begin() + order[static_cast<std::size_t>(r)] * cols);
  }
  return out;
}

inline bool is_rope_tensor(const std::string& name) {
  return name.ends_with("attn.q") || name.ends_with("attn.k") || name.ends_with("attn.q.bias") ||
         name.ends_with("attn.k.bias");
}

inline GgufMetadata gguf_metadata(const ModelConfig& c) {
  GgufMetadata m;
  const std::string arch = c.architecture == "mistral" ? "llama" : c.architecture;
  const auto number = [&](const char* key, std::int32_t v) { m.put(arch + "." + key, static_cast<std::uint32_t>(v)); };
  m.put("general.architecture", arch);
  m.put("general.name", c.name);
  m.put("general.license", "apache-2.0");
  number("block_count", static_cast<std::int32_t>(c.layers.size()));
  number("context_length", c.context);
  number("embedding_length", c.hidden);
  std::vector<std::int32_t> heads, kv_heads, ffn;
  for (const LayerConfig& layer : c.layers) {
    heads.push_back(layer.heads);
    kv_heads.push_back(layer.kv_heads);
    ffn.push_back(layer.ffn);
  }
  m.put(arch + ".attention.head_count", heads);
  m.put(arch + ".attention.head_count_kv", kv_heads);
  m.put(arch + ".feed_forward_length", ffn);
  number("attention.key_length", c.head_dim);
  number("attention.value_length", c.head_dim);
  if (c.sliding_window > 0) number("attention.sliding_window", c.sliding_window);
  m.put(arch + ".attention.layer_norm_rms_epsilon", c.rms_eps);
  m.put(arch + ".rope.freq_base", static_cast<float>(c.rope.theta));
  m.put("tokenizer.ggml.bos_token_id", static_cast<std::uint32_t>(c.bos));
  m.put("tokenizer.ggml.eos_token_id", static_cast<std::uint32_t>(c.eos.at(0)));
  m.put("tokenizer.chat_template", "{{ messages }}");
  return m;
}

inline void write_gguf(const Model& model, const std::filesystem::path& path, GgmlType type = GgmlType::f16,
                       const GgufMetadata* metadata = nullptr) {
  std::vector<GgufTensorPlan> plans;
  for (const TensorShape& shape : expected_tensors(model.config)) {
    GgufTensorPlan plan{gguf_tensor_name(shape.name), {shape.rows}, GgmlType::f32};
    if (!shape.is_vector()) plan = {plan.name, {shape.cols, shape.rows}, type};
    plans.push_back(std::move(plan));
  }
  const GgufMetadata own = metadata == nullptr ? gguf_metadata(model.config) : *metadata;
  auto writer = GgufWriter::create(path, own, plans);
  const bool interleaved = model.config.architecture == "llama" || model.config.architecture == "mistral";
  std::size_t i = 0;
  for (const TensorShape& shape : expected_tensors(model.config)) {
    auto values = model.tensors.at(shape.name);
    if (interleaved && is_rope_tensor(shape.name)) {
      values = interleave(values, shape.rows, shape.is_vector() ? 1 : shape.cols, model.config);
    }
    std::vector<std::byte> encoded(plans[i].bytes());
    const auto halves = as_f16(values);
    // Written plainly where that is possible: the encoder refuses the NaN that some tests want.
    if (plans[i].type == GgmlType::f32) {
      std::memcpy(encoded.data(), values.data(), encoded.size());
    } else if (plans[i].type == GgmlType::f16) {
      std::memcpy(encoded.data(), halves.data(), encoded.size());
    } else {
      (void)ggml_encode(plans[i].type, values.data(), static_cast<std::int64_t>(values.size()), encoded.data());
    }
    (void)writer->write(encoded);
    ++i;
  }
  (void)writer->commit();
}

}  // namespace sparing::test
