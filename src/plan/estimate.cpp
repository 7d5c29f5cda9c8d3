#include "plan/estimate.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <optional>

#include "base/rng.h"
#include "base/thread_pool.h"
#include "lab/math/obq.h"

namespace sparing {
namespace {

constexpr std::size_t kHeaviestRows = 16, kOtherRows = 16, kRoundedRows = 16;
/// In error, over what two others' mixture would have. Generous, since second-order coding gains more where groups are
/// wide than rounding tells: a third of a bit.
constexpr double kAboveTheLine = 1.2;

std::vector<float> rows_of(std::span<const float> weight, std::int64_t cols, const std::vector<std::size_t>& rows) {
  std::vector<float> part;
  part.reserve(rows.size() * static_cast<std::size_t>(cols));
  for (const std::size_t r : rows) {
    const auto row = weight.subspan(r * static_cast<std::size_t>(cols), static_cast<std::size_t>(cols));
    part.insert(part.end(), row.begin(), row.end());
  }
  return part;
}

/// Some of [0, n), ascending.
std::vector<std::size_t> drawn(std::size_t n, std::size_t count, Rng& rng) {
  std::vector<std::size_t> all(n);
  std::iota(all.begin(), all.end(), 0);
  for (std::size_t i = 0; i < std::min(count, n); ++i) std::swap(all[i], all[i + rng.below(n - i)]);
  all.resize(std::min(count, n));
  std::ranges::sort(all);
  return all;
}

/// Signal of each row, in the units of damage: what coding it to zeros would cost.
std::vector<double> signal(const SiteEvidence& e) {
  const auto rows = static_cast<std::size_t>(e.site->rows), cols = static_cast<std::size_t>(e.site->cols);
  std::vector<double> mass(rows);
  for (std::size_t r = 0; r < rows; ++r) {
    const auto row = e.weight.subspan(r * cols, cols);
    // The diagonal stands for the metric: this only chooses rows.
    if (e.statistics != nullptr && !e.outputs.empty()) {
      double sum = 0;
      for (std::size_t j = 0; j < cols; ++j) {
        sum += static_cast<double>(row[j]) * row[j] * e.statistics->second_moment[j * (cols + 1)];
      }
      mass[r] += e.outputs[r] * sum / static_cast<double>(e.statistics->tokens);
    }
    if (!e.lookups.empty()) {
      double sum = 0;
      for (std::size_t j = 0; j < cols; ++j) sum += static_cast<double>(row[j]) * row[j] * e.lookups[j];
      mass[r] += e.frequencies[r] * sum;
    }
  }
  return mass;
}

/// Damage of each of these rows.
std::vector<double> damages(const SiteEvidence& e, std::span<const std::size_t> rows, std::span<const float> weight,
                            std::span<const float> decoded, ThreadPool& pool) {
  const auto cols = static_cast<std::size_t>(e.site->cols);
  std::vector<double> result(rows.size());
  if (e.statistics != nullptr && !e.outputs.empty()) {
    const auto losses = math::row_losses(weight, decoded, static_cast<std::int64_t>(rows.size()), e.site->cols,
                                         e.statistics->second_moment, pool);
    for (std::size_t i = 0; i < rows.size(); ++i) {
      result[i] += 0.5 * e.outputs[rows[i]] * losses[i] / static_cast<double>(e.statistics->tokens);
    }
  }
  if (e.lookups.empty()) return result;
  for (std::size_t i = 0; i < rows.size(); ++i) {
    double sum = 0;
    for (std::size_t j = 0; j < cols; ++j) {
      const double d = static_cast<double>(weight[i * cols + j]) - decoded[i * cols + j];
      sum += d * d * e.lookups[j];
    }
    result[i] += 0.5 * e.frequencies[rows[i]] * sum;
  }
  return result;
}

Result<std::vector<float>> coded_rows(const Method& method, const ParamList& params, const SiteEvidence& e,
                                      std::span<const float> weight, std::uint64_t seed, int threads) {
  SPARING_TRY(const Params complete, Params::make(method, params));
  SiteProblem problem;
  problem.site = e.site->name;
  problem.cols = e.site->cols;
  problem.rows = static_cast<std::int64_t>(weight.size()) / problem.cols;
  problem.weight = weight;
  problem.statistics = method.traits.calibration == "none" ? nullptr : e.statistics;
  problem.seed = seed;
  problem.threads = threads;
  SPARING_TRY(const SiteResult result, method.apply(problem, complete));
  std::vector<float> decoded(weight.size());
  decode_effective_rows(result.weight, 0, problem.rows, decoded.data());
  return decoded;
}

/// By bytes: whether each point lies on or hardly above the lower convex hull of errors, straight between its corners
/// in the logarithm. (A hull of logarithms would leave out all rates below one at which nothing is lost.)
std::vector<bool> near_the_hull(const std::vector<double>& bytes, const std::vector<double>& errors) {
  std::vector<std::size_t> order(bytes.size()), hull;
  std::iota(order.begin(), order.end(), 0);
  std::ranges::sort(order, [&](std::size_t a, std::size_t b) {
    return bytes[a] != bytes[b] ? bytes[a] < bytes[b] : errors[a] != errors[b] ? errors[a] < errors[b] : a < b;
  });
  const auto log_error = [&](std::size_t i) { return std::log(std::max(errors[i], 1e-30)); };
  for (const std::size_t i : order) {
    if (!hull.empty() && !(errors[i] < errors[hull.back()])) continue;
    while (hull.size() > 1) {
      const std::size_t a = hull[hull.size() - 2], b = hull.back();
      if ((errors[b] - errors[a]) * (bytes[i] - bytes[a]) <= (errors[i] - errors[a]) * (bytes[b] - bytes[a])) break;
      hull.pop_back();
    }
    hull.push_back(i);
  }
  std::vector<bool> near(bytes.size());
  for (std::size_t i = 0; i < bytes.size(); ++i) {
    std::size_t right = 0;
    while (right < hull.size() && bytes[hull[right]] < bytes[i]) ++right;
    double line = 0;
    if (right == hull.size()) {
      line = log_error(hull.back());
    } else if (right == 0 || bytes[hull[right]] == bytes[i]) {
      line = log_error(hull[right]);
    } else {
      const std::size_t a = hull[right - 1], b = hull[right];
      line = log_error(a) + (log_error(b) - log_error(a)) * (bytes[i] - bytes[a]) / (bytes[b] - bytes[a]);
    }
    near[i] = log_error(i) <= line + std::log(kAboveTheLine);
  }
  return near;
}

}  // namespace

ParamList draft_params(const Setting& setting) {
  ParamList params = setting.params;
  for (auto& [name, value] : params) {
    if (name == "correct" || name == "refine") value.assign(1, '0');
    if (name == "guided") value = "false";
  }
  return params;
}

Result<std::vector<double>> estimate_damage(const SiteEvidence& evidence, const std::vector<SiteOption>& options,
                                            std::uint64_t seed, int threads) {
  const std::vector<double> mass = signal(evidence);
  std::vector<std::size_t> order(mass.size());
  std::iota(order.begin(), order.end(), 0);
  std::ranges::stable_sort(order, [&](std::size_t a, std::size_t b) { return mass[a] > mass[b]; });
  const std::size_t heaviest = std::min(kHeaviestRows, order.size());
  std::vector<std::size_t> rows(order.begin(), order.begin() + static_cast<std::ptrdiff_t>(heaviest));
  Rng rng(seed, 0x726f7773);
  double rest = 0, sampled = 0;
  for (std::size_t i = heaviest; i < order.size(); ++i) rest += mass[order[i]];
  for (const std::size_t i : drawn(order.size() - heaviest, kOtherRows, rng)) {
    rows.push_back(order[heaviest + i]);
    sampled += mass[rows.back()];
  }
  const std::vector<float> weight = rows_of(evidence.weight, evidence.site->cols, rows);
  ThreadPool pool(threads);
  // Methods of one metric factor it once: the first to come, by all threads.
  math::MetricCache metrics;
  std::optional<Statistics> shared;
  SiteEvidence each_evidence = evidence;
  if (evidence.statistics != nullptr) {
    shared = *evidence.statistics;
    shared->metrics = &metrics;
    each_evidence.statistics = &*shared;
  }
  for (const SiteOption& option : options) {
    if (option.setting.method == kKeep) continue;
    const Method* method = find_method(option.setting.method).value();
    const std::size_t one_row = static_cast<std::size_t>(evidence.site->cols);
    SPARING_CHECK_OK(coded_rows(*method, draft_params(option.setting), each_evidence, std::span(weight).first(one_row),
                                seed, threads));
    break;
  }
  // Each option by one thread: the rows are too few to share out.
  std::vector<double> result(options.size());
  std::vector<std::optional<Error>> errors(options.size());
  pool.parallel_for(static_cast<std::int64_t>(options.size()), 1, [&](std::int64_t first, std::int64_t last, int) {
    ThreadPool alone(1);
    for (auto o = static_cast<std::size_t>(first); o < static_cast<std::size_t>(last); ++o) {
      const Setting& setting = options[o].setting;
      if (setting.method == kKeep) continue;
      const Method* method = find_method(setting.method).value();
      auto decoded = coded_rows(*method, draft_params(setting), each_evidence, weight, seed, 1);
      if (!decoded) {
        errors[o] = std::move(decoded).error();
        continue;
      }
      double others = 0;
      const std::vector<double> each = damages(evidence, rows, weight, *decoded, alone);
      for (std::size_t i = 0; i < each.size(); ++i) (i < heaviest ? result[o] : others) += each[i];
      if (sampled > 0) result[o] += others * rest / sampled;
    }
  });
  for (auto& error : errors) {
    if (error) return std::move(*error);
  }
  return result;
}

double weight_damage(const SiteEvidence& evidence, const CodedWeight& weight, int threads) {
  constexpr std::size_t kRows = 4096;
  ThreadPool pool(threads);
  double sum = 0;
  const auto all = static_cast<std::size_t>(weight.rows), cols = static_cast<std::size_t>(weight.cols);
  for (std::size_t from = 0; from < all; from += kRows) {
    std::vector<std::size_t> rows(std::min(kRows, all - from));
    std::iota(rows.begin(), rows.end(), from);
    std::vector<float> decoded(rows.size() * cols);
    decode_effective_rows(weight, static_cast<std::int64_t>(from), static_cast<std::int64_t>(rows.size()),
                          decoded.data());
    for (const double d :
         damages(evidence, rows, evidence.weight.subspan(from * cols, decoded.size()), decoded, pool)) {
      sum += d;
    }
  }
  return sum;
}

Result<std::vector<bool>> worthwhile(const SiteInfo& site, const std::vector<std::vector<float>>& weights,
                                     const std::vector<SiteOption>& options, std::uint64_t seed, int threads) {
  const Method* rounding = find_method("rtn").value();
  std::vector<float> part;
  for (std::size_t w = 0; w < weights.size(); ++w) {
    Rng rng(seed, w);
    const auto rows = rows_of(weights[w], site.cols, drawn(static_cast<std::size_t>(site.rows), kRoundedRows, rng));
    part.insert(part.end(), rows.begin(), rows.end());
  }
  SiteEvidence evidence;
  evidence.site = &site;
  std::map<ParamList, double> errors;  // methods on one grid round alike
  std::vector<ParamList> grids(options.size());
  for (std::size_t i = 0; i < options.size(); ++i) {
    const auto& params = options[i].setting.params;
    const auto asks = [&](const char* name) {
      return std::ranges::any_of(params, [&](const auto& p) { return p.first == name; });
    };
    if (!asks("bits") || !asks("group") || !asks("zero")) continue;
    grids[i] = {{"clip", "mse"}};
    for (const auto& [name, value] : params) {
      if (name != "clip" && has_param(*rounding, name)) grids[i].emplace_back(name, value);
    }
    errors[grids[i]] = 0;
  }
  std::vector<std::pair<const ParamList, double>*> jobs;
  for (auto& entry : errors) jobs.push_back(&entry);
  ThreadPool pool(threads);
  pool.parallel_for(static_cast<std::int64_t>(jobs.size()), 1, [&](std::int64_t first, std::int64_t last, int) {
    for (std::int64_t j = first; j < last; ++j) {
      auto& [grid, error] = *jobs[static_cast<std::size_t>(j)];
      const auto decoded = coded_rows(*rounding, grid, evidence, part, seed, 1);
      // What cannot even be rounded is left to the method itself to refuse.
      for (std::size_t k = 0; k < part.size() && decoded.ok(); ++k) {
        const double d = static_cast<double>(part[k]) - (*decoded)[k];
        error += d * d;
      }
    }
  });
  std::map<std::string, std::vector<std::size_t>> by_method;
  for (std::size_t i = 0; i < options.size(); ++i) {
    if (!grids[i].empty()) by_method[options[i].setting.method].push_back(i);
  }
  std::vector<bool> kept(options.size(), true);
  for (const auto& [method, list] : by_method) {
    std::vector<double> bytes, error;
    for (const std::size_t i : list) {
      bytes.push_back(static_cast<double>(options[i].bytes));
      error.push_back(errors.at(grids[i]));
    }
    const std::vector<bool> near = near_the_hull(bytes, error);
    for (std::size_t k = 0; k < list.size(); ++k) kept[list[k]] = near[k];
  }
  return kept;
}

}  // namespace sparing
