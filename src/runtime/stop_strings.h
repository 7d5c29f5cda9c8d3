#pragma once
#include <string>
#include <string_view>
#include <vector>

namespace sparing {

/// Holds streamed text back while it could still turn into a stop string.
class StopStrings {
 public:
  explicit StopStrings(std::vector<std::string> stops);
  /// Text that can be shown now. After a stop string was found: nothing more.
  std::string feed(std::string_view text);
  /// What was held back, when the text has ended by itself.
  std::string finish();
  bool found() const { return found_; }

 private:
  std::vector<std::string> stops_;
  std::string held_;
  bool found_ = false;
};

}  // namespace sparing
