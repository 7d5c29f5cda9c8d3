#pragma once
// One run of all calibration tokens through a model, stage by stage: the model as coded so far, or the original.

#include "base/thread_pool.h"
#include "lab/activations.h"
#include "lab/device.h"
#include "lab/interpreter.h"
#include "lab/stages.h"

namespace sparing::lab {

/// The text and what every pass over it shares.
struct CalibrationText {
  const std::vector<std::vector<Token>>* sequences = nullptr;
  std::vector<std::int64_t> offsets;                         ///< row of each sequence's first token, then the total
  std::vector<std::pair<std::size_t, std::size_t>> batches;  ///< sequences [first, last) of about 4,096 tokens
  std::map<std::int64_t, Rotation> rotations;                ///< by length of sequence
  double rms_eps = 1e-5;
  at::Device device = at::kCPU;

  std::int64_t tokens() const { return offsets.back(); }
  std::int64_t length(std::size_t sequence) const { return offsets[sequence + 1] - offsets[sequence]; }
  /// A sequence's rows, on the device. On the CPU they are the matrix's own memory.
  at::Tensor rows(const ActivationMatrix& matrix, std::size_t sequence) const;
  void put_rows(const at::Tensor& rows, std::size_t sequence, const ActivationMatrix& matrix) const;
};
/// Errors: no sequences, an empty one, a token outside the vocabulary.
Result<CalibrationText> prepare_text(const std::vector<std::vector<Token>>& sequences, const ModelConfig& config,
                                     at::Device device = at::kCPU);

class Pass {
 public:
  Pass(const CalibrationText& text, ActivationPool& activations, ThreadPool& pool)
      : text_(text), activations_(activations), pool_(pool) {}

  /// Looks the tokens up: the stream into the first block.
  Status embed(const CodedWeight& table, std::int64_t hidden);
  /// The stream becomes the input of `graph`; its output is the stream again after leave().
  void enter(const Graph& graph);
  void leave(const Graph& graph);
  /// Keeps the input of the graph that was entered until rewind(), which drops all that was computed from it and makes
  /// it the stream again.
  void hold_input() { held_ = true; }
  void rewind(const Graph& graph);
  /// Runs a stage; values that later stages read can be had from value() until their last reader is done. Errors:
  /// memory, scratch, an interrupt.
  Status advance(const Graph& graph, const Stage& stage, const Weights& weights);
  const ActivationMatrix& value(Value v) const { return live_[static_cast<std::size_t>(v)]; }
  /// The same, for good: later stages cannot read it.
  ActivationMatrix take(Value v) { return std::move(live_[static_cast<std::size_t>(v)]); }
  /// Lets go of what nothing reads after this stage. Not done by advance(), so that the stage's inputs can be observed.
  void release(const Stage& stage);

 private:
  const CalibrationText& text_;
  ActivationPool& activations_;
  ThreadPool& pool_;
  ActivationMatrix stream_;
  std::vector<ActivationMatrix> live_;
  Value input_ = -1;
  bool held_ = false;
};

}  // namespace sparing::lab
