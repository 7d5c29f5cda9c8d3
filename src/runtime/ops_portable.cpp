#include <algorithm>

#include "runtime/attention_body.h"
#include "runtime/elementwise_body.h"

namespace sparing {

const Ops& portable_ops() {
  static constexpr Ops ops{.rms_norm = rms_norm,
                           .add = add,
                           .swiglu = swiglu,
                           .rope = rope,
                           .store_kv = store_kv,
                           .code_keys = code_keys,
                           .attend = attend};
  return ops;
}

std::uint64_t key_block_bytes(KvType type, std::int64_t head_dim) {
  if (is_coded(type)) return static_cast<std::uint64_t>(coded_block_bytes(type, head_dim));
  if (type == KvType::int16) return static_cast<std::uint64_t>(kKeyBlock * (4 + 4 * key_pairs(head_dim)));
  return static_cast<std::uint64_t>(kKeyBlock * head_dim * (type == KvType::f32 ? 4 : 2));
}
std::uint64_t value_block_bytes(KvType type, std::int64_t head_dim) {
  const std::int64_t stride = padded(head_dim);
  if (type == KvType::int16) return static_cast<std::uint64_t>(kKeyBlock * (4 + 2 * stride));
  const std::int64_t position = is_coded(type) ? value_bytes(type, stride) : stride * (type == KvType::f32 ? 4 : 2);
  return static_cast<std::uint64_t>(kKeyBlock * position);
}

std::int64_t attention_scratch(std::int64_t rows, std::int64_t head_dim) {
  return std::max(FloatScratch(rows, head_dim).size, IntScratch(rows, head_dim).size);
}

}  // namespace sparing
