#include "lab/math/vq_grid.h"

#include <algorithm>
#include <cmath>

#include "tensor/half.h"

namespace sparing::math {
namespace {

constexpr float kRoomy = 120;  ///< the largest sum after books were spread: training may add to it

}  // namespace

VqGrid::VqGrid(const VqAdditiveSpec& spec, std::int64_t rows, std::int64_t cols)
    : spec_(spec),
      rows_(rows),
      cols_(cols),
      vectors_((cols + spec.vector - 1) / spec.vector),
      groups_((cols + spec.groups.group - 1) / spec.groups.group),
      codes_(static_cast<std::size_t>(rows * vectors_ * spec.books)),
      books_(static_cast<std::size_t>(spec.books * entries() * spec.vector)),
      scales_(static_cast<std::size_t>(rows * groups_)),
      stored_books_(books_),
      stored_scales_(scales_) {}

// The largest sum in size that rounded books can give, over the room on its side.
float VqGrid::excess() const {
  float most = 0;
  for (std::int64_t j = 0; j < spec_.vector; ++j) {
    float low = 0, high = 0;
    for (std::int64_t b = 0; b < spec_.books; ++b) {
      float least = INFINITY, largest = -INFINITY;
      for (std::int64_t e = 0; e < entries(); ++e) {
        const float v = std::nearbyint(books_[static_cast<std::size_t>((b * entries() + e) * spec_.vector + j)]);
        least = std::min(least, v);
        largest = std::max(largest, v);
      }
      low += least;
      high += largest;
    }
    most = std::max({most, high / 127, -low / 128});
  }
  return most;
}

float VqGrid::freeze() {
  if (excess() > 1) return normalise();
  round();
  return 1;
}

void VqGrid::round() {
  for (std::size_t i = 0; i < books_.size(); ++i)
    stored_books_[i] = std::clamp(std::nearbyint(books_[i]), -128.f, 127.f);
  for (std::size_t i = 0; i < scales_.size(); ++i) stored_scales_[i] = f16_to_f32(f32_to_f16(scales_[i]));
}

float VqGrid::normalise() {
  float most = 0;
  for (std::int64_t j = 0; j < spec_.vector; ++j) {
    float sum = 0;
    for (std::int64_t b = 0; b < spec_.books; ++b) {
      float largest = 0;
      for (std::int64_t e = 0; e < entries(); ++e)
        largest = std::max(largest, std::abs(books_[static_cast<std::size_t>((b * entries() + e) * spec_.vector + j)]));
      sum += largest;
    }
    most = std::max(most, sum);
  }
  const float factor = most > 0 && std::isfinite(most) ? kRoomy / most : 1.0f;
  if (factor != 1) {
    for (float& v : books_) v *= factor;
    for (float& s : scales_) s /= factor;
  }
  round();
  return factor;
}

void VqGrid::sum(std::int64_t row, std::int64_t vector, float* out) const {
  const std::uint8_t* const code = codes(row, vector);
  const std::int64_t count = width(vector);
  std::copy_n(entry(0, code[0]), count, out);
  for (std::int64_t b = 1; b < spec_.books; ++b) {
    const float* const more = entry(b, code[b]);
    for (std::int64_t j = 0; j < count; ++j) out[j] += more[j];
  }
}

void VqGrid::decode(std::int64_t row, std::int64_t vector, float* out) const {
  sum(row, vector, out);
  const float s = scale(row, group_of(vector));
  for (std::int64_t j = 0; j < width(vector); ++j) out[j] *= s;
}

void VqGrid::decode_row(std::int64_t row, float* out) const {
  for (std::int64_t v = 0; v < vectors_; ++v) decode(row, v, out + v * spec_.vector);
}

Result<Term> VqGrid::pack() const {
  VqParts parts;
  parts.codes = codes_;
  for (const float s : stored_scales_) {
    if (!std::isfinite(s))
      return input_error("[vq] a scale is beyond half precision: the weight has values too large to code");
    parts.scale_f16.push_back(f32_to_f16(s));
  }
  for (const float v : stored_books_) parts.books.push_back(static_cast<std::int8_t>(v));
  return sparing::pack(spec_, rows_, cols_, parts);
}

std::vector<float> decoded_values(const VqGrid& grid) {
  std::vector<float> values(static_cast<std::size_t>(grid.rows() * grid.cols()));
  for (std::int64_t r = 0; r < grid.rows(); ++r) grid.decode_row(r, values.data() + r * grid.cols());
  return values;
}

}  // namespace sparing::math
