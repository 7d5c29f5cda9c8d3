#include "tensor/arena.h"

#include <sys/mman.h>

#include <algorithm>
#include <cstring>
#include <functional>

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

std::byte* Arena::allot(std::uint64_t bytes) {
  if (bytes == 0 || bytes > pages_->bytes) return nullptr;
  const std::uint64_t room = (bytes + 63) / 64 * 64;
  std::uint64_t at = used_.load();
  do {
    if (at + room > pages_->bytes) return nullptr;
  } while (!used_.compare_exchange_weak(at, at + room));
  return pages_->start + at;
}

Buffer Arena::take(std::uint64_t bytes) {
  std::byte* data = allot(bytes);
  return data == nullptr ? Buffer(bytes) : Buffer(data, bytes, pages_);
}

Blob Arena::place(Blob blob) {
  if (holds(blob)) return blob;
  const std::uint64_t size = blob.bytes.size();
  std::byte* to = allot(size);
  if (to == nullptr) return blob;
  for (std::uint64_t at = 0; at < size; at += kHugePage) {
    const Bytes part = blob.bytes.subspan(at, std::min(kHugePage, size - at));
    std::memcpy(to + at, part.data(), part.size());
    // Faults map neighbours too: what was let go up to here may have come back.
    blob.forget(blob.bytes.first(at + part.size()).last(std::min(at + part.size(), 2 * kHugePage)));
  }
  return {{to, size}, pages_};
}

bool Arena::holds(const Blob& blob) const {
  return !blob.bytes.empty() && std::less_equal<>()(pages_->start, blob.bytes.data()) &&
         std::less<>()(blob.bytes.data(), pages_->start + pages_->bytes);
}

}  // namespace sparing
