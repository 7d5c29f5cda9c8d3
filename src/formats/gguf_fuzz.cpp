// Any bytes as a GGUF file, or where the magic is missing as a llama2.c file: refused with a message, or a checkpoint
// whose every tensor can be read.

#include <sys/mman.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <string>

#include "formats/file_checkpoint.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace sparing;
  static const int fd = ::memfd_create("fuzz", 0);
  if (fd < 0 || ::ftruncate(fd, 0) != 0) std::abort();
  if (::pwrite(fd, data, size, 0) != static_cast<ssize_t>(size)) std::abort();
  const std::string path = "/proc/self/fd/" + std::to_string(fd);
  const bool gguf = size >= 4 && std::memcmp(data, "GGUF", 4) == 0;
  const auto checkpoint = gguf ? open_gguf_checkpoint(path, {}) : open_llama2c_checkpoint(path, {});
  if (!checkpoint.ok()) {
    if (checkpoint.error().message.empty() || checkpoint.error().message.find('\n') != std::string::npos) std::abort();
    return 0;
  }
  for (const TensorEntry& entry : (*checkpoint)->tensors()) {
    if (entry.shape.is_vector()) {
      const auto values = (*checkpoint)->vector(entry.shape.name);
      if (values.ok() && values->size() != static_cast<std::size_t>(entry.shape.rows)) std::abort();
      continue;
    }
    const auto weight = (*checkpoint)->weight(entry.shape.name);
    if (!weight.ok()) continue;
    std::vector<float> row(static_cast<std::size_t>(entry.shape.cols));
    decode_effective_rows(*weight, entry.shape.rows - 1, 1, row.data());
  }
  return 0;
}
