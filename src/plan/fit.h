#pragma once
// `compress --fit weights=72MiB`: the best uniform setting (bits, group and method of the linear weights; bits and
// group of embedding and head) whose finished directory fits, by measured damage.

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "plan/assemble.h"
#include "plan/calibration.h"
#include "plan/compose.h"
#include "plan/execute.h"

namespace sparing {

struct FitRequest {
  std::uint64_t budget = 0;  ///< bytes of the finished directory
  /// What the user pinned; empty or nothing: free.
  std::vector<std::string> methods;
  std::optional<std::int32_t> bits, group, embed_bits, embed_group;
  /// Further settings of the linear weights (--param), overrides, calibration and seed. Its methods, bits and groups
  /// are the solver's to fill in.
  ComposeRequest base;
};

/// "weights=72MiB". Errors: resources that are not known yet (by name), a budget of zero, two of the same.
Result<std::uint64_t> parse_fit(const std::string& text);

/// Measures and solves. What was found is noted in the journal, if there is one, so that a restarted run does not
/// measure again. The plan comes back bound and predicted, its budget filled in.
Result<Plan> fit_uniform(const FitRequest& request, const Assembler& assembler, Journal* journal,
                         const ExecuteOptions& options);

}  // namespace sparing
