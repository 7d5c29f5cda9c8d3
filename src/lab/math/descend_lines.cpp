// Coded scales and minima by coordinate descent: with codes kept, each group's scale and minimum move by one step, and
// each super-scale by the factor that least squares asks for, wherever that lowers the row's loss in the metric.

#include <algorithm>
#include <array>
#include <cmath>

#include "lab/math/gemm.h"
#include "lab/math/obq.h"
#include "lab/math/simd.h"
#include "tensor/half.h"

namespace sparing::math {
namespace {

constexpr std::int64_t kRows = 256;
constexpr int kSweeps = 2;

/// One row at a time. g = (w - w') H, kept up to date as w' moves.
class LineDescent {
 public:
  LineDescent(const Metric& metric, IntGrid& grid) : metric_(metric), grid_(grid) {}

  bool run(std::int64_t row, float* decoded, float* gradient) {
    row_ = row;
    decoded_ = decoded;
    gradient_ = gradient;
    const GroupSpec& groups = grid_.spec().groups;
    const std::int64_t supers = (grid_.groups() + groups.super - 1) / groups.super;
    bool any = false;
    for (int sweep = 0; sweep < kSweeps; ++sweep) {
      bool changed = false;
      for (std::int64_t s = 0; s < supers; ++s) {
        changed = stretch(s, IntGrid::Super::scale) || changed;
        if (grid_.spec().zero == ZeroKind::coded_min) changed = stretch(s, IntGrid::Super::minimum) || changed;
      }
      for (std::int64_t g = 0; g < grid_.groups(); ++g) changed = move(g) || changed;
      if (!changed) break;
      any = true;
    }
    return any;
  }

 private:
  std::int64_t begin_of(std::int64_t group) const {
    return std::min<std::int64_t>(metric_.cols, group * grid_.spec().groups.group);
  }

  /// How the loss changes if values [from, from + length) become value - delta.
  double change(std::int64_t from, std::int64_t length) {
    product_.assign(static_cast<std::size_t>(length), 0.0f);
    for (std::int64_t i = 0; i < length; ++i)
      simd().axpy(length, delta_[static_cast<std::size_t>(i)], metric_.h.data() + (from + i) * metric_.cols + from,
                  product_.data());
    double total = 0;
    for (std::int64_t i = 0; i < length; ++i)
      total += static_cast<double>(delta_[static_cast<std::size_t>(i)]) *
               (2 * static_cast<double>(gradient_[from + i]) + product_[static_cast<std::size_t>(i)]);
    return total;
  }

  void accept(std::int64_t from, std::int64_t length) {
    for (std::int64_t i = 0; i < length; ++i) {
      const float d = delta_[static_cast<std::size_t>(i)];
      if (d == 0.0f) continue;
      decoded_[from + i] -= d;
      simd().axpy(metric_.cols, d, metric_.h.data() + (from + i) * metric_.cols, gradient_);
    }
  }

  /// delta = what values lose if the group's line becomes this one; written from delta_[at].
  void differ(std::int64_t group, const IntGrid::Line& line, std::size_t at) {
    for (std::int64_t c = begin_of(group); c < begin_of(group + 1); ++c)
      delta_[at++] = decoded_[c] - (line.scale * static_cast<float>(grid_.code_at(row_, c)) + line.offset);
  }

  bool move(std::int64_t group) {
    const std::int64_t from = begin_of(group), length = begin_of(group + 1) - from;
    const IntGrid::LineCodes now = grid_.line_codes(row_, group);
    IntGrid::LineCodes best = now;
    IntGrid::Line line;
    double least = 0;
    delta_.resize(static_cast<std::size_t>(length));
    constexpr std::array<std::pair<int, int>, 8> kMoves{
        {{-1, 0}, {1, 0}, {0, -1}, {0, 1}, {-1, -1}, {-1, 1}, {1, -1}, {1, 1}}};
    for (const auto& [scale, zero] : kMoves) {
      const IntGrid::LineCodes codes{now.scale + scale, now.zero + zero};
      if (!grid_.line_for(row_, group, codes, line)) continue;
      differ(group, line, 0);
      const double loss = change(from, length);
      if (loss < least) least = loss, best = codes;
    }
    if (best == now) return false;
    grid_.line_for(row_, group, best, line);
    differ(group, line, 0);
    grid_.set_line_codes(row_, group, best);
    accept(from, length);
    return true;
  }

