#include "formats/gguf_tensors.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

#include "base/interrupt.h"
#include "codecs/ggml_pack.h"
#include "formats/export_rows.h"
#include "formats/gguf_config.h"

namespace sparing {
namespace {

const GgmlTraits& traits_of(GgmlType type) {
  return *ggml_traits(static_cast<std::uint32_t>(type));
}

bool rotates(const std::string& name) {
  return name.ends_with(".attn.q") || name.ends_with(".attn.k") || name.ends_with(".attn.q.bias") ||
         name.ends_with(".attn.k.bias");
}

/// For each row in interleaved order, the row that holds it in half-rotation order.
std::vector<std::int32_t> half_rotation_rows(const ModelConfig& config, std::int64_t rows) {
  const auto order =
      interleaved_rows(static_cast<std::int32_t>(rows / config.head_dim), config.head_dim, config.rope.dimension);
  std::vector<std::int32_t> inverse(order.size());
  for (std::size_t i = 0; i < order.size(); ++i) {
    inverse[static_cast<std::size_t>(order[i])] = static_cast<std::int32_t>(i);
  }
  return inverse;
}

/// The largest magnitude that a type's f16 scales reach.
float limit_of(GgmlType type) {
  switch (type) {
    case GgmlType::f32:
    case GgmlType::bf16:
      return std::numeric_limits<float>::max();
    case GgmlType::q8_0:
      return 65504.0f * 127;
    default:
      return 65504.0f;
  }
}

Status check_range(std::span<const float> values, GgmlType type, const std::string& tensor) {
  for (const float v : values) {
    if (std::abs(v) <= limit_of(type)) continue;
    return input_error("[export] tensor " + tensor + " holds " + std::to_string(v) + ", too large for " +
                       std::string(traits_of(type).name) + ": export F32");
  }
  return {};
}

/// Rounds values to blocks and adds what that changes to the sum of squares.
Status round_to(GgmlType type, std::span<const float> values, std::vector<std::byte>& blocks, double& error) {
  const GgmlTraits& traits = traits_of(type);
  const auto count = static_cast<std::int64_t>(values.size());
  blocks.resize(values.size() / static_cast<std::size_t>(traits.block_weights) *
                static_cast<std::size_t>(traits.block_bytes));
  SPARING_CHECK_OK(ggml_encode(type, values.data(), count, blocks.data()));
  std::vector<float> back(values.size());
  ggml_decode(type, blocks, count, back.data());
  for (std::size_t i = 0; i < values.size(); ++i) {
    const double difference = static_cast<double>(values[i]) - back[i];
    error += difference * difference;
  }
  return {};
}

double sum_of_squares(std::span<const float> values) {
  double sum = 0;
  for (const float v : values) sum += static_cast<double>(v) * v;
  return sum;
}

/// The smallest type whose relative error is at most `most`.
Result<GgmlType> nearest_type(const Checkpoint& checkpoint, const TensorShape& shape, double most) {
  static constexpr std::array kTypes = {GgmlType::q4_0, GgmlType::q4_1, GgmlType::q5_0,
                                        GgmlType::q5_1, GgmlType::q8_0, GgmlType::f16};
  std::array<double, kTypes.size()> errors{};
  double size = 0;
  std::vector<std::byte> blocks;
  SPARING_CHECK_OK(for_each_rows(checkpoint, shape, nullptr, [&](std::span<const float> values) -> Status {
    size += sum_of_squares(values);
    for (std::size_t i = 0; i < kTypes.size(); ++i) {
      if (std::isinf(errors[i])) continue;
      if (shape.cols % traits_of(kTypes[i]).block_weights != 0 || !check_range(values, kTypes[i], shape.name).ok()) {
        errors[i] = std::numeric_limits<double>::infinity();
        continue;
      }
      SPARING_CHECK_OK(round_to(kTypes[i], values, blocks, errors[i]));
    }
    return {};
  }));
  for (std::size_t i = 0; i < kTypes.size(); ++i) {
    if (errors[i] <= most * most * size) return kTypes[i];
  }
  return GgmlType::f32;
}

/// Blocks that hold the codes themselves, checked against what the codes decode to.
Status write_exactly(const Checkpoint& checkpoint, const TensorShape& shape, const std::vector<std::int32_t>& order,
                     GgufWriter& writer, GgufTensorReport& report) {
  SPARING_TRY(const CodedWeight weight, checkpoint.weight(shape.name));
  const GgmlTraits& traits = traits_of(report.type);
  std::vector<std::byte> blocks(static_cast<std::size_t>(shape.cols / traits.block_weights * traits.block_bytes));
  std::vector<float> values(static_cast<std::size_t>(shape.cols)), back(values.size());
  for (std::int64_t i = 0; i < shape.rows; ++i) {
    const std::int64_t row = order.empty() ? i : order[static_cast<std::size_t>(i)];
    ggml_pack_row(report.type, weight, row, blocks.data());
    decode_effective_rows(weight, row, 1, values.data());
    ggml_decode(report.type, blocks, shape.cols, back.data());
    for (std::size_t c = 0; c < values.size(); ++c) {
      if (values[c] == back[c]) continue;
      return internal_error("[export] tensor " + shape.name + " row " + std::to_string(row) + ": " +
                            std::string(traits.name) + " was to hold it exactly and does not");
    }
    report.size += sum_of_squares(values);
    SPARING_CHECK_OK(writer.write(blocks));
  }
  checkpoint.forget(shape.name);
  return {};
}

}  // namespace

double GgufTensorReport::relative_error() const {
  return size > 0 ? std::sqrt(error / size) : 0.0;
}

Result<std::vector<GgufTensorReport>> choose_gguf_types(const Checkpoint& checkpoint, const GgufExport& options) {
  std::vector<GgufTensorReport> reports;
  for (const TensorShape& shape : expected_tensors(checkpoint.config())) {
    if (interrupted()) return interrupted_error("export");
    GgufTensorReport report;
    report.tensor = shape.name;
    report.weights = shape.rows * std::max<std::int64_t>(shape.cols, 1);
    if (shape.is_vector()) {
      report.exact = true;
    } else if (options.type) {
      report.type = shape.cols % traits_of(*options.type).block_weights == 0 ? *options.type : GgmlType::f16;
    } else {
      SPARING_TRY(const CodedWeight weight, checkpoint.weight(shape.name));
      const auto own = ggml_holding_type(weight);
      report.exact = own.has_value();
      if (own) {
        report.type = *own;
      } else {
        SPARING_TRY(report.type, nearest_type(checkpoint, shape, options.max_error));
      }
      checkpoint.forget(shape.name);
    }
    reports.push_back(std::move(report));
  }
  return reports;
}

Status write_gguf_tensor(const Checkpoint& checkpoint, const TensorShape& shape, bool interleave, GgufWriter& writer,
                         GgufTensorReport& report) {
  std::vector<std::int32_t> order;
  if (interleave && rotates(shape.name)) order = half_rotation_rows(checkpoint.config(), shape.rows);
  if (report.exact && !shape.is_vector()) return write_exactly(checkpoint, shape, order, writer, report);
  std::vector<std::byte> blocks;
  SPARING_CHECK_OK(
      for_each_rows(checkpoint, shape, order.empty() ? nullptr : &order, [&](std::span<const float> values) -> Status {
        SPARING_CHECK_OK(check_range(values, report.type, shape.name));
        SPARING_CHECK_OK(round_to(report.type, values, blocks, report.error));
        report.size += sum_of_squares(values);
        return writer.write(blocks);
      }));
  report.exact = report.error == 0;
  return {};
}

}  // namespace sparing
