#pragma once
// What a user can spend, and what of it bounds the bytes of the finished directory.

#include <cstdint>
#include <string>

#include "base/result.h"
#include "formats/model_config.h"
#include "plan/plan.h"

namespace sparing {

/// Zero: not asked.
struct FitBudgets {
  std::uint64_t weights = 0;  ///< bytes of the finished directory
  std::uint64_t ram = 0;      ///< bytes resident while it runs, at `context` positions
  std::int64_t context = 0;   ///< 0: what the runtime takes by itself
  double speed = 0;           ///< tokens a second, decoding one sequence
  double time = 0;            ///< seconds that compressing may take
  bool operator==(const FitBudgets&) const = default;
};

/// "weights=72MiB,ram=400MiB@2048,speed=60tok/s,time=20min", in any order, at least one of the first three. Errors:
/// resources that are not known (by name), amounts of zero, one given twice.
Result<FitBudgets> parse_fit(const std::string& text);

/// The plan says what bytes it has to stay within.
void state_budgets(Plan& plan, const FitBudgets& budgets);

/// What running takes besides the file: keys and values of one sequence, and 48 MiB.
Result<std::uint64_t> resident_besides(const ModelConfig& config, std::int64_t context);

/// The most that the directory may have under both budgets of bytes. Errors: a ram that holds no weights at all.
Result<std::uint64_t> most_bytes(const FitBudgets& budgets, const ModelConfig& config);

}  // namespace sparing
