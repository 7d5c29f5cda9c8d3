#pragma once
// A read-only memory map of a whole file.

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>

#include "base/result.h"

namespace sparing {

using Bytes = std::span<const std::byte>;

class MappedFile {
 public:
  /// Maps `path` read-only. Empty files map to an empty span. Directories and devices are refused.
  static Result<std::shared_ptr<const MappedFile>> open(const std::filesystem::path& path);
  ~MappedFile();
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;

  Bytes bytes() const { return {data_, size_}; }
  const std::filesystem::path& path() const { return path_; }
  /// Tells the kernel that the pages of these bytes, and of the 2 MiB they lie in, are not needed any more (they are
  /// read again when touched).
  void forget(Bytes part) const;
  /// Asks the kernel to read these pages ahead.
  void will_need(Bytes part) const;

 private:
  MappedFile() = default;
  const std::byte* data_ = nullptr;
  std::size_t size_ = 0;
  std::filesystem::path path_;
};

}  // namespace sparing
