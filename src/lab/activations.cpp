#include "lab/activations.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <string>
#include <utility>

#include "base/checked.h"
#include "base/log.h"
#include "base/units.h"

namespace sparing::lab {

ActivationMatrix::ActivationMatrix(ActivationMatrix&& other) noexcept {
  *this = std::move(other);
}
ActivationMatrix& ActivationMatrix::operator=(ActivationMatrix&& other) noexcept {
  if (this == &other) return *this;
  release();
  data_ = std::exchange(other.data_, nullptr);
  rows_ = other.rows_;
  width_ = other.width_;
  bytes_ = other.bytes_;
  spilled_ = other.spilled_;
  used_ = std::move(other.used_);
  return *this;
}
ActivationMatrix::~ActivationMatrix() {
  release();
}
void ActivationMatrix::release() {
  if (!data_) return;
  ::munmap(data_, bytes_);
  if (!spilled_ && used_) *used_ -= bytes_;
  data_ = nullptr;
}

void ActivationMatrix::rest(std::int64_t first, std::int64_t count) const {
  if (!spilled_) return;
  const auto page = static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
  const std::size_t row_bytes = static_cast<std::size_t>(width_) * sizeof(float);
  // Whole pages only, inwards: a page shared with rows in use stays.
  const std::size_t begin = round_up(static_cast<std::size_t>(first) * row_bytes, page),
                    end = static_cast<std::size_t>(first + count) * row_bytes / page * page;
  if (begin < end) ::madvise(reinterpret_cast<std::byte*>(data_) + begin, end - begin, MADV_DONTNEED);
}

ActivationPool::ActivationPool(std::uint64_t max_ram, std::filesystem::path scratch)
    : max_ram_(max_ram), scratch_(std::move(scratch)), used_(std::make_shared<std::uint64_t>(0)) {}

Result<ActivationMatrix> ActivationPool::make(std::int64_t rows, std::int64_t width) {
  const auto count = checked_mul(static_cast<std::uint64_t>(rows), static_cast<std::uint64_t>(width));
  const auto bytes = count ? checked_mul(*count, sizeof(float)) : std::nullopt;
  if (!bytes || *bytes == 0)
    return usage_error("[calibrate] " + std::to_string(rows) + " tokens of width " + std::to_string(width) +
                       " cannot be held: calibrate on fewer");
  ActivationMatrix m;
  m.rows_ = rows;
  m.width_ = width;
  m.bytes_ = *bytes;
  m.used_ = used_;
  m.spilled_ = max_ram_ > 0 && *used_ + *bytes > max_ram_;
  int file = -1;
  if (m.spilled_) {
    std::error_code ignored;
    const std::filesystem::path folder = scratch_.empty() ? std::filesystem::temp_directory_path(ignored) : scratch_;
    std::string name = (folder / "sparing-activations-XXXXXX").string();
    file = ::mkstemp(name.data());
    if (file < 0)
      return resource_error("[calibrate] " + folder.string() + ": no scratch file can be made there (" +
                            std::strerror(errno) + "): name another folder, or allow more memory");
    ::unlink(name.c_str());
    if (const int failed = ::posix_fallocate(file, 0, static_cast<off_t>(*bytes)); failed != 0) {
      ::close(file);
      return resource_error("[calibrate] " + folder.string() + ": no room for " + format_bytes(*bytes) +
                            " of activations (" + std::strerror(failed) + "): free some, or allow more memory");
    }
    log_debug("[calibrate] " + format_bytes(*bytes) + " of activations go to a file in " + folder.string());
  }
  void* const data = ::mmap(nullptr, *bytes, PROT_READ | PROT_WRITE,
                            m.spilled_ ? MAP_SHARED : MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, file, 0);
  if (file >= 0) ::close(file);
  if (data == MAP_FAILED)
    return resource_error("[calibrate] no memory for " + format_bytes(*bytes) +
                          " of activations: calibrate on fewer tokens, or spill them with --max-ram");
  m.data_ = static_cast<float*>(data);
  if (!m.spilled_) *used_ += *bytes;
  return m;
}

}  // namespace sparing::lab
