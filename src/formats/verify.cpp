#include "formats/verify.h"

#include "base/sha256.h"
#include "formats/sparing_manifest.h"

namespace sparing {
namespace {

Status verify_tensor(const Checkpoint& checkpoint, const TensorEntry& entry) {
  const std::string& name = entry.shape.name;
  if (entry.shape.is_vector()) {
    SPARING_CHECK_OK(checkpoint.vector(name));
  } else {
    SPARING_TRY(const CodedWeight weight, checkpoint.weight(name));
    SPARING_CHECK_OK(validate(weight, true));
  }
  return {};
}

Status verify_tensor_hash(const Checkpoint& checkpoint, const ManifestTensor& tensor) {
  Sha256 hash;
  SPARING_TRY(const auto parts, checkpoint.stored(tensor.shape.name));
  for (const Bytes part : parts) hash.update(part);
  const std::string found = hash.finish().substr(0, tensor.hash.size());
  if (found == tensor.hash) return {};
  return input_error("[verify] " + checkpoint.path().string() + ": tensor " + tensor.shape.name + " has hash " + found +
                     ", sparing.json says " + tensor.hash + ": the file is damaged, copy it again");
}

Status verify_file_hash(const std::filesystem::path& path, const std::string& expected) {
  SPARING_TRY(const auto file, MappedFile::open(path));
  Sha256 hash;
  constexpr std::size_t kPart = 8 << 20;
  for (Bytes rest = file->bytes(); !rest.empty();) {
    const Bytes part = rest.first(std::min(kPart, rest.size()));
    hash.update(part);
    file->forget(part);
    rest = rest.subspan(part.size());
  }
  if (hash.finish() == expected) return {};
  return input_error("[verify] " + path.string() + ": its hash is not the one in sparing.json: the file is damaged, " +
                     "copy it again");
}

}  // namespace

Result<VerifyReport> verify_checkpoint(const Checkpoint& checkpoint) {
  VerifyReport report;
  report.bytes = checkpoint.total_bytes();
  Manifest manifest;
  if (const std::string text = checkpoint.manifest(); !text.empty()) {
    SPARING_TRY(manifest, manifest_from_json(text, "[verify] " + checkpoint.path().string() + ": sparing.json"));
  }
  // Hashes first: a flipped bit is then called damage, not an odd scale.
  for (const ManifestTensor& tensor : manifest.tensors) {
    SPARING_CHECK_OK(verify_tensor_hash(checkpoint, tensor));
    ++report.hashes;
  }
  for (const auto& [name, hash] : manifest.files) {
    SPARING_CHECK_OK(verify_file_hash(checkpoint.path() / name, hash));
    ++report.hashes;
  }
  for (const TensorEntry& entry : checkpoint.tensors()) {
    SPARING_CHECK_OK(verify_tensor(checkpoint, entry));
    checkpoint.forget(entry.shape.name);
    ++report.tensors;
  }
  return report;
}

}  // namespace sparing
