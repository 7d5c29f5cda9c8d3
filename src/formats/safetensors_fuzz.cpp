// Any bytes as a safetensors file: refused, or every tensor's range lies inside and belongs to it alone. And as the
// journal's record of one weight: refused, or a weight that can be decoded and is written back the same.

#include <cstdlib>

#include "formats/hf_packed.h"
#include "formats/safetensors.h"
#include "formats/sparing_writer.h"

namespace {

void read_record(sparing::Bytes record) {
  using namespace sparing;
  const auto read = decode_weight_record({record, nullptr});
  if (!read.ok()) return;
  const auto& [name, weight] = *read;
  std::vector<float> row(static_cast<std::size_t>(weight.cols));
  decode_effective_rows(weight, weight.rows - 1, 1, row.data());
  const auto written = encode_weight_record(name, weight);
  if (!written.ok()) std::abort();
  const auto again = decode_weight_record({std::as_bytes(std::span(*written)), nullptr});
  if (!again.ok() || again->first != name || again->second.terms.size() != weight.terms.size()) std::abort();
}

/// As the contents of one packed weight whose shapes agree: refused, or a weight that can be decoded.
void read_packed(sparing::Bytes bytes) {
  using namespace sparing;
  if (bytes.size() < 8) return;
  const auto at = [head = bytes](std::size_t i) { return std::to_integer<std::uint8_t>(head[i]); };
  HfQuantization scheme;
  scheme.packing = static_cast<HfPacking>(at(0) % 3);
  constexpr std::int32_t kWidths[] = {2, 3, 4, 8};
  scheme.bits = scheme.packing == HfPacking::awq ? 4 : kWidths[at(1) % 4];
  scheme.group = at(2) % 40;
  scheme.zeros_less_one = (at(3) & 1) != 0;
  scheme.symmetric = (at(3) & 2) != 0;
  const std::int64_t rows = 8 * (1 + at(4) % 5), cols = 1 + at(5) % 80;
  const std::int64_t groups = scheme.group == 0 ? 1 : (cols + scheme.group - 1) / scheme.group;
  const DType floats = (at(3) & 4) != 0 ? DType::f32 : DType::f16;
  bytes = bytes.subspan(8);
  std::vector<std::byte> padded(bytes.begin(), bytes.end());
  padded.resize(32768);
  std::size_t from = 0;
  const auto part = [&](DType dtype, std::int64_t count) {
    const auto size = static_cast<std::size_t>(count) * size_of(dtype);
    PackedPart p{{"m", dtype, {count}, 0, size}, Bytes(padded).subspan(from, size), nullptr};
    from += size;
    return p;
  };
  PackedLinear packed{scheme, rows, cols, groups, {}, {}, {}, {}};
  packed.order = part(DType::i32, cols);
  if ((at(3) & 8) != 0) packed.order.reset();
  packed.codes = part(DType::i32, rows * cols * scheme.bits / 32 + rows + cols);
  packed.scales = part(floats, rows * groups);
  packed.zeros = part(DType::i32, rows * groups * scheme.bits / 32 + rows + groups);
  const auto weight = transcode_packed(packed);
  if (!weight.ok()) return;
  if (!validate(*weight, false).ok()) std::abort();
  std::vector<float> row(static_cast<std::size_t>(cols));
  decode_effective_rows(*weight, rows - 1, 1, row.data());
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace sparing;
  const Bytes file = std::as_bytes(std::span(data, size));
  read_record(file);
  read_packed(file);
  const auto header = parse_safetensors(file, "[open] fuzz");
  if (!header.ok()) return 0;
  std::uint64_t covered = 0;
  unsigned sum = 0;
  for (const SafeTensor& tensor : header->tensors) {
    if (tensor.begin > tensor.end || tensor.end > size) std::abort();
    std::uint64_t elements = 1;
    for (const std::int64_t extent : tensor.shape) elements *= static_cast<std::uint64_t>(extent);
    if (elements * size_of(tensor.dtype) != tensor.end - tensor.begin) std::abort();
    for (const std::byte b : file.subspan(tensor.begin, tensor.end - tensor.begin)) sum += std::to_integer<unsigned>(b);
    covered += tensor.end - tensor.begin;
  }
  if (covered > size) std::abort();
  volatile unsigned keep = sum;
  (void)keep;
  return 0;
}
