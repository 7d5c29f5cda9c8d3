#include "plan/damage.h"

#include "eval/engine_logits.h"
#include "eval/evaluate.h"
#include "runtime/engine.h"

namespace sparing {

Result<std::unique_ptr<DamageMeter>> DamageMeter::create(std::shared_ptr<const Checkpoint> checkpoint,
                                                         std::span<const Token> text, std::int64_t context,
                                                         std::int64_t windows, Token bos, int threads,
                                                         const std::filesystem::path& folder) {
  auto meter = std::make_unique<DamageMeter>();
  SPARING_TRY(meter->windows_, make_windows(text, context, windows, bos));
  meter->threads_ = threads;
  meter->checkpoint_ = std::move(checkpoint);
  EngineOptions options;
  options.threads = threads;
  options.context = context;
  SPARING_TRY(const auto engine, Engine::load(meter->checkpoint_, options));
  EngineLogits logits(*engine);
  SPARING_TRY(meter->reference_, ReferenceLogits::record(logits, meter->windows_, folder));
  return meter;
}

Result<Estimate> DamageMeter::kl(const std::map<std::string, CodedWeight, std::less<>>& weights,
                                 std::int64_t windows) const {
  EngineOptions options;
  options.threads = threads_;
  options.context = windows_.context;
  options.override_weight = [&](const std::string& name) -> const CodedWeight* {
    const auto found = weights.find(name);
    return found == weights.end() ? nullptr : &found->second;
  };
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
