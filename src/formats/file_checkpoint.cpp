#include "formats/file_checkpoint.h"

#include <cmath>
#include <cstring>

#include "codecs/coded_weight.h"
#include "formats/gguf_config.h"
#include "formats/json.h"

namespace sparing {
namespace {

std::string shape_text(const TensorShape& shape) {
  return shape.is_vector() ? "[" + std::to_string(shape.rows) + "]"
                           : "[" + std::to_string(shape.rows) + ", " + std::to_string(shape.cols) + "]";
}

std::optional<DType> dense_dtype(GgmlType type) {
  switch (type) {
    case GgmlType::f32:
      return DType::f32;
    case GgmlType::f16:
      return DType::f16;
    case GgmlType::bf16:
      return DType::bf16;
    default:
      return std::nullopt;
  }
}

std::string coding_of(const SourceTensor& source) {
  if (source.packed == nullptr) return std::string(ggml_traits(static_cast<std::uint32_t>(source.type))->name);
  const HfQuantization& scheme = source.packed->scheme;
  const char* toolkit = scheme.packing == HfPacking::gptq  ? "gptq"
                        : scheme.packing == HfPacking::awq ? "awq"
                                                           : "compressed-tensors";
  return std::string(toolkit) + " " + std::to_string(scheme.bits) + "b" +
         (scheme.group == 0 ? std::string() : " g" + std::to_string(scheme.group));
}

}  // namespace

std::vector<PackedPart> SourceTensor::parts() const {
  if (packed == nullptr) return {};
  std::vector<PackedPart> all = {packed->codes, packed->scales};
  if (packed->zeros) all.push_back(*packed->zeros);
  if (packed->order) all.push_back(*packed->order);
  return all;
}

Result<std::shared_ptr<const Checkpoint>> FileCheckpoint::make(CheckpointParts parts) {
  std::shared_ptr<FileCheckpoint> checkpoint(new FileCheckpoint(std::move(parts)));
  const CheckpointParts& held = checkpoint->parts_;
  for (const TensorShape& shape : expected_tensors(held.config)) {
    const auto found = held.tensors.find(shape.name);
    if (found == held.tensors.end()) {
      return input_error(checkpoint->where() + ": tensor " + shape.name + " is missing: the model is incomplete");
    }
    const SourceTensor& source = found->second;
    if (source.shape.rows != shape.rows || source.shape.cols != shape.cols) {
      return input_error(checkpoint->where() + ": tensor \"" + shown(source.file_name) + "\" has shape " +
                         shape_text(source.shape) + " where the configuration needs " + shape_text(shape));
    }
    std::uint64_t bytes = source.bytes.size();
    for (const auto& part : source.parts()) bytes += part.bytes.size();
    checkpoint->entries_.push_back({shape, coding_of(source), bytes});
  }
  return std::shared_ptr<const Checkpoint>(std::move(checkpoint));
}

Result<const SourceTensor*> FileCheckpoint::find(const std::string& name, bool vector) const {
  const auto found = parts_.tensors.find(name);
  if (found == parts_.tensors.end()) return internal_error(where() + ": no tensor is named " + name);
  if (found->second.shape.is_vector() != vector) {
    return internal_error(where() + ": tensor " + name + (vector ? " is a matrix" : " is a vector"));
  }
  return &found->second;
}

Result<CodedWeight> FileCheckpoint::weight(const std::string& name, Arena* arena) const {
  SPARING_TRY(const SourceTensor* source, find(name, false));
  if (source->packed != nullptr) {
    auto unpacked = transcode_packed(*source->packed);
    Status status = unpacked.ok() ? validate(*unpacked, true) : Status(unpacked.error());
    if (status.ok()) return unpacked;
    return input_error(where() + ": tensor \"" + shown(source->file_name) + "\": " + status.error().message);
  }
  const std::int64_t rows = source->shape.rows, cols = source->shape.cols;
  Blob blob = Blob::in(source->file, source->bytes);
  const auto dtype = dense_dtype(source->type);
  const bool aligned = dtype && reinterpret_cast<std::uintptr_t>(blob.bytes.data()) % size_of(*dtype) == 0;
  CodedWeight weight;
  if (dtype && !source->interleaved) {
    if (!aligned) {
      Buffer copy = arena != nullptr ? arena->take(blob.bytes.size()) : Buffer(blob.bytes.size());
      std::memcpy(copy.data(), blob.bytes.data(), blob.bytes.size());
      blob.forget(blob.bytes);
      blob = Blob::of(std::move(copy));
    }
    weight = dense_weight(rows, cols, *dtype, std::move(blob));
  } else {
    std::vector<std::int32_t> order;
    if (source->interleaved) {
      const std::int32_t head_dim = parts_.config.head_dim;
      order = interleaved_rows(static_cast<std::int32_t>(rows / head_dim), head_dim, parts_.config.rope.dimension);
    }
    SPARING_TRY(Term term,
                ggml_transcode(source->type, rows, cols, std::move(blob), order.empty() ? nullptr : &order, arena));
    weight.rows = rows;
    weight.cols = cols;
    weight.terms.push_back(std::move(term));
  }
  if (const Status status = validate(weight, true); !status.ok()) {
    return input_error(where() + ": tensor \"" + shown(source->file_name) + "\": " + status.error().message);
  }
  return weight;
}

Result<std::vector<float>> FileCheckpoint::vector(const std::string& name) const {
  SPARING_TRY(const SourceTensor* source, find(name, true));
  std::vector<float> stored(static_cast<std::size_t>(source->shape.rows));
  ggml_decode(source->type, source->bytes, source->shape.rows, stored.data());
  for (std::size_t i = 0; i < stored.size(); ++i) {
    if (std::isfinite(stored[i])) continue;
    return input_error(where() + ": tensor \"" + shown(source->file_name) + "\" holds " + std::to_string(stored[i]) +
                       " at index " + std::to_string(i) + ": the model is damaged");
  }
  if (!source->interleaved) return stored;
  const std::int32_t head_dim = parts_.config.head_dim;
  const auto order = interleaved_rows(static_cast<std::int32_t>(source->shape.rows / head_dim), head_dim,
                                      parts_.config.rope.dimension);
  std::vector<float> sorted(stored.size());
  for (std::size_t i = 0; i < sorted.size(); ++i) sorted[i] = stored[static_cast<std::size_t>(order[i])];
  return sorted;
}

Result<std::vector<Bytes>> FileCheckpoint::stored(const std::string& name) const {
  const auto found = parts_.tensors.find(name);
  if (found == parts_.tensors.end()) return internal_error(where() + ": no tensor is named " + name);
  if (found->second.packed == nullptr) return std::vector<Bytes>{found->second.bytes};
  std::vector<Bytes> all;
  for (const auto& part : found->second.parts()) all.push_back(part.bytes);
  return all;
}

void FileCheckpoint::forget(const std::string& name) const {
  const auto found = parts_.tensors.find(name);
  if (found == parts_.tensors.end()) return;
  for (const auto& part : found->second.parts()) part.file->forget(part.bytes);
  if (found->second.packed == nullptr) found->second.file->forget(found->second.bytes);
}

}  // namespace sparing
