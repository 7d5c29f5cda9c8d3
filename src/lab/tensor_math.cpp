#include "lab/tensor_math.h"

#include <ATen/ops/baddbmm.h>
#include <ATen/ops/bmm.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/rsqrt.h>
#include <ATen/ops/silu.h>
#include <ATen/ops/softmax.h>
#include <ATen/ops/zeros.h>

#include <cmath>
#include <limits>

namespace sparing::lab {

at::Tensor decode(const CodedWeight& weight) {
  at::Tensor out = at::empty({weight.rows, weight.cols}, at::kFloat);
  decode_effective_rows(weight, 0, weight.rows, out.data_ptr<float>());
  return out;
}

at::Tensor decode_rows_of(const CodedWeight& weight, const std::vector<std::int64_t>& rows) {
  at::Tensor out = at::empty({static_cast<std::int64_t>(rows.size()), weight.cols}, at::kFloat);
  float* to = out.data_ptr<float>();
  for (const std::int64_t row : rows) {
    decode_effective_rows(weight, row, 1, to);
    to += weight.cols;
  }
  return out;
}

at::Tensor rms_norm(const at::Tensor& x, const at::Tensor& weight, std::int64_t span, double epsilon) {
  const at::Tensor parts = (x.scalar_type() == at::kDouble ? x : x.to(at::kFloat)).reshape({x.size(0), -1, span});
  const at::Tensor scale = at::rsqrt(parts.square().mean(-1, true) + epsilon);
  return ((parts * scale).to(x.scalar_type()) * weight).reshape(x.sizes());
}

Rotation rotation(const RopeConfig& rope, std::int64_t tokens, const at::TensorOptions& options) {
  const std::vector<double> frequencies = rope_frequencies(rope);
  const auto half = static_cast<std::int64_t>(frequencies.size());
  Rotation r{at::empty({tokens, half}, at::kFloat), at::empty({tokens, half}, at::kFloat)};
  for (std::int64_t t = 0; t < tokens; ++t)
    for (std::int64_t i = 0; i < half; ++i) {
      const double angle = static_cast<double>(t) * frequencies[static_cast<std::size_t>(i)];
      r.cosine.data_ptr<float>()[t * half + i] = static_cast<float>(std::cos(angle));
      r.sine.data_ptr<float>()[t * half + i] = static_cast<float>(std::sin(angle));
    }
  return {r.cosine.to(options), r.sine.to(options)};
}

at::Tensor rope(const at::Tensor& x, const Rotation& rotation, std::int64_t heads, std::int64_t head_dim) {
  const std::int64_t half = rotation.cosine.size(1), length = rotation.cosine.size(0);
  const at::Tensor by_head = x.reshape({-1, length, heads, head_dim});
  const at::Tensor cosine = rotation.cosine.unsqueeze(1), sine = rotation.sine.unsqueeze(1);
  const at::Tensor a = by_head.slice(-1, 0, half), b = by_head.slice(-1, half, 2 * half);
  std::vector<at::Tensor> parts{a * cosine - b * sine, b * cosine + a * sine};
  if (2 * half < head_dim) parts.push_back(by_head.slice(-1, 2 * half));
  return at::cat(parts, -1).reshape(x.sizes());
}

namespace {

// What is added to the scores [query, key]: nothing, or minus infinity where the key is later or out of the window.
at::Tensor hidden(std::int64_t length, std::int64_t window, const at::TensorOptions& options) {
  at::Tensor outside = at::ones({length, length}, options.dtype(at::kBool)).triu(1);
  if (window > 0) outside = outside.logical_or(at::ones({length, length}, outside.options()).tril(-window));
  return at::zeros({length, length}, options).masked_fill_(outside, -std::numeric_limits<float>::infinity());
}

}  // namespace

at::Tensor attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, const Op& shape,
                     std::int64_t sequences) {
  const std::int64_t length = q.size(0) / sequences, share = shape.heads / shape.kv_heads, width = shape.head_dim;
  // [sequence * kv head, query head of the group * position, head_dim]: keys and values are never repeated.
  const at::Tensor queries = (q * (1.0 / std::sqrt(static_cast<double>(width))))
                                 .reshape({sequences, length, shape.kv_heads, share, width})
                                 .permute({0, 2, 3, 1, 4})
                                 .reshape({sequences * shape.kv_heads, share * length, width});
  const auto by_head = [&](const at::Tensor& x) {
    return x.reshape({sequences, length, shape.kv_heads, width})
        .permute({0, 2, 1, 3})
        .reshape({sequences * shape.kv_heads, length, width});
  };
  const at::Tensor scores = at::baddbmm(hidden(length, shape.window, q.options()).repeat({share, 1}).unsqueeze(0),
                                        queries, by_head(k).transpose(1, 2));
  const at::Tensor weights = at::softmax(scores, -1);
  return at::bmm(weights, by_head(v))
      .reshape({sequences, shape.kv_heads, share, length, width})
      .permute({0, 3, 1, 2, 4})
      .reshape(q.sizes());
}

at::Tensor swiglu(const at::Tensor& gate, const at::Tensor& up) {
  return at::silu(gate) * up;
}

}  // namespace sparing::lab
