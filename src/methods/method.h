#pragma once
// A method: an algorithm that offers ways to spend less at a site. It knows mathematics, not files or servers.
// The descriptors are torch-free and linked into both binaries; `apply` runs in the lab.

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "base/result.h"
#include "codecs/coded_weight.h"
#include "lab/math/statistics.h"
#include "lab/math/structured.h"
#include "lab/math/trainable.h"
#include "methods/claim.h"

namespace sparing {

enum class MethodKind { weights, structure, kv, tokens, updates, data, search, evaluation };
std::string_view name_of(MethodKind kind);

/// Place on each survey axis; a test insists that no field is empty.
struct MethodTraits {
  std::string_view compressed;  ///< what: "weights", "state", "tokens", "data", "updates"
  std::string_view deploy;  ///< survey of on-device models: "quantisation", "pruning", "distillation", "low-rank", ...
  std::string_view prune;   ///< survey of pruning: "none" or "unstructured/post-training", ...
  std::string_view peft;    ///< survey of tuning: "none", "additive", "selective", "reparameterised", "hybrid"
  std::string_view calibration;  ///< "none", "activations", "gradients", "training"
};

struct ParamSpec {
  enum class Type { integer, real, boolean, choice };
  std::string_view name;
  Type type = Type::integer;
  double default_value = 0;  ///< boolean: 0 or 1; choice: index
  double min = 0, max = 0;
  std::vector<std::string_view> choices;
  std::string_view help;
};

using ParamValue = double;  ///< choice: its index
/// Parameters of one application, complete (defaults filled in) and checked against the method's ParamSpecs.
class Params {
 public:
  static Result<Params> make(const struct Method& method,
                             const std::vector<std::pair<std::string, std::string>>& given);
  bool has(std::string_view name) const;  ///< whether the method has such a parameter
  double real(std::string_view name) const;
  std::int64_t integer(std::string_view name) const;
  bool flag(std::string_view name) const;
  std::string_view choice(std::string_view name) const;
  /// name=value of every parameter in the method's order: what plans and journals hold.
  std::vector<std::pair<std::string, std::string>> entries() const;

 private:
  const struct Method* method_ = nullptr;
  std::vector<ParamValue> values_;
};

/// What a method is asked to do at one weight.
struct SiteProblem {
  std::string site;  ///< canonical name
  std::int64_t rows = 0, cols = 0;
  std::span<const float> weight;  ///< [rows, cols] row-major
  const Statistics* statistics =
      nullptr;  ///< null where the method's traits.calibration is "none" or the site has none (embedding)
  std::uint64_t seed = 0;
  int threads = 1;
};

struct SiteReport {
  double weight_error = 0;  ///< |W - W'|^2 / |W|^2
  double output_error = 0;  ///< tr(D H D') / tr(W H W'), D = W - W'; 0 without statistics
  std::string note;         ///< a fallback taken, a damping raised; empty otherwise
};

struct SiteResult {
  CodedWeight weight;
  SiteReport report;
  /// Set by methods with a schedule: the same weight, to be trained with its block's others. Needs nothing of the
  /// problem any more.
  std::shared_ptr<TrainableWeight> trainable = {};
};

/// What a method of structure is asked: which groups of a matrix's inputs (channels, heads) the model can do without.
struct StructureProblem {
  std::string site;  ///< canonical name of the matrix
  math::GroupedWeight weight;
  std::int64_t most = 0;  ///< groups to rank, from the one to go first
  int threads = 1;
};

/// Rows of all sites that compete for something when a plan is made (plan/share_out.h).
struct RowSharing {
  bool (*wanted)(const Params& params) = nullptr;
  double (*share)(const Params& params) = nullptr;  ///< of all rows that compete
  std::string_view count;                           ///< the parameter that says how many a site has got
  /// What each row is expected to cost as long as it has not got it, [rows]: those that cost most do. Statistics hold
  /// the sensitivity, where the site has one.
  Result<std::vector<double>> (*salience)(const SiteProblem& problem, const Params& params) = nullptr;
};

struct Method {
  std::string_view name, summary, paper;  ///< paper: "arXiv:2210.17323"
  MethodKind kind = MethodKind::weights;
  MethodTraits traits;
  bool approximate = false;  ///< a constant is uncertain in the sources
  std::vector<ParamSpec> params;
  /// The coding that apply will emit for these parameters: predicted size = real size.
  Result<std::vector<CodecSpec>> (*codings)(const Params& params, std::int64_t rows, std::int64_t cols) = nullptr;
  /// The kind of input transform that apply will emit beside the terms; null: identity always.
  TransformKind (*transform)(const Params& params) = nullptr;
  /// Whether apply wants the damages in Statistics too; null: never.
  bool (*corrects)(const Params& params) = nullptr;
  Result<SiteResult> (*apply)(const SiteProblem& problem, const Params& params) = nullptr;
  /// What is shared out over all sites of the method; null: nothing.
  const RowSharing* sharing = nullptr;
  /// Whether apply wants the sensitivity in Statistics; null: never.
  bool (*weighs_outputs)(const Params& params) = nullptr;
  /// Whether tokens count in the statistics by how much the predictions depend on them at this site's outputs; null:
  /// never.
  bool (*guides)(const Params& params) = nullptr;
  /// How the block's sites are trained once all are coded; null, or no steps: apply's weight is final.
  TrainingSchedule (*schedule)(const Params& params) = nullptr;
  /// Whether some parameters are to be found in the weight itself before anything is planned; null: never.
  bool (*detects)(const Params& params) = nullptr;
  /// Finds them: all parameters in the method's order, for the plan to hold; nothing where the method cannot code this
  /// weight. Statistics are not at hand. `given`: what was set so far.
  Result<std::optional<std::vector<std::pair<std::string, std::string>>>> (*detect)(const SiteProblem& problem,
                                                                                    const Params& given) = nullptr;
  bool finds_rate = false;  ///< bits and group are among what detect finds, whatever they were
  /// codings only guesses what the weights decide (same_form): real sizes differ from predicted ones.
  bool estimates = false;
  /// structure: the order in which groups go, and what that costs once the others have made up for it. Such methods
  /// have neither codings nor apply.
  Result<math::GroupRanking> (*rank)(const StructureProblem& problem, const Params& params) = nullptr;
  /// What it is said to be better at, and than what: run by `sparing claims`.
  std::vector<Claim> claims = {};
  std::string_view no_claim = {};  ///< why it has none
};

bool has_param(const Method& method, std::string_view name);
/// What apply's weight will take in the file: stored_bytes of it, known beforehand. Errors as codings.
Result<std::uint64_t> predicted_bytes(const Method& method, const Params& params, std::int64_t rows, std::int64_t cols);

/// Every registered method, sorted by kind then name (methods.def).
std::span<const Method* const> all_methods();
/// Error lists near names.
Result<const Method*> find_method(std::string_view name);

}  // namespace sparing
