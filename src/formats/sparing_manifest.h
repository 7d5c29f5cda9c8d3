#pragma once
// sparing.json, version 1: what a Sparing directory holds and how to read it.
//
//   {"format": "sparing", "version": 1, "oldest_reader": 1,
//    "codings": [{"codec": "int_group", "version": 1, ...}, ...],        each used coding once, in order of use
//    "transforms": [{"transform": "permutation", "version": 1}, ...],     likewise; left out if there are none
//    "tensors": {"layers.0.attn.q": {"shape": [576, 576], "terms": [0], "input": 0, "sha256": "16 digits"}, ...},
//    "files": {"sparing-00001-of-00001.safetensors": "64 digits", ...},   every file but sparing.json
//    "ledger": {"embedding": bytes, "attention": ..., ...},               every byte of those files
//    "recipe": {...}, "provenance": {...}}
//
// Term t of tensor NAME lies in a shard as the U8 tensor NAME (t = 0) or NAME.term<t>; the input transform's values as
// NAME.input. Lengths are rounded up to 64 with zeros. A tensor's hash covers its input and terms without padding.
// The file holds no times, dates or paths: equal models are equal files.

#include <map>
#include <string>
#include <vector>

#include "codecs/coded_weight.h"
#include "formats/model_config.h"

namespace sparing {

struct ManifestTensor {
  TensorShape shape;
  Transform input;               ///< blob empty
  std::vector<CodecSpec> terms;  ///< a vector: one dense term of [1, rows]
  std::string hash;              ///< first 16 digits of SHA-256
};

struct Manifest {
  std::vector<ManifestTensor> tensors;       ///< in canonical order
  std::map<std::string, std::string> files;  ///< SHA-256 by name
  std::vector<std::pair<std::string, std::uint64_t>> ledger;
  std::string recipe, provenance;  ///< JSON objects
};

/// One line of JSON. Fails only where recipe or provenance is not a JSON object.
Result<std::string> manifest_to_json(const Manifest& manifest);
/// Refuses unknown versions, fields and codings by name. `where` begins the messages.
Result<Manifest> manifest_from_json(const std::string& text, const std::string& where);

/// "layers.0.attn.q", "layers.0.attn.q.term1", ...
std::string stored_name(const std::string& tensor, std::size_t term);
std::string stored_input_name(const std::string& tensor);
/// The role that a tensor's bytes are booked under: embedding, head, attention, mlp, norm.
std::string role_of(const std::string& tensor);
/// Width as codecs count it: a vector is one row.
inline std::int64_t coded_rows(const TensorShape& shape) {
  return shape.is_vector() ? 1 : shape.rows;
}
inline std::int64_t coded_cols(const TensorShape& shape) {
  return shape.is_vector() ? shape.rows : shape.cols;
}

}  // namespace sparing
