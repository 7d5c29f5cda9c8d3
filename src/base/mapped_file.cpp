#include "base/mapped_file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

namespace sparing {
namespace {

/// All pages that `part` touches: with read-only pages, advice about a neighbour does no harm.
void advise(Bytes part, int advice) {
  if (part.empty()) return;
  const auto page = static_cast<std::uintptr_t>(::sysconf(_SC_PAGESIZE));
  const auto begin = reinterpret_cast<std::uintptr_t>(part.data()), end = begin + part.size();
  const std::uintptr_t first = begin / page * page;
  ::madvise(reinterpret_cast<void*>(first), end - first, advice);
}

}  // namespace

Result<std::shared_ptr<const MappedFile>> MappedFile::open(const std::filesystem::path& path) {
  const auto fail = [&](const char* what) { return input_error("[open] " + path.string() + ": " + what); };
  // O_NONBLOCK: a named pipe is refused below instead of being waited for.
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0) return fail(std::strerror(errno));
  struct stat status {};
  if (::fstat(fd, &status) != 0 || !S_ISREG(status.st_mode)) {
    ::close(fd);
    return fail("not a regular file");
  }
  std::shared_ptr<MappedFile> file(new MappedFile);
  file->path_ = path;
  file->size_ = static_cast<std::size_t>(status.st_size);
  if (file->size_ > 0) {
    void* data = ::mmap(nullptr, file->size_, PROT_READ, MAP_SHARED, fd, 0);
    const int error = errno;
    ::close(fd);
    if (data == MAP_FAILED) {
      file->size_ = 0;
      return fail(std::strerror(error));
    }
    file->data_ = static_cast<const std::byte*>(data);
  } else {
    ::close(fd);
  }
  return std::shared_ptr<const MappedFile>(std::move(file));
}

MappedFile::~MappedFile() {
  if (data_ != nullptr) ::munmap(const_cast<std::byte*>(data_), size_);
}

void MappedFile::forget(Bytes part) const {
  if (part.empty()) return;
  // One fault maps up to the 2 MiB around it where the page cache holds large folios, bytes that were let go before
  // included: all of that goes, and what others still read there comes back with their next fault.
  constexpr std::size_t kAround = 2u << 20;
  const auto begin = static_cast<std::size_t>(part.data() - data_), end = begin + part.size();
  const std::size_t first = begin / kAround * kAround, last = std::min(size_, (end + kAround - 1) / kAround * kAround);
  advise({data_ + first, last - first}, MADV_DONTNEED);
}
void MappedFile::will_need(Bytes part) const {
  advise(part, MADV_WILLNEED);
}

}  // namespace sparing
