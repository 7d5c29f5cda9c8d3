#pragma once
// For the avx512_*.cpp files alone: everything here has internal linkage.

#include <immintrin.h>

#include "kernels/kernel_set.h"
#include "kernels/unroll.h"
#include "kernels/x86_row_codes.h"

namespace sparing::kernels {
namespace {

using Floats = __m512;
using Ints = __m512i;

inline Ints load_bytes(const void* p) {
  return _mm512_loadu_si512(p);
}
inline Floats broadcast(const float* p) {
  return _mm512_set1_ps(*p);
}
inline Ints broadcast_quad(const void* p) {
  std::int32_t quad;
  __builtin_memcpy(&quad, p, 4);
  return _mm512_set1_epi32(quad);
}

/// ORs one plane of 8 quads into w: bits [LOW, LOW + WIDTH) of every code.
template <int WIDTH, int LOW>
inline void add_plane(const std::byte* from, Ints (&w)[8]) {
  constexpr int kPerChunk = 8 / WIDTH;
  const Ints mask = _mm512_set1_epi8(static_cast<char>(((1 << WIDTH) - 1) << LOW));
  SPARING_UNROLL
  for (int j = 0; j < WIDTH; ++j) {
    const Ints chunk = load_bytes(from + 64 * j);
    SPARING_UNROLL
    for (int k = 0; k < kPerChunk; ++k) {
      const int shift = k * WIDTH - LOW;
      const Ints moved = shift > 0   ? _mm512_srli_epi16(chunk, static_cast<unsigned>(shift))
                         : shift < 0 ? _mm512_slli_epi16(chunk, static_cast<unsigned>(-shift))
                                     : chunk;
      Ints& to = w[j * kPerChunk + k];
      // to | (moved & mask)
      to = LOW == 0 ? _mm512_and_si512(moved, mask) : _mm512_ternarylogic_epi32(to, moved, mask, 0xF8);
    }
  }
}

/// A panel x block as 8 registers of 16 rows x 4 inputs, one code a byte.
template <int BITS>
inline void unpack_block(const std::byte* block, Ints (&w)[8]) {
  if constexpr (BITS == 8) {
    SPARING_UNROLL
    for (int q = 0; q < 8; ++q) w[q] = load_bytes(block + 64 * q);
  } else {
    if constexpr (BITS >= 4) {
      add_plane<4, 0>(block, w);
      if constexpr ((BITS & 2) != 0) add_plane<2, 4>(block + 256, w);
      if constexpr ((BITS & 1) != 0) add_plane<1, BITS - 1>(block + 64 * (BITS - 1), w);
    } else {
      add_plane<2, 0>(block, w);
      if constexpr (BITS == 3) add_plane<1, 2>(block + 128, w);
    }
  }
}

struct Add {
  Ints operator()(Ints a, Ints b) const { return _mm512_add_epi32(a, b); }
};
struct Max {
  Ints operator()(Ints a, Ints b) const { return _mm512_max_epi32(a, b); }
};
/// Lane i: f over the 16 integers of v[i].
template <class F>
inline __m128i reduce_four(const Ints (&v)[4], F f) {
  const Ints ab = f(_mm512_unpacklo_epi32(v[0], v[1]), _mm512_unpackhi_epi32(v[0], v[1]));
  const Ints cd = f(_mm512_unpacklo_epi32(v[2], v[3]), _mm512_unpackhi_epi32(v[2], v[3]));
  Ints all = f(_mm512_unpacklo_epi64(ab, cd), _mm512_unpackhi_epi64(ab, cd));
  all = f(all, _mm512_shuffle_i64x2(all, all, 0x4E));
  all = f(all, _mm512_shuffle_i64x2(all, all, 0xB1));
  return _mm512_castsi512_si128(all);
}

inline __m512i table_register(const std::uint8_t* table, int bits) {
  std::uint8_t padded[16] = {};
  for (int i = 0; i < (1 << bits); ++i) padded[i] = table[i];
  return _mm512_broadcast_i32x4(_mm_loadu_si128(reinterpret_cast<const __m128i*>(padded)));
}

inline Floats load_halves(const std::byte* p) {
  return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
}

/// Scales of a panel's groups and what goes with them, as floats.
struct Groups {
  float* scale;       ///< [group][16]
  float* second;      ///< zeros or minima, [group][16]; one row of the constant zero if step is 0
  std::int64_t step;  ///< floats from one group's second to the next
};

/// What a stream through a weight's panels asks memory for beforehand, a little a block.
class Ahead {
 public:
  Ahead(const IntWeight& w, std::int64_t panel) {
    const IntGroupLayout& l = w.layout;
    const std::int64_t next = panel + 1 < l.panels ? panel + 1 : panel;
    const std::int64_t scale_bytes = l.groups * l.scale_group_bytes, zero_bytes = l.groups * l.zero_group_bytes;
    scales_ = w.blob + l.scales + next * scale_bytes;
    zeros_ = w.blob + l.zeros + next * zero_bytes;
    scale_step_ = (scale_bytes + l.blocks - 1) / l.blocks;
    zero_step_ = (zero_bytes + l.blocks - 1) / l.blocks;
  }
  /// One token's codes go into the second-level cache and from there, soon, into the first: asked for straight into the
  /// first, each line would hold one of that cache's few places for a miss as long as memory takes. The next panel's
  /// scales and zeros all at once would fill those places too. Several tokens are bound by their loads instead: each
  /// line is asked for once.
  template <int BITS, int TOKENS>
  inline void ask(const std::byte* codes, std::int64_t block) const {
    SPARING_UNROLL
    for (int i = 0; i < BITS; ++i) {
      if constexpr (TOKENS == 1) {
        _mm_prefetch(reinterpret_cast<const char*>(codes + kFar + 64 * i), _MM_HINT_T1);
        _mm_prefetch(reinterpret_cast<const char*>(codes + kNear + 64 * i), _MM_HINT_T0);
      } else {
        _mm_prefetch(reinterpret_cast<const char*>(codes + kFar + 64 * i), _MM_HINT_T0);
      }
    }
    _mm_prefetch(reinterpret_cast<const char*>(scales_ + block * scale_step_), _MM_HINT_T0);
    if (zero_step_ != 0) _mm_prefetch(reinterpret_cast<const char*>(zeros_ + block * zero_step_), _MM_HINT_T0);
  }

