#pragma once
// Writes Sparing directories: config.json, tokenizer.sparing, carried files, sparing.json (sparing_manifest.h) and
// sparing-*.safetensors. Also the record of one weight that the journal keeps.

#include <filesystem>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "formats/checkpoint.h"

namespace sparing {

/// The manifest's version, and the oldest reader that may read what this writer makes.
inline constexpr int kManifestVersion = 1, kOldestReader = 1;

/// One weight for the journal: u64 length, a JSON header padded to 64, then the input's and the terms' blobs, each
/// padded to 64. Bytes are identical whenever the inputs are.
Result<std::string> encode_weight_record(const std::string& name, const CodedWeight& weight);
/// Views into `record` where that is 64-byte aligned, copies otherwise. Checked as a file's weights are.
Result<std::pair<std::string, CodedWeight>> decode_weight_record(Blob record);

struct SparingModel {
  ModelConfig config;
  /// In canonical order; blobs may be mapped from the journal.
  std::vector<std::pair<std::string, CodedWeight>> weights;
  std::vector<std::pair<std::string, std::vector<float>>>
      vectors;                    ///< norms and biases: stored f16 where exact, or f32
  std::string compact_tokenizer;  ///< text/compact.h's bytes; empty: none
  std::map<std::string, std::string> carried;
  std::string recipe_json;      ///< the executed plan: an object, or empty
  std::string provenance_json;  ///< source hash, tool version: an object, or empty
};
/// Exact bytes of every file write_sparing_directory would make, without writing. Reads the sizes of the weights' blobs
/// and never their contents.
Result<std::uint64_t> sparing_directory_bytes(const SparingModel& model);
/// Writes to a staging directory beside `out`, syncs, renames. Refuses an existing `out`; leaves nothing where it
/// fails.
Status write_sparing_directory(const SparingModel& model, const std::filesystem::path& out);

}  // namespace sparing
