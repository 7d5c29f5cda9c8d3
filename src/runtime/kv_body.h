// The KV cache's own formats over simd.h; included by one unit per instruction set. Layouts: KvHead in ops.h.
#pragma once
#include "runtime/kv_int16_body.h"
#include "runtime/ops.h"
#include "runtime/simd.h"

namespace sparing {
namespace {

constexpr std::int64_t kPanels = kKeyBlock / kKeyPanel;

/// Bytes of a run of 16 codes.
inline std::int64_t code_run(KvType type) {
  return type == KvType::int8 ? 16 : 8;
}
inline Vec load_code(KvType type, const std::uint8_t* p) {
  return type == KvType::int8 ? load_code8(p) : load_code4(p);
}
inline void store_code(KvType type, std::uint8_t* p, Vec t) {
  if (type == KvType::int8) {
    store_code8(p, t);
  } else {
    store_code4(p, t);
  }
}

/// The f16 scale and minimum that spread [low, high] over the codes.
struct CodeRange {
  float scale, minimum, inverse, top;
  CodeRange(KvType type, float low, float high, std::uint16_t* scale_out, std::uint16_t* minimum_out) {
    top = type == KvType::int8 ? 255.0f : 15.0f;
    minimum = rounded_half(low, minimum_out);
    scale = rounded_half((high - minimum) / top, scale_out);
    inverse = scale > 0.0f ? 1.0f / scale : 0.0f;
  }
  /// Codes as 1.5 * 2^23 + n.
  Vec code(Vec x) const {
    const Vec n = (x - splat(minimum)) * splat(inverse);
    return max(splat(0.0f), min(splat(top), n)) + splat(kRound);
  }
};

inline std::int64_t value_bytes(KvType type, std::int64_t stride) {
  return stride / kLanes * code_run(type) + 4;
}
inline std::int64_t coded_block_bytes(KvType type, std::int64_t head_dim) {
  return 4 * head_dim + kPanels * head_dim * code_run(type);
}

/// The first `panels` panels of a block of keys to [head_dim][64] floats. `own`: the block that kv.recent holds.
inline void load_keys(const KvHead& kv, std::int64_t block, std::int64_t panels, std::int64_t head_dim, bool own,
                      float* out) {
  const auto each = [&](auto&& lane16) {
    for (std::int64_t p = 0; p < panels; ++p) {
      for (std::int64_t d = 0; d < head_dim; ++d)
        store(out + d * kKeyBlock + p * kKeyPanel, lane16(p * head_dim + d, d));
    }
  };
  const std::int64_t start = block * kPanels * head_dim;
  if (kv.type == KvType::f32) {
    const auto* in = reinterpret_cast<const float*>(kv.keys) + start * kKeyPanel;
    each([&](std::int64_t run, std::int64_t) { return load(in + run * kKeyPanel); });
  } else if (kv.type == KvType::f16 || own) {
    const auto* in =
        kv.type == KvType::f16 ? reinterpret_cast<const std::uint16_t*>(kv.keys) + start * kKeyPanel : kv.recent;
    each([&](std::int64_t run, std::int64_t) { return load_half(in + run * kKeyPanel); });
  } else {
    const auto* base = reinterpret_cast<const std::uint8_t*>(kv.keys) + block * coded_block_bytes(kv.type, head_dim);
    const auto* scales = reinterpret_cast<const std::uint16_t*>(base);
    const auto* codes = base + 4 * head_dim;
    for (std::int64_t d = 0; d < head_dim; ++d) {
      const Vec scale = splat(half_at(scales + d)), minimum = splat(half_at(scales + head_dim + d));
      const std::uint8_t* run = codes + d * code_run(kv.type);
      float* to = out + d * kKeyBlock;
      for (std::int64_t p = 0; p < panels; ++p, run += head_dim * code_run(kv.type), to += kKeyPanel) {
        store(to, fma(scale, load_code(kv.type, run), minimum));
      }
    }
  }
}

/// Values of `positions` positions from `first` to [positions][stride] floats.
inline void load_values(const KvHead& kv, std::int64_t first, std::int64_t positions, std::int64_t stride, float* out) {
  const std::int64_t start = first * stride, n = positions * stride;
  if (kv.type == KvType::f16) {
    const auto* in = reinterpret_cast<const std::uint16_t*>(kv.values) + start;
    for (std::int64_t i = 0; i < n; i += kLanes) store(out + i, load_half(in + i));
  } else if (kv.type == KvType::f32) {
    const auto* in = reinterpret_cast<const float*>(kv.values) + start;
    for (std::int64_t i = 0; i < n; i += kLanes) store(out + i, load(in + i));
  } else {
    const std::int64_t bytes = value_bytes(kv.type, stride);
    const auto* in = reinterpret_cast<const std::uint8_t*>(kv.values) + first * bytes;
    for (std::int64_t t = 0; t < positions; ++t, in += bytes, out += stride) {
      const auto* scale = reinterpret_cast<const std::uint16_t*>(in + bytes - 4);
      const Vec s = splat(half_at(scale)), m = splat(half_at(scale + 1));
      for (std::int64_t i = 0; i < stride; i += kLanes) {
        store(out + i, fma(s, load_code(kv.type, in + i / kLanes * code_run(kv.type)), m));
      }
    }
  }
}

inline void code_value(const KvHead& kv, const float* value, std::int64_t position, std::int64_t head_dim) {
  const std::int64_t stride = padded(head_dim), bytes = value_bytes(kv.type, stride);
  auto* out = reinterpret_cast<std::uint8_t*>(kv.values) + position * bytes;
  float low = value[0], high = value[0];
  std::int64_t i = 0;
  for (; i + kLanes <= head_dim; i += kLanes) {
    const Vec v = load(value + i);
    low = low < min_of(v) ? low : min_of(v);
    high = high > max_of(v) ? high : max_of(v);
  }
  for (; i < head_dim; ++i) {
    low = low < value[i] ? low : value[i];
    high = high > value[i] ? high : value[i];
  }
  auto* scale = reinterpret_cast<std::uint16_t*>(out + bytes - 4);
  const CodeRange range(kv.type, low, high, scale, scale + 1);
  for (i = 0; i < stride; i += kLanes) {
    const std::int64_t n = head_dim - i < kLanes ? head_dim - i : kLanes;
    store_code(kv.type, out + i / kLanes * code_run(kv.type), range.code(load(value + i, n)));
  }
}

void store_kv(const KvHead& kv, const float* key, const float* value, std::int64_t position, std::int64_t head_dim) {
  if (kv.type == KvType::int16) return store_ints(kv, key, value, position, head_dim);
  const std::int64_t stride = padded(head_dim), panel = position / kKeyPanel * head_dim * kKeyPanel;
  const std::int64_t lane = position % kKeyPanel;
  if (kv.type == KvType::f32) {
    auto* keys = reinterpret_cast<float*>(kv.keys) + panel + lane;
    for (std::int64_t i = 0; i < head_dim; ++i) keys[i * kKeyPanel] = key[i];
    for (std::int64_t i = 0; i < stride; i += kLanes) {
      const std::int64_t n = head_dim - i < kLanes ? head_dim - i : kLanes;
      store(reinterpret_cast<float*>(kv.values) + position * stride + i, load(value + i, n));
    }
    return;
  }
  const bool coded = is_coded(kv.type);
  auto* keys = (coded ? kv.recent + position % kKeyBlock / kKeyPanel * head_dim * kKeyPanel
                      : reinterpret_cast<std::uint16_t*>(kv.keys) + panel) +
               lane;
  for (std::int64_t i = 0; i < stride; i += kLanes) {
    const std::int64_t n = head_dim - i < kLanes ? head_dim - i : kLanes;
    alignas(64) std::uint16_t half[kLanes];
    store_half(half, load(key + i, n));
    for (std::int64_t j = 0; j < n; ++j) keys[(i + j) * kKeyPanel] = half[j];
    if (!coded) store_half(reinterpret_cast<std::uint16_t*>(kv.values) + position * stride + i, load(value + i, n));
  }
  if (coded) code_value(kv, value, position, head_dim);
}

void code_keys(const KvHead& kv, std::int64_t block, std::int64_t head_dim) {
  auto* base = reinterpret_cast<std::uint8_t*>(kv.keys) + block * coded_block_bytes(kv.type, head_dim);
  auto* scales = reinterpret_cast<std::uint16_t*>(base);
  auto* codes = base + 4 * head_dim;
  for (std::int64_t d = 0; d < head_dim; ++d) {
    Vec key[kPanels];
    for (std::int64_t p = 0; p < kPanels; ++p) key[p] = load_half(kv.recent + (p * head_dim + d) * kKeyPanel);
    const Vec low = min(min(key[0], key[1]), min(key[2], key[3])), high = max(max(key[0], key[1]), max(key[2], key[3]));
    const CodeRange range(kv.type, min_of(low), max_of(high), scales + d, scales + head_dim + d);
    for (std::int64_t p = 0; p < kPanels; ++p) {
      store_code(kv.type, codes + (p * head_dim + d) * code_run(kv.type), range.code(key[p]));
    }
  }
}

}  // namespace
}  // namespace sparing
