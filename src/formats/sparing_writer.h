#pragma once
// Writes Sparing directories: config.json, tokenizer, carried files, sparing.json and sparing-*.safetensors.

#include <filesystem>
#include <string>
#include <vector>

#include <nlohmann/json_fwd.hpp>

#include "formats/checkpoint.h"

namespace sparing {

/// The manifest's version, and the oldest reader that may read what this writer makes.
inline constexpr int kManifestVersion = 1, kOldestReader = 1;

/// One coded matrix or f32/f16/bf16 vector, laid down as a finished shard `sparing-<name>.safetensors`-ready record.
/// Serialises a weight for the journal and for the final shards alike: bytes are identical whenever the inputs are.
Result<std::string> encode_weight_record(const std::string& name, const CodedWeight& weight);
Result<std::pair<std::string, CodedWeight>> decode_weight_record(Blob record);

struct SparingModel {
  ModelConfig config;
  /// In canonical order; blobs may be mapped from the journal.
  std::vector<std::pair<std::string, CodedWeight>> weights;
  std::vector<std::pair<std::string, std::vector<float>>> vectors;  ///< norms and biases: f32 or, where exact, f16
  std::string compact_tokenizer;                                    ///< text/compact.h's bytes; empty: none
  std::map<std::string, std::string> carried;
  std::string recipe_json;      ///< the executed plan
  std::string provenance_json;  ///< source hash, tool version
};
/// Exact bytes of every file write_sparing_directory would make, without writing.
Result<std::uint64_t> sparing_directory_bytes(const SparingModel& model);
/// Writes to a staging directory beside `out`, syncs, renames. Refuses an existing `out`.
Status write_sparing_directory(const SparingModel& model, const std::filesystem::path& out);

}  // namespace sparing
