#include "base/atomic_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>

namespace sparing {
namespace {

/// What the user can do about an errno; empty where strerror says it all.
const char* advice(int error) {
  switch (error) {
    case ENOSPC:
    case EDQUOT:
      return ": free some space or choose another folder";
    case EFBIG:
      return ": the file size limit (ulimit -f) or the file system is too small";
    case EACCES:
    case EPERM:
    case EROFS:
      return ": choose a folder that you may write to";
    case ENOENT:
    case ENOTDIR:
      return ": create the folder first";
    default:
      return "";
  }
}

Error file_error(const char* operation, const std::filesystem::path& path) {
  const int error = errno;
  return resource_error(std::string("[") + operation + "] " + path.string() + ": " + std::strerror(error) +
                        advice(error));
}

std::filesystem::path parent_of(const std::filesystem::path& path) {
  return path.has_parent_path() ? path.parent_path() : std::filesystem::path(".");
}

}  // namespace

Result<AtomicFile> AtomicFile::create(const std::filesystem::path& target) {
  AtomicFile file;
  file.target_ = target;
  file.temporary_ = target.string() + ".partial-" + std::to_string(::getpid());
  file.fd_ = ::open(file.temporary_.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
  if (file.fd_ < 0) return file_error("write", target);
  return file;
}

AtomicFile::AtomicFile(AtomicFile&& other) noexcept
    : target_(std::move(other.target_)),
      temporary_(std::move(other.temporary_)),
      fd_(std::exchange(other.fd_, -1)),
      size_(other.size_) {}

AtomicFile::~AtomicFile() {
  if (fd_ < 0) return;
  ::close(fd_);
  ::unlink(temporary_.c_str());
}

Status AtomicFile::write(Bytes data) {
  SPARING_CHECK_OK(write_at(size_, data));
  size_ += data.size();
  return {};
}

Status AtomicFile::write(std::string_view text) {
  return write(std::as_bytes(std::span(text)));
}

Status AtomicFile::write_zeros(std::size_t count) {
  static constexpr std::array<std::byte, 4096> zeros{};
  while (count > 0) {
    const std::size_t part = std::min(count, zeros.size());
    SPARING_CHECK_OK(write(Bytes(zeros.data(), part)));
    count -= part;
  }
  return {};
}

Status AtomicFile::write_at(std::uint64_t offset, Bytes data) {
  while (!data.empty()) {
    const ssize_t written = ::pwrite(fd_, data.data(), data.size(), static_cast<off_t>(offset));
    if (written < 0) {
      if (errno == EINTR) continue;
      return file_error("write", target_);
    }
    data = data.subspan(static_cast<std::size_t>(written));
    offset += static_cast<std::uint64_t>(written);
  }
  return {};
}

Status AtomicFile::commit() {
  const int fd = std::exchange(fd_, -1);
  int error = ::fsync(fd) == 0 ? 0 : errno;
  if (::close(fd) != 0 && error == 0) error = errno;
  if (error == 0 && ::rename(temporary_.c_str(), target_.c_str()) != 0) error = errno;
  if (error != 0) {
    ::unlink(temporary_.c_str());
    errno = error;
    return file_error("write", target_);
  }
  return sync_path(parent_of(target_));
}

Status write_file_atomically(const std::filesystem::path& target, std::string_view text) {
  SPARING_TRY(AtomicFile file, AtomicFile::create(target));
  SPARING_CHECK_OK(file.write(text));
  return file.commit();
}

Result<std::string> read_text_file(const std::filesystem::path& path, std::uint64_t max_bytes) {
  SPARING_TRY(auto file, MappedFile::open(path));
  const Bytes bytes = file->bytes();
  if (bytes.size() > max_bytes) {
    return input_error("[read] " + path.string() + ": " + std::to_string(bytes.size()) + " bytes, at most " +
                       std::to_string(max_bytes) + " are read");
  }
  return std::string(reinterpret_cast<const char*>(bytes.data()), bytes.size());
}

Status sync_path(const std::filesystem::path& path) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return file_error("sync", path);
  // Some file systems refuse fsync on a directory; the rename has still happened.
  const bool failed = ::fsync(fd) != 0 && errno != EINVAL;
  ::close(fd);
  if (failed) return file_error("sync", path);
  return {};
}

Status publish_directory(const std::filesystem::path& staging, const std::filesystem::path& target) {
  std::error_code error;
  std::filesystem::recursive_directory_iterator entry(staging, error);
  for (; !error && entry != std::filesystem::recursive_directory_iterator(); entry.increment(error)) {
    SPARING_CHECK_OK(sync_path(entry->path()));
  }
  if (error) return resource_error("[write] " + staging.string() + ": " + error.message());
  SPARING_CHECK_OK(sync_path(staging));
  int renamed = ::renameat2(AT_FDCWD, staging.c_str(), AT_FDCWD, target.c_str(), RENAME_NOREPLACE);
  // Network file systems know no flags: there, look first.
  if (renamed != 0 && errno == EINVAL) {
    struct stat status {};
    errno = EEXIST;
    if (::lstat(target.c_str(), &status) != 0) renamed = ::rename(staging.c_str(), target.c_str());
  }
  if (renamed != 0) {
    if (errno == EEXIST || errno == ENOTEMPTY) {
      return usage_error("[write] " + target.string() + " exists: choose another --out or remove it");
    }
    return file_error("write", target);
  }
  return sync_path(parent_of(target));
}

}  // namespace sparing
