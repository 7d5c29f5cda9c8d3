#pragma once
// Training on a block's outputs, as methods see it: plain arrays, no libtorch. A method describes its weight as a
// TrainableWeight; the lab runs the block with the values that it decodes to and hands back the loss's gradient by
// them. What the gradient moves (codes, scales, tables, factors) is the method's own affair.

#include <cstdint>
#include <span>
#include <string>

#include "base/result.h"
#include "base/thread_pool.h"
#include "codecs/coded_weight.h"

namespace sparing {

/// How the sites of one block are trained, all at once, on the sum of squares between the block's outputs and a target.
/// Sites of one block that are trained share it.
struct TrainingSchedule {
  enum class Target {
    original,  ///< the original block on the original model's inputs: makes up for the blocks before, too
    block,     ///< the original block on the inputs as they have become
  };
  enum class Loss {
    relative,  ///< each token's squared error over the mean square of its target: what the next norm will see
    plain,     ///< squared error: tokens of huge activations dominate
  };
  enum class Products {
    bf16,  ///< linear layers multiply in bf16, sums in f32: several times faster where the processor has bf16 products
    f32,
  };
  std::int64_t steps = 0;   ///< 0: nothing is trained
  std::int64_t batch = 0;   ///< sequences a step
  std::int64_t checks = 1;  ///< times that the whole text is measured, the last after the last step; the best is kept
  Target target = Target::original;
  Loss loss = Loss::relative;
  Products products = Products::bf16;
  std::uint64_t seed = 0;  ///< of the order of sequences; set by who runs it
  bool operator==(const TrainingSchedule&) const = default;
};

class TrainableWeight {
 public:
  virtual ~TrainableWeight() = default;
  /// The values [rows, cols] that the coding would have now, exactly: as stored.
  virtual void values(std::span<float> out, ThreadPool& pool) const = 0;
  /// One step of descent. gradient [rows, cols]: of the loss by the values, up to a positive factor. left: what is left
  /// of the learning rate, falling from 1 towards 0.
  virtual void step(std::span<const float> gradient, double left, ThreadPool& pool) = 0;
  /// Remembers the present state, and goes back to the one remembered last (at first: the start).
  virtual void keep() = 0;
  virtual void recall() = 0;
  /// The present state, packed: decodes to values().
  virtual Result<CodedWeight> code() const = 0;
};

}  // namespace sparing
