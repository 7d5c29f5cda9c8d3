#pragma once
#include "plan/execute.h"

namespace sparing {

/// The CalibratedCoder of the lab: streams the text through the model block by block.
Status code_calibrated(const Plan& plan, const Assembler& assembler, const std::vector<std::vector<Token>>& sequences,
                       BlockStore& store, const ExecuteOptions& options);

}  // namespace sparing
