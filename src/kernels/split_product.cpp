#include "kernels/split_product.h"

#include <cassert>

#include "kernels/amx_split.h"
#include "kernels/isa.h"

namespace sparing::kernels {

bool has_split_products() {
  static const bool tiles = has_bf16_tiles();
  return tiles && chosen_isa() == Isa::amx;
}

#if defined(__x86_64__)

std::byte* SplitRows::resize(std::int64_t rows, std::int64_t cols) {
  assert(has_split_products());
  const auto bytes = static_cast<std::size_t>(amx::split_bytes(rows, cols));
  if (data_.size() < bytes) data_ = Buffer(bytes);
  rows_ = rows;
  cols_ = cols;
  return data_.data();
}
void SplitRows::set_tokens(const float* x, std::int64_t rows, std::int64_t cols, std::int64_t stride) {
  amx::split_tokens(x, rows, cols, stride, resize(rows, cols));
}
void SplitRows::set_weights(const float* w, std::int64_t rows, std::int64_t cols) {
  amx::split_weights(w, rows, cols, resize(rows, cols));
}

void multiply(const SplitRows& x, const SplitRows& w, float* y, std::int64_t stride) {
  assert(x.cols() == w.cols());
  amx::split_multiply(x.data(), x.rows(), w.data(), w.rows(), w.cols(), y, stride);
}

#else

void SplitRows::set_tokens(const float*, std::int64_t, std::int64_t, std::int64_t) {
  assert(false && "has_split_products()");
}
void SplitRows::set_weights(const float*, std::int64_t, std::int64_t) {
  assert(false && "has_split_products()");
}
void multiply(const SplitRows&, const SplitRows&, float*, std::int64_t) {
  assert(false && "has_split_products()");
}

#endif

}  // namespace sparing::kernels
