#include "lab/pass.h"

#include <ATen/ops/from_blob.h>
#include <c10/core/InferenceMode.h>

#include "base/interrupt.h"
#include "lab/split_weights.h"

namespace sparing::lab {
namespace {

// Fixed, so that sums over tokens do not depend on the number of threads.
constexpr std::int64_t kBatchTokens = 4096;

}  // namespace

at::Tensor CalibrationText::rows(const ActivationMatrix& matrix, std::size_t sequence) const {
  return at::from_blob(matrix.row(offsets[sequence]), {length(sequence), matrix.width()}, at::kFloat).to(device);
}
void CalibrationText::put_rows(const at::Tensor& rows, std::size_t sequence, const ActivationMatrix& matrix) const {
  at::from_blob(matrix.row(offsets[sequence]), {length(sequence), matrix.width()}, at::kFloat).copy_(rows);
}

Result<CalibrationText> prepare_text(const std::vector<std::vector<Token>>& sequences, const ModelConfig& config,
                                     at::Device device) {
  if (sequences.empty()) return usage_error("[calibrate] no text: give at least one sequence of tokens");
  CalibrationText text;
  text.sequences = &sequences;
  text.rms_eps = config.rms_eps;
  text.device = device;
  text.offsets.push_back(0);
  for (const auto& sequence : sequences) {
    if (sequence.empty()) return usage_error("[calibrate] a sequence is empty: leave it out");
    for (const Token token : sequence)
      if (token < 0 || token >= config.vocab)
        return input_error("[calibrate] token " + std::to_string(token) + " is outside the vocabulary of " +
                           std::to_string(config.vocab) + ": is this the model's tokenizer?");
    const auto length = static_cast<std::int64_t>(sequence.size());
    text.offsets.push_back(text.offsets.back() + length);
    if (!text.rotations.contains(length))
      text.rotations[length] = rotation(config.rope, length, at::TensorOptions(at::kFloat).device(device));
  }
  for (std::size_t first = 0; first < sequences.size();) {
    std::size_t last = first + 1;
    while (last < sequences.size() && text.offsets[last + 1] - text.offsets[first] <= kBatchTokens) ++last;
    text.batches.emplace_back(first, last);
    first = last;
  }
  return text;
}

Status Pass::embed(const CodedWeight& table, std::int64_t hidden) {
  SPARING_TRY(stream_, activations_.make(text_.tokens(), hidden));
  const auto& sequences = *text_.sequences;
  pool_.parallel_for(static_cast<std::int64_t>(sequences.size()), 1, [&](std::int64_t first, std::int64_t last, int) {
    for (auto s = static_cast<std::size_t>(first); s < static_cast<std::size_t>(last); ++s)
      for (std::size_t t = 0; t < sequences[s].size(); ++t)
        decode_effective_rows(table, sequences[s][t], 1, stream_.row(text_.offsets[s] + static_cast<std::int64_t>(t)));
  });
  return {};
}

void Pass::enter(const Graph& graph) {
  live_.clear();
  live_.resize(graph.widths.size());
  live_[static_cast<std::size_t>(graph.input)] = std::move(stream_);
  input_ = graph.input;
  held_ = false;
}
void Pass::leave(const Graph& graph) {
  stream_ = std::move(live_[static_cast<std::size_t>(graph.output)]);
  live_.clear();
}
void Pass::rewind(const Graph& graph) {
  stream_ = std::move(live_[static_cast<std::size_t>(graph.input)]);
  live_.clear();
}
void Pass::release(const Stage& stage) {
  for (const Value v : stage.spent)
    if (!held_ || v != input_) live_[static_cast<std::size_t>(v)] = {};
}

Status Pass::advance(const Graph& graph, const Stage& stage, const Weights& weights) {
  for (const Value v : stage.out) {
    SPARING_TRY(live_[static_cast<std::size_t>(v)],
                activations_.make(text_.tokens(), graph.widths[static_cast<std::size_t>(v)]));
  }
  const SplitWeights halves = split(graph, stage.first, stage.last, weights, pool_);
  for (const auto& [first_sequence, last_sequence] : text_.batches) {
    if (interrupted())
      return interrupted_error("calibrate", "finished blocks are kept; the same command goes on from there");
    const std::size_t base = first_sequence;
    each_alone(pool_, static_cast<std::int64_t>(last_sequence - first_sequence), [&](std::size_t i) {
      const c10::InferenceMode inference;
      const std::size_t s = base + i;
      Values values(graph.widths.size());
      for (const Value v : stage.in) values[static_cast<std::size_t>(v)] = text_.rows(value(v), s);
      RunOptions how;
      how.rms_eps = text_.rms_eps;
      how.rotation = text_.rotations.at(text_.length(s));
      how.split = &halves;
      run(graph, stage.first, stage.last, weights, how, values, true);
      for (const Value v : stage.out) text_.put_rows(values[static_cast<std::size_t>(v)], s, value(v));
    });
    const std::int64_t row = text_.offsets[first_sequence], rows = text_.offsets[last_sequence] - row;
    for (const Value v : stage.in) value(v).rest(row, rows);
    for (const Value v : stage.out) value(v).rest(row, rows);
  }
  return {};
}

}  // namespace sparing::lab
