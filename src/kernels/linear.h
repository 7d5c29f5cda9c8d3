#pragma once
// Matrix products with coded weights. prepare() once, then matmul() from the token path: no allocation, no lock.
//
// Output does not depend on batch, threads or instruction set: every output element is reduced over the inputs in one
// fixed order (q8.h, q16.h: integers within a segment, then one f32 fma per segment in ascending order), and work is
// split over outputs.

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/thread_pool.h"
#include "codecs/coded_weight.h"
#include "tensor/arena.h"

namespace sparing::kernels {

/// Instruction sets, weakest first. `reference` is the scalar truth.
enum class Isa { reference, avx2, avx512_vnni, avx512_bf16, amx, neon, neon_dotprod };
std::string_view name_of(Isa isa);
/// Those this machine can run, best first; always ends with reference. AMX is listed once the kernel has granted it.
const std::vector<Isa>& available_isas();
/// Set from --isa or SPARING_ISA before any prepare(); the best available otherwise.
Isa chosen_isa();
Status choose_isa(std::string_view name);

/// What codes (int_group, lut_group, vq_additive) are multiplied with; a lut_group's table that is not of integers is
/// rounded to int8 for the first two. Other codings take f32.
enum class Precision : std::uint8_t {
  int8,   ///< in blocks of 32 (q8.h)
  int16,  ///< one scale a token (q16.h)
  f32,    ///< slower; the yardstick for the others' gap
};

/// Whether there are fast kernels for groups of so many inputs that share a scale: the reference's, which any group
/// has, are many times slower.
constexpr bool has_fast_kernels(std::int64_t group, std::int64_t cols) {
  return group >= cols || group % 4 == 0;
}

/// One weight ready to multiply. Holds the blobs alive; never copies them.
class Linear {
 public:
  static Result<Linear> prepare(CodedWeight weight, Precision precision = Precision::int8);
  Linear(Linear&&) noexcept;
  Linear& operator=(Linear&&) noexcept;
  ~Linear();
  std::int64_t rows() const;
  std::int64_t cols() const;
  /// Numbers a token that pass between two steps of a product: components of low-rank terms, sums of int_rows ones.
  std::int64_t components() const;
  const CodedWeight& weight() const;
  /// Bytes a product reads from the weight: for the roofline.
  std::uint64_t bytes_read() const;
  /// Moves into the arena (huge pages) what is not there. Not while a product is running. Returns the bytes moved.
  std::uint64_t relocate(Arena& arena);
  struct Impl;
  const Impl& impl() const { return *impl_; }

 private:
  Linear() = default;
  std::unique_ptr<Impl> impl_;
};

/// Room for quantised activations. Sized once for the largest call.
class Workspace {
 public:
  Workspace();
  ~Workspace();
  Workspace(Workspace&&) noexcept;
  Workspace& operator=(Workspace&&) noexcept;
  /// After this, matmul with up to `tokens`, `cols` and `components` (all the products' together) does not allocate.
  void reserve(std::int64_t tokens, std::int64_t cols, int threads, std::int64_t components = 0);
  struct Impl;
  Impl& impl() { return *impl_; }

 private:
  std::unique_ptr<Impl> impl_;
};

/// y[t * y_stride + r] = bias[r] + sum_c W[r, c] x[t * x_stride + c]
struct Product {
  const Linear* weight = nullptr;
  float* y = nullptr;
  std::int64_t y_stride = 0;
  const float* bias = nullptr;  ///< rows of them, or null
};
/// What computes the input just before it is quantised, while it is in cache: rows [first, last) of x. Called once for
/// every row, from several threads for different rows.
struct RowMaker {
  void (*make)(void* context, std::int64_t first, std::int64_t last) = nullptr;
  void* context = nullptr;
};
/// Several products over one input (q, k, v; gate, up) in one pass: the input is quantised once, threads meet once.
void matmul(std::span<const Product> products, const float* x, std::int64_t tokens, std::int64_t x_stride,
            Workspace& workspace, ThreadPool& pool, RowMaker rows = {});

}  // namespace sparing::kernels
