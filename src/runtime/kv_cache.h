#pragma once
// Keys and values of every layer and sequence, in one piece of memory that the system fills in as it is touched.

#include <cstdint>
#include <vector>

#include "base/result.h"
#include "formats/model_config.h"
#include "runtime/ops.h"

namespace sparing {

class KvCache {
 public:
  /// Bytes for `positions` per sequence (rounded up to whole key blocks).
  static Result<std::uint64_t> bytes_needed(const ModelConfig& config, std::int64_t positions, std::int32_t sequences,
                                            KvType type);
  static Result<KvCache> create(const ModelConfig& config, std::int64_t positions, std::int32_t sequences, KvType type);
  KvCache() = default;
  KvCache(KvCache&& other) noexcept;
  KvCache& operator=(KvCache&& other) noexcept;
  ~KvCache();

  KvHead head(std::int32_t layer, std::int32_t sequence, std::int32_t kv_head) const;
  std::uint64_t bytes() const { return bytes_; }

 private:
  KvType type_ = KvType::f16;
  std::int64_t positions_ = 0;
  std::int32_t head_dim_ = 0;
  std::uint64_t sequence_bytes_ = 0;
  std::vector<std::uint64_t> layer_offset_;  // within a sequence
  std::byte* data_ = nullptr;
  std::uint64_t bytes_ = 0;
};

}  // namespace sparing
