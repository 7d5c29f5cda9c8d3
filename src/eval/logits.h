#pragma once
// Where logits come from: an engine, or a recording of one.

#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <vector>

#include "base/result.h"
#include "text/tokenizer.h"

namespace sparing {

/// The windows that a text is cut into: consecutive, of `context` tokens; positions context/2 .. context-2 are scored
/// on the token that follows them (as llama.cpp's perplexity tool does).
struct Windows {
  std::int64_t context = 512;
  std::int64_t count = 0;
  Token bos = -1;  ///< takes the place of each window's first token; -1: none does
  std::vector<Token> tokens;

  std::int64_t first_scored() const { return context / 2; }
  std::int64_t scored() const { return context - 1 - first_scored(); }
  /// The window as the model sees it, `context` tokens.
  std::vector<Token> window(std::int64_t index) const;
  bool operator==(const Windows&) const = default;
};
/// At most `most` windows (0: as many as there are). Refuses a text that does not fill one, saying how much is needed.
Result<Windows> make_windows(std::span<const Token> tokens, std::int64_t context, std::int64_t most, Token bos);

class LogitsSource {
 public:
  virtual ~LogitsSource() = default;
  virtual std::int32_t vocab() const = 0;
  /// Turns to a window.
  virtual Status begin(const Windows& windows, std::int64_t index) = 0;
  /// Logits [count, vocab] of the scored positions [from, from + count) of that window, asked for in ascending order.
  /// Valid until the next call.
  virtual Result<std::span<const float>> scored(std::int64_t from, std::int64_t count) = 0;
};

/// How many scored positions to ask for at once: about 64 MiB of logits.
std::int64_t positions_at_once(const Windows& windows, std::int32_t vocab);

/// One model's exact f32 logits at every scored position, for comparing many candidates with it. Held in memory, or in
/// an unnamed file in `folder` (which goes away by itself) when that is not empty: then what was asked for last is all
/// that is resident.
class ReferenceLogits final : public LogitsSource {
 public:
  static Result<std::unique_ptr<ReferenceLogits>> record(LogitsSource& source, const Windows& windows,
                                                         const std::filesystem::path& folder = {});
  /// Bytes that a recording takes.
  static std::uint64_t bytes(const Windows& windows, std::int32_t vocab);
  ~ReferenceLogits() override;
  std::int32_t vocab() const override { return vocab_; }
  Status begin(const Windows& windows, std::int64_t index) override;
  Result<std::span<const float>> scored(std::int64_t from, std::int64_t count) override;

 private:
  ReferenceLogits() = default;
  void rest() const;
  Windows windows_;
  std::int32_t vocab_ = 0;
  std::int64_t index_ = 0;
  float* data_ = nullptr;  ///< mapped
  std::uint64_t size_ = 0;
  bool in_file_ = false;
};

}  // namespace sparing
