#pragma once
// What compression does to the text that a model writes, over how it is decoded: temperature, top-k, length. Sampling
// sharpens or flattens the distributions that compression has changed, so no one setting tells (after the study of
// quantised generation, "ptq-impact").

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/thread_pool.h"
#include "eval/diversity.h"
#include "eval/logits.h"
#include "runtime/engine.h"

namespace sparing {

struct Decoding {
  float temperature = 0;   ///< 0: greedy
  std::int32_t top_k = 0;  ///< 0: all tokens
  bool operator==(const Decoding&) const = default;
};
/// Every temperature with every top-k; greedy decoding once, since top-k does not matter there.
std::vector<Decoding> decodings(std::span<const float> temperatures, std::span<const std::int32_t> top_ks);
/// "greedy", "temperature 0.7", "temperature 0.7, top-k 40".
std::string describe(const Decoding& decoding);

/// How far a candidate's choices are from the reference's where both decode alike.
struct Departure {
  /// Half the sum of |p - q| over what each samples from: the share of choices that must differ. Greedy: the share of
  /// positions whose likeliest tokens differ.
  double differs = 0;
  /// KL(reference || candidate) in nats among the tokens that the reference samples from; 0 for greedy decoding.
  double kl = 0;
};
Departure departure(std::span<const float> reference, std::span<const float> candidate, const Decoding& decoding);

struct MeanDeparture {
  Estimate differs, kl;
};
/// Over the scored positions of the windows, for each decoding. Errors as evaluate's.
Result<std::vector<MeanDeparture>> mean_departures(LogitsSource& candidate, LogitsSource& reference,
                                                   const Windows& windows, std::span<const Decoding> how,
                                                   ThreadPool& pool, const std::function<void()>& on_window = {});

/// One decoding and length: what was written, by whom, and how far apart the choices were.
struct SweepRow {
  Decoding how;
  std::int64_t length = 0;
  Diversity candidate, reference;
  MeanDeparture departure;
};

/// What the rows say, one sentence a line, each with its numbers: where the candidate repeats itself more than the
/// reference, at which decoding it differs least, and, of those where it repeats itself no more, the one to use.
std::vector<std::string> sweep_advice(std::span<const SweepRow> rows);

}  // namespace sparing
