#include "eval/sweep.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <numeric>

#include "base/interrupt.h"
#include "eval/distribution.h"

namespace sparing {
namespace {

/// A next-token distribution as it is sampled from: its tokens ascending, with their probabilities.
struct Sampled {
  std::vector<std::int32_t> tokens;
  std::vector<double> p;
};

/// Ties go to the lowest id, as the sampler has it.
Sampled sampled(std::span<const float> logits, const Decoding& how) {
  Sampled s;
  s.tokens.resize(logits.size());
  std::iota(s.tokens.begin(), s.tokens.end(), 0);
  const auto likelier = [&](std::int32_t a, std::int32_t b) {
    const float x = logits[static_cast<std::size_t>(a)], y = logits[static_cast<std::size_t>(b)];
    return x != y ? x > y : a < b;
  };
  if (how.top_k > 0 && static_cast<std::size_t>(how.top_k) < s.tokens.size()) {
    std::nth_element(s.tokens.begin(), s.tokens.begin() + how.top_k, s.tokens.end(), likelier);
    s.tokens.resize(static_cast<std::size_t>(how.top_k));
    std::sort(s.tokens.begin(), s.tokens.end());
  }
  double top = -INFINITY, sum = 0;
  for (const std::int32_t t : s.tokens) top = std::max(top, static_cast<double>(logits[static_cast<std::size_t>(t)]));
  for (const std::int32_t t : s.tokens) {
    s.p.push_back(std::exp((static_cast<double>(logits[static_cast<std::size_t>(t)]) - top) / how.temperature));
    sum += s.p.back();
  }
  for (double& p : s.p) p /= sum;
  return s;
}

double half_distance(const Sampled& a, const Sampled& b) {
  double sum = 0;
  std::size_t i = 0, j = 0;
  while (i < a.tokens.size() || j < b.tokens.size()) {
    const bool only_a = j == b.tokens.size() || (i < a.tokens.size() && a.tokens[i] < b.tokens[j]);
    const bool only_b = i == a.tokens.size() || (j < b.tokens.size() && b.tokens[j] < a.tokens[i]);
    sum += only_a ? a.p[i] : only_b ? b.p[j] : std::abs(a.p[i] - b.p[j]);
    i += !only_b;
    j += !only_a;
  }
  return sum / 2;
}

/// KL in the tokens of `a`, the candidate's logits taken there alone.
double kl_within(const Sampled& a, std::span<const float> candidate, float temperature) {
  double top = -INFINITY, sum = 0, kl = 0;
  for (const std::int32_t t : a.tokens)
    top = std::max(top, static_cast<double>(candidate[static_cast<std::size_t>(t)]));
  const auto scaled = [&](std::int32_t t) {
    return (static_cast<double>(candidate[static_cast<std::size_t>(t)]) - top) / temperature;
  };
  for (const std::int32_t t : a.tokens) sum += std::exp(scaled(t));
  const double log_sum = std::log(sum);
  for (std::size_t i = 0; i < a.tokens.size(); ++i) {
    if (a.p[i] > 0) kl += a.p[i] * (std::log(a.p[i]) - (scaled(a.tokens[i]) - log_sum));
  }
  return std::max(kl, 0.0);
}

std::string written(const char* format, auto... values) {
  char text[320];
  std::snprintf(text, sizeof text, format, values...);
  return text;
}

/// Repeats itself more: beyond two standard errors of the difference, and by more than a point.
bool repeats_more(const SweepRow& row) {
  const Estimate &mine = row.candidate.repetition4, &theirs = row.reference.repetition4;
  const double error = std::sqrt(mine.error * mine.error + theirs.error * theirs.error);
  return mine.value - theirs.value > std::max(0.01, 2 * error);
}

std::string place(const SweepRow& row) {
  return describe(row.how) + ", " + std::to_string(row.length) + " tokens";
}

}  // namespace

std::vector<Decoding> decodings(std::span<const float> temperatures, std::span<const std::int32_t> top_ks) {
  std::vector<Decoding> all;
  for (const float temperature : temperatures) {
    for (const std::int32_t top_k : top_ks) {
      const Decoding how = temperature > 0 && top_k != 1 ? Decoding{temperature, top_k} : Decoding{};
      if (std::ranges::find(all, how) == all.end()) all.push_back(how);
    }
  }
  return all;
}

std::string describe(const Decoding& how) {
  if (how.temperature <= 0) return "greedy";
  std::string text = written("temperature %g", static_cast<double>(how.temperature));
  return how.top_k > 0 ? text + ", top-k " + std::to_string(how.top_k) : text;
}

Departure departure(std::span<const float> reference, std::span<const float> candidate, const Decoding& how) {
  if (how.temperature <= 0) {
    return {score_token(reference, 0).top != score_token(candidate, 0).top ? 1.0 : 0.0, 0.0};
  }
  const Sampled theirs = sampled(reference, how);
  return {half_distance(theirs, sampled(candidate, how)), kl_within(theirs, candidate, how.temperature)};
}

Result<std::vector<MeanDeparture>> mean_departures(LogitsSource& candidate, LogitsSource& reference,
                                                   const Windows& windows, std::span<const Decoding> how,
                                                   ThreadPool& pool, const std::function<void()>& on_window) {
  if (candidate.vocab() != reference.vocab()) {
    return usage_error("[sweep] the candidate has " + std::to_string(candidate.vocab()) + " tokens and the reference " +
                       std::to_string(reference.vocab()) + ": compare models of one vocabulary");
  }
  const auto width = static_cast<std::size_t>(candidate.vocab());
  const std::int64_t scored = windows.scored(), step = positions_at_once(windows, candidate.vocab());
  const auto positions = static_cast<std::size_t>(windows.count * scored);
  std::vector<std::vector<double>> differs(how.size(), std::vector<double>(positions)), kl = differs;
  for (std::int64_t w = 0; w < windows.count; ++w) {
    if (interrupted()) return interrupted_error("sweep");
    SPARING_CHECK_OK(candidate.begin(windows, w));
    SPARING_CHECK_OK(reference.begin(windows, w));
    for (std::int64_t from = 0; from < scored; from += step) {
      const std::int64_t count = std::min(step, scored - from);
      SPARING_TRY(const auto mine, candidate.scored(from, count));
      SPARING_TRY(const auto theirs, reference.scored(from, count));
      pool.parallel_for(count, 1, [&](std::int64_t begin, std::int64_t end, int) {
        for (std::int64_t i = begin; i < end; ++i) {
          const auto row = static_cast<std::size_t>(i) * width;
          const auto at = static_cast<std::size_t>(w * scored + from + i);
          for (std::size_t h = 0; h < how.size(); ++h) {
            const Departure d = departure(theirs.subspan(row, width), mine.subspan(row, width), how[h]);
            differs[h][at] = d.differs;
            kl[h][at] = d.kl;
          }
        }
      });
    }
    if (on_window) on_window();
  }
  std::vector<MeanDeparture> means;
  for (std::size_t h = 0; h < how.size(); ++h) {
    means.push_back({mean_of(differs[h]), mean_of(kl[h])});
    if (!std::isfinite(means.back().differs.value) || !std::isfinite(means.back().kl.value)) {
      return input_error("[sweep] logits are not finite: the weights are broken ('sparing verify' finds where)");
    }
  }
  return means;
}

std::vector<std::string> sweep_advice(std::span<const SweepRow> rows) {
  std::vector<std::string> lines;
  if (rows.empty()) return lines;
  for (const SweepRow& row : rows) {
    if (!repeats_more(row)) continue;
    lines.push_back("It repeats itself more than the reference at " + place(row) +
                    written(": %.1f %% of 4-grams against %.1f %%.", 100 * row.candidate.repetition4.value,
                            100 * row.reference.repetition4.value));
  }
  const auto nearer = [](const SweepRow& a, const SweepRow& b) {
    return a.departure.differs.value < b.departure.differs.value;
  };
  const SweepRow& nearest = *std::ranges::min_element(rows, nearer);
  lines.push_back("It differs least from the reference at " + describe(nearest.how) +
                  written(": in %.1f ± %.1f %% of choices.", 100 * nearest.departure.differs.value,
                          100 * nearest.departure.differs.error));
  // A decoding is sound where it is at every length.
  const SweepRow* best = nullptr;
  for (const SweepRow& row : rows) {
    const bool sound =
        std::ranges::none_of(rows, [&](const SweepRow& other) { return other.how == row.how && repeats_more(other); });
    if (sound && (best == nullptr || nearer(row, *best))) best = &row;
  }
  if (best == nullptr) {
    lines.emplace_back(
        "It repeats itself more at every decoding tried: no setting of these makes up for the compression.");
  } else {
    lines.push_back("Of the decodings where it repeats itself no more than the reference, " + describe(best->how) +
                    written(" is nearest to it: %.1f %% of choices differ, KL %.4f, distinct-2 %.3f against %.3f.",
                            100 * best->departure.differs.value, best->departure.kl.value, best->candidate.distinct2,
                            best->reference.distinct2));
  }
  return lines;
}

}  // namespace sparing
