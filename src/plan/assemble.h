#pragma once
// The finished directory of a plan: what goes into it besides the coded weights, and how many bytes it has.

#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "formats/sparing_writer.h"
#include "plan/sites.h"

namespace sparing {

class Assembler {
 public:
  /// Reads what every plan for this model shares: norms and biases, the tokenizer in its compact form, carried files.
  /// `original`: what the coded model is compared with, where `checkpoint` has been thinned (plan/restructure.h); the
  /// hash is always the original's.
  static Result<Assembler> create(std::shared_ptr<const Checkpoint> checkpoint, std::string model_hash,
                                  std::shared_ptr<const Checkpoint> original = nullptr);

  /// Fills in the predicted bytes of every site and of the whole directory. Exact: the finished directory has as many.
  Status predict(Plan& plan, const std::vector<BoundSite>& sites) const;
  /// Writes the directory. `weights` in canonical order; `vectors` stand in for the source's norms and biases.
  Status write(const Plan& plan, std::vector<std::pair<std::string, CodedWeight>> weights,
               const std::map<std::string, std::vector<float>>& vectors, const std::filesystem::path& out) const;

  const Checkpoint& checkpoint() const { return *checkpoint_; }
  const std::shared_ptr<const Checkpoint>& checkpoint_ptr() const { return checkpoint_; }
  const Checkpoint& original() const { return *original_; }
  const std::shared_ptr<const Checkpoint>& original_ptr() const { return original_; }
  const std::string& model_hash() const { return model_hash_; }
  /// Norms and biases, tokenizer, carried files and provenance, without the plan's own.
  const SparingModel& shared() const { return shared_; }

 private:
  SparingModel model(const Plan& plan, std::vector<std::pair<std::string, CodedWeight>> weights) const;
  std::shared_ptr<const Checkpoint> checkpoint_, original_;
  std::string model_hash_;
  SparingModel shared_;
};

}  // namespace sparing
