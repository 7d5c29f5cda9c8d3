#include "plan/damage.h"

#include <algorithm>

#include "eval/engine_logits.h"
#include "eval/evaluate.h"
#include "eval/speed.h"
#include "runtime/engine.h"

namespace sparing {

std::int64_t meter_windows(std::int32_t vocab, std::int64_t context) {
  constexpr std::uint64_t kReferenceBytes = std::uint64_t{512} << 20;
  constexpr std::int64_t kFewest = 2, kMost = 16;
  const std::uint64_t each = static_cast<std::uint64_t>(vocab) *
                             static_cast<std::uint64_t>(std::max<std::int64_t>(context / 2, 1)) * sizeof(float);
  return std::clamp(static_cast<std::int64_t>(kReferenceBytes / each), kFewest, kMost);
}

namespace {

using Weights = std::map<std::string, CodedWeight, std::less<>>;

EngineOptions options_with(const Weights& weights, std::int64_t context, int threads, int activation_bits) {
  EngineOptions options;
  if (activation_bits == 16) options.precision = kernels::Precision::int16;
  options.threads = threads;
  options.context = context;
  options.override_weight = [&](const std::string& name) -> const CodedWeight* {
    const auto found = weights.find(name);
    return found == weights.end() ? nullptr : &found->second;
  };
  return options;
}

/// An engine reads weights in place: when it is gone, so may be the pages that it has read.
class LetGo {
 public:
  LetGo(std::shared_ptr<const Checkpoint> checkpoint, const Weights& weights)
      : checkpoint_(std::move(checkpoint)), weights_(weights) {}
  LetGo(const LetGo&) = delete;
  LetGo& operator=(const LetGo&) = delete;
  ~LetGo() {
    for (const TensorEntry& entry : checkpoint_->tensors()) checkpoint_->forget(entry.shape.name);
    for (const auto& [name, weight] : weights_) forget(weight);
  }

 private:
  std::shared_ptr<const Checkpoint> checkpoint_;
  const Weights& weights_;
};

}  // namespace

Result<std::unique_ptr<DamageMeter>> DamageMeter::create(std::shared_ptr<const Checkpoint> original,
                                                         std::shared_ptr<const Checkpoint> checkpoint,
                                                         std::span<const Token> text, std::int64_t context,
                                                         std::int64_t windows, Token bos, int threads,
                                                         const std::filesystem::path& folder, int activation_bits) {
  auto meter = std::make_unique<DamageMeter>();
  SPARING_TRY(meter->windows_, make_windows(text, context, windows, bos));
  meter->threads_ = threads;
  meter->activation_bits_ = activation_bits;
  meter->checkpoint_ = std::move(checkpoint);
  EngineOptions options;
  options.threads = threads;
  options.context = context;
  options.precision = kernels::Precision::int16;
  const Weights none;
  const LetGo afterwards(original, none);
  SPARING_TRY(const auto engine, Engine::load(original, options));
  EngineLogits logits(*engine);
  SPARING_TRY(meter->reference_, ReferenceLogits::record(logits, meter->windows_, folder));
  return meter;
}

Result<double> decode_seconds(std::shared_ptr<const Checkpoint> checkpoint, const Weights& weights, int threads,
                              int activation_bits) {
  // Many short rounds: on a machine that others use too, one undisturbed tenth of a second is likelier than half of
  // one.
  constexpr std::int64_t kPrompt = 8, kTokens = 24, kRounds = 12;
  const std::int64_t context = std::min<std::int64_t>(checkpoint->config().context, 128);
  const LetGo afterwards(checkpoint, weights);
  SPARING_TRY(const auto engine, Engine::load(checkpoint, options_with(weights, context, threads, activation_bits)));
  const std::vector<Token> prompt = arbitrary_tokens(kPrompt, engine->config().vocab);
  engine->settle();
  SPARING_CHECK_OK(measure_speed(*engine, prompt, 4));
  double best = 0;
  for (int round = 0; round < kRounds; ++round) {
    SPARING_TRY(const Speed speed, measure_speed(*engine, prompt, std::min(kTokens, context - kPrompt)));
    best = std::max(best, speed.decode_rate());
  }
  if (!(best > 0)) return internal_error("[fit] no speed was measured");
  return 1 / best;
}

Result<Estimate> DamageMeter::kl(const Weights& weights, std::int64_t windows) const {
  const EngineOptions options = options_with(weights, windows_.context, threads_, activation_bits_);
  const LetGo afterwards(checkpoint_, weights);
  SPARING_TRY(const auto engine, Engine::load(checkpoint_, options));
  EngineLogits logits(*engine);
  Windows first = windows_;
  if (windows > 0 && windows < first.count) {
    first.count = windows;
    first.tokens.resize(static_cast<std::size_t>(windows * first.context));
  }
  SPARING_TRY(const EvalReport report, evaluate(logits, reference_.get(), first, engine->pool()));
  if (!report.against) return internal_error("[fit] no divergence was measured");
  return report.against->kld_mean;
}

}  // namespace sparing
