#include "base/progress.h"

#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdio>

#include "base/units.h"

namespace sparing {
namespace {
std::atomic<bool> enabled{true};
}

void Progress::set_enabled(bool on) {
  enabled = on;
}

Progress::Progress(std::string what, std::int64_t total, std::string unit)
    : what_(std::move(what)),
      unit_(std::move(unit)),
      total_(total),
      start_(std::chrono::steady_clock::now()),
      drawn_(start_) {
  live_ = enabled && ::isatty(STDERR_FILENO) != 0;
  if (live_) draw(false);
}

Progress::~Progress() {
  finish();
}

void Progress::resume_at(std::int64_t done) {
  done_ = resumed_ = done;
}

void Progress::advance(std::int64_t by, const std::string& note) {
  done_ += by;
  note_ = note;
  if (!live_) return;
  const auto now = std::chrono::steady_clock::now();
  if (now - drawn_ < std::chrono::milliseconds(100) && (total_ <= 0 || done_ < total_)) return;
  drawn_ = now;
  draw(false);
}

void Progress::finish() {
  if (finished_) return;
  finished_ = true;
  if (live_) draw(true);
}

void Progress::draw(bool last) {
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count();
  std::string line = what_;
  if (total_ > 0) {
    line += "  " + std::to_string(done_) + "/" + std::to_string(total_) + (unit_.empty() ? "" : " " + unit_);
    const std::int64_t fresh = done_ - resumed_;
    if (last) {
      line += "  in " + format_duration(seconds);
    } else if (fresh > 0 && seconds > 1) {
      line +=
          "  " + format_duration(seconds / static_cast<double>(fresh) * static_cast<double>(total_ - done_)) + " left";
    }
  } else if (done_ > 0) {
    line += "  " + std::to_string(done_) + (unit_.empty() ? "" : " " + unit_);
  }
  if (!note_.empty() && !last) line += "  " + note_;
  std::fprintf(stderr, "\r\033[K%s%s", line.c_str(), last ? "\n" : "");
  std::fflush(stderr);
}

}  // namespace sparing
