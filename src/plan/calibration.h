#pragma once
// The text that a plan calibrates on: tokens from files, or sampled by the model itself.

#include <memory>
#include <string>
#include <vector>

#include "formats/checkpoint.h"
#include "plan/journal.h"
#include "plan/plan.h"
#include "text/tokenizer.h"

namespace sparing {

struct CalibrationTokens {
  std::vector<std::vector<Token>> sequences;  ///< of the spec's length each
  std::vector<Token> held_out;                ///< consecutive tokens that no sequence contains, for measuring
};

/// "self", or files: hashed, so that the plan names the text and not only its path. Errors: a file that cannot be read
/// or is empty, a length or token count that makes no sequence.
Result<CalibrationSpec> describe_calibration(const std::vector<std::string>& sources, std::int64_t tokens,
                                             std::int64_t length, const ModelConfig& config);

/// What to make of text that has fewer sequences than are asked for.
enum class ShortText {
  warn,    ///< there are fewer then, which is worth a word
  repeat,  ///< whoever asks goes through it several times
};

/// Sequences spread evenly over the text, each at a seeded place of its stretch; the last tenth of the text is held
/// out. Refuses a file whose contents are not those of the plan, and a text shorter than one sequence.
Result<CalibrationTokens> read_calibration(const CalibrationSpec& spec, const Tokenizer& tokenizer, std::uint64_t seed,
                                           ShortText if_short = ShortText::warn);

/// Text that the model samples at temperature 1 from its start token, with `held_out` further tokens. Deterministic by
/// seed.
Result<CalibrationTokens> sample_calibration(const CalibrationSpec& spec,
                                             const std::shared_ptr<const Checkpoint>& checkpoint,
                                             const Tokenizer& tokenizer, std::int64_t held_out, std::uint64_t seed,
                                             int threads);

/// Either of the two, as the spec says, with text held out for measuring. Sampled text is noted in the journal, if
/// there is one: it is dear.
Result<CalibrationTokens> calibration_tokens(const CalibrationSpec& spec,
                                             const std::shared_ptr<const Checkpoint>& checkpoint,
                                             const std::string& model_hash, std::uint64_t seed, int threads,
                                             Journal* journal, ShortText if_short = ShortText::warn);

}  // namespace sparing
