// Int16 activations (q16.h): their high and low bytes are two int8 products, joined in integers once a segment.

#include "kernels/avx2.h"
#include "kernels/avx2_common.h"
#include "kernels/reference.h"

namespace sparing::kernels::avx2 {
namespace {

struct Panel {
  const std::byte* codes;
  Groups groups;
};

/// Exact sums of a segment for 8 rows of one token.
struct Sums {
  __m256i high = _mm256_setzero_si256(), low = _mm256_setzero_si256();
  std::int32_t x = 0;
};

template <bool MINIMA>
inline __m256 finish(__m256 acc, const Sums& sums, const float* scale, const float* second) {
  __m256i dot = _mm256_add_epi32(_mm256_slli_epi32(sums.high, 8), sums.low);
  const __m256 other = _mm256_loadu_ps(second);
  if constexpr (!MINIMA)
    dot = _mm256_sub_epi32(dot, _mm256_mullo_epi32(_mm256_cvtps_epi32(other), _mm256_set1_epi32(sums.x)));
  acc = _mm256_fmadd_ps(_mm256_cvtepi32_ps(dot), _mm256_loadu_ps(scale), acc);
  if constexpr (MINIMA) acc = _mm256_fmadd_ps(other, _mm256_set1_ps(static_cast<float>(sums.x)), acc);
  return acc;
}

/// Quads [first, last) of a block of 32 inputs.
template <int QUADS>
inline void add_block(Sums& sums, const std::byte* codes, const Q16Block& x, int offset, int token, int first,
                      int last) {
  sums.high = _mm256_add_epi32(sums.high, dot<QUADS>(codes, x.high[token] + offset, first, last));
  sums.low = _mm256_add_epi32(sums.low, dot<QUADS>(codes, x.low[token] + offset, first, last));
  if (first % 4 == 0 && last % 4 == 0) {
    for (int i = first / 4; i < last / 4; ++i) sums.x += x.sum[offset / 16 + i][token];
  } else {
    for (int i = offset + 4 * first; i < offset + 4 * last; ++i) sums.x += 256 * x.high[token][i] + x.low[token][i];
  }
}

/// 8 rows of one token, before the token's scale.
template <int QUADS, bool MINIMA>
inline __m256 rows_of(const IntWeight& w, const Panel& panel, const Q16Block* x, int token, int half) {
  const float *scale = panel.groups.scale + 8 * half, *second = panel.groups.second + 8 * half;
  const std::int64_t step = panel.groups.step;
  __m256 acc = _mm256_setzero_ps();
  std::int64_t group = 0;
  std::int32_t in_group = 0, in_piece = 0;
  Sums sums;
  for (std::int64_t b = 0; b < w.layout.blocks; ++b) {
    const std::byte* codes = panel.codes + 512 * b + 32 * half;
    const Q16Block& xb = x[b / 2];
    const int offset = 32 * static_cast<int>(b % 2);
    if (w.segments == SegmentKind::whole) {
      add_block<QUADS>(sums, codes, xb, offset, token, 0, 8);
      const bool group_ends = ++in_group == w.blocks_per_group || b + 1 == w.layout.blocks;
      if (group_ends || ++in_piece == kWideBlocksPerPiece) {
        acc = finish<MINIMA>(acc, sums, scale + 16 * group, second + step * group);
        sums = {};
        in_piece = 0;
      }
      if (group_ends) {
        ++group;
        in_group = 0;
      }
    } else if (w.segments == SegmentKind::half) {
      for (int s = 0; s < 2; ++s, ++group) {
        add_block<QUADS>(sums, codes, xb, offset, token, 4 * s, 4 * s + 4);
        acc = finish<MINIMA>(acc, sums, scale + 16 * group, second + step * group);
        sums = {};
      }
    } else {
      for (std::int32_t i = w.segment_starts[b]; i < w.segment_starts[b + 1]; ++i) {
        const Segment& s = w.segment_list[i];
        add_block<QUADS>(sums, codes, xb, offset, token, s.first, s.last);
        acc = finish<MINIMA>(acc, sums, scale + 16 * s.group, second + step * s.group);
        sums = {};
      }
    }
  }
  return acc;
}

template <int QUADS, bool MINIMA>
void panels(const IntWeight& w, const Q16Block* x, std::int64_t tokens, const Output& out, std::int64_t begin,
            std::int64_t end, std::byte* scratch) {
  const std::int64_t blocks = (w.cols + kWideInputs - 1) / kWideInputs;
  std::byte* codes = scratch;
  scratch += w.layout.blocks * 512;
  const Panel panel{codes, take_groups(w, scratch)};
  for (std::int64_t p = begin; p < end; ++p) {
    unpack_panel(w, p, codes);
    decode_groups(w, p, panel.groups);
    for (std::int64_t t = 0; t < tokens; ++t) {
      const Q16Block* xt = x + t / kTileTokens * blocks;
      const int lane = static_cast<int>(t % kTileTokens);
      const __m256 scale = _mm256_set1_ps(xt[0].scale[lane]);
      for (int half = 0; half < 2 && p * 16 + 8 * half < w.rows; ++half) {
        const std::int64_t first = p * 16 + 8 * half, count = w.rows - first < 8 ? w.rows - first : 8;
        float held[8];
        _mm256_storeu_ps(held, _mm256_mul_ps(rows_of<QUADS, MINIMA>(w, panel, xt, lane, half), scale));
        store_rows(out, t, first, count, held);
      }
    }
  }
}

}  // namespace

void wide_panels(const IntWeight& w, const Q16Block* x, std::int64_t tokens, const Output& out, std::int64_t begin,
                 std::int64_t end, std::byte* scratch) {
  if (w.segments == SegmentKind::ragged) return reference::wide_panels(w, x, tokens, out, begin, end, scratch);
  with_quads(w, [&]<int QUADS>() {
    has_minima(w) ? panels<QUADS, true>(w, x, tokens, out, begin, end, scratch)
                  : panels<QUADS, false>(w, x, tokens, out, begin, end, scratch);
  });
}

void quantise_wide(const float* x, std::int64_t tokens, std::int64_t x_stride, std::int64_t cols, std::int64_t tile,
                   Q16Block* out) {
  const std::int64_t first = tile * kTileTokens;
  const std::int64_t last = tokens < first + kTileTokens ? tokens : first + kTileTokens;
  for (std::int64_t t = first; t < last; ++t) {
    const float* row = x + t * x_stride;
    const std::int64_t lane = t - first;
    // 8 inputs from c on, with zeros beyond the row.
    const auto eight = [&](std::int64_t c) {
      if (c + 8 <= cols) return _mm256_loadu_ps(row + c);
      float padded[8] = {};
      if (c < cols) __builtin_memcpy(padded, row + c, static_cast<std::size_t>(cols - c) * 4);
      return _mm256_loadu_ps(padded);
    };
    __m256i most = _mm256_setzero_si256();
    for (std::int64_t c = 0; c < cols; c += 8)
      most = _mm256_max_epi32(most, _mm256_and_si256(_mm256_castps_si256(eight(c)), _mm256_set1_epi32(0x7FFFFFFF)));
    const std::int32_t bits = largest_of(most);
    float amax, scale = 0, inverse = 0;
    __builtin_memcpy(&amax, &bits, 4);
    if (bits >= 0x7F800000) {
      scale = __builtin_nanf("");
    } else if (amax >= 0x1p-100f) {
      scale = amax / 32512.0f;
      inverse = 1.0f / scale;
    }
    // An infinity or a NaN times 0 is NaN, whose conversion is not 0: such rows are masked out.
    const __m256i keep = _mm256_set1_epi32(inverse != 0 ? -1 : 0);
    const std::int64_t stop = (cols + kWideInputs - 1) / kWideInputs * kWideInputs;
    for (std::int64_t c = 0; c < stop; c += 16) {
      Q16Block& block = out[c / kWideInputs];
      const std::int64_t at = c % kWideInputs;
      __m256i code[2], high[2];
      SPARING_UNROLL
      for (int i = 0; i < 2; ++i) {
        const __m256 v = _mm256_mul_ps(eight(c + 8 * i), _mm256_set1_ps(inverse));
        code[i] = _mm256_and_si256(keep, _mm256_cvtps_epi32(v));
        high[i] = _mm256_srai_epi32(_mm256_add_epi32(code[i], _mm256_set1_epi32(128)), 8);
      }
      block.sum[at / 16][lane] = total_of(_mm256_add_epi32(code[0], code[1]));
      SPARING_UNROLL
      for (int i = 0; i < 2; ++i) {
        const __m256i low = _mm256_sub_epi32(code[i], _mm256_slli_epi32(high[i], 8));
        _mm_storel_epi64(reinterpret_cast<__m128i*>(block.high[lane] + at + 8 * i), bytes_of(high[i]));
        _mm_storel_epi64(reinterpret_cast<__m128i*>(block.low[lane] + at + 8 * i), bytes_of(low));
      }
    }
    out[0].scale[lane] = scale;
  }
}

}  // namespace sparing::kernels::avx2
