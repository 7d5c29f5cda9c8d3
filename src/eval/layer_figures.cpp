#include "eval/layer_figures.h"

#include <algorithm>
#include <cmath>

#include "base/interrupt.h"

namespace sparing {
namespace {

constexpr std::int64_t kRowsAtOnce = 64;

struct Sums {
  double error = 0, size = 0, weights = 0, bytes = 0;
};

std::string layer_of(const std::string& tensor) {
  constexpr std::string_view prefix = "layers.";
  if (!tensor.starts_with(prefix)) return tensor;
  return tensor.substr(prefix.size(), tensor.find('.', prefix.size()) - prefix.size());
}

Status add_damage(const Checkpoint& model, const Checkpoint& reference, const TensorShape& shape, Sums& sums) {
  SPARING_TRY(const CodedWeight mine, model.weight(shape.name));
  SPARING_TRY(const CodedWeight theirs, reference.weight(shape.name));
  std::vector<float> a(static_cast<std::size_t>(kRowsAtOnce * shape.cols)), b(a.size());
  for (std::int64_t row = 0; row < shape.rows; row += kRowsAtOnce) {
    const std::int64_t count = std::min(kRowsAtOnce, shape.rows - row);
    decode_effective_rows(mine, row, count, a.data());
    decode_effective_rows(theirs, row, count, b.data());
    for (std::size_t i = 0; i < static_cast<std::size_t>(count * shape.cols); ++i) {
      const double difference = static_cast<double>(a[i]) - b[i];
      sums.error += difference * difference;
      sums.size += static_cast<double>(b[i]) * b[i];
    }
  }
  model.forget(shape.name);
  reference.forget(shape.name);
  return {};
}

}  // namespace

Result<std::vector<LayerFigures>> layer_figures(const Checkpoint& model, const Checkpoint* reference) {
  std::vector<LayerFigures> figures;
  std::vector<Sums> sums;
  for (const TensorEntry& entry : model.tensors()) {
    const TensorShape& shape = entry.shape;
    if (shape.is_vector()) continue;
    if (interrupted()) return interrupted_error("eval");
    const std::string layer = layer_of(shape.name);
    if (figures.empty() || figures.back().layer != layer) {
      figures.push_back({layer, 0, 0});
      sums.emplace_back();
    }
    Sums& sum = sums.back();
    sum.bytes += static_cast<double>(entry.stored_bytes);
    sum.weights += static_cast<double>(shape.rows) * static_cast<double>(shape.cols);
    if (reference == nullptr) continue;
    const auto& theirs = reference->tensors();
    const bool same = std::any_of(theirs.begin(), theirs.end(), [&](const TensorEntry& other) {
      return other.shape.name == shape.name && other.shape.rows == shape.rows && other.shape.cols == shape.cols;
    });
    if (same) SPARING_CHECK_OK(add_damage(model, *reference, shape, sum));
  }
  for (std::size_t i = 0; i < figures.size(); ++i) {
    figures[i].bits = 8 * sums[i].bytes / sums[i].weights;
    figures[i].damage = sums[i].size > 0 ? std::sqrt(sums[i].error / sums[i].size) : 0;
  }
  return figures;
}

}  // namespace sparing
