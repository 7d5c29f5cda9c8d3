#pragma once
// A plan is data: for every site, the method and its parameters, with predicted costs, under stated budgets. It is made
// by `compress` (from --method, or by a solver for --fit), written as plan.json, edited by hand or script, and read
// back as untrusted input. Nothing here assumes that a site is a weight: `kind` says what it is, costs name a resource.

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.h"
#include "plan/forecast.h"

namespace sparing {

inline constexpr int kPlanVersion = 1;

/// The method name that leaves a site as the source stores it.
inline constexpr std::string_view kKeep = "keep";
/// The resource that the finished directory's bytes are counted under.
inline constexpr std::string_view kWeights = "weights";
/// Bytes resident while it runs; nanoseconds that products take to decode one token.
inline constexpr std::string_view kRam = "ram", kTokenTime = "ns_per_token";

using ParamList = std::vector<std::pair<std::string, std::string>>;
/// Amounts by resource ("weights": bytes of the finished directory).
using Costs = std::map<std::string, std::uint64_t, std::less<>>;

struct CalibrationFile {
  std::string path;    ///< as the user gave it: where to read, not what the text is
  std::string sha256;  ///< of its contents: what the text is
  bool operator==(const CalibrationFile&) const = default;
};

struct CalibrationSpec {
  bool self = false;  ///< text that the model itself samples
  std::vector<CalibrationFile> files;
  std::int64_t tokens = 0;  ///< 0: no method of the plan calibrates
  std::int64_t length = 0;  ///< tokens of one sequence
  bool operator==(const CalibrationSpec&) const = default;
};

/// Training of the coded model's continuous parameters and of its codes, end to end (lab/heal.h).
struct HealSpec {
  CalibrationSpec text;         ///< its tokens: how many are trained on in all, text that is shorter several times
  std::int64_t batch = 2;       ///< sequences a step
  double scale_rate = 0.0003;   ///< of scales, minima and sparse values, relative to their sizes
  double vector_rate = 0.0003;  ///< of norms and biases
  double code_rate = 0;         ///< of integer codes, in codes a step; 0: they stay
  double stop = 0;              ///< fall of the held-out KL per 1,000 tokens below which it ends; 0: never
  bool bf16 = true;             ///< products in bf16; else in f32
  bool operator==(const HealSpec&) const = default;
};

/// What stays of a layer.
struct LayerStructure {
  std::int64_t layer = 0;      ///< in the source
  std::int64_t ffn = -1;       ///< channels of the feed-forward layer; -1: all
  std::int64_t kv_heads = -1;  ///< key-value heads, with their query heads; -1: all
  bool dropped = false;        ///< nothing stays: the layer's input is its output
  bool operator==(const LayerStructure&) const = default;
};
/// What is taken out of the model before its weights are coded (plan/structure_spec.h). The plan's sites are those of
/// the model that this leaves, its layers counted anew.
struct StructureSpec {
  std::string method;  ///< which channels and heads go first: a registered method of structure
  ParamList params;
  CalibrationSpec text;                ///< that it looks at
  std::vector<LayerStructure> layers;  ///< those that change, ascending
  bool operator==(const StructureSpec&) const = default;
};

/// What a site would have next if its share of the budget grew.
struct RunnerUp {
  std::string method;
  ParamList params;  ///< those that differ from the choice's
  std::uint64_t bytes = 0;
  double damage = 0;
  bool operator==(const RunnerUp&) const = default;
};

struct SiteChoice {
  std::string site;  ///< canonical name
  std::string kind = "weight";
  std::string method;            ///< a registered method, or "keep"
  ParamList params;              ///< complete, in the method's order
  Costs costs;                   ///< predicted
  std::optional<double> damage;  ///< predicted or measured KL of this choice alone, where known
  std::optional<RunnerUp> runner_up = {};
  bool operator==(const SiteChoice&) const = default;
};

struct Plan {
  std::string model;       ///< for people
  std::string model_hash;  ///< checkpoint_hash of the source
  std::uint64_t seed = 0;
  Costs budgets;  ///< empty: none asked
  CalibrationSpec calibration;
  std::optional<StructureSpec> structure;  ///< before any site is coded
  std::optional<HealSpec> heal;            ///< after all sites are coded
  std::vector<SiteChoice> sites;           ///< in the model's order
  Costs totals;                            ///< predicted; "weights" counts every byte of the finished directory
  std::optional<double> damage;            ///< KL of the whole plan on the calibration text, where measured
  std::int64_t context = 0;  ///< positions that a budget of ram is for; 0: what the runtime takes by itself
  Forecast forecast = {};    ///< of a plan that a solver made
  /// 16: what the finished model's codes are multiplied with (ModelConfig::activation_bits), where weights lose less
  /// than activations in 8 bits would.
  std::int32_t activation_bits = 0;
  bool operator==(const Plan&) const = default;
};

/// The plan as people edit it: one site a line.
std::string plan_to_json(const Plan& plan);
/// Untrusted input: unknown versions, unknown or missing fields, wrong types and repeated sites are refused by name.
Result<Plan> plan_from_json(std::string_view text);
/// Reads a plan file; the path leads the message.
Result<Plan> read_plan(const std::string& path);

/// What alone decides the output, compact and canonical: the model's hash, seed, text hashes, and each site's choice.
/// Predictions, budgets and paths are left out. Finished directories carry it.
std::string recipe_json(const Plan& plan);
/// SHA-256 (hex) of the recipe: the journal's key.
std::string plan_hash(const Plan& plan);

/// Refuses totals over a budget, naming both.
Status check_budgets(const Plan& plan);
/// Sum of the sites' costs of one resource.
std::uint64_t site_cost(const Plan& plan, std::string_view resource);

/// The journal's unit of work: "layers.3.mlp.up" belongs to "layers.3", any other site is a block of its own.
std::string block_of(std::string_view site);

}  // namespace sparing
