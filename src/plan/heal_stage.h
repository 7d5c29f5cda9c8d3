#pragma once
// Healing as a stage of carrying out a plan: after all blocks are coded, before the directory is built. Its state is
// journaled under a block's name of its own.

#include <map>
#include <string>
#include <vector>

#include "plan/execute.h"

namespace sparing {

/// What stands in the finished model instead of what was coded, and how training went (lab/heal.h).
struct HealedModel {
  std::map<std::string, CodedWeight> weights;
  std::map<std::string, std::vector<float>> vectors;
  HealOutcome outcome;
};

/// Trains the store's finished blocks as plan.heal says. Part of sparing-lab.
Result<HealedModel> heal_plan(const Plan& plan, const Assembler& assembler, const BlockStore& store, Journal& journal,
                              const ExecuteOptions& options);

/// Whether the device (ExecuteOptions::device) multiplies in bf16 at more than f32's speed: what HealSpec::bf16 is in a
/// new plan.
bool heals_fast_in_bf16(const std::string& device);

/// Seconds that healing is expected to take on this machine, by a step of it. Noted in the journal.
Result<double> heal_seconds_of(const HealSpec& spec, const Assembler& assembler, Journal& journal,
                               const ExecuteOptions& options);

/// Tokens that training is expected to get through in so many seconds on this machine, measurements and the original's
/// pass included: whole batches, at least one. Noted in the journal, if there is one: a run that goes on trains on as
/// many.
Result<std::int64_t> heal_tokens_for(double seconds, const HealSpec& spec, const Assembler& assembler, Journal* journal,
                                     const ExecuteOptions& options);

}  // namespace sparing
