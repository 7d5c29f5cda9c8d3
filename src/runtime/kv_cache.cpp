#include "runtime/kv_cache.h"

#include <sys/mman.h>

#include <utility>

#include "base/checked.h"
#include "base/units.h"

namespace sparing {
namespace {

std::uint64_t element_bytes(KvType type) {
  return type == KvType::f32 ? 4 : 2;
}
std::uint64_t key_bytes(KvType type, std::int64_t positions, std::int32_t head_dim) {
  return static_cast<std::uint64_t>(positions) * static_cast<std::uint64_t>(head_dim) * element_bytes(type);
}
std::uint64_t value_bytes(KvType type, std::int64_t positions, std::int32_t head_dim) {
  return static_cast<std::uint64_t>(positions) * round_up(static_cast<std::uint64_t>(head_dim), 16) *
         element_bytes(type);
}
std::int64_t whole_blocks(std::int64_t positions) {
  return static_cast<std::int64_t>(round_up(static_cast<std::uint64_t>(positions), kKeyBlock));
}

}  // namespace

Result<std::uint64_t> KvCache::bytes_needed(const ModelConfig& config, std::int64_t positions, std::int32_t sequences,
                                            KvType type) {
  const Error too_large = usage_error("[load] context " + std::to_string(positions) + " x " +
                                      std::to_string(sequences) + " sequences: choose a smaller context");
  if (positions <= 0 || positions > (std::int64_t{1} << 40) || sequences <= 0) return too_large;
  positions = whole_blocks(positions);
  std::optional<std::uint64_t> heads = 0;
  for (const LayerConfig& layer : config.layers) {
    if (heads) heads = checked_add(*heads, static_cast<std::uint64_t>(layer.kv_heads));
  }
  const std::uint64_t head =
      key_bytes(type, positions, config.head_dim) + value_bytes(type, positions, config.head_dim);
  std::optional<std::uint64_t> total = heads ? checked_mul(*heads, head) : std::nullopt;
  if (total) total = checked_mul(*total, static_cast<std::uint64_t>(sequences));
  if (!total || *total > (std::uint64_t{1} << 62)) return too_large;
  return *total;
}

Result<KvCache> KvCache::create(const ModelConfig& config, std::int64_t positions, std::int32_t sequences,
                                KvType type) {
  KvCache cache;
  SPARING_TRY(cache.bytes_, bytes_needed(config, positions, sequences, type));
  cache.type_ = type;
  cache.positions_ = whole_blocks(positions);
  cache.head_dim_ = config.head_dim;
  const std::uint64_t head =
      key_bytes(type, cache.positions_, config.head_dim) + value_bytes(type, cache.positions_, config.head_dim);
  for (const LayerConfig& layer : config.layers) {
    cache.layer_offset_.push_back(cache.sequence_bytes_);
    cache.sequence_bytes_ += head * static_cast<std::uint64_t>(layer.kv_heads);
  }
  if (cache.bytes_ == 0) return cache;
  void* memory =
      ::mmap(nullptr, cache.bytes_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) {
    return resource_error("[load] KV cache of " + format_bytes(cache.bytes_) + " refused by the system: choose a " +
                          "smaller context or fewer sequences");
  }
  cache.data_ = static_cast<std::byte*>(memory);
  return cache;
}

KvCache::KvCache(KvCache&& other) noexcept {
  *this = std::move(other);
}
KvCache& KvCache::operator=(KvCache&& other) noexcept {
  std::swap(type_, other.type_);
  std::swap(positions_, other.positions_);
  std::swap(head_dim_, other.head_dim_);
  std::swap(sequence_bytes_, other.sequence_bytes_);
  std::swap(layer_offset_, other.layer_offset_);
  std::swap(data_, other.data_);
  std::swap(bytes_, other.bytes_);
  return *this;
}
KvCache::~KvCache() {
  if (data_ != nullptr) ::munmap(data_, bytes_);
}

KvHead KvCache::head(std::int32_t layer, std::int32_t sequence, std::int32_t kv_head) const {
  const std::uint64_t keys = key_bytes(type_, positions_, head_dim_),
                      values = value_bytes(type_, positions_, head_dim_);
  std::byte* at = data_ + static_cast<std::uint64_t>(sequence) * sequence_bytes_ +
                  layer_offset_[static_cast<std::size_t>(layer)] +
                  static_cast<std::uint64_t>(kv_head) * (keys + values);
  return {.type = type_, .keys = at, .values = at + keys};
}

}  // namespace sparing
