#include <cmath>

#include "base/atomic_file.h"
#include "base/interrupt.h"
#include "formats/export.h"
#include "formats/export_rows.h"
#include "formats/hf_config.h"
#include "formats/hf_pack.h"
#include "formats/json.h"
#include "formats/safetensors.h"
#include "formats/staging.h"
#include "tensor/half.h"

namespace sparing {
namespace {

using nlohmann::json;

constexpr std::uint64_t kMaxTokenizerConfig = 16 << 20;

struct Shard {
  std::string file;
  std::vector<TensorShape> tensors;
  std::vector<SafeTensorPlan> plans;
};

std::string shard_name(std::size_t index, std::size_t count) {
  if (count == 1) return "model.safetensors";
  const auto five = [](std::size_t n) {
    const std::string digits = std::to_string(n);
    return std::string(digits.size() < 5 ? 5 - digits.size() : 0, '0') + digits;
  };
  return "model-" + five(index + 1) + "-of-" + five(count) + ".safetensors";
}

bool is_packed(const std::optional<PackScheme>& scheme, const TensorShape& shape) {
  return scheme && is_packed_tensor(shape);
}

/// What the file holds of one tensor of the model.
std::vector<SafeTensorPlan> plans_of(const TensorShape& shape, const HfExport& options,
                                     const std::optional<PackScheme>& scheme) {
  const std::string name = hf_tensor_name(shape.name);
  if (is_packed(scheme, shape)) return packed_tensors(*scheme, name.substr(0, name.rfind('.')), shape);
  SafeTensorPlan plan{name, options.dtype, {shape.rows}};
  if (!shape.is_vector()) plan.shape.push_back(shape.cols);
  return {plan};
}

std::vector<Shard> plan_shards(const ModelConfig& config, const HfExport& options,
                               const std::optional<PackScheme>& scheme) {
  std::vector<Shard> shards;
  std::uint64_t size = 0;
  for (const TensorShape& shape : expected_tensors(config)) {
    const std::vector<SafeTensorPlan> plans = plans_of(shape, options, scheme);
    std::uint64_t bytes = 0;
    for (const SafeTensorPlan& plan : plans) bytes += plan.bytes();
    if (shards.empty() || (size > 0 && size + bytes > options.shard_bytes)) {
      shards.emplace_back();
      size = 0;
    }
    size += bytes;
    shards.back().tensors.push_back(shape);
    shards.back().plans.insert(shards.back().plans.end(), plans.begin(), plans.end());
  }
  for (std::size_t i = 0; i < shards.size(); ++i) shards[i].file = shard_name(i, shards.size());
  return shards;
}

/// Rows in the output's dtype; an error where a finite value has no finite counterpart there.
Status encode(std::span<const float> values, DType dtype, const std::string& tensor, std::vector<std::uint16_t>& out) {
  out.resize(values.size());
  for (std::size_t i = 0; i < values.size(); ++i) {
    const bool half = dtype == DType::f16;
    out[i] = half ? f32_to_f16(values[i]) : f32_to_bf16(values[i]);
    if (std::isfinite(half ? f16_to_f32(out[i]) : bf16_to_f32(out[i]))) continue;
    return input_error("[export] tensor " + tensor + " holds " + std::to_string(values[i]) + ", too large for " +
                       std::string(name_of(dtype)) + ": export " + (half ? "BF16 or " : "") + "F32");
  }
  return {};
}

Status write_shard(const Checkpoint& checkpoint, const Shard& shard, const std::filesystem::path& folder,
                   const HfExport& options, const std::optional<PackScheme>& scheme) {
  SPARING_TRY(auto writer, SafetensorsWriter::create(folder / shard.file, shard.plans, {{"format", "pt"}}));
  std::vector<std::uint16_t> halves;
  for (const TensorShape& shape : shard.tensors) {
    if (is_packed(scheme, shape)) {
      SPARING_TRY(const auto parts, packed_bytes(*scheme, checkpoint, shape));
      for (const auto& part : parts) SPARING_CHECK_OK(writer.write(part));
      if (options.progress) options.progress(shape.name);
      if (interrupted()) return interrupted_error("export");
      continue;
    }
    SPARING_CHECK_OK(for_each_rows(checkpoint, shape, nullptr, [&](std::span<const float> values) -> Status {
      if (options.dtype == DType::f32) return writer.write(std::as_bytes(values));
      SPARING_CHECK_OK(encode(values, options.dtype, shape.name, halves));
      return writer.write(std::as_bytes(std::span(halves)));
    }));
    if (options.progress) options.progress(shape.name);
    if (interrupted()) return interrupted_error("export");
  }
  SPARING_CHECK_OK(writer.commit());
  return {};
}

Status write_index(const std::vector<Shard>& shards, const std::filesystem::path& folder) {
  json map = json::object();
  std::uint64_t total = 0;
  for (const Shard& shard : shards) {
    for (const SafeTensorPlan& plan : shard.plans) {
      map[plan.name] = shard.file;
      total += plan.bytes();
    }
  }
  const json index = {{"metadata", {{"total_size", total}}}, {"weight_map", std::move(map)}};
  return write_file_atomically(folder / "model.safetensors.index.json", index.dump(2) + "\n");
}

Result<json> tokenizer_config(const Checkpoint& checkpoint, const HfExport& options) {
  json config = json::object();
  if (const auto* hf = std::get_if<HfTokenizerFiles>(&checkpoint.tokenizer());
      hf != nullptr && !hf->tokenizer_config.empty()) {
    SPARING_TRY(const std::string text, read_text_file(hf->tokenizer_config, kMaxTokenizerConfig));
    SPARING_TRY(config, parse_json(text, "[open] " + hf->tokenizer_config.string()));
    if (!config.is_object()) config = json::object();
  } else {
    config = {{"tokenizer_class", "PreTrainedTokenizerFast"},
              {"model_max_length", checkpoint.config().context},
              {"clean_up_tokenization_spaces", false}};
  }
  const auto token = [&](const char* key, const std::string& text) {
    if (!text.empty() && !config.contains(key)) config[key] = text;
  };
  token("bos_token", options.bos_token);
  token("eos_token", options.eos_token);
  token("unk_token", options.unknown_token);
  token("pad_token", options.pad_token);
  if (const auto text = checkpoint.chat_template(); text) config["chat_template"] = *text;
  return config;
}

json generation_config(const ModelConfig& config) {
  json out = json::object();
  if (config.bos >= 0) out["bos_token_id"] = config.bos;
  if (config.pad >= 0) out["pad_token_id"] = config.pad;
  if (!config.eos.empty()) out["eos_token_id"] = config.eos;
  return out;
}

std::string torch_name(DType dtype) {
  return dtype == DType::f32 ? "float32" : dtype == DType::bf16 ? "bfloat16" : "float16";
}

Status write_files(const Checkpoint& checkpoint, const json& config, const std::filesystem::path& folder,
                   const HfExport& options, const std::optional<PackScheme>& scheme) {
  const auto write = [&](const std::string& name, const std::string& text) {
    return write_file_atomically(folder / name, text);
  };
  SPARING_CHECK_OK(write("config.json", config.dump(2, ' ', false, json::error_handler_t::replace) + "\n"));
  SPARING_CHECK_OK(write("generation_config.json", generation_config(checkpoint.config()).dump(2) + "\n"));
  for (const auto& [name, text] : checkpoint.carried()) SPARING_CHECK_OK(write(name, text));
  if (!options.tokenizer_json.empty()) {
    SPARING_CHECK_OK(write("tokenizer.json", options.tokenizer_json));
    SPARING_TRY(const json tokens, tokenizer_config(checkpoint, options));
    SPARING_CHECK_OK(write("tokenizer_config.json", tokens.dump(2, ' ', false, json::error_handler_t::replace) + "\n"));
  }
  const std::vector<Shard> shards = plan_shards(checkpoint.config(), options, scheme);
  for (const Shard& shard : shards) SPARING_CHECK_OK(write_shard(checkpoint, shard, folder, options, scheme));
  if (shards.size() > 1) SPARING_CHECK_OK(write_index(shards, folder));
  return {};
}

}  // namespace

Status export_hf(const Checkpoint& checkpoint, const std::filesystem::path& out, const HfExport& options) {
  if (options.dtype != DType::f32 && options.dtype != DType::f16 && options.dtype != DType::bf16) {
    return usage_error("[export] dtype " + std::string(name_of(options.dtype)) + ": F32, F16 and BF16 are written");
  }
  SPARING_TRY(json config, config_to_plain_hf(checkpoint.config()));
  config["torch_dtype"] = torch_name(options.dtype);
  std::optional<PackScheme> scheme;
  if (options.packing) {
    if (*options.packing == HfPacking::awq) return usage_error("[export] AWQ's layout is read, not written");
    if (options.dtype != DType::f16)
      return usage_error("[export] dtype " + std::string(name_of(options.dtype)) +
                         ": packed weights have their scales in F16, and so is the rest");
    SPARING_TRY(scheme, pack_scheme(checkpoint, *options.packing));
    config["quantization_config"] = pack_config(*scheme);
  }
  SPARING_TRY(StagingFolder staging, StagingFolder::create(out));
  if (Status status = write_files(checkpoint, config, staging.path(), options, scheme); !status.ok()) {
    return staging.explain(std::move(status).error());
  }
  return staging.publish();
}

}  // namespace sparing
