// Any bytes as a safetensors file: refused, or every tensor's range lies inside and belongs to it alone. And as the
// journal's record of one weight: refused, or a weight that can be decoded and is written back the same.

#include <cstdlib>

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

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace sparing;
  const Bytes file = std::as_bytes(std::span(data, size));
  read_record(file);
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
