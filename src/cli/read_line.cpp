#include "cli/read_line.h"

#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "base/interrupt.h"

namespace sparing::cli {

Result<std::optional<std::string>> read_line() {
  // What came after the last line's end. Standard input is one per process, and so is this.
  static std::string ahead;
  for (;;) {
    if (const std::size_t end = ahead.find('\n'); end != std::string::npos) {
      std::string line = ahead.substr(0, end);
      ahead.erase(0, end + 1);
      if (line.ends_with('\r')) line.pop_back();
      return std::optional<std::string>(std::move(line));
    }
    char part[4096];
    const ssize_t got = ::read(STDIN_FILENO, part, sizeof part);
    if (got > 0) {
      ahead.append(part, static_cast<std::size_t>(got));
      continue;
    }
    if (got < 0 && errno == EINTR && !interrupted()) continue;
    if (got < 0 && errno != EINTR) return input_error(std::string("[chat] standard input: ") + std::strerror(errno));
    if (got == 0 && !ahead.empty()) {
      std::string line;
      line.swap(ahead);
      return std::optional<std::string>(std::move(line));
    }
    return std::optional<std::string>();
  }
}

}  // namespace sparing::cli
