#pragma once
// Streaming calibration: text runs through the model block by block; each site's coder gets the second moments of its
// inputs, and what it returns is what later sites see. Torch-free to include.

#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <vector>

#include "formats/checkpoint.h"
#include "lab/math/statistics.h"
#include "lab/math/trainable.h"
#include "text/tokenizer.h"

namespace sparing {

/// What happens to each site; called from one thread (but code), in the order of the computation: embed, then block by
/// block (q, k and v share statistics, so do gate and up), then the head. A tied embedding that wants statistics comes
/// last.
class SiteCoder {
 public:
  virtual ~SiteCoder() = default;
  /// The site's final weight if it is known already: coded by an earlier run, or kept as it is. nullptr: to be coded.
  /// Must stay valid until calibrate returns or finish_block has been called for the site's block.
  virtual const CodedWeight* finished(const std::string& site) = 0;
  /// Whether code() wants statistics of this site's inputs.
  virtual bool wants_statistics(const std::string& site) const = 0;
  /// Whether the statistics should hold the damages too: the original model then runs beside the coded one.
  virtual bool wants_damage(const std::string&) const { return false; }
  /// How much each calibration token counts in this site's statistics, [tokens], sequence after sequence; empty: all
  /// alike. Sites that read the same values and give weights count tokens by the sum of them.
  virtual std::span<const float> token_weights(const std::string&) const { return {}; }
  /// How many of the sites that are coded next are coded at once.
  virtual void expect_at_once(int) {}
  /// Codes the site. statistics: null unless wanted (and for an embedding that is not also the head). Sites that share
  /// their inputs are coded at once, by several threads, where CalibrationOptions::jobs asks for it.
  virtual Result<CodedWeight> code(const std::string& site, const Statistics* statistics) = 0;
  /// How a block's sites are trained together, once all of them are coded. By default not at all.
  virtual TrainingSchedule schedule(const std::string&) const { return {}; }
  /// What there is to train at a site that code() has been called for in this block; null: it stays as coded.
  virtual TrainableWeight* trainable(const std::string&) { return nullptr; }
  /// The site's training is over; its weight is what the trainable now codes to. report: for people, may be empty.
  virtual Result<CodedWeight> trained(const std::string& site, const std::string&) {
    return internal_error("[calibrate] " + site + ": training was not asked for");
  }
  /// Every site of a block ("embed", "layers.3", "head") is coded. Not called for blocks that were finished before.
  virtual Status finish_block(const std::string& block) = 0;
};

struct CalibrationOptions {
  int threads = 0;            ///< 0: all available
  std::uint64_t max_ram = 0;  ///< most bytes of activations in memory, beyond which they go to a file; 0: no limit
  std::filesystem::path scratch = {};  ///< folder of that file; empty: the system's folder for temporary files
  std::string device = "cpu";          ///< where libtorch computes: also "cuda", "cuda:1"
  bool bf16 = false;                   ///< sensitivity: products in bf16 where the processor has such
  int jobs = 1;                        ///< sites with the same inputs that are coded at once
};

/// Errors: a name that libtorch does not know, a device that is not there.
Status check_device(const std::string& name);

/// Runs the sequences through the model. Peak memory: one block's weights and statistics, or what training it takes
/// (lab/reconstruct.h), and the activations (which max_ram moves to a file). Bits do not depend on threads, nor on
/// which blocks were finished before; they do on the device. Errors: no sequences, tokens out of range, activations
/// that overflow, an interrupt, whatever the coder returns. Calibrating on fewer tokens than a site has inputs is a
/// warning that says how many it takes.
Status calibrate(const Checkpoint& checkpoint, const std::vector<std::vector<Token>>& sequences,
                 const CalibrationOptions& options, SiteCoder& coder);

}  // namespace sparing
