#pragma once
// Measured damage: KL from the original's next-token distributions, on text held out from calibration, by the runtime
// that serves.

#include <filesystem>
#include <map>
#include <memory>
#include <span>
#include <string>

#include "eval/logits.h"
#include "eval/statistics.h"
#include "formats/checkpoint.h"
#include "text/tokenizer.h"

namespace sparing {

/// Windows of a context whose logits, scored half of each, take at most half a GiB: 2 to 16.
std::int64_t meter_windows(std::int32_t vocab, std::int64_t context);

class DamageMeter {
 public:
  /// Runs the original over at most `windows` windows of `context` tokens and keeps its logits, in an unnamed file in
  /// `folder` unless that is empty; its own codes, if it has any, meet activations in 16 bits. `checkpoint`: the model
  /// that is judged, the same or what was made of it. `activation_bits`: of the judged model; 0: as it says itself.
  static Result<std::unique_ptr<DamageMeter>> create(std::shared_ptr<const Checkpoint> original,
                                                     std::shared_ptr<const Checkpoint> checkpoint,
                                                     std::span<const Token> text, std::int64_t context,
                                                     std::int64_t windows, Token bos, int threads,
                                                     const std::filesystem::path& folder, int activation_bits = 0);
  /// Mean KL(original || the model with these weights in place of its own), on the first `windows` (0: all).
  Result<Estimate> kl(const std::map<std::string, CodedWeight, std::less<>>& weights, std::int64_t windows = 0) const;
  std::int64_t windows() const { return windows_.count; }
  std::int64_t context() const { return windows_.context; }

 private:
  std::shared_ptr<const Checkpoint> checkpoint_;
  Windows windows_;
  std::unique_ptr<ReferenceLogits> reference_;
  int threads_ = 0, activation_bits_ = 0;
};

/// Seconds a token takes to decode with these weights in place of the model's own, measured.
Result<double> decode_seconds(std::shared_ptr<const Checkpoint> checkpoint,
                              const std::map<std::string, CodedWeight, std::less<>>& weights, int threads,
                              int activation_bits = 0);

}  // namespace sparing
