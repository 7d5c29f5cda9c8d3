// Coded scales and minima by coordinate descent: with codes kept, each group's scale and minimum move by one step, and
// each super-scale by the factor that least squares asks for, wherever that lowers the row's loss in the metric.

#include <algorithm>
#include <array>
#include <cmath>

#include "lab/math/gemm.h"
#include "lab/math/obq.h"
#include "tensor/half.h"

namespace sparing::math {
namespace {

constexpr std::int64_t kRows = 512;  ///< that move together: what one step of theirs does to g is one matrix product
constexpr int kSweeps = 2;

/// Rows [begin, begin + count) of a grid. g = (w - w') H, kept up to date as w' moves.
class LineDescent {
 public:
  LineDescent(const Metric& metric, IntGrid& grid, ThreadPool& pool, std::int64_t begin, std::int64_t count,
              float* decoded, float* gradient)
      : metric_(metric),
        grid_(grid),
        pool_(pool),
        begin_(begin),
        count_(count),
        decoded_(decoded),
        gradient_(gradient),
        moving_(static_cast<std::size_t>(count), 1),
        moved_(moving_.size()) {}

  /// Whether each row has changed.
  std::vector<char> run() {
    const GroupSpec& groups = grid_.spec().groups;
    const std::int64_t supers = (grid_.groups() + groups.super - 1) / groups.super;
    std::vector<char> changed(moving_.size());
    for (int sweep = 0; sweep < kSweeps; ++sweep) {
      std::ranges::fill(moved_, 0);
      for (std::int64_t s = 0; s < supers; ++s) {
        stretch(s, IntGrid::Super::scale);
        if (grid_.spec().zero == ZeroKind::coded_min) stretch(s, IntGrid::Super::minimum);
      }
      for (std::int64_t g = 0; g < grid_.groups(); ++g) move(g);
      for (std::size_t r = 0; r < moved_.size(); ++r) changed[r] = static_cast<char>(changed[r] | moved_[r]);
      moving_ = moved_;  // a sweep that left a row alone was its last
      if (std::ranges::none_of(moving_, [](char m) { return m != 0; })) break;
    }
    return changed;
  }

 private:
  std::int64_t begin_of(std::int64_t group) const {
    return std::min<std::int64_t>(metric_.cols, group * grid_.spec().groups.group);
  }
  float* part(std::vector<float>& all, std::int64_t r) const { return all.data() + r * length_; }

  /// body(row of the block), for those that still move.
  template <class Body>
  void each_row(const Body& body) {
    pool_.parallel_for(count_, 1, [&](std::int64_t first, std::int64_t last, int) {
      for (std::int64_t r = first; r < last; ++r)
        if (moving_[static_cast<std::size_t>(r)]) body(r);
    });
  }

  /// Values [from, from + length) are looked at from now on.
  void look_at(std::int64_t from, std::int64_t length) {
    from_ = from;
    length_ = length;
    step_.assign(static_cast<std::size_t>(count_ * length), 0.0f);
  }
  /// product_ = step_ H, among the values looked at.
  void multiply() {
    product_.assign(step_.size(), 0.0f);
    gemm<float>(count_, length_, length_, 1.0f, rows_of(static_cast<const float*>(step_.data()), length_),
                rows_of(metric_.h.data() + from_ * (metric_.cols + 1), metric_.cols), product_.data(), length_, pool_);
  }
  /// Values become values - step_, whose rows are 0 where nothing is to change.
  void accept() {
    if (std::ranges::none_of(accepted_, [](char a) { return a != 0; })) return;
    each_row([&](std::int64_t r) {
      if (!accepted_[static_cast<std::size_t>(r)]) return;
      moved_[static_cast<std::size_t>(r)] = 1;
      float* const values = decoded_ + r * metric_.cols + from_;
      for (std::int64_t i = 0; i < length_; ++i) values[i] -= part(step_, r)[i];
    });
    gemm<float>(count_, metric_.cols, length_, 1.0f, rows_of(static_cast<const float*>(step_.data()), length_),
                rows_of(metric_.h.data() + from_ * metric_.cols, metric_.cols), gradient_, metric_.cols, pool_);
  }

  /// step = what the row's values lose if the group's line becomes this one.
  void differ(std::int64_t r, std::int64_t group, const IntGrid::Line& line) {
    for (std::int64_t c = begin_of(group); c < begin_of(group + 1); ++c)
      part(step_, r)[c - from_] = decoded_[r * metric_.cols + c] -
                                  (line.scale * static_cast<float>(grid_.code_at(begin_ + r, c)) + line.offset);
  }

