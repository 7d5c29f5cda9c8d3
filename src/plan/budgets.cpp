#include "plan/budgets.h"

#include <algorithm>
#include <charconv>
#include <limits>
#include <set>

#include "base/units.h"
#include "runtime/kv_cache.h"
#include "runtime/kv_type.h"

namespace sparing {
namespace {

constexpr std::int64_t kDefaultContext = 4096;      // the engine's
constexpr std::int64_t kBatch = 512;                // likewise
constexpr std::uint64_t kProgramBytes = 48 * kMiB;  // activations, program and tokenizer

Result<std::int64_t> context_of(const std::string& text) {
  std::int64_t context = 0;
  const auto read = std::from_chars(text.data(), text.data() + text.size(), context);
  if (read.ec != std::errc() || read.ptr != text.data() + text.size() || context < 1) {
    return usage_error("[fit] ram=...@" + text + ": a context is a number of tokens, as in ram=400MiB@2048");
  }
  return context;
}

}  // namespace

Result<FitBudgets> parse_fit(const std::string& text) {
  const auto refused = [&](const std::string& why) {
    return usage_error("[fit] '" + text + "': " + why +
                       "; write --fit weights=72MiB, ram=400MiB@2048, speed=60tok/s or time=20min, by commas");
  };
  FitBudgets budgets;
  std::set<std::string> seen;
  for (std::size_t begin = 0; begin <= text.size();) {
    const std::size_t end = std::min(text.find(',', begin), text.size());
    const std::string part = text.substr(begin, end - begin);
    begin = end + 1;
    const auto equals = part.find('=');
    const std::string resource = part.substr(0, equals);
    if (equals == std::string::npos) return refused("'" + part + "' names no amount");
    const std::string amount = part.substr(equals + 1);
    if (!seen.insert(resource).second) return refused(resource + " is given twice");
    bool zero = false;
    if (resource == "weights") {
      SPARING_TRY(budgets.weights, parse_bytes(amount));
      zero = budgets.weights == 0;
    } else if (resource == "ram") {
      const auto at = amount.find('@');
      SPARING_TRY(budgets.ram, parse_bytes(amount.substr(0, at)));
      if (at != std::string::npos) {
        SPARING_TRY(budgets.context, context_of(amount.substr(at + 1)));
      }
      zero = budgets.ram == 0;
    } else if (resource == "speed") {
      SPARING_TRY(budgets.speed, parse_rate(amount));
      zero = !(budgets.speed > 0);
    } else if (resource == "time") {
      SPARING_TRY(budgets.time, parse_seconds(amount));
      zero = !(budgets.time > 0);
    } else {
      return refused("a budget of '" + resource + "' is not known here");
    }
    if (zero) return refused("a budget of zero holds no model");
  }
  if (budgets.weights == 0 && budgets.ram == 0 && !(budgets.speed > 0)) {
    return refused("nothing bounds the model itself");
  }
  return budgets;
}

Result<std::uint64_t> resident_besides(const ModelConfig& config, std::int64_t context) {
  if (context <= 0) context = std::min<std::int64_t>(config.context, kDefaultContext);
  SPARING_TRY(const std::uint64_t kv, KvCache::bytes_needed(config, context, 1, kBatch, kDefaultKv));
  return kv + kProgramBytes;
}

Result<std::uint64_t> most_bytes(const FitBudgets& budgets, const ModelConfig& config) {
  std::uint64_t most = budgets.weights > 0 ? budgets.weights : std::numeric_limits<std::uint64_t>::max() / 4;
  if (budgets.ram == 0) return most;
  SPARING_TRY(const std::uint64_t besides, resident_besides(config, budgets.context));
  if (budgets.ram <= besides) {
    return resource_error("[fit] ram=" + format_bytes(budgets.ram) + ": running takes " + format_bytes(besides) +
                          " besides the weights: raise it or name a shorter context, as in ram=400MiB@1024");
  }
  return std::min(most, budgets.ram - besides);
}

void state_budgets(Plan& plan, const FitBudgets& budgets) {
  if (budgets.ram > 0) {
    plan.budgets[std::string(kRam)] = budgets.ram;
    plan.context = budgets.context;
  }
  if (budgets.weights > 0) plan.budgets[std::string(kWeights)] = budgets.weights;
}

}  // namespace sparing
