#include "runtime/ops.h"

#include "kernels/linear.h"

namespace sparing {

const Ops& chosen_ops() {
  switch (kernels::chosen_isa()) {
#if defined(__x86_64__)
    case kernels::Isa::avx2:
      return avx2_ops();
    case kernels::Isa::avx512_vnni:
    case kernels::Isa::avx512_bf16:
    case kernels::Isa::amx:
      return avx512_ops();
#endif
    default:
      return portable_ops();
  }
}

}  // namespace sparing
