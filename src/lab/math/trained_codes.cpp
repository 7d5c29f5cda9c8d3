#include "lab/math/trained_codes.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <numeric>

#include "codecs/planes.h"

namespace sparing::math {
namespace {

constexpr float kParts = 65536.0f;
constexpr float kMemory = 0.95f;   ///< of the running mean squares
constexpr float kLongestMove = 4;  ///< in root mean squares
constexpr float kMargin = 0.02f;   ///< from the boundary to the next code, where a place starts that belongs beyond it

std::int16_t parts_of(float offset) {
  return static_cast<std::int16_t>(std::clamp(std::nearbyint(offset * kParts), -32768.0f, 32767.0f));
}

void append(std::string& state, const void* data, std::size_t bytes) {
  state.append(static_cast<const char*>(data), bytes);
}

}  // namespace

std::optional<TrainedCodes> TrainedCodes::make(const CodedWeight& weight, std::size_t term, std::byte* blob) {
  const auto* spec = std::get_if<IntGroupSpec>(&weight.terms[term].spec);
  if (spec == nullptr) return std::nullopt;
  TrainedCodes codes;
  codes.spec_ = *spec;
  codes.layout_ = *layout_of(*spec, weight.rows, weight.cols);
  codes.blob_ = blob;
  codes.term_ = term;
  codes.rows_ = weight.rows;
  codes.cols_ = weight.cols;
  const auto rows = static_cast<std::size_t>(weight.rows), cols = static_cast<std::size_t>(weight.cols);
  codes.offsets_.resize(rows * cols);
  codes.row_mean_.resize(rows);
  codes.row_square_.resize(rows);
  codes.row_unit_.resize(rows);
  codes.column_mean_.resize(cols);
  codes.column_square_.resize(cols);
  codes.column_unit_.resize(cols);
  return codes;
}

void TrainedCodes::start_towards(std::int64_t row, std::int64_t count, std::span<const float> missing) {
  const std::int64_t width = spec_.groups.group;
  const auto top = static_cast<float>((1 << spec_.bits) - 1);
  std::vector<std::uint8_t> codes(static_cast<std::size_t>(cols_ + 3));
  for (std::int64_t r = 0; r < count; ++r) {
    read_codes(spec_, layout_, blob_, cols_, row + r, codes.data());
    for (std::int64_t g = 0; g < layout_.groups; ++g) {
      const float scale = scale_of(row + r, g), inverse = scale != 0.0f ? 1 / scale : 0.0f;
      for (std::int64_t c = g * width; c < std::min(cols_, (g + 1) * width); ++c) {
        const float code = codes[static_cast<std::size_t>(c)],
                    offset = missing[static_cast<std::size_t>(r * cols_ + c)] * inverse,
                    inside = std::clamp(offset, -std::min(code, 0.5f - kMargin), std::min(top - code, 0.5f - kMargin));
        offsets_[static_cast<std::size_t>((row + r) * cols_ + c)] = parts_of(inside);
      }
    }
  }
}

void TrainedCodes::see(std::int64_t row, std::int64_t count, std::span<const float> gradient) {
  const std::int64_t width = spec_.groups.group;
  for (std::int64_t r = 0; r < count; ++r) {
    const float* by_row = gradient.data() + r * cols_;
    float sum = 0;
    for (std::int64_t g = 0; g < layout_.groups; ++g) {
      const float scale = scale_of(row + r, g), square = scale * scale;
      float in_group = 0;
      for (std::int64_t c = g * width; c < std::min(cols_, (g + 1) * width); ++c) {
        const float v = square * by_row[c] * by_row[c];
        column_square_[static_cast<std::size_t>(c)] += v;
        in_group += v;
      }
      sum += in_group;
    }
    row_square_[static_cast<std::size_t>(row + r)] = sum;
  }
}

void TrainedCodes::average() {
  ++steps_;
  const float forget = 1 - kMemory, correct = 1 / (1 - std::pow(kMemory, static_cast<float>(steps_)));
  const auto take = [&](std::vector<float>& mean, std::vector<float>& square, std::int64_t over) {
    double total = 0;
    for (std::size_t i = 0; i < mean.size(); ++i) {
      mean[i] = kMemory * mean[i] + forget * square[i] / static_cast<float>(over);
      square[i] = 0;
      total += static_cast<double>(mean[i]);
    }
    return static_cast<float>(total / static_cast<double>(mean.size()));
  };
  const float mean = take(row_mean_, row_square_, cols_);
  take(column_mean_, column_square_, rows_);
  const auto unit_of = [](float square) { return square > 0 ? 1 / std::sqrt(square) : 0.0f; };
  for (std::size_t i = 0; i < row_mean_.size(); ++i) row_unit_[i] = unit_of(row_mean_[i] * correct);
  for (std::size_t i = 0; i < column_mean_.size(); ++i)
    column_unit_[i] = mean > 0 ? unit_of(column_mean_[i] / mean) : 0.0f;
}

void TrainedCodes::move(std::int64_t row, std::int64_t count, std::span<const float> gradient, float rate) {
  const std::int64_t width = spec_.groups.group, padded = layout_.blocks * kBlockInputs;
  const auto top = static_cast<float>((1 << spec_.bits) - 1);
  std::vector<std::uint8_t> codes(static_cast<std::size_t>(kRows * padded));
  for (std::int64_t r = 0; r < count; ++r) {
    std::uint8_t* const mine = codes.data() + r * padded;
    read_codes(spec_, layout_, blob_, cols_, row + r, mine);
    const float* const by_row = gradient.data() + r * cols_;
    std::int16_t* const offsets = offsets_.data() + (row + r) * cols_;
    for (std::int64_t g = 0; g < layout_.groups; ++g) {
      const float scale = scale_of(row + r, g), unit = scale * row_unit_[static_cast<std::size_t>(row + r)];
      for (std::int64_t c = g * width; c < std::min(cols_, (g + 1) * width); ++c) {
        const float step = std::clamp(by_row[c] * unit * column_unit_[static_cast<std::size_t>(c)], -kLongestMove,
                                      kLongestMove),
                    place = static_cast<float>(mine[c]) + static_cast<float>(offsets[c]) * (1 / kParts) - rate * step,
                    inside = std::min(std::max(place, 0.0f), top), code = std::floor(inside + 0.5f);
        mine[c] = static_cast<std::uint8_t>(code);
        offsets[c] = parts_of(inside - code);
      }
    }
  }
  const Planes planes(spec_.bits);
  for (std::int64_t b = 0; b < layout_.blocks; ++b) {
    store_block(blob_ + layout_.codes + (row / kPanelRows * layout_.blocks + b) * layout_.block_bytes, planes,
                codes.data() + b * kBlockInputs, static_cast<std::size_t>(padded));
  }
}

std::size_t TrainedCodes::state_size() const {
  return codes_size() + offsets_.size() * sizeof(std::int16_t) +
         (row_mean_.size() + column_mean_.size()) * sizeof(float) + sizeof steps_;
}

void TrainedCodes::append_state(std::string& state) const {
  append(state, &steps_, sizeof steps_);
  append(state, row_mean_.data(), row_mean_.size() * sizeof(float));
  append(state, column_mean_.data(), column_mean_.size() * sizeof(float));
  append(state, offsets_.data(), offsets_.size() * sizeof(std::int16_t));
  append_codes(state);
}

void TrainedCodes::take_state(std::string_view state) {
  const auto take = [&](void* to, std::size_t bytes) {
    std::memcpy(to, state.data(), bytes);
    state.remove_prefix(bytes);
  };
  take(&steps_, sizeof steps_);
  take(row_mean_.data(), row_mean_.size() * sizeof(float));
  take(column_mean_.data(), column_mean_.size() * sizeof(float));
  take(offsets_.data(), offsets_.size() * sizeof(std::int16_t));
  take_codes(state);
}

void TrainedCodes::append_codes(std::string& codes) const {
  append(codes, blob_ + layout_.codes, codes_size());
}
void TrainedCodes::take_codes(std::string_view codes) {
  std::memcpy(blob_ + layout_.codes, codes.data(), codes_size());
}

}  // namespace sparing::math
