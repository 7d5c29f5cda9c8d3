#include "tensor/buffer.h"

#include <sys/mman.h>

#include <cstdlib>
#include <cstring>
#include <limits>
#include <new>

namespace sparing {

Buffer::Buffer(std::size_t size) : size_(size) {
  if (size == 0) return;
  if (size > std::numeric_limits<std::size_t>::max() - 63) throw std::bad_alloc();
  const std::size_t rounded = (size + 63) / 64 * 64;
  // Large buffers lie on huge pages but for their tail, which would waste most of one.
  constexpr std::size_t kHugePage = 2u << 20;
  const bool huge = rounded >= 2 * kHugePage;
  void* memory = nullptr;
  if (posix_memalign(&memory, huge ? kHugePage : 64, rounded) != 0) throw std::bad_alloc();
  if (huge) (void)madvise(memory, rounded / kHugePage * kHugePage, MADV_HUGEPAGE);
  std::memset(memory, 0, rounded);
  data_.reset(static_cast<std::byte*>(memory));
}

void Buffer::Free::operator()(std::byte* p) const {
  std::free(p);
}

}  // namespace sparing
