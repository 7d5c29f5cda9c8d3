#include "tensor/arena.h"

#include <sys/mman.h>

#include <cstring>

namespace sparing {
namespace {

constexpr std::uint64_t kHugePage = 2u << 20;

}  // namespace

struct Arena::Pages {
  std::byte *mapped = nullptr, *start = nullptr;
  std::uint64_t mapped_bytes = 0, bytes = 0;

  Pages() = default;
  Pages(const Pages&) = delete;
  Pages& operator=(const Pages&) = delete;
  ~Pages() {
    if (mapped != nullptr) munmap(mapped, mapped_bytes);
  }
};

Arena::Arena(std::uint64_t bytes) : pages_(std::make_shared<Pages>()) {
  if (bytes == 0 || bytes > (1ull << 46)) return;
  const std::uint64_t rounded = (bytes + kHugePage - 1) / kHugePage * kHugePage, mapped = rounded + kHugePage;
  void* memory = mmap(nullptr, mapped, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) return;
  pages_->mapped = static_cast<std::byte*>(memory);
  pages_->mapped_bytes = mapped;
  const auto skew = reinterpret_cast<std::uintptr_t>(memory) % kHugePage;
  pages_->start = pages_->mapped + (skew == 0 ? 0 : kHugePage - skew);
  pages_->bytes = rounded;
  // A refusal leaves small pages, which are only slower.
  (void)madvise(pages_->start, rounded, MADV_HUGEPAGE);
}

Blob Arena::place(Blob blob) {
  const std::uint64_t size = blob.bytes.size(), room = (size + 63) / 64 * 64;
  if (size == 0 || size > pages_->bytes) return blob;
  const std::uint64_t at = used_.fetch_add(room);
  if (at + room > pages_->bytes) {
    used_.fetch_sub(room);
    return blob;
  }
  std::byte* to = pages_->start + at;
  std::memcpy(to, blob.bytes.data(), size);
  return {{to, size}, pages_};
}

}  // namespace sparing
