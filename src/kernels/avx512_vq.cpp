// vq_additive: a panel's codes gather their entries, 16 rows at a time, into the byte panels of avx512_gemm.cpp.

#include "kernels/avx512.h"
#include "kernels/avx512_common.h"
#include "kernels/vq_expand.h"

namespace sparing::kernels::avx512 {
namespace {

/// Entries of 4 bytes for vector I of a quad's 16 rows.
template <int I>
inline Ints gather4(Ints codes, const std::uint8_t* entries) {
  const Ints index = _mm512_and_si512(I > 0 ? _mm512_srli_epi32(codes, 8 * I) : codes, _mm512_set1_epi32(0xFF));
  return _mm512_i32gather_epi32(index, entries, 4);
}

/// Entries of 8 bytes: their first halves and their second, of 16 rows.
template <int I>
inline void gather8(Ints codes, const std::uint8_t* entries, Ints& first, Ints& second) {
  const Ints index = _mm512_and_si512(I > 0 ? _mm512_srli_epi32(codes, 8 * I) : codes, _mm512_set1_epi32(0xFF));
  const Ints low = _mm512_i32gather_epi64(_mm512_castsi512_si256(index), entries, 8);
  const Ints high = _mm512_i32gather_epi64(_mm512_extracti64x4_epi64(index, 1), entries, 8);
  const Ints even = _mm512_set_epi32(30, 28, 26, 24, 22, 20, 18, 16, 14, 12, 10, 8, 6, 4, 2, 0);
  first = _mm512_permutex2var_epi32(low, even, high);
  second = _mm512_permutex2var_epi32(low, _mm512_or_si512(even, _mm512_set1_epi32(1)), high);
}

template <int VECTOR, int BOOKS, int I>
inline void vector_of(const Ints* codes, const std::uint8_t* entries, const std::uint8_t* more, std::byte* to) {
  if constexpr (VECTOR == 4) {
    Ints sum = gather4<I>(codes[0], entries);
    if constexpr (BOOKS == 2) sum = _mm512_add_epi8(sum, gather4<I>(codes[1], more));
    _mm512_storeu_si512(to + 64 * I, sum);
  } else {
    Ints first, second;
    gather8<I>(codes[0], entries, first, second);
    if constexpr (BOOKS == 2) {
      Ints other_first, other_second;
      gather8<I>(codes[1], more, other_first, other_second);
      first = _mm512_add_epi8(first, other_first);
      second = _mm512_add_epi8(second, other_second);
    }
    _mm512_storeu_si512(to + 128 * I, first);
    _mm512_storeu_si512(to + 128 * I + 64, second);
  }
}

template <int VECTOR, int BOOKS>
void expand(const VqCodes& v, const std::byte* panel, std::byte* to) {
  const std::uint8_t* more = v.entries + (static_cast<std::size_t>(VECTOR) << v.bits);
  alignas(64) std::uint8_t held[64];
  for (std::int64_t q = 0; q < v.quads; q += BOOKS, to += VECTOR * 64) {
    Ints codes[BOOKS];
    SPARING_UNROLL
    for (int b = 0; b < BOOKS; ++b) codes[b] = load_bytes(quad_codes(v, panel, q + b, held));
    vector_of<VECTOR, BOOKS, 0>(codes, v.entries, more, to);
    vector_of<VECTOR, BOOKS, 1>(codes, v.entries, more, to);
    vector_of<VECTOR, BOOKS, 2>(codes, v.entries, more, to);
    vector_of<VECTOR, BOOKS, 3>(codes, v.entries, more, to);
  }
}

}  // namespace

void unpack_vq(const IntWeight& w, std::int64_t panel, std::byte* to) {
  const std::byte* codes = w.blob + w.layout.codes + panel * w.vq.panel_bytes;
  if (w.vq.vector == 4) {
    w.vq.books == 1 ? expand<4, 1>(w.vq, codes, to) : expand<4, 2>(w.vq, codes, to);
  } else {
    w.vq.books == 1 ? expand<8, 1>(w.vq, codes, to) : expand<8, 2>(w.vq, codes, to);
  }
  clear_rest(w, to);
}

}  // namespace sparing::kernels::avx512
