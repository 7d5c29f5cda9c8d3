#include "tensor/buffer.h"

#include <sys/mman.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <limits>
#include <new>

namespace sparing {
namespace {

constexpr std::size_t kHugePage = 2u << 20;
// From here on the system is asked for pages and given them back: malloc would keep what lies between other blocks.
constexpr std::size_t kMapped = 128u << 10;

std::size_t round_to(std::size_t size, std::size_t unit) {
  return (size + unit - 1) / unit * unit;
}

/// `bytes` of zeros, a multiple of the page, at a multiple of `alignment`.
std::byte* map_pages(std::size_t bytes, std::size_t alignment) {
  const std::size_t slack = alignment == kHugePage ? kHugePage : 0;
  void* memory = mmap(nullptr, bytes + slack, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) throw std::bad_alloc();
  auto* begin = static_cast<std::byte*>(memory);
  if (slack == 0) return begin;
  auto* start = reinterpret_cast<std::byte*>(round_to(reinterpret_cast<std::uintptr_t>(begin), kHugePage));
  if (start != begin) munmap(begin, static_cast<std::size_t>(start - begin));
  if (start != begin + slack) munmap(start + bytes, static_cast<std::size_t>(begin + slack - start));
  return start;
}

}  // namespace

Buffer::Buffer(std::size_t size) : size_(size) {
  if (size == 0) return;
  if (size > std::numeric_limits<std::size_t>::max() / 2) throw std::bad_alloc();
  if (size < kMapped) {
    const std::size_t rounded = round_to(size, 64);
    void* memory = std::aligned_alloc(64, rounded);
    if (memory == nullptr) throw std::bad_alloc();
    std::memset(memory, 0, rounded);
    data_.reset(static_cast<std::byte*>(memory));
    return;
  }
  const std::size_t mapped = round_to(size, static_cast<std::size_t>(sysconf(_SC_PAGESIZE)));
  // Large buffers lie on huge pages but for their tail, which would waste most of one.
  const bool huge = size >= 2 * kHugePage;
  data_ = {map_pages(mapped, huge ? kHugePage : 1), BufferFree{mapped, nullptr}};
  if (huge) (void)madvise(data_.get(), mapped / kHugePage * kHugePage, MADV_HUGEPAGE);
}

void BufferFree::operator()(std::byte* p) const {
  if (owner != nullptr) return;
  if (mapped > 0) {
    munmap(p, mapped);
  } else {
    std::free(p);
  }
}

}  // namespace sparing
