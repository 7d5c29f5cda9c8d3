#pragma once
// Files and directories that appear whole or not at all: written aside, synced, renamed.

#include <cstddef>
#include <cstdio>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>

#include "base/mapped_file.h"
#include "base/result.h"

namespace sparing {

/// Writes to `<target>.partial-<pid>` and renames over `target` on commit(). Without commit() nothing is left.
class AtomicFile {
 public:
  static Result<AtomicFile> create(const std::filesystem::path& target);
  AtomicFile(AtomicFile&& other) noexcept;
  AtomicFile& operator=(AtomicFile&&) = delete;
  ~AtomicFile();

  Status write(Bytes data);
  Status write(std::string_view text);
  Status write_zeros(std::size_t count);
  /// Overwrites earlier bytes (a header whose size was reserved).
  Status write_at(std::uint64_t offset, Bytes data);
  std::uint64_t size() const { return size_; }
  /// Flushes, fsyncs, renames, fsyncs the directory.
  Status commit();

 private:
  AtomicFile() = default;
  std::filesystem::path target_, temporary_;
  int fd_ = -1;
  std::uint64_t size_ = 0;
};

Status write_file_atomically(const std::filesystem::path& target, std::string_view text);
Result<std::string> read_text_file(const std::filesystem::path& path, std::uint64_t max_bytes = 1ull << 31);
/// fsync of a directory or a file by path.
Status sync_path(const std::filesystem::path& path);
/// Renames a finished directory to its final name; refuses if `target` exists.
Status publish_directory(const std::filesystem::path& staging, const std::filesystem::path& target);

}  // namespace sparing
