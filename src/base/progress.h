#pragma once
// Progress with time left, on standard error, only when that is a terminal.

#include <chrono>
#include <cstdint>
#include <string>

namespace sparing {

/// For one thread.
class Progress {
 public:
  /// `unit` as in "block" or "token". total <= 0 means unknown.
  Progress(std::string what, std::int64_t total, std::string unit = "");
  ~Progress();
  void advance(std::int64_t by = 1, const std::string& note = "");
  /// Units already done by an earlier run: shown, but not counted in the rate.
  void resume_at(std::int64_t done);
  void finish();
  /// --quiet and --json callers switch it off for the process.
  static void set_enabled(bool on);

 private:
  void draw(bool last);
  std::string what_, unit_, note_;
  std::int64_t total_, done_ = 0, resumed_ = 0;
  std::chrono::steady_clock::time_point start_, drawn_;
  bool live_ = false, finished_ = false;
};

}  // namespace sparing
