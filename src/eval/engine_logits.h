#pragma once
#include <vector>

#include "eval/logits.h"
#include "runtime/engine.h"

namespace sparing {

/// An engine's logits, on its sequence 0. The head runs for scored positions only.
class EngineLogits final : public LogitsSource {
 public:
  /// The engine must outlive this and have a context of at least the windows' less one.
  explicit EngineLogits(Engine& engine) : engine_(engine) {}
  std::int32_t vocab() const override { return engine_.config().vocab; }
  Status begin(const Windows& windows, std::int64_t index) override;
  Result<std::span<const float>> scored(std::int64_t from, std::int64_t count) override;

 private:
  Engine& engine_;
  std::vector<Token> window_;
  std::int64_t first_ = 0;
  std::vector<float> logits_;
};

}  // namespace sparing
