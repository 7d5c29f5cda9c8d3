// Any bytes as a safetensors file: refused, or every tensor's range lies inside and belongs to it alone.

#include <cstdlib>

#include "formats/safetensors.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace sparing;
  const Bytes file = std::as_bytes(std::span(data, size));
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
