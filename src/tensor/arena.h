#pragma once
// One stretch of memory for many blobs, on huge pages where the system has them. Streaming weights from 4 KiB pages
// costs a page walk every 64 lines; in a virtual machine that halves the bandwidth a core reaches.

#include <atomic>
#include <memory>

#include "tensor/buffer.h"

namespace sparing {

class Arena {
 public:
  /// Reserves addresses for `bytes`; memory is taken as it is written. Without room everything goes elsewhere.
  explicit Arena(std::uint64_t bytes);
  /// Zeroed bytes, 64-byte aligned: here, or in a buffer of their own if they do not fit. Thread-safe. They keep the
  /// arena alive.
  Buffer take(std::uint64_t bytes);
  /// The blob copied here, or the same blob if it is here or does not fit. A mapped file's pages are let go as they are
  /// copied, so that little is in memory twice.
  Blob place(Blob blob);
  bool holds(const Blob& blob) const;

 private:
  struct Pages;
  std::byte* allot(std::uint64_t bytes);
  std::shared_ptr<Pages> pages_;
  std::atomic<std::uint64_t> used_{0};
};

}  // namespace sparing
