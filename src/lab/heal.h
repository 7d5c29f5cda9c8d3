#pragma once
// Healing: the continuous parameters of a coded model (scales, minima, sparse values, norms, biases), and the codes of
// integers where that is asked for, are trained end to end so that its next-token distributions come near the
// original's, by KL(original || coded). Torch-free to include. After EfficientQAT's second phase (arXiv:2407.11062),
// AQLM's fine-tuning (arXiv:2401.06118) and LLM-QAT (arXiv:2305.17888).

#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "formats/checkpoint.h"
#include "text/tokenizer.h"

namespace sparing {

struct HealSchedule {
  enum class Products {
    bf16,  ///< linear layers multiply in bf16, sums in f32: twice as fast where the processor has such products
    f32,
  };
  std::int64_t tokens = 0;      ///< trained on in all; the text is gone through as often as that takes
  std::int64_t batch = 2;       ///< sequences a step
  double scale_rate = 0.0003;   ///< of scales, minima and sparse values, relative to their sizes
  double vector_rate = 0.0003;  ///< of norms and biases, relative to each one's root mean square
  double code_rate = 0;  ///< of codes: how far their places move in a step, root mean square, in codes; 0: they stay
  double warmup = 0.1;   ///< share of the steps in which the rates rise from 0; then they fall to 0 (cosine)
  double clip = 2;       ///< gradients longer than so many times their running mean are cut to that; 0: none
  std::int64_t check = 16384;  ///< tokens between measurements on held-out text
  double stop = 0;             ///< fall of the held-out KL per 1,000 tokens below which training ends; 0: never
  Products products = Products::bf16;
  std::uint64_t seed = 0;  ///< of the order of sequences
  bool operator==(const HealSchedule&) const = default;
};

/// Where an interrupted training's state lives.
class HealKeeper {
 public:
  virtual ~HealKeeper() = default;
  /// What keep() was given last, by whatever run.
  virtual Result<std::optional<std::string>> kept() = 0;
  virtual Status keep(std::string_view state) = 0;
};

struct HealProblem {
  const Checkpoint& original;
  const Checkpoint* source = nullptr;          ///< what was coded, where that is the original with parts taken out
  std::map<std::string, CodedWeight> weights;  ///< of every matrix of the source, validated
  std::vector<std::vector<Token>> sequences;   ///< to train on
  std::vector<std::vector<Token>> held_out;    ///< to measure on
  HealSchedule schedule;
  const Checkpoint& coded_from() const { return source != nullptr ? *source : original; }
};

struct HealOptions {
  int threads = 0;                     ///< 0: all available
  std::uint64_t max_ram = 0;           ///< most bytes that this may take, within what is possible; 0: no limit
  std::filesystem::path scratch = {};  ///< folder for what does not fit; empty: the system's folder for temporary files
  std::string device = "cpu";          ///< where libtorch computes: also "cuda", "cuda:1"
  HealKeeper* keeper = nullptr;
  double seconds_between_states = 60;  ///< that the keeper gets; also one at the end, and one where interrupted
};

struct HealReport {
  double held_out_before = 0, held_out_after = 0;  ///< mean KL over tokens
  double trained_before = 0, trained_after = 0;    ///< on as much of the text that is trained on
  std::int64_t tokens = 0;                         ///< trained on until it ended
  std::int64_t kept_tokens = 0;  ///< trained on when the state that is kept was measured; 0: the start
  bool stopped = false;          ///< the gain had fallen below schedule.stop
  double tokens_per_s = 0;       ///< of this run, measurements aside
};

struct HealResult {
  std::map<std::string, CodedWeight> weights;         ///< same specs and sizes as before
  std::map<std::string, std::vector<float>> vectors;  ///< norms and biases, as exact in f16 as the original's are
  HealReport report;
};

/// Bits depend neither on threads nor on where an earlier run was interrupted; they do on the device. The state kept is
/// the one with the least held-out KL among those measured, the start included. Memory: the matrices once in the
/// products' dtype and twice coded, seven f32 a parameter and one for each sequence of a batch, per thread a sequence's
/// activations and its logits, and where codes are trained two bytes a weight and for each sequence of a batch its
/// gradient. Errors: no text, no parameters, activations that overflow, an interrupt.
Result<HealResult> heal(const HealProblem& problem, const HealOptions& options);

/// Tokens a second that heal() would train on, by a step on arbitrary tokens.
Result<double> heal_speed(const Checkpoint& original, std::int64_t length, const HealSchedule& schedule,
                          const HealOptions& options);

}  // namespace sparing
