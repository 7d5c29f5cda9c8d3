#include "formats/sparing_writer.h"

#include <cmath>

#include "base/atomic_file.h"
#include "base/checked.h"
#include "base/sha256.h"
#include "formats/hf_config.h"
#include "formats/json.h"
#include "formats/safetensors.h"
#include "formats/sparing_manifest.h"
#include "formats/staging.h"
#include "tensor/half.h"

namespace sparing {
namespace {

constexpr std::uint64_t kShardBytes = 5'000'000'000, kBlobAlignment = 64;
constexpr const char* kTokenizerFile = "tokenizer.sparing";

struct Part {
  std::string name;
  Bytes bytes;
  std::uint64_t padded() const { return round_up(bytes.size(), kBlobAlignment); }
};
/// The parts of one tensor, which stay together in a shard.
struct Item {
  ManifestTensor tensor;
  std::vector<Part> parts;
};
struct Shard {
  std::string file;
  std::vector<Item*> items;
  std::vector<SafeTensorPlan> plans() const {
    std::vector<SafeTensorPlan> all;
    for (const Item* item : items) {
      for (const Part& part : item->parts) {
        all.push_back({part.name, DType::u8, {static_cast<std::int64_t>(part.padded())}});
      }
    }
    return all;
  }
};

struct Layout {
  std::vector<Buffer> vectors;  ///< encoded norms and biases
  std::vector<Item> items;
  std::vector<Shard> shards;
  std::map<std::string, std::string> texts;  ///< config.json, tokenizer.sparing and carried files
};

bool exact_in_f16(const std::vector<float>& values) {
  for (const float v : values) {
    if (f16_to_f32(f32_to_f16(v)) != v) return false;
  }
  return true;
}

Buffer encode_vector(const std::vector<float>& values, DType dtype) {
  Buffer buffer(values.size() * size_of(dtype));
  for (std::size_t i = 0; i < values.size(); ++i) {
    if (dtype == DType::f16) {
      buffer.as<std::uint16_t>()[i] = f32_to_f16(values[i]);
    } else {
      buffer.as<float>()[i] = values[i];
    }
  }
  return buffer;
}

Status add_vector(const TensorShape& shape, const std::vector<float>& values, Layout& layout) {
  if (static_cast<std::int64_t>(values.size()) != shape.rows) {
    return internal_error("[write] " + shape.name + ": " + std::to_string(values.size()) + " values, " +
                          std::to_string(shape.rows) + " expected");
  }
  const DType dtype = exact_in_f16(values) ? DType::f16 : DType::f32;
  layout.vectors.push_back(encode_vector(values, dtype));
  const Buffer& buffer = layout.vectors.back();
  layout.items.push_back({{shape, {}, {DenseSpec{dtype}}, {}}, {{shape.name, {buffer.data(), buffer.size()}}}});
  return {};
}

Status add_weight(const TensorShape& shape, const CodedWeight& weight, Layout& layout) {
  if (weight.rows != shape.rows || weight.cols != shape.cols) {
    return internal_error("[write] " + shape.name + ": a weight of " + std::to_string(weight.rows) + " x " +
                          std::to_string(weight.cols) + " where the configuration needs " + std::to_string(shape.rows) +
                          " x " + std::to_string(shape.cols));
  }
  Item item{{shape, {weight.input.kind, weight.input.block, {}}, {}, {}}, {}};
  if (weight.input.kind != TransformKind::identity) {
    item.parts.push_back({stored_input_name(shape.name), weight.input.blob.bytes});
  }
  for (std::size_t t = 0; t < weight.terms.size(); ++t) {
    item.tensor.terms.push_back(weight.terms[t].spec);
    item.parts.push_back({stored_name(shape.name, t), weight.terms[t].blob.bytes});
  }
  layout.items.push_back(std::move(item));
  return {};
}

Status add_tensors(const SparingModel& model, Layout& layout) {
  std::map<std::string, const CodedWeight*> weights;
  std::map<std::string, const std::vector<float>*> vectors;
  for (const auto& [name, weight] : model.weights) weights[name] = &weight;
  for (const auto& [name, values] : model.vectors) vectors[name] = &values;
  const auto shapes = expected_tensors(model.config);
  layout.vectors.reserve(shapes.size());
  layout.items.reserve(shapes.size());
  for (const TensorShape& shape : shapes) {
    const auto weight = weights.find(shape.name);
    const auto vector = vectors.find(shape.name);
    if (shape.is_vector() && vector != vectors.end()) {
      SPARING_CHECK_OK(add_vector(shape, *vector->second, layout));
    } else if (!shape.is_vector() && weight != weights.end()) {
      SPARING_CHECK_OK(add_weight(shape, *weight->second, layout));
    } else {
      return internal_error("[write] tensor " + shape.name + " is missing");
    }
  }
  if (weights.size() + vectors.size() != shapes.size())
    return internal_error("[write] more tensors than the model has");
  return {};
}

std::string shard_name(std::size_t index, std::size_t count) {
  const auto five = [](std::size_t n) {
    const std::string digits = std::to_string(n);
    return std::string(digits.size() < 5 ? 5 - digits.size() : 0, '0') + digits;
  };
  return "sparing-" + five(index + 1) + "-of-" + five(count) + ".safetensors";
}

void fill_shards(Layout& layout) {
  std::uint64_t size = 0;
  for (Item& item : layout.items) {
    std::uint64_t bytes = 0;
    for (const Part& part : item.parts) bytes += part.padded();
    if (layout.shards.empty() || (size > 0 && size + bytes > kShardBytes)) {
      layout.shards.emplace_back();
      size = 0;
    }
    layout.shards.back().items.push_back(&item);
    size += bytes;
  }
  for (std::size_t i = 0; i < layout.shards.size(); ++i) layout.shards[i].file = shard_name(i, layout.shards.size());
}

Result<Layout> lay_out(const SparingModel& model) {
  SPARING_CHECK_OK(validate(model.config));
  Layout layout;
  SPARING_CHECK_OK(add_tensors(model, layout));
  fill_shards(layout);
  nlohmann::json config = config_to_hf(model.config);
  config["quantization_config"] = {{"quant_method", "sparing"}, {"format_version", kManifestVersion}};
  layout.texts = model.carried;
  for (const auto& [name, text] : layout.texts) {
    const bool reserved =
        name == "config.json" || name == "sparing.json" || name == kTokenizerFile || name.ends_with(".safetensors");
    if (name.empty() || name.front() == '.' || name.find('/') != std::string::npos || reserved) {
      return internal_error("[write] a carried file cannot be called \"" + shown(name) + "\"");
    }
  }
  layout.texts["config.json"] = dump_json(config) + "\n";
  if (!model.compact_tokenizer.empty()) layout.texts[kTokenizerFile] = model.compact_tokenizer;
  return layout;
}

Result<std::string> manifest_text(const SparingModel& model, const Layout& layout,
                                  const std::map<std::string, std::string>& hashes) {
  Manifest manifest;
  manifest.recipe = model.recipe_json;
  manifest.provenance = model.provenance_json;
  manifest.files = hashes;
  std::map<std::string, std::uint64_t> bytes;
  for (const Item& item : layout.items) {
    manifest.tensors.push_back(item.tensor);
    for (const Part& part : item.parts) bytes[role_of(item.tensor.shape.name)] += part.padded();
  }
  for (const Shard& shard : layout.shards) bytes["headers"] += safetensors_header(shard.plans(), {}).size();
  for (const auto& [name, text] : layout.texts) {
    bytes[name == kTokenizerFile ? "tokenizer" : name == "config.json" ? "config" : "carried"] += text.size();
  }
  for (const char* role :
       {"embedding", "attention", "mlp", "norm", "head", "headers", "config", "tokenizer", "carried"}) {
    if (bytes.contains(role)) manifest.ledger.emplace_back(role, bytes[role]);
  }
  return manifest_to_json(manifest);
}

Result<std::string> write_shard(const Shard& shard, const std::filesystem::path& folder) {
  SPARING_TRY(auto writer, SafetensorsWriter::create(folder / shard.file, shard.plans()));
  static constexpr std::byte zeros[kBlobAlignment] = {};
  for (Item* item : shard.items) {
    Sha256 hash;
    for (const Part& part : item->parts) {
      hash.update(part.bytes);
      SPARING_CHECK_OK(writer.write(part.bytes));
      SPARING_CHECK_OK(writer.write({zeros, part.padded() - part.bytes.size()}));
    }
    item->tensor.hash = hash.finish().substr(0, 16);
  }
  return writer.commit();
}

Status write_files(const SparingModel& model, Layout& layout, const std::filesystem::path& folder) {
  std::map<std::string, std::string> hashes;
  for (const Shard& shard : layout.shards) {
    SPARING_TRY(hashes[shard.file], write_shard(shard, folder));
  }
  for (const auto& [name, text] : layout.texts) {
    SPARING_CHECK_OK(write_file_atomically(folder / name, text));
    hashes[name] = sha256_hex(std::as_bytes(std::span(text)));
  }
  SPARING_TRY(const std::string manifest, manifest_text(model, layout, hashes));
  return write_file_atomically(folder / "sparing.json", manifest);
}

}  // namespace

Result<std::uint64_t> sparing_directory_bytes(const SparingModel& model) {
  SPARING_TRY(Layout layout, lay_out(model));
  std::map<std::string, std::string> hashes;
  std::uint64_t total = 0;
  for (Item& item : layout.items) item.tensor.hash = std::string(16, '0');
  for (const Shard& shard : layout.shards) {
    const auto plans = shard.plans();
    hashes[shard.file] = std::string(64, '0');
    total += safetensors_header(plans, {}).size();
    for (const SafeTensorPlan& plan : plans) total += plan.bytes();
  }
  for (const auto& [name, text] : layout.texts) {
    hashes[name] = std::string(64, '0');
    total += text.size();
  }
  SPARING_TRY(const std::string manifest, manifest_text(model, layout, hashes));
  return total + manifest.size();
}

Status write_sparing_directory(const SparingModel& model, const std::filesystem::path& out) {
  for (const auto& [name, weight] : model.weights) {
    if (const Status status = validate(weight, true); !status.ok()) {
      return internal_error("[write] " + name + ": " + status.error().message);
    }
  }
  for (const auto& [name, values] : model.vectors) {
    for (const float v : values) {
      if (!std::isfinite(v)) return internal_error("[write] " + name + " holds " + std::to_string(v));
    }
  }
  SPARING_TRY(Layout layout, lay_out(model));
  SPARING_TRY(StagingFolder staging, StagingFolder::create(out));
  if (Status status = write_files(model, layout, staging.path()); !status.ok()) {
    return staging.explain(std::move(status).error());
  }
  return staging.publish();
}

}  // namespace sparing
