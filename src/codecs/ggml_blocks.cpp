#include "codecs/ggml_blocks.h"

#include <cstring>

#include "codecs/planes.h"

namespace sparing {
namespace {

using u8 = std::uint8_t;

u8 at(const std::byte* p, int i) {
  return static_cast<u8>(p[i]);
}

/// `count` bytes (a multiple of 8), eight at a time.
template <class Word>
void map_words(const std::byte* from, int count, u8* to, Word&& word) {
  for (int i = 0; i < count; i += 8) {
    std::uint64_t v;
    std::memcpy(&v, from + i, 8);
    v = word(v);
    std::memcpy(to + i, &v, 8);
  }
}
constexpr std::uint64_t kLowNibbles = 0x0F0F0F0F0F0F0F0Full, kTopBits = 0x8080808080808080ull;

// Nibbles of 2 * count weights: low halves are the first `count`, high halves the rest.
void split_nibbles(const std::byte* qs, u8* codes, int count = 16) {
  map_words(qs, count, codes, [](std::uint64_t v) { return v & kLowNibbles; });
  map_words(qs, count, codes + count, [](std::uint64_t v) { return (v >> 4) & kLowNibbles; });
}

void add_fifth_bits(const std::byte* qh, u8* codes) {
  const std::uint32_t bits = load_u32(qh);
  for (int i = 0; i < 32; ++i) codes[i] |= static_cast<u8>(((bits >> i) & 1u) << 4);
}

// Q4_K and Q5_K: eight 6-bit scales and minima in 12 bytes.
void read_k_scales(const std::byte* s, GgmlBlock& b) {
  for (int i = 0; i < 4; ++i) {
    b.scale_codes[i] = at(s, i) & 63;
    b.min_codes[i] = at(s, i + 4) & 63;
    b.scale_codes[i + 4] = static_cast<u8>((at(s, i + 8) & 15) | ((at(s, i) >> 6) << 4));
    b.min_codes[i + 4] = static_cast<u8>((at(s, i + 8) >> 4) | ((at(s, i + 4) >> 6) << 4));
  }
}

// 64 weights a time: 32 low nibbles, then 32 high nibbles.
void read_k_nibbles(const std::byte* qs, u8* codes) {
  for (int j = 0; j < 4; ++j) split_nibbles(qs + 32 * j, codes + 64 * j, 32);
}

// 128 weights a time, 2 bits each: 32 bytes hold four runs of 32.
void read_k_pairs(const std::byte* qs, u8* codes) {
  for (int i = 0; i < 256; ++i) codes[i] = (at(qs, i / 128 * 32 + i % 32) >> (i % 128 / 32 * 2)) & 3;
}

void read_q3_k(const std::byte* p, GgmlBlock& b) {
  const std::byte *hmask = p, *qs = p + 32, *s = p + 96;
  b.d = load_u16(p + 108);
  read_k_pairs(qs, b.codes);
  for (int i = 0; i < 256; ++i) b.codes[i] |= static_cast<u8>(((at(hmask, i % 32) >> (i / 32)) & 1) << 2);
  for (int i = 0; i < 16; ++i) {
    const int low = (at(s, i % 8) >> (i / 8 * 4)) & 15, high = (at(s, 8 + i % 4) >> (i / 4 * 2)) & 3;
    b.scale_codes[i] = static_cast<u8>(low | (high << 4));
  }
}

void read_q6_k(const std::byte* p, GgmlBlock& b) {
  const std::byte *ql = p, *qh = p + 128, *s = p + 192;
  b.d = load_u16(p + 208);
  for (int i = 0; i < 256; ++i) {
    const int half = i / 128, j = i % 128;
    const int low = (at(ql, half * 64 + j % 64) >> (j / 64 * 4)) & 15;
    const int high = (at(qh, half * 32 + j % 32) >> (j / 32 * 2)) & 3;
    b.codes[i] = static_cast<u8>(low | (high << 4));
  }
  // Signed bytes; stored with offset 128.
  for (int i = 0; i < 16; ++i) b.scale_codes[i] = at(s, i) ^ 0x80;
}

void read_iq4_xs(const std::byte* p, GgmlBlock& b) {
  b.d = load_u16(p);
  const std::uint16_t high = load_u16(p + 2);
  for (int i = 0; i < 8; ++i) {
    const int low = (at(p, 4 + i / 2) >> (i % 2 * 4)) & 15;
    b.scale_codes[i] = static_cast<u8>(low | (((high >> (2 * i)) & 3) << 4));
    split_nibbles(p + 8 + 16 * i, b.codes + 32 * i);
  }
}

}  // namespace

void read_ggml_block(GgmlType type, const std::byte* p, GgmlBlock& b) {
  switch (type) {
    case GgmlType::q4_0:
    case GgmlType::iq4_nl:
      b.d = load_u16(p);
      split_nibbles(p + 2, b.codes);
      return;
    case GgmlType::q4_1:
      b.d = load_u16(p);
      b.min = load_u16(p + 2);
      split_nibbles(p + 4, b.codes);
      return;
    case GgmlType::q5_0:
      b.d = load_u16(p);
      split_nibbles(p + 6, b.codes);
      add_fifth_bits(p + 2, b.codes);
      return;
    case GgmlType::q5_1:
      b.d = load_u16(p);
      b.min = load_u16(p + 2);
      split_nibbles(p + 8, b.codes);
      add_fifth_bits(p + 4, b.codes);
      return;
    case GgmlType::q8_0:
      b.d = load_u16(p);
      map_words(p + 2, 32, b.codes, [](std::uint64_t v) { return v ^ kTopBits; });
      return;
    case GgmlType::q2_k:
      for (int i = 0; i < 16; ++i) {
        b.scale_codes[i] = at(p, i) & 15;
        b.min_codes[i] = at(p, i) >> 4;
      }
      read_k_pairs(p + 16, b.codes);
      b.d = load_u16(p + 80);
      b.min = load_u16(p + 82);
      return;
    case GgmlType::q3_k:
      return read_q3_k(p, b);
    case GgmlType::q4_k:
    case GgmlType::q5_k:
      b.d = load_u16(p);
      b.min = load_u16(p + 2);
      read_k_scales(p + 4, b);
      read_k_nibbles(p + (type == GgmlType::q4_k ? 16 : 48), b.codes);
      if (type == GgmlType::q5_k)
        for (int i = 0; i < 256; ++i) b.codes[i] |= static_cast<u8>(((at(p, 16 + i % 32) >> (i / 32)) & 1) << 4);
      return;
    case GgmlType::q6_k:
      return read_q6_k(p, b);
    case GgmlType::iq4_xs:
      return read_iq4_xs(p, b);
    case GgmlType::f32:
    case GgmlType::f16:
    case GgmlType::bf16:
      return;
  }
}

CodecSpec ggml_codec(GgmlType type) {
  const auto plain = [](int bits, ZeroKind zero, int offset) {
    return IntGroupSpec{.bits = bits, .groups = {.group = 32}, .zero = zero, .zero_bits = 0, .zero_offset = offset};
  };
  const auto coded = [](int group, int scale_bits, int scale_offset) {
    return GroupSpec{.group = group,
                     .scale = ScaleKind::coded,
                     .scale_bits = scale_bits,
                     .scale_offset = scale_offset,
                     .super = 256 / group};
  };
  const std::vector<float> iq4 = {-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113};
  switch (type) {
    case GgmlType::f32:
      return DenseSpec{DType::f32};
    case GgmlType::f16:
      return DenseSpec{DType::f16};
    case GgmlType::bf16:
      return DenseSpec{DType::bf16};
    case GgmlType::q4_0:
      return plain(4, ZeroKind::constant, 8);
    case GgmlType::q4_1:
      return plain(4, ZeroKind::f16_min, 0);
    case GgmlType::q5_0:
      return plain(5, ZeroKind::constant, 16);
    case GgmlType::q5_1:
      return plain(5, ZeroKind::f16_min, 0);
    case GgmlType::q8_0:
      return plain(8, ZeroKind::constant, 128);
    case GgmlType::q2_k:
      return IntGroupSpec{2, coded(16, 4, 0), ZeroKind::coded_min, 4, 0};
    case GgmlType::q3_k:
      return IntGroupSpec{3, coded(16, 6, 32), ZeroKind::constant, 0, 4};
    case GgmlType::q4_k:
      return IntGroupSpec{4, coded(32, 6, 0), ZeroKind::coded_min, 6, 0};
    case GgmlType::q5_k:
      return IntGroupSpec{5, coded(32, 6, 0), ZeroKind::coded_min, 6, 0};
    case GgmlType::q6_k:
      return IntGroupSpec{6, coded(16, 8, 128), ZeroKind::constant, 0, 32};
    case GgmlType::iq4_nl:
      return LutGroupSpec{4, {.group = 32}, iq4};
    case GgmlType::iq4_xs:
      return LutGroupSpec{4, coded(32, 6, 32), iq4};
  }
  return DenseSpec{};
}

}  // namespace sparing
