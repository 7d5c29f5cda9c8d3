#include "runtime/attention_body.h"
#include "runtime/elementwise_body.h"

namespace sparing {

const Ops& avx512_ops() {
  static constexpr Ops ops{.rms_norm = rms_norm,
                           .add = add,
                           .swiglu = swiglu,
                           .rope = rope,
                           .store_kv = store_kv,
                           .code_keys = code_keys,
                           .attend = attend};
  return ops;
}

}  // namespace sparing
