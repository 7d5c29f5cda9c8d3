#include "eval/engine_logits.h"

namespace sparing {

Status EngineLogits::begin(const Windows& windows, std::int64_t index) {
  window_ = windows.window(index);
  first_ = windows.first_scored();
  engine_.truncate(0, 0);
  return {};
}

Result<std::span<const float>> EngineLogits::scored(std::int64_t from, std::int64_t count) {
  logits_.resize(static_cast<std::size_t>(count) * static_cast<std::size_t>(vocab()));
  // Everything up to the last position asked for; earlier ones are in the cache already.
  const std::int64_t done = engine_.length(0), end = first_ + from + count;
  const std::span<const Token> tokens(window_);
  SPARING_CHECK_OK(engine_.forward(
      0, tokens.subspan(static_cast<std::size_t>(done), static_cast<std::size_t>(end - done)), logits_));
  return std::span<const float>(logits_);
}

}  // namespace sparing
