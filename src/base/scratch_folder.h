#pragma once
// A folder of one's own in the system's place for temporary files, removed with all that is in it.

#include <cstdlib>
#include <filesystem>
#include <string>

#include "base/result.h"

namespace sparing {

class ScratchFolder {
 public:
  /// Errors: the system's folder cannot be written.
  static Result<ScratchFolder> create() {
    std::error_code ignored;
    std::string name = (std::filesystem::temp_directory_path(ignored) / "sparing-XXXXXX").string();
    if (::mkdtemp(name.data()) == nullptr) return resource_error("[scratch] " + name + ": cannot be made: set TMPDIR");
    return ScratchFolder(name);
  }
  ScratchFolder(ScratchFolder&& other) noexcept : path_(std::move(other.path_)) { other.path_.clear(); }
  ScratchFolder& operator=(ScratchFolder&&) = delete;
  ~ScratchFolder() {
    std::error_code ignored;
    if (!path_.empty()) std::filesystem::remove_all(path_, ignored);
  }
  const std::filesystem::path& path() const { return path_; }

 private:
  explicit ScratchFolder(std::filesystem::path path) : path_(std::move(path)) {}
  std::filesystem::path path_;
};

}  // namespace sparing
