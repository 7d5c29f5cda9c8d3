#include "lab/student.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/from_blob.h>
#include <c10/core/InferenceMode.h>

#include <algorithm>
#include <cmath>

#include "codecs/transform.h"
#include "tensor/half.h"

namespace sparing::lab {
namespace {

constexpr std::int64_t kRows = 64;  ///< decoded or reduced at a time
constexpr std::int64_t kCodeRows = math::TrainedCodes::kRows;

bool exact_in_f16(float value) {
  return f16_to_f32(f32_to_f16(value)) == value;
}

float root_mean_square(const std::vector<float>& values) {
  double sum = 0;
  for (const float v : values) sum += static_cast<double>(v) * static_cast<double>(v);
  return static_cast<float>(std::sqrt(sum / static_cast<double>(values.size())));
}

}  // namespace

Result<Student> Student::make(const Checkpoint& source, const ModelGraph& model,
                              const std::map<std::string, CodedWeight>& coded, at::ScalarType products,
                              at::Device device) {
  Student student;
  for (const auto& [name, weight] : coded) {
    SPARING_TRY(math::ContinuousWeight trained, math::ContinuousWeight::make(weight));
    const std::int64_t size = trained.size();
    student.matrices_.emplace(name, Matrix{std::move(trained), student.size_});
    student.size_ += size;
    if (name == "embed" && !model.config.tied_head) continue;
    student.values_[name] = at::empty({weight.rows, weight.cols}, at::TensorOptions(products).device(device));
  }
  for (const TensorEntry& tensor : source.tensors()) {
    if (!tensor.shape.is_vector()) continue;
    Vector vector;
    SPARING_TRY(vector.start, source.vector(tensor.shape.name));
    vector.stored = vector.start;
    vector.first = student.size_;
    vector.half = std::ranges::all_of(vector.start, exact_in_f16);
    const auto count = static_cast<std::int64_t>(vector.start.size());
    student.size_ += count;
    student.values_[tensor.shape.name] = at::empty({count}, at::TensorOptions(at::kFloat).device(device));
    student.vectors_.emplace(tensor.shape.name, std::move(vector));
  }
  return student;
}

std::vector<float> Student::parameters() const {
  std::vector<float> all(static_cast<std::size_t>(size_));
  for (const auto& [name, matrix] : matrices_)
    std::ranges::copy(matrix.weight.parameters(), all.begin() + matrix.first);
  for (const auto& [name, vector] : vectors_) std::ranges::copy(vector.stored, all.begin() + vector.first);
  return all;
}

std::vector<float> Student::units() const {
  std::vector<float> all(static_cast<std::size_t>(size_));
  for (const auto& [name, matrix] : matrices_) std::ranges::copy(matrix.weight.units(), all.begin() + matrix.first);
  for (const auto& [name, vector] : vectors_)
    std::fill_n(all.begin() + vector.first, vector.start.size(), root_mean_square(vector.start));
  return all;
}

std::vector<Student::Range> Student::ranges() const {
  std::vector<Range> ranges;
  for (const auto& [name, matrix] : matrices_) ranges.push_back({matrix.first, matrix.weight.size(), false});
  for (const auto& [name, vector] : vectors_)
    ranges.push_back({vector.first, static_cast<std::int64_t>(vector.start.size()), true});
  return ranges;
}

void Student::set(std::span<const float> parameters, ThreadPool& pool) {
  const auto part = [&](std::int64_t first, std::int64_t count) {
    return parameters.subspan(static_cast<std::size_t>(first), static_cast<std::size_t>(count));
  };
  for (auto& [name, vector] : vectors_) {
    const auto wanted = part(vector.first, static_cast<std::int64_t>(vector.start.size()));
    std::ranges::copy(wanted, vector.stored.begin());
    if (vector.half) {
      for (float& v : vector.stored) v = f16_to_f32(f32_to_f16(std::clamp(v, -65504.0f, 65504.0f)));
    } else if (std::ranges::all_of(vector.stored, exact_in_f16)) {
      vector.stored = vector.start;  // must not come out smaller than was predicted
    }
    const auto count = static_cast<std::int64_t>(vector.stored.size());
    values_.at(name).copy_(at::from_blob(vector.stored.data(), {count}, at::kFloat));
  }
  std::vector<Matrix*> changed;
  struct Rows {
    const CodedWeight* weight;
    at::Tensor* to;
    std::int64_t first;
  };
  std::vector<Rows> work;
  for (auto& [name, matrix] : matrices_) {
    if (matrix.weight.size() > 0) changed.push_back(&matrix);
    const auto value = values_.find(name);
    if (value == values_.end() || (matrix.weight.size() == 0 && decoded_)) continue;
    for (std::int64_t row = 0; row < matrix.weight.weight().rows; row += kRows)
      work.push_back({&matrix.weight.weight(), &value->second, row});
  }
  pool.parallel_for(static_cast<std::int64_t>(changed.size()), 1, [&](std::int64_t first, std::int64_t last, int) {
    for (std::int64_t i = first; i < last; ++i) {
      Matrix& matrix = *changed[static_cast<std::size_t>(i)];
      matrix.weight.set(part(matrix.first, matrix.weight.size()));
    }
  });
  pool.parallel_for(static_cast<std::int64_t>(work.size()), 1, [&](std::int64_t first, std::int64_t last, int) {
    std::vector<float> decoded;
    for (std::int64_t i = first; i < last; ++i) {
      const Rows& rows = work[static_cast<std::size_t>(i)];
      const std::int64_t cols = rows.weight->cols, count = std::min(kRows, rows.weight->rows - rows.first);
      decoded.resize(static_cast<std::size_t>(count * cols));
      decode_effective_rows(*rows.weight, rows.first, count, decoded.data());
      rows.to->slice(0, rows.first, rows.first + count).copy_(at::from_blob(decoded.data(), {count, cols}, at::kFloat));
    }
  });
  decoded_ = true;
}

at::Tensor Student::embed(const std::vector<Token>& tokens) const {
  return decode_rows_of(matrices_.at("embed").weight.weight(), {tokens.begin(), tokens.end()});
}

void Student::add_gradient(const std::string& name, const at::Tensor& gradient, std::span<float> sum) const {
  if (const auto vector = vectors_.find(name); vector != vectors_.end()) {
    const at::Tensor flat = gradient.contiguous();
    for (std::int64_t i = 0; i < flat.numel(); ++i)
      sum[static_cast<std::size_t>(vector->second.first + i)] += flat.data_ptr<float>()[i];
    return;
  }
  const Matrix& matrix = matrices_.at(name);
  if (matrix.weight.size() == 0) return;
  const auto mine = sum.subspan(static_cast<std::size_t>(matrix.first), static_cast<std::size_t>(matrix.weight.size()));
  for (std::int64_t row = 0; row < gradient.size(0); row += kRows) {
    const at::Tensor part = gradient.slice(0, row, std::min(row + kRows, gradient.size(0))).to(at::kFloat).contiguous();
    matrix.weight.add_gradient(row, part.size(0), {part.data_ptr<float>(), static_cast<std::size_t>(part.numel())},
                               mine);
  }
}

void Student::add_embedding_gradient(const std::vector<Token>& tokens, const at::Tensor& gradient,
                                     std::span<float> sum) const {
  const Matrix& matrix = matrices_.at("embed");
  if (matrix.weight.size() == 0) return;
  const auto mine = sum.subspan(static_cast<std::size_t>(matrix.first), static_cast<std::size_t>(matrix.weight.size()));
  const at::Tensor rows = gradient.to(at::kFloat).contiguous();
  const auto width = static_cast<std::size_t>(rows.size(1));
  for (std::size_t t = 0; t < tokens.size(); ++t)
    matrix.weight.add_gradient(tokens[t], 1, {rows.data_ptr<float>() + t * width, width}, mine);
}

Status Student::train_codes(const Checkpoint& source, ThreadPool& pool) {
  for (auto& [name, matrix] : matrices_) {
    if (!values_.contains(name)) continue;  // rows that are looked up: their gradients are not known whole
    auto codes = matrix.weight.trained_codes();
    if (!codes) continue;
    const CodedWeight& weight = matrix.weight.weight();
    // Else the places begin at the codes.
    if (weight.input.kind != TransformKind::diagonal) {
      SPARING_TRY(const CodedWeight wanted, source.weight(name));
      const std::int64_t panels = (weight.rows + kCodeRows - 1) / kCodeRows;
      pool.parallel_for(panels, 1, [&](std::int64_t first, std::int64_t last, int) {
        const auto cols = static_cast<std::size_t>(weight.cols);
        std::vector<float> missing(kCodeRows * cols), coded(missing.size()), turned(cols);
        for (std::int64_t panel = first; panel < last; ++panel) {
          const std::int64_t row = panel * kCodeRows, count = std::min(kCodeRows, weight.rows - row);
          decode_effective_rows(wanted, row, count, missing.data());
          decode_effective_rows(weight, row, count, coded.data());
          for (std::size_t i = 0; i < missing.size(); ++i) missing[i] -= coded[i];
          if (weight.input.kind != TransformKind::identity) {
            for (std::int64_t r = 0; r < count; ++r) {
              float* const at = missing.data() + r * weight.cols;
              apply_transform(weight.input, weight.cols, at, turned.data());
              std::ranges::copy(turned, at);
            }
          }
          codes->start_towards(row, count, missing);
        }
      });
      source.forget(name);
    }
    codes_.emplace(name, std::move(*codes));
  }
  return {};
}

void Student::gradient_rows(const std::string& name, const MatrixGradients& gradients, std::int64_t row,
                            std::int64_t count, std::vector<float>& rows) const {
  const CodedWeight& weight = matrices_.at(name).weight.weight();
  rows.resize(static_cast<std::size_t>(count * weight.cols));
  const at::Tensor sum = at::from_blob(rows.data(), {count, weight.cols}, at::kFloat);
  for (std::size_t s = 0; s < gradients.size(); ++s) {
    const at::Tensor part = gradients[s].at(name).slice(0, row, row + count);
    s == 0 ? sum.copy_(part) : sum.add_(part);
  }
  if (weight.input.kind == TransformKind::identity) return;
  std::vector<float> turned(static_cast<std::size_t>(weight.cols));
  for (std::int64_t r = 0; r < count; ++r) {
    apply_transform(weight.input, weight.cols, rows.data() + r * weight.cols, turned.data());
    std::ranges::copy(turned, rows.begin() + r * weight.cols);
  }
}

void Student::step_codes(const MatrixGradients& gradients, double rate, ThreadPool& pool) {
  struct Panel {
    const std::string* name;
    math::TrainedCodes* codes;
    std::int64_t row;
  };
  std::vector<Panel> matrices, panels;
  for (auto& [name, codes] : codes_) {
    matrices.push_back({&name, &codes, 0});
    for (std::int64_t row = 0; row < codes.rows(); row += kCodeRows) panels.push_back({&name, &codes, row});
  }
  const auto count_of = [](const Panel& at) { return std::min(kCodeRows, at.codes->rows() - at.row); };
  pool.parallel_for(static_cast<std::int64_t>(matrices.size()), 1, [&](std::int64_t first, std::int64_t last, int) {
    const c10::InferenceMode inference;
    std::vector<float> rows;
    for (std::int64_t i = first; i < last; ++i) {
      for (Panel at = matrices[static_cast<std::size_t>(i)]; at.row < at.codes->rows(); at.row += kCodeRows) {
        gradient_rows(*at.name, gradients, at.row, count_of(at), rows);
        at.codes->see(at.row, count_of(at), rows);
      }
      matrices[static_cast<std::size_t>(i)].codes->average();
    }
  });
  pool.parallel_for(static_cast<std::int64_t>(panels.size()), 1, [&](std::int64_t first, std::int64_t last, int) {
    const c10::InferenceMode inference;
    std::vector<float> rows;
    for (std::int64_t i = first; i < last; ++i) {
      const Panel& at = panels[static_cast<std::size_t>(i)];
      gradient_rows(*at.name, gradients, at.row, count_of(at), rows);
      at.codes->move(at.row, count_of(at), rows, static_cast<float>(rate));
    }
  });
}

std::string Student::code_state() const {
  std::string state;
  state.reserve(code_state_size());
  for (const auto& [name, codes] : codes_) codes.append_state(state);
  return state;
}

std::size_t Student::code_state_size() const {
  std::size_t size = 0;
  for (const auto& [name, codes] : codes_) size += codes.state_size();
  return size;
}

void Student::take_code_state(std::string_view state) {
  for (auto& [name, codes] : codes_) {
    codes.take_state(state);
    state.remove_prefix(codes.state_size());
  }
}

std::string Student::codes() const {
  std::string all;
  for (const auto& [name, codes] : codes_) codes.append_codes(all);
  return all;
}

void Student::take_codes(std::string_view codes) {
  for (auto& [name, mine] : codes_) {
    mine.take_codes(codes);
    codes.remove_prefix(mine.codes_size());
  }
}

std::map<std::string, CodedWeight> Student::coded() const {
  std::map<std::string, CodedWeight> all;
  for (const auto& [name, matrix] : matrices_) all.emplace(name, matrix.weight.weight());
  return all;
}

std::map<std::string, std::vector<float>> Student::vectors() const {
  std::map<std::string, std::vector<float>> all;
  for (const auto& [name, vector] : vectors_) all.emplace(name, vector.stored);
  return all;
}

}  // namespace sparing::lab
