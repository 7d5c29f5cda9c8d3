#pragma once
// The inference engine: weights in place, KV cache, forward passes. No libtorch.

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/thread_pool.h"
#include "formats/checkpoint.h"
#include "kernels/linear.h"
#include "models/graph.h"
#include "runtime/kv_type.h"
#include "text/tokenizer.h"

namespace sparing {

/// "f32", "f16", "int16", "int8", "int4"; find_kv_type: nothing for any other name.
std::string_view name_of(KvType type);
std::optional<KvType> find_kv_type(std::string_view name);

struct EngineOptions {
  int threads = 0;             ///< 0: all available
  std::int64_t context = 0;    ///< KV positions per sequence; 0: min(model's, 4096)
  std::int32_t sequences = 1;  ///< sequences with caches of their own
  std::int64_t batch = 512;    ///< most tokens in one pass (longer prompts are cut; fewer where activations are wide)
  KvType kv = kDefaultKv;
  std::optional<kernels::Precision> precision = {};  ///< of all products; nothing: what the graph says of each
  std::uint64_t memory = 0;                          ///< bytes that loading may take; 0: what the machine has free
  /// Replaces a weight before it is prepared (the planner's one-site damage, the lab's candidates). Empty result: keep.
  std::function<const CodedWeight*(const std::string& name)> override_weight = {};
};

class Engine {
 public:
  /// Refuses, before loading, a model that will not fit in available memory.
  static Result<std::unique_ptr<Engine>> load(std::shared_ptr<const Checkpoint> checkpoint,
                                              const EngineOptions& options);
  ~Engine();

  const ModelConfig& config() const;
  std::int64_t context() const;
  /// Positions in use by a sequence.
  std::int64_t length(std::int32_t sequence) const;
  /// Forgets positions from `length` on. A cache with coded keys may have to forget more, back to the start of a block
  /// of 64, when more than its newest block goes: ask length() afterwards.
  void truncate(std::int32_t sequence, std::int64_t length);

  /// Appends `tokens` to a sequence. Logits [n, vocab] of its last n = logits.size() / vocab tokens are written; n may
  /// be 0. Error if the context would overflow or an id is out of range.
  Status forward(std::int32_t sequence, std::span<const Token> tokens, std::span<float> logits);
  /// One token for each of several sequences at once (decode batch). logits: [sequences.size(), vocab].
  Status decode(std::span<const std::int32_t> sequences, std::span<const Token> tokens, std::span<float> logits);

  /// Does at once what the first tokens do a little at a time to make later ones faster: for measuring.
  void settle();

  std::uint64_t weight_bytes() const;     ///< resident for weights
  std::uint64_t kv_bytes() const;         ///< allocated for KV
  std::uint64_t bytes_per_token() const;  ///< weight bytes read per decoded token
  ThreadPool& pool();

 private:
  Engine();
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

struct SamplingOptions {
  float temperature = 0.0f;  ///< 0: greedy
  std::int32_t top_k = 0;    ///< 0: off
  float top_p = 1.0f, min_p = 0.0f;
  std::uint64_t seed = 0;
};
/// The lowest id of the greatest logit; NaN is never chosen. 0 where none is greater than -infinity.
Token likeliest(std::span<const float> logits);

/// Ties go to the lowest id. Deterministic by seed.
class Sampler {
 public:
  explicit Sampler(const SamplingOptions& options);
  ~Sampler();
  Token sample(std::span<const float> logits);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace sparing
