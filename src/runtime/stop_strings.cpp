#include "runtime/stop_strings.h"

#include <algorithm>
#include <utility>

namespace sparing {

StopStrings::StopStrings(std::vector<std::string> stops) : stops_(std::move(stops)) {
  std::erase(stops_, std::string());
}

std::string StopStrings::feed(std::string_view text) {
  if (found_) return {};
  held_ += text;
  std::size_t at = std::string::npos;
  for (const std::string& stop : stops_) at = std::min(at, held_.find(stop));
  if (at != std::string::npos) {
    found_ = true;
    held_.resize(at);
    return std::exchange(held_, {});
  }
  std::size_t keep = 0;
  for (const std::string& stop : stops_) {
    for (std::size_t n = std::min(stop.size() - 1, held_.size()); n > keep; --n) {
      if (held_.ends_with(std::string_view(stop).substr(0, n))) keep = n;
    }
  }
  std::string shown = held_.substr(0, held_.size() - keep);
  held_.erase(0, held_.size() - keep);
  return shown;
}

std::string StopStrings::finish() {
  return std::exchange(held_, {});
}

}  // namespace sparing
