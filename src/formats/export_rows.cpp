#include "formats/export_rows.h"

#include <algorithm>

namespace sparing {
namespace {

constexpr std::int64_t kFloatsAtOnce = 1 << 18;

Status send_vector(std::vector<float> values, const std::vector<std::int32_t>* order,
                   const std::function<Status(std::span<const float>)>& sink) {
  if (order == nullptr) return sink(values);
  std::vector<float> sorted;
  for (const std::int32_t i : *order) sorted.push_back(values[static_cast<std::size_t>(i)]);
  return sink(sorted);
}

}  // namespace

Status for_each_rows(const Checkpoint& checkpoint, const TensorShape& shape, const std::vector<std::int32_t>* order,
                     const std::function<Status(std::span<const float>)>& sink) {
  if (shape.is_vector()) {
    SPARING_TRY(std::vector<float> values, checkpoint.vector(shape.name));
    return send_vector(std::move(values), order, sink);
  }
  SPARING_TRY(const CodedWeight weight, checkpoint.weight(shape.name));
  const std::int64_t at_once = std::max<std::int64_t>(1, kFloatsAtOnce / shape.cols);
  std::vector<float> rows(static_cast<std::size_t>(std::min(at_once, shape.rows) * shape.cols));
  for (std::int64_t begin = 0; begin < shape.rows; begin += at_once) {
    const std::int64_t count = std::min(at_once, shape.rows - begin);
    if (order == nullptr) {
      decode_effective_rows(weight, begin, count, rows.data());
    } else {
      for (std::int64_t i = 0; i < count; ++i) {
        decode_effective_rows(weight, (*order)[static_cast<std::size_t>(begin + i)], 1, rows.data() + i * shape.cols);
      }
    }
    SPARING_CHECK_OK(sink(std::span(rows).first(static_cast<std::size_t>(count * shape.cols))));
  }
  checkpoint.forget(shape.name);
  return {};
}

}  // namespace sparing
