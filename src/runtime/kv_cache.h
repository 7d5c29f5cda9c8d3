#pragma once
// Keys and values of every layer and sequence, in one piece of memory that the system fills in as it is touched.

#include <cstdint>
#include <vector>

#include "base/result.h"
#include "formats/model_config.h"
#include "runtime/ops.h"
#include "tensor/buffer.h"

namespace sparing {

/// With coded keys (see KvType), each sequence also keeps its two newest blocks of keys in f16: the one being filled,
/// and one more so that a few positions can be taken back. Blocks between, within one pass, are staged.
class KvCache {
 public:
  /// Bytes for `positions` per sequence (rounded up to whole key blocks). `batch`: most positions in one pass.
  static Result<std::uint64_t> bytes_needed(const ModelConfig& config, std::int64_t positions, std::int32_t sequences,
                                            std::int64_t batch, KvType type);
  static Result<KvCache> create(const ModelConfig& config, std::int64_t positions, std::int32_t sequences,
                                std::int64_t batch, KvType type);
  KvCache() = default;
  KvCache(KvCache&& other) noexcept;
  KvCache& operator=(KvCache&& other) noexcept;
  ~KvCache();

  /// For storing or reading `position` and what its query sees.
  KvHead head(std::int32_t layer, std::int32_t sequence, std::int32_t kv_head, std::int64_t position) const;
  bool coded() const { return is_coded(type_); }
  std::uint64_t bytes() const { return bytes_; }

  /// Says that positions [first, first + count) of a sequence come next, in one pass; all layers follow.
  void begin(std::int32_t sequence, std::int64_t first, std::int64_t count);
  /// Before a layer of that pass stores: sets aside the f16 keys that storing will run over.
  void stage(std::int32_t layer, std::int32_t sequence);
  /// How much of `length` positions can be kept: less than asked where a block's f16 keys are gone.
  std::int64_t truncate(std::int32_t sequence, std::int64_t length);

 private:
  struct Sequence {
    std::int64_t first = 0, last = -1;  // blocks of the pass going on
    std::int64_t oldest = 0;            // block whose f16 keys are held from its beginning
    bool staged = false;                // the pass is longer than the two kept blocks
    bool partial = false;               // and begins inside a block
  };
  std::uint16_t* kept_block(std::int32_t layer, std::int32_t sequence, std::int32_t kv_head, std::int64_t block) const;
  std::uint16_t* staged_block(std::int32_t kv_head, std::int64_t index) const;

  KvType type_ = KvType::f16;
  std::int64_t blocks_ = 0;
  std::int32_t head_dim_ = 0;
  std::uint64_t key_bytes_ = 0, head_bytes_ = 0, sequence_bytes_ = 0;
  std::vector<std::uint64_t> layer_offset_;  // within a sequence
  std::vector<std::int32_t> kv_heads_;
  std::vector<Sequence> sequences_;
  std::uint16_t* stage_ = nullptr;
  std::byte* data_ = nullptr;
  std::uint64_t bytes_ = 0;
};

}  // namespace sparing
