#include "base/progress.h"

#include <gtest/gtest.h>

#include <cstdlib>

#include "base/log.h"
#include "base/testing.h"

namespace sparing {
namespace {

using testkit::RedirectStderr;

std::string drain(int fd) {
  ::fcntl(fd, F_SETFL, ::fcntl(fd, F_GETFL) | O_NONBLOCK);
  std::string text;
  char buffer[4096];
  for (ssize_t n; (n = ::read(fd, buffer, sizeof buffer)) > 0;) text.append(buffer, static_cast<std::size_t>(n));
  return text;
}

struct Pipe {
  Pipe() { EXPECT_EQ(::pipe(ends), 0); }
  ~Pipe() {
    ::close(ends[0]);
    ::close(ends[1]);
  }
  int ends[2];
};

/// Both ends of a pseudo-terminal, or -1 where the system has none to give.
struct Terminal {
  Terminal() : master(::posix_openpt(O_RDWR | O_NOCTTY)) {
    if (master >= 0 && ::grantpt(master) == 0 && ::unlockpt(master) == 0)
      slave = ::open(::ptsname(master), O_RDWR | O_NOCTTY);
  }
  ~Terminal() {
    if (slave >= 0) ::close(slave);
    if (master >= 0) ::close(master);
  }
  int master, slave = -1;
};

void work() {
  Progress progress("calibrating", 4, "block");
  progress.resume_at(1);
  progress.advance(2, "layers.1");
  progress.advance();
}

TEST(Progress, IsQuietWhereNobodyWatches) {
  Pipe pipe;
  {
    RedirectStderr redirect(pipe.ends[1]);
    work();
  }
  EXPECT_EQ(drain(pipe.ends[0]), "");
}

TEST(Progress, DrawsOnATerminalAndEndsItsLine) {
  Terminal terminal;
  if (terminal.slave < 0) GTEST_SKIP() << "no pseudo-terminal on this machine";
  {
    RedirectStderr redirect(terminal.slave);
    work();
  }
  const std::string drawn = drain(terminal.master);
  EXPECT_NE(drawn.find("calibrating  4/4 block  in "), std::string::npos) << drawn;
  EXPECT_EQ(drawn.back(), '\n');
  Progress::set_enabled(false);
  {
    RedirectStderr redirect(terminal.slave);
    work();
  }
  Progress::set_enabled(true);
  EXPECT_EQ(drain(terminal.master), "");
}

TEST(Progress, AnUnknownTotalIsDrawnSeldom) {
  Terminal terminal;
  if (terminal.slave < 0) GTEST_SKIP() << "no pseudo-terminal on this machine";
  {
    RedirectStderr redirect(terminal.slave);
    Progress progress("reading", 0, "token");
    for (int i = 0; i < 500; ++i) progress.advance();
  }
  const std::string drawn = drain(terminal.master);
  EXPECT_NE(drawn.find("reading  500 token"), std::string::npos) << drawn;
  EXPECT_LT(drawn.size(), 2000u);
}

TEST(Log, GoesToStandardErrorByLevel) {
  Pipe pipe;
  {
    RedirectStderr redirect(pipe.ends[1]);
    set_log_level(LogLevel::warning);
    log_info("hidden");
    log_warning("percent {} %s stays as written");
    set_log_level(LogLevel::info);
    log_info("shown");
  }
  EXPECT_EQ(drain(pipe.ends[0]), "warning: percent {} %s stays as written\ninfo: shown\n");
}

}  // namespace
}  // namespace sparing
