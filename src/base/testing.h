#pragma once
// What tests of several layers share. Not for the product.

#include <fcntl.h>
#include <unistd.h>

#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <string>
#include <vector>

#include "base/rng.h"

namespace sparing::testkit {

/// A fresh folder under the system's temporary one, gone with the object.
class TemporaryFolder {
 public:
  TemporaryFolder() {
    std::string name = (std::filesystem::temp_directory_path() / "sparing-test-XXXXXX").string();
    if (::mkdtemp(name.data()) != nullptr) path_ = name;
  }
  ~TemporaryFolder() {
    std::error_code ignored;
    if (!path_.empty()) std::filesystem::remove_all(path_, ignored);
  }
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;
  const std::filesystem::path& path() const { return path_; }
  std::filesystem::path operator/(const std::string& name) const { return path_ / name; }
  bool empty() const { return std::filesystem::is_empty(path_); }

 private:
  std::filesystem::path path_;
};

/// Gaussian numbers of this standard deviation.
inline std::vector<float> normals(std::int64_t count, Rng& rng, double size = 1) {
  std::vector<float> values(static_cast<std::size_t>(count));
  for (float& v : values) v = static_cast<float>(size * rng.normal());
  return values;
}
inline std::vector<float> normals(std::int64_t count, std::uint64_t seed, double size = 1) {
  Rng rng(seed);
  return normals(count, rng, size);
}

/// Points file descriptor 2 at another one while it lives.
class RedirectStderr {
 public:
  explicit RedirectStderr(int to) : saved_(::dup(STDERR_FILENO)) {
    std::fflush(stderr);
    ::dup2(to, STDERR_FILENO);
  }
  ~RedirectStderr() {
    std::fflush(stderr);
    ::dup2(saved_, STDERR_FILENO);
    ::close(saved_);
  }
  RedirectStderr(const RedirectStderr&) = delete;
  RedirectStderr& operator=(const RedirectStderr&) = delete;

 private:
  int saved_;
};

}  // namespace sparing::testkit
