#include "eval/logits.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <string>

#include "base/interrupt.h"
#include "base/system.h"
#include "base/units.h"

namespace sparing {

std::vector<Token> Windows::window(std::int64_t index) const {
  const auto begin = tokens.begin() + index * context;
  std::vector<Token> part(begin, begin + context);
  if (bos >= 0) part[0] = bos;
  return part;
}

Result<Windows> make_windows(std::span<const Token> tokens, std::int64_t context, std::int64_t most, Token bos) {
  if (context < 4) return usage_error("[eval] --ctx " + std::to_string(context) + ": at least 4 tokens a window");
  if (most < 0) return usage_error("[eval] --chunks " + std::to_string(most) + ": 0 (all) or more");
  const auto length = static_cast<std::int64_t>(tokens.size());
  if (length < context) {
    return input_error("[eval] the text has " + std::to_string(length) + " tokens and one window needs " +
                       std::to_string(context) + ": give a longer --text or a smaller --ctx");
  }
  Windows windows;
  windows.context = context;
  windows.count = length / context;
  if (most > 0) windows.count = std::min(windows.count, most);
  windows.bos = bos;
  windows.tokens.assign(tokens.begin(), tokens.begin() + windows.count * context);
  return windows;
}

std::int64_t positions_at_once(const Windows& windows, std::int32_t vocab) {
  const std::int64_t fit = (64 << 20) / (4 * std::max<std::int64_t>(vocab, 1));
  return std::clamp<std::int64_t>(fit, 1, std::max<std::int64_t>(windows.scored(), 1));
}

std::uint64_t ReferenceLogits::bytes(const Windows& windows, std::int32_t vocab) {
  return static_cast<std::uint64_t>(windows.count) * static_cast<std::uint64_t>(windows.scored()) *
         static_cast<std::uint64_t>(vocab) * sizeof(float);
}

Result<std::unique_ptr<ReferenceLogits>> ReferenceLogits::record(LogitsSource& source, const Windows& windows,
                                                                 const std::filesystem::path& folder) {
  std::unique_ptr<ReferenceLogits> recording(new ReferenceLogits);
  recording->windows_ = windows;
  recording->vocab_ = source.vocab();
  recording->size_ = bytes(windows, source.vocab());
  const std::string size = format_bytes(recording->size_);
  void* memory = MAP_FAILED;
  if (folder.empty()) {
    if (recording->size_ > available_memory()) {
      return resource_error("[eval] the reference's logits take " + size + ", " + format_bytes(available_memory()) +
                            " are free: use fewer windows or a folder for them");
    }
    memory = ::mmap(nullptr, recording->size_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  } else {
    struct statvfs disk {};
    if (::statvfs(folder.c_str(), &disk) == 0) {
      const std::uint64_t free = static_cast<std::uint64_t>(disk.f_bavail) * disk.f_frsize;
      if (free < recording->size_) {
        return resource_error("[eval] " + folder.string() + ": the reference's logits take " + size + ", " +
                              format_bytes(free) + " are free: use fewer --chunks, or a larger folder with TMPDIR");
      }
    }
    const int fd = ::open(folder.c_str(), O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    if (fd < 0) return resource_error("[eval] " + folder.string() + ": " + std::strerror(errno));
    // posix_fallocate, so that a full disk is an error now and not a bus error later.
    const int failed = ::posix_fallocate(fd, 0, static_cast<off_t>(recording->size_));
    if (failed == 0) memory = ::mmap(nullptr, recording->size_, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    ::close(fd);
    recording->in_file_ = true;
    if (failed != 0) {
      return resource_error("[eval] " + folder.string() + ": no room for " + size +
                            " of reference logits: " + std::strerror(failed));
    }
  }
  if (memory == MAP_FAILED) return resource_error("[eval] reference logits, " + size + ": " + std::strerror(errno));
  recording->data_ = static_cast<float*>(memory);

  const std::int64_t step = positions_at_once(windows, source.vocab());
  float* out = recording->data_;
  for (std::int64_t w = 0; w < windows.count; ++w) {
    if (interrupted()) return interrupted_error("eval");
    SPARING_CHECK_OK(source.begin(windows, w));
    for (std::int64_t from = 0; from < windows.scored(); from += step) {
      const std::int64_t count = std::min(step, windows.scored() - from);
      SPARING_TRY(const auto logits, source.scored(from, count));
      out = std::copy(logits.begin(), logits.end(), out);
      recording->rest();
    }
  }
  return recording;
}

/// Pages of the file are not this process's memory once it lets go of them; what was written stays in the file.
void ReferenceLogits::rest() const {
  if (in_file_) ::madvise(data_, size_, MADV_DONTNEED);
}

ReferenceLogits::~ReferenceLogits() {
  if (data_ != nullptr) ::munmap(data_, size_);
}

Status ReferenceLogits::begin(const Windows& windows, std::int64_t index) {
  // The first few of the windows recorded will do.
  const bool same = windows.context == windows_.context && windows.bos == windows_.bos &&
                    windows.count <= windows_.count &&
                    std::equal(windows.tokens.begin(), windows.tokens.end(), windows_.tokens.begin());
  if (!same) return internal_error("[eval] reference logits were recorded on other windows");
  index_ = index;
  return {};
}

Result<std::span<const float>> ReferenceLogits::scored(std::int64_t from, std::int64_t count) {
  rest();
  const std::int64_t begin = (index_ * windows_.scored() + from) * vocab_;
  return std::span<const float>(data_ + begin, static_cast<std::size_t>(count * vocab_));
}

}  // namespace sparing
