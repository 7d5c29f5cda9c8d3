#pragma once
// One stretch of memory for many blobs, on huge pages where the system has them. Streaming weights from 4 KiB pages
// costs a page walk every 64 lines; in a virtual machine that halves the bandwidth a core reaches.

#include <atomic>
#include <memory>

#include "tensor/buffer.h"

namespace sparing {

class Arena {
 public:
  /// Reserves addresses for `bytes`; memory is taken as blobs are placed. Without room everything stays where it is.
  explicit Arena(std::uint64_t bytes);
  /// The blob copied here, 64-byte aligned, or the same blob if it does not fit. Thread-safe. What it returns keeps the
  /// arena alive.
  Blob place(Blob blob);

 private:
  struct Pages;
  std::shared_ptr<Pages> pages_;
  std::atomic<std::uint64_t> used_{0};
};

}  // namespace sparing
