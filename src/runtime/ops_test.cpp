#include "runtime/ops.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

#include "base/rng.h"
#include "kernels/linear.h"
#include "tensor/buffer.h"
#include "tensor/half.h"

namespace sparing {
namespace {

/// Every table that this machine can run, portable first.
std::vector<const Ops*> tables() {
  std::vector<const Ops*> all{&portable_ops()};
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) all.push_back(&avx2_ops());
  if (__builtin_cpu_supports("avx512vnni") && __builtin_cpu_supports("avx512vl")) all.push_back(&avx512_ops());
#endif
  return all;
}

std::vector<float> noise(std::size_t n, std::uint64_t seed, float scale = 1.0f) {
  Rng rng(seed);
  std::vector<float> v(n);
  for (float& x : v) x = scale * static_cast<float>(rng.normal());
  return v;
}
bool same_bits(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

TEST(Ops, RmsNormMatchesDoubleAndEveryTableAgrees) {
  for (const std::int64_t span : {1, 7, 16, 64, 576, 1031}) {
    const auto n = static_cast<std::size_t>(span * 2);
    const auto x = noise(n, 1, 3.0f), w = noise(static_cast<std::size_t>(span), 2);
    std::vector<float> first;
    for (const Ops* ops : tables()) {
      std::vector<float> out(n);
      ops->rms_norm(x.data(), w.data(), out.data(), span * 2, span, 1e-5f);
      for (std::int64_t g = 0; g < 2; ++g) {
        double sum = 0;
        for (std::int64_t i = 0; i < span; ++i) sum += double(x[size_t(g * span + i)]) * x[size_t(g * span + i)];
        const double factor = 1 / std::sqrt(sum / double(span) + 1e-5);
        for (std::int64_t i = 0; i < span; ++i) {
          const double want = x[size_t(g * span + i)] * factor * w[size_t(i)];
          // Sum of squares of 4 x span / 64 terms deep, then four roundings.
          EXPECT_NEAR(out[size_t(g * span + i)], want, std::abs(want) * 6e-8 * (double(span) / 64 + 8));
        }
      }
      if (first.empty()) first = out;
      EXPECT_TRUE(same_bits(first, out)) << span;
    }
  }
}

TEST(Ops, SwigluAcrossTheWholeRange) {
  std::vector<float> gate = noise(101, 3, 20.0f), up = noise(101, 4);
  gate[0] = 0;
  gate[1] = -200;
  gate[2] = 200;
  gate[3] = -87.31f;
  gate[4] = 1e-30f;
  gate[5] = std::numeric_limits<float>::quiet_NaN();
  std::vector<float> first;
  for (const Ops* ops : tables()) {
    std::vector<float> out(gate.size());
    ops->swiglu(gate.data(), up.data(), out.data(), static_cast<std::int64_t>(gate.size()));
    for (std::size_t i = 0; i < gate.size(); ++i) {
      if (std::isnan(gate[i])) {
        EXPECT_TRUE(std::isnan(out[i]));
        continue;
      }
      const double want = double(gate[i]) / (1 + std::exp(-double(gate[i]))) * up[i];
      // e^x is held above e^88: there the true value is below 1e-35 of the gate.
      EXPECT_NEAR(out[i], want, std::abs(want) * 5e-7 + 1e-33) << gate[i];
    }
    out[5] = 0;
    if (first.empty()) first = out;
    EXPECT_TRUE(same_bits(first, out));
  }
}

TEST(Ops, RopeRotatesHalvesAndLeavesTheRest) {
  const std::int64_t heads = 3, head_dim = 22, dimension = 20;
  const auto x = noise(static_cast<std::size_t>(heads * head_dim), 5);
  std::vector<float> c(10), s(10);
  for (std::size_t i = 0; i < 10; ++i) {
    c[i] = std::cos(0.3f * static_cast<float>(i));
    s[i] = std::sin(0.3f * static_cast<float>(i));
  }
  std::vector<float> first;
  for (const Ops* ops : tables()) {
    std::vector<float> out(x.size());
    ops->rope(x.data(), out.data(), heads, head_dim, dimension, c.data(), s.data());
    for (std::size_t h = 0; h < 3; ++h) {
      const float* in = x.data() + h * 22;
      for (std::size_t i = 0; i < 10; ++i) {
        EXPECT_NEAR(out[h * 22 + i], double(in[i]) * c[i] - double(in[i + 10]) * s[i], 1e-6);
        EXPECT_NEAR(out[h * 22 + i + 10], double(in[i + 10]) * c[i] + double(in[i]) * s[i], 1e-6);
      }
      EXPECT_EQ(out[h * 22 + 20], in[20]);
      EXPECT_EQ(out[h * 22 + 21], in[21]);
    }
    std::vector<float> in_place = x;
    ops->rope(in_place.data(), in_place.data(), heads, head_dim, dimension, c.data(), s.data());
    EXPECT_TRUE(same_bits(in_place, out));
    if (first.empty()) first = out;
    EXPECT_TRUE(same_bits(first, out));
  }
}

struct AttentionCase {
  std::int64_t tokens, head_dim;
  std::int32_t group, window;
  KvType type;
};

class Attention : public ::testing::TestWithParam<AttentionCase> {
 protected:
  void SetUp() override {
    const AttentionCase& p = GetParam();
    q = noise(static_cast<std::size_t>(p.tokens * p.group * p.head_dim), 6, 2.0f);
    k = noise(static_cast<std::size_t>(p.tokens * p.head_dim), 7, 1.0f);
    v = noise(static_cast<std::size_t>(p.tokens * p.head_dim), 8, 1.0f);
    const auto stride = (p.head_dim + 15) / 16 * 16, positions = (p.tokens + 63) / 64 * 64;
    keys = Buffer(static_cast<std::size_t>(positions * p.head_dim * 4));
    values = Buffer(static_cast<std::size_t>(positions * stride * 4));
    recent = Buffer(static_cast<std::size_t>(kKeyBlock * p.head_dim * 2));
    head = {.type = p.type, .keys = keys.data(), .values = values.data(), .recent = recent.as<std::uint16_t>().data()};
  }
  /// Numbers as the type keeps them: the codes times a step, one for each head_dim of them.
  struct Kept {
    std::vector<double> codes, steps;
    std::size_t width;
    double operator[](std::size_t i) const { return codes[i] * steps[i / width]; }
  };
  Kept kept(const std::vector<float>& x, int most, float factor = 1.0f) const {
    const KvType type = GetParam().type;
    Kept out{.codes = {}, .steps = {}, .width = static_cast<std::size_t>(GetParam().head_dim)};
    const auto scaled = [&](std::size_t i) { return x[i] * factor; };
    for (std::size_t row = 0; row < x.size(); row += out.width) {
      float top = 0;
      for (std::size_t i = row; i < row + out.width; ++i) top = std::max(top, std::abs(scaled(i)));
      const float inverse = static_cast<float>(most) / top;
      out.steps.push_back(type == KvType::int16 ? top / static_cast<float>(most) : 1.0);
      for (std::size_t i = row; i < row + out.width; ++i) {
        out.codes.push_back(type == KvType::int16 ? std::nearbyint(double(scaled(i)) * inverse)
                            : type == KvType::f16 ? f16_to_f32(f32_to_f16(x[i]))
                                                  : scaled(i));
      }
    }
    return out;
  }

  /// All tokens in tiles of `tile`, keys stored `ahead` tokens before they are needed.
  std::vector<float> run(const Ops& ops, std::int64_t tile) {
    const AttentionCase& p = GetParam();
    std::memset(keys.data(), 0, keys.size());
    std::memset(values.data(), 0, values.size());
    const std::int64_t width = p.group * p.head_dim;
    Buffer scratch(static_cast<std::size_t>(attention_scratch(tile * p.group, p.head_dim)) * sizeof(float));
    std::vector<float> out(q.size());
    for (std::int64_t t = 0; t < p.tokens; t += tile) {
      const std::int64_t n = std::min(tile, p.tokens - t);
      for (std::int64_t i = t; i < t + n; ++i) {
        ops.store_kv(head, k.data() + i * p.head_dim, v.data() + i * p.head_dim, i, p.head_dim);
      }
      ops.attend({.q = q.data() + t * width,
                  .out = out.data() + t * width,
                  .q_stride = width,
                  .out_stride = width,
                  .position = t,
                  .tokens = static_cast<std::int32_t>(n),
                  .group = p.group,
                  .head_dim = static_cast<std::int32_t>(p.head_dim),
                  .window = p.window,
                  .scale = 1.0f / std::sqrt(static_cast<float>(p.head_dim)),
                  .kv = head,
                  .scratch = scratch.as<float>().data()});
    }
    return out;
  }

  std::vector<float> q, k, v;
  Buffer keys, values, recent;
  KvHead head{};
};

TEST_P(Attention, MatchesDouble) {
  const AttentionCase& p = GetParam();
  const auto out = run(*tables().back(), 5);
  const bool ints = p.type == KvType::int16;
  const float scale = 1.0f / std::sqrt(static_cast<float>(p.head_dim));
  const int most = p.head_dim == 256 ? 2896 : 4095;  // whose square times head_dim stays below 2^31
  const Kept keys_kept = kept(k, most), values_kept = kept(v, 4095), queries = kept(q, most, scale);
  for (std::int64_t t = 0; t < p.tokens; t += 3) {
    for (std::int32_t h = 0; h < p.group; ++h) {
      const std::int64_t from = p.window > 0 ? std::max<std::int64_t>(0, t - p.window + 1) : 0;
      std::vector<double> weight;
      double top = -1e300, total = 0;
      const auto query = size_t((t * p.group + h) * p.head_dim);
      for (std::int64_t j = from; j <= t; ++j) {
        double s = 0;
        for (std::int64_t d = 0; d < p.head_dim; ++d) {
          s += (ints ? queries[query + size_t(d)] : double(q[query + size_t(d)]) * scale) *
               keys_kept[size_t(j * p.head_dim + d)];
        }
        weight.push_back(s);
        top = std::max(top, weight.back());
      }
      for (double& w : weight) total += w = std::exp(w - top);
      // Integer weights are half a step off, which is 1/8191 of the block's largest: as much for each code they meet.
      const auto rounding = [&](std::int64_t d) {
        double sum = 0;
        for (std::int64_t block = from / 64; ints && block <= t / 64; ++block) {
          double codes = 0, largest = 0;
          for (std::int64_t j = std::max(from, block * 64); j <= std::min(t, block * 64 + 63); ++j) {
            codes += std::abs(values_kept.codes[size_t(j * p.head_dim + d)]);
            largest = std::max(largest, weight[size_t(j - from)] * values_kept.steps[size_t(j)]);
          }
          sum += 0.5 * largest / 8191 * codes;
        }
        return sum / total;
      };
      for (std::int64_t d = 0; d < p.head_dim; ++d) {
        double want = 0;
        for (std::int64_t j = from; j <= t; ++j) {
          want += weight[size_t(j - from)] / total * values_kept[size_t(j * p.head_dim + d)];
        }
        // A score near 10 carries 1e-6 of error into its weight.
        EXPECT_NEAR(out[size_t((t * p.group + h) * p.head_dim + d)], want, 2e-5 + rounding(d));
      }
    }
  }
}

TEST_P(Attention, SomethingInfiniteIsNotLost) {
  const AttentionCase& p = GetParam();
  for (const float bad : {std::numeric_limits<float>::infinity(), std::numeric_limits<float>::quiet_NaN()}) {
    if (std::isinf(bad) && p.type != KvType::int16) continue;  // a float score of -inf only weighs nothing
    for (std::vector<float>* which : {&k, &v}) {
      SetUp();
      which->at(which->size() - 1) = bad;
      for (const Ops* ops : tables()) EXPECT_FALSE(std::isfinite(run(*ops, 16).back())) << p.head_dim;
    }
  }
}

TEST_P(Attention, BitsDependNeitherOnTilesNorOnTheInstructionSet) {
  const auto alone = run(portable_ops(), 1);
  for (const Ops* ops : tables()) {
    for (const std::int64_t tile : {1, 2, 16, 33}) EXPECT_TRUE(same_bits(alone, run(*ops, tile))) << tile;
  }
}

INSTANTIATE_TEST_SUITE_P(
    Shapes, Attention,
    ::testing::Values(AttentionCase{1, 8, 1, 0, KvType::f32}, AttentionCase{150, 64, 3, 0, KvType::f16},
                      AttentionCase{150, 64, 1, 0, KvType::f32}, AttentionCase{200, 20, 2, 70, KvType::f16},
                      AttentionCase{130, 128, 4, 1, KvType::f32}, AttentionCase{70, 80, 7, 64, KvType::f32},
                      AttentionCase{150, 64, 3, 0, KvType::int16}, AttentionCase{200, 20, 2, 70, KvType::int16},
                      AttentionCase{130, 128, 4, 1, KvType::int16}, AttentionCase{90, 7, 1, 0, KvType::int16},
                      AttentionCase{80, 256, 2, 0, KvType::int16}));

struct CodedCase {
  std::int64_t head_dim;
  KvType type;
};
class Coded : public ::testing::TestWithParam<CodedCase> {};

TEST_P(Coded, KeysAndValuesComeBackWithinHalfAStep) {
  const auto [head_dim, type] = GetParam();
  const auto n = static_cast<std::size_t>(head_dim);
  const float top = type == KvType::int8 ? 255.0f : 15.0f;
  auto keys = noise(64 * n, 11), values = noise(65 * n, 12);
  for (std::size_t t = 0; t < 64; ++t) keys[t * n] = 0.5f;         // a constant channel
  for (std::size_t t = 0; t < 64; ++t) keys[t * n + 1] *= 100.0f;  // an outlier channel
  std::vector<std::byte> first_keys, first_values;
  for (const Ops* ops : tables()) {
    Buffer k(2 * key_block_bytes(type, head_dim)), v(2 * value_block_bytes(type, head_dim)), recent(64 * n * 2);
    const KvHead kv{.type = type, .keys = k.data(), .values = v.data(), .recent = recent.as<std::uint16_t>().data()};
    for (std::size_t t = 0; t < 64; ++t) {
      ops->store_kv(kv, &keys[t * n], &values[t * n], static_cast<std::int64_t>(t), head_dim);
    }
    ops->code_keys(kv, 0, head_dim);
    std::vector<std::byte> kept_keys(k.data(), k.data() + k.size()), kept_values(v.data(), v.data() + v.size());
    if (first_keys.empty()) {
      first_keys = kept_keys;
      first_values = kept_values;
    }
    EXPECT_EQ(first_keys, kept_keys);
    EXPECT_EQ(first_values, kept_values);

    // With a zero query every position weighs the same: the output is the mean of the values as kept.
    Buffer scratch(static_cast<std::size_t>(attention_scratch(1, head_dim)) * sizeof(float));
    std::vector<float> query(n, 0.0f), out(n);
    ops->store_kv(kv, &keys[0], &values[64 * n], 64, head_dim);
    AttentionTile tile{.q = query.data(),
                       .out = out.data(),
                       .q_stride = head_dim,
                       .out_stride = head_dim,
                       .position = 64,
                       .tokens = 1,
                       .group = 1,
                       .head_dim = static_cast<std::int32_t>(head_dim),
                       .window = 0,
                       .scale = 1.0f,
                       .kv = kv,
                       .scratch = scratch.as<float>().data()};
    ops->attend(tile);
    double worst_step = 0;
    for (std::size_t t = 0; t < 65; ++t) {
      const auto [low, high] = std::minmax_element(&values[t * n], &values[t * n] + n);
      worst_step = std::max<double>(worst_step, (*high - *low) / top);
    }
    for (std::size_t d = 0; d < n; ++d) {
      double mean = 0;
      for (std::size_t t = 0; t < 65; ++t) mean += values[t * n + d] / 65.0;
      EXPECT_NEAR(out[d], mean, 0.51 * worst_step + 2e-3);  // f16 of scale and minimum
    }
    // A query along the outlier channel weighs by that channel's coded keys.
    query.assign(n, 0.0f);
    query[1] = 0.01f;
    ops->attend(tile);
    double low = 1e9, high = -1e9;
    for (std::size_t t = 0; t < 64; ++t) {
      low = std::min<double>(low, keys[t * n + 1]);
      high = std::max<double>(high, keys[t * n + 1]);
    }
    const double slack = std::exp(2 * 0.01 * 0.51 * (high - low) / top) - 1;
    for (std::size_t d = 0; d < n; ++d) {
      double total = std::exp(0.01 * keys[1]), want = total * values[64 * n + d], absolute = total * 4;
      for (std::size_t t = 0; t < 64; ++t) {
        const double w = std::exp(0.01 * keys[t * n + 1]);
        total += w;
        want += w * values[t * n + d];
        absolute += w * std::abs(values[t * n + d]);
      }
      EXPECT_NEAR(out[d], want / total, slack * absolute / total + 0.51 * worst_step + 4e-3);
    }
  }
}
INSTANTIATE_TEST_SUITE_P(Shapes, Coded,
                         ::testing::Values(CodedCase{64, KvType::int8}, CodedCase{64, KvType::int4},
                                           CodedCase{20, KvType::int4}, CodedCase{8, KvType::int8}));

}  // namespace
}  // namespace sparing
