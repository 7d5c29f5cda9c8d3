#include "plan/milp.h"

#include <Cbc_C_Interface.h>
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <limits>
#include <memory>

namespace sparing {
namespace {

constexpr const char* kMostNodes = "20000";
constexpr const char* kGap = "1e-4";
/// The solver meets rows to about 1e-7 of their scale; a budget that it oversteps is tightened by this and solved
/// again.
constexpr double kTighter = 1e-6;

/// CBC writes to standard output whatever its log level is: it goes nowhere while one of these lives.
class Silence {
 public:
  Silence() {
    std::fflush(stdout);
    held_ = ::dup(STDOUT_FILENO);
    const int nowhere = ::open("/dev/null", O_WRONLY | O_CLOEXEC);
    if (held_ >= 0 && nowhere >= 0) ::dup2(nowhere, STDOUT_FILENO);
    if (nowhere >= 0) ::close(nowhere);
  }
  Silence(const Silence&) = delete;
  Silence& operator=(const Silence&) = delete;
  ~Silence() {
    std::fflush(stdout);
    if (held_ < 0) return;
    ::dup2(held_, STDOUT_FILENO);
    ::close(held_);
  }

 private:
  int held_ = -1;
};

struct Free {
  void operator()(Cbc_Model* model) const { Cbc_deleteModel(model); }
};

/// Columns: options site after site. Rows: one per site (takes exactly one), then one per resource, over its budget.
struct Program {
  std::vector<CoinBigIndex> starts = {0};
  std::vector<int> rows;
  std::vector<double> values, objective, lower, upper, row_lower, row_upper;
};

Program program_of(const std::vector<std::vector<MilpOption>>& sites, const std::vector<double>& budgets) {
  Program p;
  for (std::size_t s = 0; s < sites.size(); ++s) {
    for (const MilpOption& option : sites[s]) {
      p.rows.push_back(static_cast<int>(s));
      p.values.push_back(1);
      for (std::size_t r = 0; r < budgets.size(); ++r) {
        p.rows.push_back(static_cast<int>(sites.size() + r));
        p.values.push_back(option.costs[r] / budgets[r]);
      }
      p.starts.push_back(static_cast<CoinBigIndex>(p.rows.size()));
      p.objective.push_back(option.damage);
    }
  }
  p.lower.assign(p.objective.size(), 0);
  p.upper.assign(p.objective.size(), 1);
  p.row_lower.assign(sites.size(), 1);
  p.row_upper.assign(sites.size(), 1);
  p.row_lower.resize(sites.size() + budgets.size(), -std::numeric_limits<double>::max());
  p.row_upper.resize(sites.size() + budgets.size(), 1);
  return p;
}

/// Damages are brought to a largest of 1, so that the solver's tolerances mean something.
double scale_of(const Program& p) {
  double most = 0;
  for (const double damage : p.objective) most = std::max(most, damage);
  return most > 0 ? 1 / most : 1;
}

Result<std::optional<MilpAnswer>> solve_once(const std::vector<std::vector<MilpOption>>& sites,
                                             const std::vector<double>& budgets) {
  Program p = program_of(sites, budgets);
  const double scale = scale_of(p);
  for (double& damage : p.objective) damage *= scale;
  const std::unique_ptr<Cbc_Model, Free> model(Cbc_newModel());
  if (!model) return resource_error("[plan] the integer solver could not be started");
  Cbc_setLogLevel(model.get(), 0);
  Cbc_loadProblem(model.get(), static_cast<int>(p.objective.size()), static_cast<int>(p.row_lower.size()),
                  p.starts.data(), p.rows.data(), p.values.data(), p.lower.data(), p.upper.data(), p.objective.data(),
                  p.row_lower.data(), p.row_upper.data());
  for (int c = 0; c < static_cast<int>(p.objective.size()); ++c) Cbc_setInteger(model.get(), c);
  Cbc_setParameter(model.get(), "log", "0");
  Cbc_setParameter(model.get(), "threads", "0");
  Cbc_setParameter(model.get(), "ratioGap", kGap);
  Cbc_setParameter(model.get(), "maxNodes", kMostNodes);
  Cbc_solve(model.get());
  const double* const solution = Cbc_bestSolution(model.get());
  if (solution == nullptr) {
    if (Cbc_isProvenInfeasible(model.get()) != 0) return std::optional<MilpAnswer>();
    return resource_error("[plan] the integer solver found no assignment within " + std::string(kMostNodes) +
                          " nodes: loosen a budget");
  }
  MilpAnswer answer;
  answer.costs.resize(budgets.size());
  std::size_t column = 0;
  for (const auto& options : sites) {
    const auto first = solution + column;
    const auto chosen =
        static_cast<std::size_t>(std::max_element(first, first + static_cast<std::ptrdiff_t>(options.size())) - first);
    answer.choice.push_back(chosen);
    answer.damage += options[chosen].damage;
    for (std::size_t r = 0; r < budgets.size(); ++r) answer.costs[r] += options[chosen].costs[r];
    column += options.size();
  }
  const double bound = Cbc_getBestPossibleObjValue(model.get()) / scale;
  if (answer.damage > 0) answer.gap = std::clamp((answer.damage - bound) / answer.damage, 0.0, 1.0);
  return std::optional(answer);
}

}  // namespace

Result<std::optional<MilpAnswer>> solve_milp(const std::vector<std::vector<MilpOption>>& sites,
                                             const std::vector<double>& budgets) {
  const auto empty = [](const auto& options) { return options.empty(); };
  const auto spent = [](double budget) { return !(budget > 0); };
  if (std::ranges::any_of(sites, empty) || std::ranges::any_of(budgets, spent)) return std::optional<MilpAnswer>();
  const Silence silence;
  std::vector<double> limits = budgets;
  for (int round = 0; round < 8; ++round) {
    SPARING_TRY(const auto answer, solve_once(sites, limits));
    if (!answer) return std::optional<MilpAnswer>();
    bool within = true;
    for (std::size_t r = 0; r < budgets.size(); ++r) {
      if (answer->costs[r] <= budgets[r]) continue;
      limits[r] -= (answer->costs[r] - budgets[r]) + kTighter * budgets[r];
      within = false;
    }
    if (within) return answer;
  }
  return std::optional<MilpAnswer>();
}

}  // namespace sparing
