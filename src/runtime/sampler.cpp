#include <algorithm>
#include <cmath>
#include <cstring>
#include <numeric>
#include <vector>

#include "base/rng.h"
#include "runtime/engine.h"

namespace sparing {

struct Sampler::Impl {
  explicit Impl(const SamplingOptions& o) : options(o), rng(o.seed) {}

  struct Candidate {
    Token token;
    float logit;
    double weight;
  };
  SamplingOptions options;
  Rng rng;
  std::vector<Candidate> candidates;
};

namespace {

// NaN is never chosen.
float comparable(float x) {
  return std::isnan(x) ? -INFINITY : x;
}

// Of the width that every machine has: wider ones are taken apart where the compiler may not use more.
using Lanes = float __attribute__((vector_size(16)));
constexpr std::size_t kLanes = sizeof(Lanes) / sizeof(float), kTops = 8, kStretch = 1024;

/// Greatest of kStretch values; NaN counts as -infinity.
float greatest(const float* values) {
  Lanes top[kTops];
  for (Lanes& t : top) t = Lanes{} - INFINITY;
  for (std::size_t i = 0; i < kStretch; i += kTops * kLanes) {
    for (std::size_t k = 0; k < kTops; ++k) {
      Lanes v;
      std::memcpy(&v, values + i + k * kLanes, sizeof v);
      top[k] = v > top[k] ? v : top[k];
    }
  }
  float most = -INFINITY;
  for (const Lanes& t : top) {
    for (std::size_t lane = 0; lane < kLanes; ++lane) most = std::max(most, t[lane]);
  }
  return most;
}

}  // namespace

Token likeliest(std::span<const float> logits) {
  std::size_t at = 0;
  float most = -INFINITY;
  const auto look = [&](std::size_t begin, std::size_t end) {
    for (std::size_t i = begin; i < end; ++i) {
      if (!(logits[i] > most)) continue;
      most = logits[i];
      at = i;
    }
  };
  std::size_t begin = 0;
  for (; begin + kStretch <= logits.size(); begin += kStretch) {
    if (greatest(logits.data() + begin) > most) look(begin, begin + kStretch);
  }
  look(begin, logits.size());
  return static_cast<Token>(at);
}

Sampler::Sampler(const SamplingOptions& options) : impl_(std::make_unique<Impl>(options)) {}
Sampler::~Sampler() = default;

Token Sampler::sample(std::span<const float> logits) {
  const SamplingOptions& o = impl_->options;
  if (logits.empty()) return -1;
  if (o.temperature <= 0.0f || o.top_k == 1) return likeliest(logits);
  auto& all = impl_->candidates;
  all.clear();
  for (std::size_t i = 0; i < logits.size(); ++i) {
    all.push_back({.token = static_cast<Token>(i), .logit = comparable(logits[i]), .weight = 0});
  }
  const auto likelier = [](const Impl::Candidate& a, const Impl::Candidate& b) {
    return a.logit != b.logit ? a.logit > b.logit : a.token < b.token;
  };
  if (o.top_k > 0 && static_cast<std::size_t>(o.top_k) < all.size()) {
    std::nth_element(all.begin(), all.begin() + o.top_k, all.end(), likelier);
    all.resize(static_cast<std::size_t>(o.top_k));
  }
  const float top = std::min_element(all.begin(), all.end(), likelier)->logit;
  if (!(top > -INFINITY)) return likeliest(logits);
  if (o.min_p > 0.0f) {  // relative to the likeliest, so it needs no sum
    const double floor = top + o.temperature * std::log(static_cast<double>(o.min_p));
    std::erase_if(all, [&](const Impl::Candidate& c) { return c.logit < floor; });
  }
  // What nth_element left in some order gets one, so that the seed alone decides.
  if (o.top_k > 0) std::sort(all.begin(), all.end(), likelier);
  double total = 0;
  for (auto& c : all) total += c.weight = std::exp((static_cast<double>(c.logit) - top) / o.temperature);
  if (o.top_p < 1.0f) {
    // Sort only as far as the nucleus reaches.
    double kept = 0;
    std::size_t n = 0, sorted = 0;
    while (n < all.size() && (n == 0 || kept < o.top_p * total)) {
      if (n == sorted) {
        sorted = std::min(all.size(), std::max<std::size_t>(64, sorted * 4));
        std::partial_sort(all.begin() + static_cast<std::ptrdiff_t>(n),
                          all.begin() + static_cast<std::ptrdiff_t>(sorted), all.end(), likelier);
      }
      kept += all[n++].weight;
    }
    all.resize(n);
    total = kept;
  }
  double left = impl_->rng.uniform() * total;
  for (const auto& c : all) {
    left -= c.weight;
    if (left < 0) return c.token;
  }
  return all.back().token;
}

}  // namespace sparing
