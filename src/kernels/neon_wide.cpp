#include "kernels/neon_wide_body.h"

namespace sparing::kernels {

void neon::wide_panels(const IntWeight& w, const Q16Block* x, std::int64_t tokens, const Output& out,
                       std::int64_t begin, std::int64_t end, std::byte* scratch) {
  all_wide_panels(w, x, tokens, out, begin, end, scratch);
}

}  // namespace sparing::kernels