  bool stretch(std::int64_t super, IntGrid::Super what) {
    const std::int64_t first = super * grid_.spec().groups.super,
                       last = std::min<std::int64_t>(grid_.groups(), first + grid_.spec().groups.super);
    const std::int64_t from = begin_of(first), length = begin_of(last) - from;
    // The part of the values that the factor multiplies, as a step of -1.
    delta_.resize(static_cast<std::size_t>(length));
    const bool own_minima = grid_.spec().zero == ZeroKind::coded_min;
    for (std::int64_t g = first; g < last; ++g) {
      const IntGrid::Line& line = grid_.line(row_, g);
      for (std::int64_t c = begin_of(g); c < begin_of(g + 1); ++c) {
        const float scaled = line.scale * static_cast<float>(grid_.code_at(row_, c));
        delta_[static_cast<std::size_t>(c - from)] =
            what == IntGrid::Super::minimum ? -line.offset : -(own_minima ? scaled : scaled + line.offset);
      }
    }
    double along = 0;
    for (std::int64_t i = 0; i < length; ++i)
      along += static_cast<double>(delta_[static_cast<std::size_t>(i)]) * gradient_[from + i];
    const double square = change(from, length) - 2 * along;
    const double factor = 1 - along / square;  // of the loss 2 t along + t^2 square, t = factor - 1
    if (!std::isfinite(factor) || factor < 0.5 || factor > 2) return false;
    const std::uint16_t old = grid_.super_bits(row_, super, what),
                        wanted = f32_to_f16(f16_to_f32(old) * static_cast<float>(factor));
    if (wanted == old || (wanted & 0x7FFFu) == 0 || !std::isfinite(f16_to_f32(wanted))) return false;
    grid_.set_super_bits(row_, super, what, wanted);
    for (std::int64_t g = first; g < last; ++g)
      differ(g, grid_.line(row_, g), static_cast<std::size_t>(begin_of(g) - from));
    if (change(from, length) < 0) {
      accept(from, length);
      return true;
    }
    grid_.set_super_bits(row_, super, what, old);
    return false;
  }

  const Metric& metric_;
  IntGrid& grid_;
  std::int64_t row_ = 0;
  float *decoded_ = nullptr, *gradient_ = nullptr;
  std::vector<float> delta_, product_;
};

}  // namespace

std::int64_t descend_lines(std::span<const float> weight, std::int64_t rows, const Metric& metric, IntGrid& grid,
                           std::span<float> decoded, ThreadPool& pool) {
  const std::int64_t n = metric.cols;
  std::vector<char> changed(static_cast<std::size_t>(rows));
  std::vector<float> errors, gradient;
  for (std::int64_t begin = 0; begin < rows; begin += kRows) {
    const std::int64_t count = std::min(kRows, rows - begin);
    errors.resize(static_cast<std::size_t>(count * n));
    for (std::size_t i = 0; i < errors.size(); ++i) {
      const auto at = static_cast<std::size_t>(begin * n) + i;
      errors[i] = weight[at] - decoded[at];
    }
    gradient.assign(errors.size(), 0.0f);
    gemm<float>(count, n, n, 1.0f, rows_of(static_cast<const float*>(errors.data()), n), rows_of(metric.h.data(), n),
                gradient.data(), n, pool);
    pool.parallel_for(count, 1, [&](std::int64_t first, std::int64_t last, int) {
      LineDescent descent(metric, grid);
      for (std::int64_t r = first; r < last; ++r) {
        float* const values = decoded.data() + (begin + r) * n;
        if (!descent.run(begin + r, values, gradient.data() + r * n)) continue;
        changed[static_cast<std::size_t>(begin + r)] = 1;
        grid.decode_row(begin + r, values);
      }
    });
  }
  return std::count(changed.begin(), changed.end(), 1);
}

}  // namespace sparing::math
