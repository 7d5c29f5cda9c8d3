#include "runtime/kv_cache.h"

#include <sys/mman.h>

#include <algorithm>
#include <cstring>
#include <optional>
#include <utility>

#include "base/checked.h"
#include "base/units.h"

namespace sparing {
namespace {

constexpr std::uint64_t kKept = 2;  // blocks of f16 keys a sequence keeps

std::uint64_t blocks_of(std::int64_t positions) {
  return ceil_div(static_cast<std::uint64_t>(positions), kKeyBlock);
}
std::uint64_t half_block_bytes(std::int32_t head_dim) {
  return static_cast<std::uint64_t>(kKeyBlock * head_dim) * 2;
}
/// Of one KV head: keys, values, kept keys.
std::optional<std::uint64_t> head_bytes(const ModelConfig& config, std::int64_t positions, KvType type) {
  const auto block = key_block_bytes(type, config.head_dim) + value_block_bytes(type, config.head_dim);
  auto bytes = checked_mul(blocks_of(positions), block);
  if (bytes && is_coded(type)) bytes = checked_add(*bytes, kKept * half_block_bytes(config.head_dim));
  return bytes;
}
/// Blocks between the first, partial, one of a pass and the two kept: at most one more than the pass is long.
std::uint64_t stage_bytes(const ModelConfig& config, std::int64_t batch, KvType type) {
  if (!is_coded(type)) return 0;
  std::uint64_t most = 0;
  for (const LayerConfig& layer : config.layers) most = std::max(most, static_cast<std::uint64_t>(layer.kv_heads));
  return (blocks_of(batch) + 1) * most * half_block_bytes(config.head_dim);
}

}  // namespace

Result<std::uint64_t> KvCache::bytes_needed(const ModelConfig& config, std::int64_t positions, std::int32_t sequences,
                                            std::int64_t batch, KvType type) {
  std::optional<std::uint64_t> total;
  if (positions > 0 && positions <= (std::int64_t{1} << 40) && sequences > 0) {
    std::uint64_t heads = 0;
    for (const LayerConfig& layer : config.layers) heads += static_cast<std::uint64_t>(layer.kv_heads);
    const auto head = head_bytes(config, positions, type);
    if (head) total = checked_mul(*head, heads);
    if (total) total = checked_mul(*total, static_cast<std::uint64_t>(sequences));
    if (total) total = checked_add(*total, stage_bytes(config, batch, type));
  }
  if (!total || *total > (std::uint64_t{1} << 62)) {
    return usage_error("[load] context " + std::to_string(positions) + " x " + std::to_string(sequences) +
                       " sequences: choose a smaller context");
  }
  return *total;
}

Result<KvCache> KvCache::create(const ModelConfig& config, std::int64_t positions, std::int32_t sequences,
                                std::int64_t batch, KvType type) {
  KvCache cache;
  SPARING_TRY(cache.bytes_, bytes_needed(config, positions, sequences, batch, type));
  cache.type_ = type;
  cache.blocks_ = static_cast<std::int64_t>(blocks_of(positions));
  cache.head_dim_ = config.head_dim;
  cache.key_bytes_ = static_cast<std::uint64_t>(cache.blocks_) * key_block_bytes(type, config.head_dim);
  cache.head_bytes_ = head_bytes(config, positions, type).value_or(0);
  for (const LayerConfig& layer : config.layers) {
    cache.layer_offset_.push_back(cache.sequence_bytes_);
    cache.kv_heads_.push_back(layer.kv_heads);
    cache.sequence_bytes_ += cache.head_bytes_ * static_cast<std::uint64_t>(layer.kv_heads);
  }
  cache.sequences_.resize(static_cast<std::size_t>(sequences));
  if (cache.bytes_ == 0) return cache;
  void* memory =
      ::mmap(nullptr, cache.bytes_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) {
    return resource_error("[load] KV cache of " + format_bytes(cache.bytes_) +
                          " refused by the system: choose a smaller context or fewer sequences");
  }
  cache.data_ = static_cast<std::byte*>(memory);
  cache.stage_ = reinterpret_cast<std::uint16_t*>(cache.data_ + cache.sequence_bytes_ * cache.sequences_.size());
  return cache;
}

KvCache::KvCache(KvCache&& other) noexcept {
  *this = std::move(other);
}
KvCache& KvCache::operator=(KvCache&& other) noexcept {
  std::swap(type_, other.type_);
  std::swap(blocks_, other.blocks_);
  std::swap(head_dim_, other.head_dim_);
  std::swap(key_bytes_, other.key_bytes_);
  std::swap(head_bytes_, other.head_bytes_);
  std::swap(sequence_bytes_, other.sequence_bytes_);
  std::swap(layer_offset_, other.layer_offset_);
  std::swap(kv_heads_, other.kv_heads_);
  std::swap(sequences_, other.sequences_);
  std::swap(stage_, other.stage_);
  std::swap(data_, other.data_);
  std::swap(bytes_, other.bytes_);
  return *this;
}
KvCache::~KvCache() {
  if (data_ != nullptr) ::munmap(data_, bytes_);
}

std::uint16_t* KvCache::kept_block(std::int32_t layer, std::int32_t sequence, std::int32_t kv_head,
                                   std::int64_t block) const {
  std::byte* head = data_ + static_cast<std::uint64_t>(sequence) * sequence_bytes_ +
                    layer_offset_[static_cast<std::size_t>(layer)] + static_cast<std::uint64_t>(kv_head) * head_bytes_;
  const std::uint64_t slot = static_cast<std::uint64_t>(block) % kKept;
  return reinterpret_cast<std::uint16_t*>(head + head_bytes_ - (kKept - slot) * half_block_bytes(head_dim_));
}

std::uint16_t* KvCache::staged_block(std::int32_t kv_head, std::int64_t index) const {
  const auto most = static_cast<std::int64_t>(*std::ranges::max_element(kv_heads_));
  return stage_ + (index * most + kv_head) * kKeyBlock * head_dim_;
}

KvHead KvCache::head(std::int32_t layer, std::int32_t sequence, std::int32_t kv_head, std::int64_t position) const {
  std::byte* at = data_ + static_cast<std::uint64_t>(sequence) * sequence_bytes_ +
                  layer_offset_[static_cast<std::size_t>(layer)] + static_cast<std::uint64_t>(kv_head) * head_bytes_;
  std::uint16_t* recent = nullptr;
  if (coded()) {
    const Sequence& s = sequences_[static_cast<std::size_t>(sequence)];
    const std::int64_t block = position / kKeyBlock;
    recent = s.staged && block <= s.last - static_cast<std::int64_t>(kKept)
                 ? staged_block(kv_head, block - s.first)
                 : kept_block(layer, sequence, kv_head, block);
  }
  return {.type = type_, .keys = at, .values = at + key_bytes_, .recent = recent};
}

void KvCache::begin(std::int32_t sequence, std::int64_t first, std::int64_t count) {
  if (!coded()) return;
  Sequence& s = sequences_[static_cast<std::size_t>(sequence)];
  s.first = first / kKeyBlock;
  s.last = (first + count - 1) / kKeyBlock;
  s.staged = s.last - s.first >= static_cast<std::int64_t>(kKept);
  s.partial = first % kKeyBlock != 0;
  s.oldest = std::max(s.oldest, s.last - static_cast<std::int64_t>(kKept) + 1);
}

void KvCache::stage(std::int32_t layer, std::int32_t sequence) {
  if (!coded()) return;
  const Sequence& s = sequences_[static_cast<std::size_t>(sequence)];
  if (!s.staged || !s.partial) return;
  for (std::int32_t h = 0; h < kv_heads_[static_cast<std::size_t>(layer)]; ++h) {
    std::memcpy(staged_block(h, 0), kept_block(layer, sequence, h, s.first), half_block_bytes(head_dim_));
  }
}

std::int64_t KvCache::truncate(std::int32_t sequence, std::int64_t length) {
  if (!coded()) return length;
  Sequence& s = sequences_[static_cast<std::size_t>(sequence)];
  const std::int64_t block = length / kKeyBlock;
  if (block >= s.oldest) return length;
  s.oldest = block;  // which starts empty
  return block * kKeyBlock;
}

}  // namespace sparing
