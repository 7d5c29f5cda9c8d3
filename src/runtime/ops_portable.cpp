#include "runtime/attention_body.h"
#include "runtime/elementwise_body.h"

namespace sparing {

const Ops& portable_ops() {
  static constexpr Ops ops{
      .rms_norm = rms_norm, .add = add, .swiglu = swiglu, .rope = rope, .store_kv = store_kv, .attend = attend};
  return ops;
}

std::int64_t attention_scratch(std::int64_t rows, std::int64_t head_dim) {
  return ScratchLayout(rows, head_dim).size;
}

}  // namespace sparing
