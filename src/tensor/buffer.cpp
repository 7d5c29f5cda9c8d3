#include "tensor/buffer.h"

#include <cstdlib>
#include <cstring>
#include <limits>
#include <new>

namespace sparing {

Buffer::Buffer(std::size_t size) : size_(size) {
  if (size == 0) return;
  if (size > std::numeric_limits<std::size_t>::max() - 63) throw std::bad_alloc();
  const std::size_t rounded = (size + 63) / 64 * 64;
  void* memory = std::aligned_alloc(64, rounded);
  if (memory == nullptr) throw std::bad_alloc();
  std::memset(memory, 0, rounded);
  data_.reset(static_cast<std::byte*>(memory));
}

void Buffer::Free::operator()(std::byte* p) const {
  std::free(p);
}

}  // namespace sparing
