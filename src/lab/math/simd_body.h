// Included once by each simd_*.cpp, after it has defined in its anonymous namespace the vector types
//   F32: Vector, lanes, load, store, broadcast, zero, fma, mul, sub, round (to even), min, max;  F64: the first six.
// No include guard: this is a body, not an interface.

template <class S, int Rows, int Vectors>
void micro_tile(std::int64_t k, const typename S::Scalar* a, const typename S::Scalar* b, std::int64_t b_stride,
                typename S::Scalar* tile) {
  typename S::Vector sum[Rows][Vectors];
  for (int r = 0; r < Rows; ++r)
    for (int v = 0; v < Vectors; ++v) sum[r][v] = S::zero();
  for (std::int64_t p = 0; p < k; ++p) {
    typename S::Vector column[Vectors];
    for (int v = 0; v < Vectors; ++v) column[v] = S::load(b + v * S::lanes);
    for (int v = 0; v < Vectors; ++v) __builtin_prefetch(b + 24 * b_stride + v * S::lanes);
    for (int r = 0; r < Rows; ++r) {
      const typename S::Vector scalar = S::broadcast(a[r]);
      for (int v = 0; v < Vectors; ++v) sum[r][v] = S::fma(scalar, column[v], sum[r][v]);
    }
    a += Rows;
    b += b_stride;
  }
  for (int r = 0; r < Rows; ++r)
    for (int v = 0; v < Vectors; ++v) S::store(tile + (r * Vectors + v) * S::lanes, sum[r][v]);
}

void axpy_all(std::int64_t n, float alpha, const float* x, float* y) {
  const F32::Vector factor = F32::broadcast(alpha);
  std::int64_t i = 0;
  for (; i + F32::lanes <= n; i += F32::lanes) F32::store(y + i, F32::fma(factor, F32::load(x + i), F32::load(y + i)));
  for (; i < n; ++i) y[i] = std::fma(alpha, x[i], y[i]);
}

constexpr int kSumLanes = 16, kSumVectors = kSumLanes / F32::lanes;

float tree_sum(float* lanes) {
  for (int half = kSumLanes / 2; half > 0; half /= 2)
    for (int i = 0; i < half; ++i) lanes[i] += lanes[i + half];
  return lanes[0];
}

float dot_all(std::int64_t n, const float* x, const float* y) {
  F32::Vector sum[kSumVectors];
  for (auto& s : sum) s = F32::zero();
  std::int64_t i = 0;
  for (; i + kSumLanes <= n; i += kSumLanes)
    for (int v = 0; v < kSumVectors; ++v)
      sum[v] = F32::fma(F32::load(x + i + v * F32::lanes), F32::load(y + i + v * F32::lanes), sum[v]);
  alignas(64) float lanes[kSumLanes];
  for (int v = 0; v < kSumVectors; ++v) F32::store(lanes + v * F32::lanes, sum[v]);
  for (int lane = 0; i < n; ++i, ++lane) lanes[lane] = std::fma(x[i], y[i], lanes[lane]);
  return tree_sum(lanes);
}

float trial_loss_all(std::int64_t n, const float* v, const float* weight, const GridTrial& t) {
  const F32::Vector inverse = F32::broadcast(t.inverse_scale), scale = F32::broadcast(t.scale),
                    zero = F32::broadcast(t.zero), top = F32::broadcast(t.top), one = F32::broadcast(1.0f);
  F32::Vector sum[kSumVectors];
  for (auto& s : sum) s = F32::zero();
  const auto step = [&](const float* values, const float* weights, F32::Vector& total) {
    const F32::Vector value = F32::load(values);
    const F32::Vector code = F32::min(F32::max(F32::round(F32::fma(value, inverse, zero)), F32::zero()), top);
    const F32::Vector error = F32::sub(value, F32::mul(scale, F32::sub(code, zero)));
    const F32::Vector weighted = weights ? F32::mul(F32::load(weights), error) : F32::mul(one, error);
    total = F32::fma(weighted, error, total);
  };
  std::int64_t i = 0;
  for (; i + kSumLanes <= n; i += kSumLanes)
    for (int k = 0; k < kSumVectors; ++k)
      step(v + i + k * F32::lanes, weight ? weight + i + k * F32::lanes : nullptr, sum[k]);
  if (i < n) {  // the tail, padded with values of weight 0
    alignas(64) float values[kSumLanes] = {}, weights[kSumLanes] = {};
    for (std::int64_t k = 0; i + k < n; ++k) values[k] = v[i + k], weights[k] = weight ? weight[i + k] : 1.0f;
    for (int k = 0; k < kSumVectors; ++k) step(values + k * F32::lanes, weights + k * F32::lanes, sum[k]);
  }
  alignas(64) float lanes[kSumLanes];
  for (int k = 0; k < kSumVectors; ++k) F32::store(lanes + k * F32::lanes, sum[k]);
  return tree_sum(lanes);
}

std::int64_t nearest_all(std::int64_t n, std::int64_t width, const float* columns, const float* norms, const float* y,
                         float* least) {
  alignas(64) float scores[kMostEntries], lanes[F32::lanes];
  F32::Vector lowest = F32::load(norms);
  for (std::int64_t i = 0; i < n; i += F32::lanes) {
    F32::Vector score = F32::load(norms + i);
    for (std::int64_t j = 0; j < width; ++j)
      score = F32::fma(F32::broadcast(y[j]), F32::load(columns + j * n + i), score);
    F32::store(scores + i, score);
    lowest = i == 0 ? score : F32::min(lowest, score);
  }
  F32::store(lanes, lowest);
  float best = lanes[0];
  for (int lane = 1; lane < F32::lanes; ++lane) best = lanes[lane] < best ? lanes[lane] : best;
  const auto count = static_cast<std::int32_t>(n);
  std::int32_t at = count;
  for (std::int32_t k = 0; k < count; ++k) {
    const std::int32_t here = scores[k] == best ? k : count;
    at = here < at ? here : at;
  }
  *least = best;
  return at < count ? at : 0;  // not a number: any will do
}
