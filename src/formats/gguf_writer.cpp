#include "formats/gguf_writer.h"

#include "base/checked.h"

namespace sparing {
namespace {

constexpr std::uint64_t kAlignment = 32;

template <class T>
void append(std::string& out, T value) {
  out.append(reinterpret_cast<const char*>(&value), sizeof(T));
}

void append_string(std::string& out, std::string_view text) {
  append<std::uint64_t>(out, text.size());
  out += text;
}

}  // namespace

void GgufMetadata::begin(std::string_view key, GgufType type) {
  append_string(bytes_, key);
  append(bytes_, static_cast<std::uint32_t>(type));
  ++count_;
}

void GgufMetadata::begin_array(std::string_view key, GgufType element, std::uint64_t count) {
  begin(key, GgufType::array);
  append(bytes_, static_cast<std::uint32_t>(element));
  append(bytes_, count);
}

void GgufMetadata::put(std::string_view key, std::uint32_t value) {
  begin(key, GgufType::u32);
  append(bytes_, value);
}
void GgufMetadata::put(std::string_view key, float value) {
  begin(key, GgufType::f32);
  append(bytes_, value);
}
void GgufMetadata::put(std::string_view key, bool value) {
  begin(key, GgufType::boolean);
  append<std::uint8_t>(bytes_, value ? 1 : 0);
}
void GgufMetadata::put(std::string_view key, std::string_view value) {
  begin(key, GgufType::string);
  append_string(bytes_, value);
}
void GgufMetadata::put(std::string_view key, const std::vector<std::string>& values) {
  begin_array(key, GgufType::string, values.size());
  for (const std::string& value : values) append_string(bytes_, value);
}
void GgufMetadata::put(std::string_view key, const std::vector<std::int32_t>& values) {
  begin_array(key, GgufType::i32, values.size());
  for (const std::int32_t value : values) append(bytes_, value);
}
void GgufMetadata::put(std::string_view key, const std::vector<float>& values) {
  begin_array(key, GgufType::f32, values.size());
  for (const float value : values) append(bytes_, value);
}

std::uint64_t GgufTensorPlan::bytes() const {
  std::uint64_t elements = 1;
  for (const std::int64_t size : shape) elements *= static_cast<std::uint64_t>(size);
  const GgmlTraits* traits = ggml_traits(static_cast<std::uint32_t>(type));
  return elements / static_cast<std::uint64_t>(traits->block_weights) * static_cast<std::uint64_t>(traits->block_bytes);
}

std::string gguf_header(const GgufMetadata& metadata, const std::vector<GgufTensorPlan>& tensors) {
  std::string out = "GGUF";
  append<std::uint32_t>(out, 3);
  append<std::uint64_t>(out, tensors.size());
  append(out, metadata.count());
  out += metadata.bytes();
  std::uint64_t offset = 0;
  for (const GgufTensorPlan& tensor : tensors) {
    append_string(out, tensor.name);
    append(out, static_cast<std::uint32_t>(tensor.shape.size()));
    for (const std::int64_t size : tensor.shape) append(out, static_cast<std::uint64_t>(size));
    append(out, static_cast<std::uint32_t>(tensor.type));
    append(out, offset);
    offset += round_up(tensor.bytes(), kAlignment);
  }
  out.resize(round_up(out.size(), kAlignment), '\0');
  return out;
}

Result<GgufWriter> GgufWriter::create(const std::filesystem::path& target, const GgufMetadata& metadata,
                                      const std::vector<GgufTensorPlan>& tensors) {
  SPARING_TRY(AtomicFile file, AtomicFile::create(target));
  GgufWriter writer(std::move(file));
  for (const GgufTensorPlan& tensor : tensors) writer.sizes_.push_back(tensor.bytes());
  SPARING_CHECK_OK(writer.file_.write(gguf_header(metadata, tensors)));
  return writer;
}

Status GgufWriter::write(Bytes data) {
  while (!data.empty()) {
    if (tensor_ == sizes_.size()) return internal_error("[write] GGUF: more bytes than planned");
    const std::uint64_t part = std::min<std::uint64_t>(data.size(), sizes_[tensor_] - written_);
    SPARING_CHECK_OK(file_.write(data.first(part)));
    data = data.subspan(part);
    written_ += part;
    SPARING_CHECK_OK(finish_tensors());
  }
  return {};
}

Status GgufWriter::finish_tensors() {
  if (written_ < sizes_[tensor_]) return {};
  SPARING_CHECK_OK(file_.write_zeros(round_up(written_, kAlignment) - written_));
  ++tensor_;
  written_ = 0;
  return {};
}

Status GgufWriter::commit() {
  if (tensor_ != sizes_.size()) {
    return internal_error("[write] GGUF: tensor " + std::to_string(tensor_) + " of " + std::to_string(sizes_.size()) +
                          " is not whole");
  }
  return file_.commit();
}

}  // namespace sparing
