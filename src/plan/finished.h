#pragma once
// What a finished directory has come to, measured as it will be used, to be held against what its plan foresaw.

#include <filesystem>

#include "plan/assemble.h"
#include "plan/execute.h"

namespace sparing {

/// Mean KL from the original on text held out from calibration, and decoding speed. `folder` is a finished directory;
/// its text is the plan's, and of it what drafts were measured on. `journal` has what was sampled of it.
Result<FinishedMeasures> measure_finished(const Plan& plan, const Assembler& assembler,
                                          const std::filesystem::path& folder, Journal& journal,
                                          const ExecuteOptions& options);

}  // namespace sparing
