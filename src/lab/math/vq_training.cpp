#include "lab/math/vq_training.h"

#include <algorithm>
#include <cmath>

#include "lab/math/vq_coding.h"
#include "lab/math/vq_search.h"

namespace sparing::math {
namespace {

std::size_t at(std::int64_t i) {
  return static_cast<std::size_t>(i);
}

double root_mean_square(std::span<const float> values) {
  double sum = 0;
  for (const float v : values) sum += static_cast<double>(v) * v;
  return std::sqrt(sum / static_cast<double>(values.size()));
}

}  // namespace

VqTraining::VqTraining(VqGrid start, const Metric& metric, const VqTrainingOptions& options)
    : grid_(std::move(start)),
      kept_(grid_),
      options_(options),
      factors_(vector_factors(metric, grid_)),
      of_books_(grid_.books().size()),
      of_scales_(grid_.scales().size()) {
  for (const float d : metric.diagonal) inverse_curvature_.push_back(1.0f / d);
  moved_.resize(at(grid_.rows() * grid_.cols()));
}

void VqTraining::values(std::span<float> out, ThreadPool& pool) const {
  pool.parallel_for(grid_.rows(), 1, [&](std::int64_t first, std::int64_t last, int) {
    for (std::int64_t r = first; r < last; ++r) grid_.decode_row(r, out.data() + r * grid_.cols());
  });
}

void VqTraining::move_books_and_scales(std::span<const float> gradient, double left, ThreadPool& pool) {
  const std::int64_t width = grid_.spec().vector, books = grid_.spec().books, cols = grid_.cols();
  std::vector<double> by_book(grid_.books().size()), by_scale(grid_.scales().size());
  // Gradients far from 1 in size would leave single precision once squared.
  const double size = root_mean_square(gradient), unit = size > 0 ? 1 / size : 0;
  pool.parallel_for(grid_.rows(), 1, [&](std::int64_t first, std::int64_t last, int) {
    for (std::int64_t r = first; r < last; ++r)
      for (std::int64_t v = 0; v < grid_.vectors(); ++v) {
        float sum[8];
        grid_.sum(r, v, sum);
        double& by = by_scale[at(r * grid_.groups() + grid_.group_of(v))];
        for (std::int64_t j = 0; j < grid_.width(v); ++j) by += unit * gradient[at(r * cols + v * width + j)] * sum[j];
      }
  });
  for (std::int64_t r = 0; r < grid_.rows(); ++r)
    for (std::int64_t v = 0; v < grid_.vectors(); ++v)
      for (std::int64_t b = 0; b < books; ++b) {
        const std::size_t entry = at((b * grid_.entries() + grid_.codes(r, v)[b]) * width);
        const double scale = unit * grid_.scale(r, grid_.group_of(v));
        for (std::int64_t j = 0; j < grid_.width(v); ++j)
          by_book[entry + at(j)] += scale * gradient[at(r * cols + v * width + j)];
      }
  const auto rate = static_cast<float>(options_.book_rate * left * root_mean_square(grid_.books()));
  of_books_.begin_step();
  for (std::size_t i = 0; i < by_book.size(); ++i)
    grid_.books()[i] -= rate * static_cast<float>(of_books_.of(i, by_book[i]));
  // A row that weighs little has small gradients, all of them: each is measured by its own size, so rows do not matter.
  of_scales_.begin_step();
  for (std::size_t i = 0; i < by_scale.size(); ++i) {
    const double share = options_.scale_rate * left * of_scales_.of(i, by_scale[i] * grid_.scales()[i]);
    grid_.scales()[i] *= static_cast<float>(1 - std::clamp(share, -0.5, 0.5));
  }
}

void VqTraining::move_weights(std::span<const float> gradient, double rate, ThreadPool& pool) {
  const std::int64_t cols = grid_.cols();
  std::vector<double> squares(at(grid_.rows())), sizes(squares);
  pool.parallel_for(grid_.rows(), 1, [&](std::int64_t first, std::int64_t last, int) {
    std::vector<float> values(at(cols));
    for (std::int64_t r = first; r < last; ++r) {
      grid_.decode_row(r, values.data());
      for (std::int64_t c = 0; c < cols; ++c) {
        const double move = static_cast<double>(gradient[at(r * cols + c)]) * inverse_curvature_[at(c)];
        squares[at(r)] += move * move;
        sizes[at(r)] += static_cast<double>(values[at(c)]) * values[at(c)];
      }
    }
  });
  double square = 0, size = 0;
  for (std::size_t r = 0; r < squares.size(); ++r) square += squares[r], size += sizes[r];
  const double unit = rate * std::sqrt(size / square);
  const auto step = std::isfinite(unit) ? static_cast<float>(unit) : 0.0f;
  const auto kept = static_cast<float>(1 - options_.forgets);
  pool.parallel_for(grid_.rows(), 1, [&](std::int64_t first, std::int64_t last, int) {
    for (std::int64_t i = first * cols; i < last * cols; ++i)
      moved_[at(i)] = kept * moved_[at(i)] - step * gradient[at(i)] * inverse_curvature_[at(i % cols)];
  });
}

void VqTraining::change_codes(ThreadPool& pool) {
  const std::int64_t width = grid_.spec().vector, books = grid_.spec().books, cols = grid_.cols(),
                     vectors = grid_.vectors();
  std::vector<VqSearch> searches;
  for (std::int64_t v = 0; v < vectors; ++v) searches.emplace_back(grid_, factors_[at(v)].data(), grid_.width(v));
  struct Change {
    float gain;
    std::uint8_t codes[2];
    std::int64_t index;
  };
  std::vector<Change> changes(at(grid_.rows() * vectors));
  pool.parallel_for(grid_.rows(), 1, [&](std::int64_t first, std::int64_t last, int) {
    for (std::int64_t r = first; r < last; ++r)
      for (std::int64_t v = 0; v < vectors; ++v) {
        Change& change = changes[at(r * vectors + v)];
        change = {0, {}, r * vectors + v};
        const float scale = grid_.scale(r, grid_.group_of(v));
        if (scale == 0.0f) continue;
        const std::int64_t count = grid_.width(v);
        const float* const l = factors_[at(v)].data();
        const float* const moved = moved_.data() + r * cols + v * width;
        float sum[8], y[8] = {};
        grid_.sum(r, v, sum);
        for (std::int64_t j = 0; j < count; ++j)
          for (std::int64_t i = j; i < count; ++i) y[j] += (sum[i] + moved[i] / scale) * l[i * count + j];
        const std::uint8_t* const now = grid_.codes(r, v);
        std::copy_n(now, books, change.codes);
        const float before = searches[at(v)].distance(y, now),
                    after = searches[at(v)].find(y, options_.beam, change.codes);
        if (!std::equal(now, now + books, change.codes)) change.gain = (before - after) * scale * scale;
      }
  });
  std::erase_if(changes, [](const Change& c) { return !(c.gain > 0); });
  const auto most = static_cast<std::size_t>(
      std::max(1.0, std::floor(options_.most_changes * static_cast<double>(grid_.rows() * vectors))));
  if (changes.size() > most) {
    std::nth_element(
        changes.begin(), changes.begin() + static_cast<std::ptrdiff_t>(most), changes.end(),
        [](const Change& a, const Change& b) { return a.gain != b.gain ? a.gain > b.gain : a.index < b.index; });
    changes.resize(most);
  }
  for (const Change& change : changes) {
    const std::int64_t r = change.index / vectors, v = change.index % vectors;
    float before[8], after[8];
    grid_.decode(r, v, before);
    std::copy_n(change.codes, books, grid_.codes(r, v));
    grid_.decode(r, v, after);
    for (std::int64_t j = 0; j < grid_.width(v); ++j) moved_[at(r * cols + v * width + j)] -= after[j] - before[j];
  }
  changed_ = static_cast<std::int64_t>(changes.size());
}

void VqTraining::step(std::span<const float> gradient, double left, ThreadPool& pool) {
  changed_ = 0;
  if (options_.weight_rate > 0) move_weights(gradient, options_.weight_rate * left, pool);
  if (options_.book_rate > 0 || options_.scale_rate > 0) {
    move_books_and_scales(gradient, left, pool);
    grid_.freeze();
  }
  if (options_.weight_rate > 0) change_codes(pool);
}

Result<CodedWeight> VqTraining::code() const {
  CodedWeight weight;
  weight.rows = grid_.rows();
  weight.cols = grid_.cols();
  SPARING_TRY(Term term, grid_.pack());
  weight.terms.push_back(std::move(term));
  return weight;
}

}  // namespace sparing::math