 private:
  static constexpr std::int64_t kFar = 8192, kNear = 1024;  ///< bytes of codes
  const std::byte *scales_, *zeros_;
  std::int64_t scale_step_, zero_step_;  ///< bytes a block
};

inline void decode_groups(const IntWeight& w, std::int64_t panel, const Groups& to) {
  const IntGroupLayout& l = w.layout;
  const GroupSpec& spec = w.spec.groups;
  const std::byte* scales = w.blob + l.scales + panel * l.groups * l.scale_group_bytes;
  const Floats unit = _mm512_set1_ps(w.table_unit);
  if (spec.scale == ScaleKind::f16) {
    for (std::int64_t g = 0; g < l.groups; ++g)
      _mm512_storeu_ps(to.scale + 16 * g, _mm512_mul_ps(load_halves(scales + 32 * g), unit));
  } else {
    const std::byte* supers = w.blob + l.scale_supers + panel * l.supers * 32;
    const Ints offset = _mm512_set1_epi32(spec.scale_offset);
    for (std::int64_t g = 0, s = 0; g < l.groups; ++s) {
      const Floats d = load_halves(supers + 32 * s);
      const std::int64_t stop = g + spec.super < l.groups ? g + spec.super : l.groups;
      for (; g < stop; ++g) {
        const Ints code = _mm512_cvtepu8_epi32(row_codes(scales + g * l.scale_group_bytes, spec.scale_bits));
        const Floats scale = _mm512_mul_ps(d, _mm512_cvtepi32_ps(_mm512_sub_epi32(code, offset)));
        _mm512_storeu_ps(to.scale + 16 * g, _mm512_mul_ps(scale, unit));
      }
    }
  }
  const std::byte* zeros = w.blob + l.zeros + panel * l.groups * l.zero_group_bytes;
  if (w.spec.zero == ZeroKind::f16_min) {
    for (std::int64_t g = 0; g < l.groups; ++g) _mm512_storeu_ps(to.second + 16 * g, load_halves(zeros + 32 * g));
  } else if (w.spec.zero == ZeroKind::integer) {
    for (std::int64_t g = 0; g < l.groups; ++g) {
      const Ints code = _mm512_cvtepu8_epi32(row_codes(zeros + g * l.zero_group_bytes, w.spec.zero_bits));
      _mm512_storeu_ps(to.second + 16 * g, _mm512_cvtepi32_ps(code));
    }
  } else if (w.spec.zero == ZeroKind::coded_min) {
    const std::byte* supers = w.blob + l.zero_supers + panel * l.supers * 32;
    for (std::int64_t g = 0, s = 0; g < l.groups; ++s) {
      const Floats d = load_halves(supers + 32 * s);
      const std::int64_t stop = g + spec.super < l.groups ? g + spec.super : l.groups;
      for (; g < stop; ++g) {
        const Ints code = _mm512_cvtepu8_epi32(row_codes(zeros + g * l.zero_group_bytes, w.spec.zero_bits));
        const Floats m = _mm512_mul_ps(d, _mm512_cvtepi32_ps(code));
        _mm512_storeu_ps(to.second + 16 * g, _mm512_xor_ps(m, _mm512_set1_ps(-0.0f)));
      }
    }
  }
}

/// Room for `panels` panels of groups at `scratch`; advances it.
inline Groups take_groups(const IntWeight& w, std::byte*& scratch) {
  Groups g{};
  g.scale = reinterpret_cast<float*>(scratch);
  scratch += w.layout.groups * 64;
  g.second = reinterpret_cast<float*>(scratch);
  if (w.spec.zero == ZeroKind::constant) {
    _mm512_storeu_ps(g.second, _mm512_set1_ps(w.table != nullptr ? 128.0f : static_cast<float>(w.spec.zero_offset)));
    scratch += 64;
  } else {
    g.step = 16;
    scratch += w.layout.groups * 64;
  }
  return g;
}

inline bool has_minima(const IntWeight& w) {
  return w.spec.zero == ZeroKind::f16_min || w.spec.zero == ZeroKind::coded_min;
}

/// The end of a group in int8 products (q8.h), for 16 rows of one token. `second`: zeros or minima.
template <bool MINIMA>
inline Floats add_group(Floats acc, Floats part, Floats total, Floats scale, Floats second) {
  if constexpr (!MINIMA) part = _mm512_fnmadd_ps(second, total, part);
  acc = _mm512_fmadd_ps(part, scale, acc);
  if constexpr (MINIMA) acc = _mm512_fmadd_ps(second, total, acc);
  return acc;
}

/// Adds an earlier term and the bias, and writes up to 16 rows of one token.
inline void store_rows(const Output& out, std::int64_t token, std::int64_t row, __mmask16 rows, Floats v) {
  float* y = out.y + token * out.stride + row;
  if (out.add) v = _mm512_add_ps(_mm512_maskz_loadu_ps(rows, y), v);
  if (out.bias != nullptr) v = _mm512_add_ps(v, _mm512_maskz_loadu_ps(rows, out.bias + row));
  _mm512_mask_storeu_ps(y, rows, v);
}

/// Tokens, a multiple of 16, whose activations of so many bytes for 16 tokens stay in the second-level cache while the
/// panels pass by.
inline std::int64_t tokens_in_cache(std::int64_t tile_bytes) {
  const std::int64_t tiles = (1 << 20) / tile_bytes;
  return (tiles < 1 ? 1 : tiles) * kTileTokens;
}

inline __mmask16 rows_left(std::int64_t rows, std::int64_t row) {
  return rows - row >= 16 ? static_cast<__mmask16>(0xFFFF) : static_cast<__mmask16>((1u << (rows - row)) - 1u);
}

}  // namespace
}  // namespace sparing::kernels
