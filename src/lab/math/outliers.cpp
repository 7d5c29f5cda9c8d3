#include "lab/math/outliers.h"

#include <algorithm>
#include <numeric>

#include "lab/math/simd.h"
#include "tensor/half.h"

namespace sparing::math {
namespace {

struct Range {
  float low = 0, high = 0;
};
Range range_without(std::span<const float> values, std::size_t left_out) {
  bool any = false;
  Range range;
  for (std::size_t i = 0; i < values.size(); ++i) {
    if (i == left_out) continue;
    range = any ? Range{std::min(range.low, values[i]), std::max(range.high, values[i])} : Range{values[i], values[i]};
    any = true;
  }
  return range;
}

/// Errors of each value on the grid of 2^bits points that spans the range, weighed.
double errors_on(std::span<const float> values, std::span<const float> weights, Range range, int bits,
                 std::size_t left_out, std::vector<double>* each) {
  const float top = static_cast<float>((1 << bits) - 1), scale = (range.high - range.low) / top,
              inverse = scale > 0 ? 1.0f / scale : 0.0f;
  double total = 0;
  for (std::size_t i = 0; i < values.size(); ++i) {
    const float wanted = (values[i] - range.low) * inverse, bounded = wanted > 0.0f ? std::min(wanted, top) : 0.0f;
    const float code = static_cast<float>(static_cast<int>(bounded + 0.5f));
    const double e = static_cast<double>(values[i]) - (range.low + scale * code);
    const double loss = e * e * weights[i];
    if (each != nullptr) (*each)[i] = loss;
    if (i != left_out) total += loss;
  }
  return total;
}

}  // namespace

Outliers rows_of(const Outliers& outliers, std::int64_t first, std::int64_t count) {
  const auto start = outliers.row_start.begin() + first;
  Outliers part{{start, start + count + 1},
                {outliers.columns.begin() + *start, outliers.columns.begin() + start[count]}};
  const std::uint32_t skipped = part.row_start.front();
  for (std::uint32_t& at : part.row_start) at -= skipped;
  return part;
}

Outliers choose_outliers(std::span<const float> weight, std::int64_t rows, const Metric& metric, std::int64_t group,
                         int bits, std::int64_t count, ThreadPool& pool) {
  const std::int64_t n = metric.cols;
  std::vector<float> pivots(static_cast<std::size_t>(n));
  for (std::size_t j = 0; j < pivots.size(); ++j) pivots[static_cast<std::size_t>(metric.order[j])] = metric.pivots[j];
  std::vector<double> scores(static_cast<std::size_t>(rows * n));
  pool.parallel_for(rows, 1, [&](std::int64_t first, std::int64_t last, int) {
    std::vector<double> each;
    for (std::int64_t row = first; row < last; ++row)
      for (std::int64_t from = 0; from < n; from += group) {
        const auto at = static_cast<std::size_t>(row * n + from),
                   size = static_cast<std::size_t>(std::min(group, n - from));
        const std::span<const float> values = weight.subspan(at, size),
                                     weights =
                                         std::span<const float>(pivots).subspan(static_cast<std::size_t>(from), size);
        each.assign(size, 0);
        const Range whole = range_without(values, size);
        const double error = errors_on(values, weights, whole, bits, size, &each);
        for (std::size_t i = 0; i < size; ++i) {
          scores[at + i] = each[i];
          // Only the ends decide the range.
          if (values[i] != whole.low && values[i] != whole.high) continue;
          scores[at + i] = error - errors_on(values, weights, range_without(values, i), bits, i, nullptr);
        }
      }
  });
  std::vector<std::uint32_t> order(scores.size());
  std::iota(order.begin(), order.end(), 0u);
  const auto better = [&](std::uint32_t a, std::uint32_t b) {
    return scores[a] != scores[b] ? scores[a] > scores[b] : a < b;
  };
  std::nth_element(order.begin(), order.begin() + count, order.end(), better);
  order.resize(static_cast<std::size_t>(count));
  std::sort(order.begin(), order.end());
  Outliers outliers;
  outliers.row_start.assign(static_cast<std::size_t>(rows) + 1, 0);
  for (const std::uint32_t at : order) {
    ++outliers.row_start[at / static_cast<std::size_t>(n) + 1];
    outliers.columns.push_back(static_cast<std::uint32_t>(at % static_cast<std::size_t>(n)));
  }
  std::partial_sum(outliers.row_start.begin(), outliers.row_start.end(), outliers.row_start.begin());
  return outliers;
}

std::vector<float> without_outliers(std::span<const float> weight, std::int64_t cols, std::int64_t group,
                                    const Outliers& outliers) {
  std::vector<float> filled(weight.begin(), weight.end());
  std::vector<bool> out(static_cast<std::size_t>(cols));
  for (std::size_t row = 0; row + 1 < outliers.row_start.size(); ++row) {
    const std::uint32_t begin = outliers.row_start[row], end = outliers.row_start[row + 1];
    for (std::uint32_t i = begin; i < end; ++i) out[outliers.columns[i]] = true;
    for (std::uint32_t i = begin; i < end; ++i) {
      const std::int64_t from = outliers.columns[i] / group * group, to = std::min(cols, from + group);
      float* const values = filled.data() + static_cast<std::int64_t>(row) * cols;
      Range range;
      bool any = false;
      for (std::int64_t c = from; c < to; ++c) {
        if (out[static_cast<std::size_t>(c)]) continue;
        range =
            any ? Range{std::min(range.low, values[c]), std::max(range.high, values[c])} : Range{values[c], values[c]};
        any = true;
      }
      values[outliers.columns[i]] = std::clamp(values[outliers.columns[i]], range.low, range.high);
    }
    for (std::uint32_t i = begin; i < end; ++i) out[outliers.columns[i]] = false;
  }
  return filled;
}

OutlierGrid::OutlierGrid(IntGrid base, std::shared_ptr<const Outliers> places)
    : base_(std::move(base)), places_(std::move(places)) {
  if (!places_) return;
  rests_.resize(places_->columns.size());
  marked_.resize(static_cast<std::size_t>(base_.rows() * base_.cols()));
  for (std::int64_t row = 0; row < base_.rows(); ++row)
    for_row(row, [&](std::size_t, std::int64_t column) {
      marked_[static_cast<std::size_t>(row * base_.cols() + column)] = true;
    });
}

template <class F>
void OutlierGrid::for_row(std::int64_t row, F f) const {
  if (!places_) return;
  const auto at = static_cast<std::size_t>(row);
  for (std::uint32_t i = places_->row_start[at]; i < places_->row_start[at + 1]; ++i)
    f(static_cast<std::size_t>(i), static_cast<std::int64_t>(places_->columns[i]));
}

float OutlierGrid::code(std::int64_t row, std::int64_t column, float value) {
  const float nearest = base_.code(row, column, value);
  if (marked_.empty() || !marked_[static_cast<std::size_t>(row * base_.cols() + column)]) return nearest;
  const auto at = static_cast<std::size_t>(row);
  const auto begin = places_->columns.begin() + places_->row_start[at],
             end = places_->columns.begin() + places_->row_start[at + 1];
  const auto i = std::lower_bound(begin, end, static_cast<std::uint32_t>(column)) - places_->columns.begin();
  std::uint16_t& rest = rests_[static_cast<std::size_t>(i)];
  rest = f32_to_f16(value - nearest);
  return nearest + f16_to_f32(rest);
}

void OutlierGrid::take(std::span<const float> weight) {
  for (std::int64_t row = 0; row < base_.rows(); ++row)
    for_row(row, [&](std::size_t, std::int64_t column) {
      code(row, column, weight[static_cast<std::size_t>(row * base_.cols() + column)]);
    });
}

void OutlierGrid::decode_row(std::int64_t row, float* out) const {
  base_.decode_row(row, out);
  for_row(row, [&](std::size_t i, std::int64_t column) { out[column] += f16_to_f32(rests_[i]); });
}

std::vector<float> OutlierGrid::decoded() const {
  std::vector<float> values(static_cast<std::size_t>(base_.rows() * base_.cols()));
  for (std::int64_t row = 0; row < base_.rows(); ++row) decode_row(row, values.data() + row * base_.cols());
  return values;
}

std::vector<float> OutlierGrid::without_rests(std::span<const float> weight) const {
  std::vector<float> left(weight.begin(), weight.end());
  for (std::int64_t row = 0; row < base_.rows(); ++row)
    for_row(row, [&](std::size_t i, std::int64_t column) {
      left[static_cast<std::size_t>(row * base_.cols() + column)] -= f16_to_f32(rests_[i]);
    });
  return left;
}

void OutlierGrid::copy_rows(const OutlierGrid& from, std::int64_t first, std::int64_t count, std::int64_t to) {
  base_.copy_rows(from.base_, first, count, to);
  if (!places_) return;
  const auto begin = [](const OutlierGrid& grid, std::int64_t row) {
    return grid.places_->row_start[static_cast<std::size_t>(row)];
  };
  std::copy(from.rests_.begin() + begin(from, first), from.rests_.begin() + begin(from, first + count),
            rests_.begin() + begin(*this, to));
}

}  // namespace sparing::math