  /// One step of the codes of a group's scale and minimum. With values scale * code + offset, the loss is a quadratic
  /// form in the changes of the two: three products of its columns in the metric, two with g.
  void move(std::int64_t group) {
    look_at(begin_of(group), begin_of(group + 1) - begin_of(group));
    each_row([&](std::int64_t r) {
      for (std::int64_t i = 0; i < length_; ++i)
        part(step_, r)[i] = static_cast<float>(grid_.code_at(begin_ + r, from_ + i));
    });
    multiply();
    std::vector<double> column(static_cast<std::size_t>(length_));  // of H's block, summed: H 1
    double ones = 0;
    for (std::int64_t i = 0; i < length_; ++i) {
      const float* const row = metric_.h.data() + (from_ + i) * metric_.cols + from_;
      for (std::int64_t j = 0; j < length_; ++j) column[static_cast<std::size_t>(i)] += row[j];
      ones += column[static_cast<std::size_t>(i)];
    }
    accepted_.assign(moving_.size(), 0);
    each_row([&](std::int64_t r) {
      const float *const codes = part(step_, r), *const product = part(product_, r),
                         *const g = gradient_ + r * metric_.cols + from_;
      double square = 0, mixed = 0, along = 0, along_ones = 0;
      for (std::int64_t i = 0; i < length_; ++i) {
        square += static_cast<double>(codes[i]) * product[i];
        mixed += static_cast<double>(codes[i]) * column[static_cast<std::size_t>(i)];
        along += static_cast<double>(codes[i]) * g[i];
        along_ones += g[i];
      }
      const std::int64_t row = begin_ + r;
      const IntGrid::LineCodes now = grid_.line_codes(row, group);
      const IntGrid::Line from = grid_.line(row, group);
      IntGrid::LineCodes best = now;
      IntGrid::Line line;
      double least = 0;
      constexpr std::array<std::pair<int, int>, 8> kMoves{
          {{-1, 0}, {1, 0}, {0, -1}, {0, 1}, {-1, -1}, {-1, 1}, {1, -1}, {1, 1}}};
      for (const auto& [scale, zero] : kMoves) {
        const IntGrid::LineCodes codes_there{now.scale + scale, now.zero + zero};
        if (!grid_.line_for(row, group, codes_there, line)) continue;
        const double s = static_cast<double>(from.scale) - line.scale,
                     o = static_cast<double>(from.offset) - line.offset;
        const double loss = 2 * (s * along + o * along_ones) + s * s * square + 2 * s * o * mixed + o * o * ones;
        if (loss < least) least = loss, best = codes_there;
      }
      if (best == now) {
        std::fill_n(part(step_, r), length_, 0.0f);
        return;
      }
      accepted_[static_cast<std::size_t>(r)] = 1;
      grid_.set_line_codes(row, group, best);
      differ(r, group, grid_.line(row, group));
    });
    accept();
  }

  /// The factor of a super-scale that least squares asks for.
  void stretch(std::int64_t super, IntGrid::Super what) {
    const std::int64_t first = super * grid_.spec().groups.super,
                       last = std::min<std::int64_t>(grid_.groups(), first + grid_.spec().groups.super);
    look_at(begin_of(first), begin_of(last) - begin_of(first));
    // The part of the values that the factor multiplies, as a step of -1.
    const bool own_minima = grid_.spec().zero == ZeroKind::coded_min;
    each_row([&](std::int64_t r) {
      for (std::int64_t g = first; g < last; ++g) {
        const IntGrid::Line& line = grid_.line(begin_ + r, g);
        for (std::int64_t c = begin_of(g); c < begin_of(g + 1); ++c) {
          const float scaled = line.scale * static_cast<float>(grid_.code_at(begin_ + r, c));
          part(step_, r)[c - from_] =
              what == IntGrid::Super::minimum ? -line.offset : -(own_minima ? scaled : scaled + line.offset);
        }
      }
    });
    multiply();
    accepted_.assign(moving_.size(), 0);
    each_row([&](std::int64_t r) {
      const float *const step = part(step_, r), *const product = part(product_, r),
                         *const g = gradient_ + r * metric_.cols + from_;
      double along = 0, square = 0;
      for (std::int64_t i = 0; i < length_; ++i) {
        along += static_cast<double>(step[i]) * g[i];
        square += static_cast<double>(step[i]) * product[i];
      }
      // The loss of a factor 1 + t is 2 t along + t^2 square.
      const double factor = 1 - along / square;
      const std::int64_t row = begin_ + r;
      const std::uint16_t old = grid_.super_bits(row, super, what),
                          wanted = std::isfinite(factor) && factor >= 0.5 && factor <= 2
                                       ? f32_to_f16(f16_to_f32(old) * static_cast<float>(factor))
                                       : old;
      const double t = static_cast<double>(f16_to_f32(wanted)) / f16_to_f32(old) - 1;
      if (wanted == old || (wanted & 0x7FFFu) == 0 || !std::isfinite(f16_to_f32(wanted)) ||
          !(2 * t * along + t * t * square < 0)) {
        std::fill_n(part(step_, r), length_, 0.0f);
        return;
      }
      accepted_[static_cast<std::size_t>(r)] = 1;
      grid_.set_super_bits(row, super, what, wanted);
      for (std::int64_t group = first; group < last; ++group) differ(r, group, grid_.line(row, group));
    });
    accept();
  }

  const Metric& metric_;
  IntGrid& grid_;
  ThreadPool& pool_;
  std::int64_t begin_, count_;
  float *decoded_, *gradient_;
  std::vector<char> moving_, moved_, accepted_;
  std::int64_t from_ = 0, length_ = 0;
  std::vector<float> step_, product_;  ///< [count, length]
};

}  // namespace

std::int64_t descend_lines(std::span<const float> weight, std::int64_t rows, const Metric& metric, IntGrid& grid,
                           std::span<float> decoded, ThreadPool& pool) {
  const std::int64_t n = metric.cols;
  std::int64_t changed = 0;
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
    float* const values = decoded.data() + begin * n;
    const std::vector<char> moved = LineDescent(metric, grid, pool, begin, count, values, gradient.data()).run();
    for (std::int64_t r = 0; r < count; ++r) {
      if (!moved[static_cast<std::size_t>(r)]) continue;
      ++changed;
      grid.decode_row(begin + r, values + r * n);
    }
  }
  return changed;
}

}  // namespace sparing::math
