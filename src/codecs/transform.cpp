#include "codecs/transform.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstring>

#include "base/checked.h"
#include "codecs/planes.h"
#include "tensor/half.h"

namespace sparing {
namespace {

bool wide(std::int64_t cols) {
  return cols > 65536;
}
std::uint32_t index_at(const Transform& t, std::int64_t cols, std::int64_t i) {
  return wide(cols) ? load_u32(t.blob.bytes.data() + 4 * i) : load_u16(t.blob.bytes.data() + 2 * i);
}
bool negative_at(const Transform& t, std::int64_t i) {
  return (static_cast<unsigned>(t.blob.bytes[static_cast<std::size_t>(i / 8)]) >> (i % 8)) & 1u;
}

/// Four at a time on whatever the machine has: a token's activations are turned with every product. Rows may start
/// anywhere.
using Four = float __attribute__((vector_size(16)));

Four load(const float* x) {
  Four v;
  std::memcpy(&v, x, sizeof v);
  return v;
}
void store(float* x, Four v) {
  std::memcpy(x, &v, sizeof v);
}

// Sylvester's order, smallest stride first; every sum rounds alike on every machine.
void walsh_hadamard(float* x, std::int64_t n) {
  if (n < 4) {
    if (n == 2) {
      const float a = x[0], b = x[1];
      x[0] = a + b;
      x[1] = a - b;
    }
    return;
  }
  const Four second = {1, -1, 1, -1}, last = {1, 1, -1, -1};
  for (std::int64_t i = 0; i < n; i += 4) {
    Four v = load(x + i);
    v = __builtin_shufflevector(v, v, 0, 0, 2, 2) + __builtin_shufflevector(v, v, 1, 1, 3, 3) * second;
    v = __builtin_shufflevector(v, v, 0, 1, 0, 1) + __builtin_shufflevector(v, v, 2, 3, 2, 3) * last;
    store(x + i, v);
  }
  for (std::int64_t h = 4; h < n; h *= 2)
    for (std::int64_t i = 0; i < n; i += 2 * h)
      for (std::int64_t j = i; j < i + h; j += 4) {
        const Four a = load(x + j), b = load(x + j + h);
        store(x + j, a + b);
        store(x + j + h, a - b);
      }
}

/// out = x with the signs, times `by`. May be in place.
void put_signs(const Transform& t, std::int64_t cols, const float* x, float by, float* out) {
  static constexpr auto kSigns = [] {
    std::array<std::array<float, 4>, 16> signs{};
    for (unsigned bits = 0; bits < 16; ++bits)
      for (unsigned i = 0; i < 4; ++i) signs[bits][i] = ((bits >> i) & 1u) != 0 ? -1.0f : 1.0f;
    return signs;
  }();
  const std::byte* bits = t.blob.bytes.data();
  std::int64_t i = 0;
  for (; i + 4 <= cols; i += 4) {
    const auto nibble = (static_cast<unsigned>(bits[i / 8]) >> (i % 8)) & 15u;
    store(out + i, load(x + i) * (load(kSigns[nibble].data()) * by));
  }
  for (; i < cols; ++i) out[i] = (negative_at(t, i) ? -x[i] : x[i]) * by;
}

}  // namespace

Result<std::uint64_t> blob_bytes(const Transform& t, std::int64_t cols) {
  if (cols < 1 || cols > (1ll << 40))
    return input_error("[transform] width " + std::to_string(cols) + ": must be 1 to 2^40");
  const auto n = static_cast<std::uint64_t>(cols);
  switch (t.kind) {
    case TransformKind::identity:
      return std::uint64_t{0};
    case TransformKind::permutation:
      return n * (wide(cols) ? 4 : 2);
    case TransformKind::diagonal:
      return n * 2;
    case TransformKind::hadamard:
      return ceil_div(n, 8);
  }
  return input_error("[transform] kind " + std::to_string(static_cast<int>(t.kind)) + ": not known");
}

Status validate(const Transform& t, std::int64_t cols, bool deep) {
  SPARING_TRY(const std::uint64_t size, blob_bytes(t, cols));
  if (t.blob.bytes.size() != size)
    return input_error("[transform] a blob of " + std::to_string(t.blob.bytes.size()) + " bytes: needs " +
                       std::to_string(size));
  if (t.kind == TransformKind::permutation) {
    std::vector<bool> seen(static_cast<std::size_t>(cols));
    for (std::int64_t i = 0; i < cols; ++i) {
      const std::uint32_t at = index_at(t, cols, i);
      if (at >= cols || seen[at])
        return input_error("[permutation] input " + std::to_string(at) + " at " + std::to_string(i) +
                           ": out of range or named twice, the file is damaged");
      seen[at] = true;
    }
  }
  if (t.kind == TransformKind::hadamard &&
      (t.block < 1 || !std::has_single_bit(static_cast<std::uint32_t>(t.block)) || cols % t.block != 0))
    return input_error("[hadamard] block " + std::to_string(t.block) + ": must be a power of two that divides " +
                       std::to_string(cols));
  if (t.kind != TransformKind::hadamard && t.block != 0)
    return input_error("[transform] block " + std::to_string(t.block) + ": only hadamard has blocks");
  if (deep && t.kind == TransformKind::diagonal) {
    for (std::int64_t i = 0; i < cols; ++i)
      if ((load_u16(t.blob.bytes.data() + 2 * i) & 0x7C00u) == 0x7C00u)
        return input_error("[diagonal] value " + std::to_string(i) + " is not finite: the file is damaged");
  }
  return {};
}

Result<Transform> permutation_transform(const std::vector<std::uint32_t>& index) {
  const auto cols = static_cast<std::int64_t>(index.size());
  Transform t{.kind = TransformKind::permutation, .block = 0, .blob = {}};
  SPARING_TRY(const std::uint64_t size, blob_bytes(t, cols));
  Buffer buffer(size);
  for (std::int64_t i = 0; i < cols; ++i) {
    const std::uint32_t at = index[static_cast<std::size_t>(i)];
    if (wide(cols)) {
      std::memcpy(buffer.data() + 4 * i, &at, 4);
    } else if (at < 65536) {
      store_u16(buffer.data() + 2 * i, static_cast<std::uint16_t>(at));
    } else {
      return internal_error("[permutation] index " + std::to_string(at) + " of " + std::to_string(cols));
    }
  }
  t.blob = Blob::of(std::move(buffer));
  SPARING_CHECK_OK(validate(t, cols, true));
  return t;
}

Result<Transform> diagonal_transform(const std::vector<std::uint16_t>& d) {
  Buffer buffer(d.size() * 2);
  std::memcpy(buffer.data(), d.data(), d.size() * 2);
  Transform t{.kind = TransformKind::diagonal, .block = 0, .blob = Blob::of(std::move(buffer))};
  SPARING_CHECK_OK(validate(t, static_cast<std::int64_t>(d.size()), true));
  return t;
}

std::int32_t hadamard_block(std::int64_t cols) {
  std::int32_t block = 1;
  while (block < 512 && cols % (2 * block) == 0) block *= 2;
  return block;
}

Result<Transform> hadamard_transform(std::int32_t block, const std::vector<bool>& negative) {
  Buffer buffer((negative.size() + 7) / 8);
  for (std::size_t i = 0; i < negative.size(); ++i)
    if (negative[i]) buffer.data()[i / 8] |= static_cast<std::byte>(1u << (i % 8));
  Transform t{.kind = TransformKind::hadamard, .block = block, .blob = Blob::of(std::move(buffer))};
  SPARING_CHECK_OK(validate(t, static_cast<std::int64_t>(negative.size()), true));
  return t;
}

void apply_transform(const Transform& t, std::int64_t cols, const float* x, float* out) {
  switch (t.kind) {
    case TransformKind::identity:
      std::memcpy(out, x, static_cast<std::size_t>(cols) * 4);
      return;
    case TransformKind::permutation:
      for (std::int64_t i = 0; i < cols; ++i) out[i] = x[index_at(t, cols, i)];
      return;
    case TransformKind::diagonal:
      for (std::int64_t i = 0; i < cols; ++i) out[i] = x[i] * f16_to_f32(load_u16(t.blob.bytes.data() + 2 * i));
      return;
    case TransformKind::hadamard: {
      const float norm = 1.0f / std::sqrt(static_cast<float>(t.block));
      put_signs(t, cols, x, 1, out);
      for (std::int64_t i = 0; i < cols; i += t.block) walsh_hadamard(out + i, t.block);
      std::int64_t i = 0;
      for (; i + 4 <= cols; i += 4) store(out + i, load(out + i) * norm);
      for (; i < cols; ++i) out[i] *= norm;
      return;
    }
  }
}

void fold_transform(const Transform& t, std::int64_t cols, float* row, float* scratch) {
  switch (t.kind) {
    case TransformKind::identity:
      return;
    case TransformKind::permutation:
      std::memcpy(scratch, row, static_cast<std::size_t>(cols) * 4);
      for (std::int64_t i = 0; i < cols; ++i) row[index_at(t, cols, i)] = scratch[i];
      return;
    case TransformKind::diagonal:
      for (std::int64_t i = 0; i < cols; ++i) row[i] *= f16_to_f32(load_u16(t.blob.bytes.data() + 2 * i));
      return;
    case TransformKind::hadamard: {
      const float norm = 1.0f / std::sqrt(static_cast<float>(t.block));
      for (std::int64_t i = 0; i < cols; i += t.block) walsh_hadamard(row + i, t.block);
      put_signs(t, cols, row, norm, row);
      return;
    }
  }
}

}  // namespace sparing
