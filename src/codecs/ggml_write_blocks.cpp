#include "codecs/ggml_blocks.h"
#include "codecs/planes.h"

namespace sparing {
namespace {

void put(std::byte* p, int i, unsigned value) {
  p[i] = static_cast<std::byte>(value);
}

void join_nibbles(const std::uint8_t* codes, std::byte* qs) {
  for (int i = 0; i < 16; ++i) put(qs, i, (codes[i] & 15u) | ((codes[i + 16] & 15u) << 4));
}

void take_fifth_bits(const std::uint8_t* codes, std::byte* qh) {
  std::uint32_t bits = 0;
  for (int i = 0; i < 32; ++i) bits |= static_cast<std::uint32_t>((codes[i] >> 4) & 1) << i;
  std::memcpy(qh, &bits, 4);
}

void write_k_scales(const GgmlBlock& b, std::byte* s) {
  const auto high = [](std::uint8_t code) { return static_cast<unsigned>(code >> 4) << 6; };
  for (int i = 0; i < 4; ++i) {
    put(s, i, b.scale_codes[i] | high(b.scale_codes[i + 4]));
    put(s, i + 4, b.min_codes[i] | high(b.min_codes[i + 4]));
    put(s, i + 8, (b.scale_codes[i + 4] & 15u) | ((b.min_codes[i + 4] & 15u) << 4));
  }
}

void write_k_nibbles(const std::uint8_t* codes, std::byte* qs) {
  for (int j = 0; j < 4; ++j)
    for (int i = 0; i < 32; ++i) put(qs, 32 * j + i, (codes[64 * j + i] & 15u) | ((codes[64 * j + 32 + i] & 15u) << 4));
}

void write_k_pairs(const std::uint8_t* codes, std::byte* qs) {
  for (int half = 0; half < 2; ++half)
    for (int i = 0; i < 32; ++i) {
      unsigned byte = 0;
      for (int run = 0; run < 4; ++run) byte |= (codes[128 * half + 32 * run + i] & 3u) << (2 * run);
      put(qs, 32 * half + i, byte);
    }
}

/// One bit of each code, run by run of 32, into 32 bytes.
void write_high_bits(const std::uint8_t* codes, int bit, std::byte* to) {
  for (int i = 0; i < 32; ++i) {
    unsigned byte = 0;
    for (int run = 0; run < 8; ++run) byte |= ((codes[32 * run + i] >> bit) & 1u) << run;
    put(to, i, byte);
  }
}

void write_q3_k(const GgmlBlock& b, std::byte* p) {
  write_high_bits(b.codes, 2, p);
  write_k_pairs(b.codes, p + 32);
  std::byte* s = p + 96;
  for (int i = 0; i < 8; ++i) put(s, i, (b.scale_codes[i] & 15u) | ((b.scale_codes[i + 8] & 15u) << 4));
  for (int i = 0; i < 4; ++i) {
    unsigned byte = 0;
    for (int run = 0; run < 4; ++run) byte |= static_cast<unsigned>(b.scale_codes[4 * run + i] >> 4) << (2 * run);
    put(s, 8 + i, byte);
  }
  store_u16(p + 108, b.d);
}

void write_q6_k(const GgmlBlock& b, std::byte* p) {
  for (int half = 0; half < 2; ++half) {
    const std::uint8_t* codes = b.codes + 128 * half;
    for (int i = 0; i < 64; ++i) put(p, 64 * half + i, (codes[i] & 15u) | ((codes[64 + i] & 15u) << 4));
    for (int i = 0; i < 32; ++i) {
      unsigned byte = 0;
      for (int run = 0; run < 4; ++run) byte |= static_cast<unsigned>(codes[32 * run + i] >> 4) << (2 * run);
      put(p, 128 + 32 * half + i, byte);
    }
  }
  for (int i = 0; i < 16; ++i) put(p, 192 + i, b.scale_codes[i] ^ 0x80u);
  store_u16(p + 208, b.d);
}

void write_iq4_xs(const GgmlBlock& b, std::byte* p) {
  store_u16(p, b.d);
  unsigned high = 0;
  for (int i = 0; i < 4; ++i) put(p, 4 + i, 0);
  for (int i = 0; i < 8; ++i) {
    p[4 + i / 2] |= static_cast<std::byte>((b.scale_codes[i] & 15u) << (i % 2 * 4));
    high |= static_cast<unsigned>(b.scale_codes[i] >> 4) << (2 * i);
    join_nibbles(b.codes + 32 * i, p + 8 + 16 * i);
  }
  store_u16(p + 2, static_cast<std::uint16_t>(high));
}

}  // namespace

void write_ggml_block(GgmlType type, const GgmlBlock& b, std::byte* p) {
  switch (type) {
    case GgmlType::q4_0:
    case GgmlType::iq4_nl:
      store_u16(p, b.d);
      return join_nibbles(b.codes, p + 2);
    case GgmlType::q4_1:
      store_u16(p, b.d);
      store_u16(p + 2, b.min);
      return join_nibbles(b.codes, p + 4);
    case GgmlType::q5_0:
      store_u16(p, b.d);
      take_fifth_bits(b.codes, p + 2);
      return join_nibbles(b.codes, p + 6);
    case GgmlType::q5_1:
      store_u16(p, b.d);
      store_u16(p + 2, b.min);
      take_fifth_bits(b.codes, p + 4);
      return join_nibbles(b.codes, p + 8);
    case GgmlType::q8_0:
      store_u16(p, b.d);
      for (int i = 0; i < 32; ++i) put(p, 2 + i, b.codes[i] ^ 0x80u);
      return;
    case GgmlType::q2_k:
      for (int i = 0; i < 16; ++i) put(p, i, (b.scale_codes[i] & 15u) | ((b.min_codes[i] & 15u) << 4));
      write_k_pairs(b.codes, p + 16);
      store_u16(p + 80, b.d);
      store_u16(p + 82, b.min);
      return;
    case GgmlType::q3_k:
      return write_q3_k(b, p);
    case GgmlType::q4_k:
    case GgmlType::q5_k:
      store_u16(p, b.d);
      store_u16(p + 2, b.min);
      write_k_scales(b, p + 4);
      if (type == GgmlType::q5_k) write_high_bits(b.codes, 4, p + 16);
      return write_k_nibbles(b.codes, p + (type == GgmlType::q4_k ? 16 : 48));
    case GgmlType::q6_k:
      return write_q6_k(b, p);
    case GgmlType::iq4_xs:
      return write_iq4_xs(b, p);
    case GgmlType::f32:
    case GgmlType::f16:
    case GgmlType::bf16:
      return;
  }
}

}  // namespace sparing
