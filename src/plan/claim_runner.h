#pragma once
// Runs claims from end to end: compresses with our setting and with the baseline's, made to have at least as many
// bytes, and scores both against the model they came from. What is finished is kept in a work folder and not done
// again.

#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "eval/claim_result.h"
#include "eval/logits.h"
#include "methods/claim.h"
#include "plan/compose.h"
#include "plan/execute.h"
#include "runtime/engine.h"

namespace sparing {

struct ClaimOptions {
  std::string model_name;      ///< in the results
  std::filesystem::path work;  ///< made where it is missing
  std::string build;  ///< what identifies this program: another build may code otherwise, so its work is done again
  bool any_build = false;            ///< but take over what another build has finished
  std::vector<std::uint64_t> seeds;  ///< not empty
  CalibrationSpec calibration;       ///< for the methods that calibrate
  std::string calibration_name, text_name;
  std::vector<Token> text;                  ///< to judge on
  Token bos = -1;                           ///< first token of each window; -1: none of its own
  std::int64_t context = 512, windows = 0;  ///< 0 windows: all that the text holds
  EngineOptions engine;                     ///< context is set here
  ExecuteOptions execution;
  /// Before each side that is not finished yet: "gptq bits=3 group=64, seed 1".
  std::function<void(const std::string& what)> on_side = {};
};

class ClaimRunner {
 public:
  /// Errors: a text that fills no window, a work folder that cannot be written.
  static Result<ClaimRunner> create(std::shared_ptr<const Checkpoint> checkpoint, std::string model_hash,
                                    ClaimOptions options);

  /// The judged result. A setting that this model or method refuses makes the claim fail, with that reason; errors are
  /// those of the machine, and an interrupt.
  Result<ClaimResult> run(const Claim& claim, std::string_view method);

 private:
  struct Choice {
    ComposeRequest request;
    std::string name;
    std::uint64_t bytes = 0;
  };
  struct Score {
    double kld_mean = 0, ppl = 0;
    std::uint64_t directory_bytes = 0;
  };
  ClaimRunner(Assembler assembler, ClaimOptions options)
      : assembler_(std::move(assembler)), options_(std::move(options)) {}
  Result<Plan> plan_of(const ComposeRequest& request, std::vector<BoundSite>& sites);
  Result<std::uint64_t> bytes_of(const ComposeRequest& request);
  Result<Choice> smallest(const ClaimSide& side, std::uint64_t at_least);
  Status measure(const Choice& setting, const std::string& metric, ClaimedSide& side);
  /// What an earlier run found, if its record is there and whole.
  std::optional<Score> kept_score(const std::filesystem::path& path) const;
  Result<Score> score(const ComposeRequest& request, const std::string& name);
  Result<Score> evaluate_directory(const std::filesystem::path& model);

  Assembler assembler_;
  ClaimOptions options_;
  Windows windows_;
  std::unique_ptr<ReferenceLogits> reference_;  ///< recorded when first needed
  std::map<std::string, Score> known_;          ///< by key, of this run
  std::map<std::string, Plan> plans_;           ///< by setting and seed
};

}  // namespace sparing
