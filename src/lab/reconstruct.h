#pragma once
// Block reconstruction: the weights of one block are trained together so that the block's outputs come near a target.
// What is trained is the methods' (TrainableWeight); here are the forward pass, the loss and its gradient.

#include <map>
#include <string>

#include "base/thread_pool.h"
#include "lab/math/trainable.h"
#include "lab/pass.h"

namespace sparing::lab {

struct ReconstructionProblem {
  const CalibrationText& text;
  const Graph& block;
  const Weights& fixed;            ///< all that is not trained: norms, biases, linear weights that stay as they are
  const ActivationMatrix& input;   ///< what the block reads, [tokens, hidden]
  const ActivationMatrix& target;  ///< what it should give
  std::map<std::string, TrainableWeight*> sites;  ///< by site
  TrainingSchedule schedule;
};

struct ReconstructionReport {
  double before = 0, after = 0;  ///< loss of the whole text over the loss of an output of zeros
  std::int64_t kept_step = 0;    ///< steps after which the kept state was measured; 0: the start
  bool diverged = false;         ///< the loss stopped being a number and training ended there
};

/// Leaves every site in the best state that was measured, the start included. Bits do not depend on threads. Memory:
/// the block's weights three times, one gradient per sequence of a batch within about 512 MiB, and what a sequence's
/// backward pass reads per thread. Errors: an interrupt; a start whose loss is not finite.
Result<ReconstructionReport> reconstruct(const ReconstructionProblem& problem, ThreadPool& pool);

}  // namespace sparing::lab
