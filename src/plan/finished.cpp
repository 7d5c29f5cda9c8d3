#include "plan/finished.h"

#include "plan/calibration.h"
#include "plan/damage.h"
#include "text/tokenizer.h"

namespace sparing {
Result<FinishedMeasures> measure_finished(const Plan& plan, const Assembler& assembler,
                                          const std::filesystem::path& folder, Journal& journal,
                                          const ExecuteOptions& options) {
  FinishedMeasures found;
  SPARING_TRY(const auto finished, open_checkpoint(folder.string()));
  SPARING_TRY(const double seconds, decode_seconds(finished, {}, options.threads));
  found.tokens_per_second = 1 / seconds;
  if (plan.calibration.tokens == 0) return found;
  SPARING_TRY(const CalibrationTokens text,
              calibration_tokens(plan.calibration, assembler.original_ptr(), assembler.model_hash(), plan.seed,
                                 options.threads, &journal));
  SPARING_TRY(const auto tokenizer, Tokenizer::load(assembler.original().tokenizer()));
  const Token bos = tokenizer->adds_bos() ? tokenizer->bos() : -1;
  SPARING_TRY(const auto meter,
              DamageMeter::create(assembler.original_ptr(), finished, text.held_out, plan.calibration.length,
                                  meter_windows(finished->config().vocab, plan.calibration.length), bos,
                                  options.threads, journal.folder()));
  SPARING_TRY(const Estimate damage, meter->kl({}));
  found.damage = damage.value;
  return found;
}

}  // namespace sparing
