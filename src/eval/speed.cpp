#include "eval/speed.h"

#include <algorithm>
#include <chrono>

#include "base/interrupt.h"
#include "base/rng.h"

namespace sparing {
namespace {

using Clock = std::chrono::steady_clock;

double since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

}  // namespace

Result<Speed> measure_speed(Engine& engine, std::span<const Token> prompt, std::int64_t decode, std::int32_t batch) {
  const auto vocab = static_cast<std::size_t>(engine.config().vocab);
  Speed speed;
  speed.prompt_tokens = static_cast<std::int64_t>(prompt.size());
  std::vector<float> logits(vocab * static_cast<std::size_t>(batch));
  std::vector<std::int32_t> sequences;
  std::vector<Token> next;
  for (std::int32_t s = 0; s < batch; ++s) {
    engine.truncate(s, 0);
    const auto start = Clock::now();
    constexpr std::size_t kPart = 2048;  // Between parts, Ctrl-C is looked for.
    for (std::size_t at = 0; at < prompt.size(); at += kPart) {
      if (interrupted()) return interrupted_error("bench");
      const auto part = prompt.subspan(at, std::min(kPart, prompt.size() - at));
      SPARING_CHECK_OK(engine.forward(s, part, std::span(logits).first(at + kPart >= prompt.size() ? vocab : 0)));
    }
    if (s == 0) speed.prompt_seconds = since(start);
    sequences.push_back(s);
    // Sequences that differ, as users' do.
    next.push_back((likeliest(std::span<const float>(logits).first(vocab)) + s) % engine.config().vocab);
  }
  const auto start = Clock::now();
  for (std::int64_t i = 0; i < decode; ++i) {
    if (interrupted()) return interrupted_error("bench");
    SPARING_CHECK_OK(engine.decode(sequences, next, logits));
    for (std::size_t s = 0; s < next.size(); ++s) {
      next[s] = likeliest(std::span<const float>(logits).subspan(s * vocab, vocab));
    }
  }
  speed.decode_seconds = since(start);
  speed.decode_tokens = decode * batch;
  for (const std::int32_t s : sequences) engine.truncate(s, 0);
  return speed;
}

std::vector<Token> arbitrary_tokens(std::int64_t n, std::int32_t vocab, std::uint64_t seed) {
  Rng rng(seed, 0x70726f6d7074);
  std::vector<Token> tokens;
  for (std::int64_t i = 0; i < n; ++i) {
    tokens.push_back(static_cast<Token>(rng.below(static_cast<std::uint64_t>(vocab))));
  }
  return tokens;
}

}  // namespace sparing
