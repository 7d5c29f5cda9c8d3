#include "plan/structure_search.h"

#include <algorithm>

#include "base/log.h"
#include "lab/math/obq.h"
#include "plan/original_coder.h"

namespace sparing {
namespace {

using Weights = std::map<std::string, CodedWeight, std::less<>>;

constexpr std::int64_t kChannelStep = 32;  ///< kernels read inputs in blocks of so many
constexpr std::int64_t kMostShare = 3;     ///< a third of the channels at most
constexpr std::size_t kMostDrops = 6;      ///< layers whose absence is measured
constexpr double kDropOdds = 3;            ///< ... where the estimate is within this of what their bytes are worth
constexpr int kRounds = 3;
constexpr double kNear = 1.25, kCheap = 0.1;

/// KL of leaving out the first 1, 2, ... groups at a site, and all of its output.
struct Ladder {
  std::vector<double> damage;
  double all = 0;
};

class LadderCoder final : public OriginalCoder {
 public:
  LadderCoder(const SurveyContext& context, const Method& method, Params params)
      : OriginalCoder(context.checkpoint), context_(context), method_(method), params_(std::move(params)) {
    const ModelConfig& config = checkpoint_.config();
    for (std::size_t i = 0; i < config.layers.size(); ++i) {
      const auto layer = static_cast<std::int64_t>(i);
      spans_[channels_site(layer)] = 1;
      spans_[heads_site(layer)] = inputs_per_kv_head(config, layer);
    }
  }
  bool wants_statistics(const std::string& site) const override { return spans_.contains(site); }
  Status finish_block(const std::string&) override { return {}; }
  std::map<std::string, Ladder> take() { return std::move(ladders_); }

 protected:
  bool is_done(const std::string& site) const override { return !spans_.contains(site); }
  Status look(const std::string& site, const Statistics* statistics) override {
    SPARING_TRY(const std::vector<float> weight, site_values(checkpoint_, site));
    StructureProblem problem;
    problem.site = site;
    problem.threads = context_.options.threads;
    math::GroupedWeight& w = problem.weight;
    w.cols = statistics->cols;
    w.rows = static_cast<std::int64_t>(weight.size()) / w.cols;
    w.span = spans_.at(site);
    w.weight = weight;
    w.h = statistics->second_moment;
    if (const auto found = context_.sensitivity.outputs.find(site); found != context_.sensitivity.outputs.end())
      w.row_weights = found->second;
    problem.most = w.span == 1 ? w.groups() / kMostShare : w.groups() - 1;
    const double each = 0.5 / static_cast<double>(std::max<std::int64_t>(statistics->tokens, 1));
    Ladder& ladder = ladders_[site];
    if (problem.most > 0) {
      SPARING_TRY(const math::GroupRanking ranking, method_.rank(problem, params_));
      for (const double loss : ranking.loss) ladder.damage.push_back(each * loss);
    }
    ThreadPool pool(context_.options.threads);
    const auto losses = math::row_losses(weight, {}, w.rows, w.cols, w.h, pool);
    for (std::size_t r = 0; r < losses.size(); ++r)
      ladder.all += each * losses[r] * (w.row_weights.empty() ? 1.0 : static_cast<double>(w.row_weights[r]));
    return {};
  }

 private:
  const SurveyContext& context_;
  const Method& method_;
  Params params_;
  std::map<std::string, std::int64_t> spans_;
  std::map<std::string, Ladder> ladders_;
};

/// What may be done with one layer's channels, or heads: how many stay, what that costs and saves.
struct Step {
  std::int64_t kept = 0;
  double damage = 0, bytes = 0;
};

class Search {
 public:
  Search(const StructureMarket& market, StructureSpec spec, std::map<std::string, Ladder> ladders)
      : market_(market),
        spec_(std::move(spec)),
        ladders_(std::move(ladders)),
        config_(market.context.checkpoint.config()) {}

  Result<std::optional<StructureSpec>> run() {
    SPARING_CHECK_OK(measure_drops());
    for (int round = 0; round < kRounds; ++round) {
      choose();
      if (spec_.layers.empty()) return std::optional<StructureSpec>();
      SPARING_TRY(const double measured, damage_of_choice());
      const double ratio = measured / std::max(expected_, 1e-12);
      log_debug("[structure] " + std::to_string(spec_.layers.size()) + " layers thinned, " +
                std::to_string(static_cast<std::int64_t>(saved_)) + " bytes: KL " + std::to_string(expected_) +
                " expected, " + std::to_string(measured) + " measured, worth " +
                std::to_string(market_.price * saved_));
      // Another selection is looked for where this one came out dearer than it was chosen for, unless it is cheap.
      const double worth = market_.price * saved_;
      if (measured < worth && (ratio < kNear || measured < kCheap * worth)) return std::optional(spec_);
      factor_ *= std::clamp(ratio, 0.25, 16.0);
    }
    return std::optional<StructureSpec>();
  }

 private:
  double bytes(std::int64_t layer, std::initializer_list<const char*> parts) const {
    double sum = 0;
    for (const char* part : parts) {
      const auto found = market_.bytes.find("layers." + std::to_string(layer) + "." + part);
      if (found != market_.bytes.end()) sum += static_cast<double>(found->second);
    }
    return sum;
  }
  double ffn_bytes(std::int64_t layer) const { return bytes(layer, {"mlp.gate", "mlp.up", "mlp.down"}); }
  double attention_bytes(std::int64_t layer) const { return bytes(layer, {"attn.q", "attn.k", "attn.v", "attn.o"}); }

  /// The best number of groups to leave out, what stays a multiple of `step`; nothing where none is worth it.
  std::optional<Step> best(const std::string& site, std::int64_t groups, std::int64_t step, double all_bytes) const {
    const std::vector<double>& damage = ladders_.at(site).damage;
    std::optional<Step> best;
    double most = 0;
    for (std::int64_t kept = (groups - 1) / step * step; kept > 0; kept -= step) {
      const std::int64_t gone = groups - kept;
      if (gone > static_cast<std::int64_t>(damage.size())) break;
      const Step tried{kept, factor_ * damage[static_cast<std::size_t>(gone - 1)],
                       all_bytes * static_cast<double>(gone) / static_cast<double>(groups)};
      const double gain = market_.price * tried.bytes - tried.damage;
      if (gain <= most) continue;
      most = gain;
      best = tried;
    }
    return best;
  }

  void choose() {
    spec_.layers.clear();
    expected_ = saved_ = 0;
    for (std::size_t i = 0; i < config_.layers.size(); ++i) {
      const auto layer = static_cast<std::int64_t>(i);
      const LayerConfig& shape = config_.layers[i];
      const auto channels = best(channels_site(layer), shape.ffn, kChannelStep, ffn_bytes(layer));
      const auto heads = best(heads_site(layer), shape.kv_heads, 1, attention_bytes(layer));
      double damage = 0, saved = 0;
      for (const auto& step : {channels, heads}) {
        damage += step ? step->damage : 0;
        saved += step ? step->bytes : 0;
      }
      if (const auto drop = drops_.find(layer); drop != drops_.end()) {
        const double all = ffn_bytes(layer) + attention_bytes(layer);
        if (market_.price * all - drop->second > std::max(0.0, market_.price * saved - damage)) {
          spec_.layers.push_back({layer, -1, -1, true});
          expected_ += drop->second;
          saved_ += all;
          continue;
        }
      }
      if (!channels && !heads) continue;
      spec_.layers.push_back({layer, channels ? channels->kept : -1, heads ? heads->kept : -1, false});
      expected_ += damage;
      saved_ += saved;
    }
    // At least one layer stays.
    if (spec_.layers.size() == config_.layers.size() && std::ranges::all_of(spec_.layers, &LayerStructure::dropped))
      spec_.layers.clear();
  }

  /// Layers whose absence may be worth it, by the estimate, are measured.
  Status measure_drops() {
    std::vector<std::pair<double, std::int64_t>> likely;
    for (std::size_t i = 0; i < config_.layers.size(); ++i) {
      const auto layer = static_cast<std::int64_t>(i);
      const double damage = ladders_.at(channels_site(layer)).all + ladders_.at(heads_site(layer)).all,
                   worth = market_.price * (ffn_bytes(layer) + attention_bytes(layer));
      if (damage < kDropOdds * worth) likely.emplace_back(damage / worth, layer);
    }
    std::ranges::sort(likely);
    if (likely.size() > kMostDrops) likely.resize(kMostDrops);
    for (const auto& [odds, layer] : likely) {
      Weights zeros;
      for (const std::string& site : {channels_site(layer), heads_site(layer)}) {
        SPARING_TRY(const CodedWeight original, market_.context.checkpoint.weight(site));
        zeros.emplace(site, zero_matrix(original.rows, original.cols));
      }
      SPARING_TRY(drops_[layer], market_.measure("without layer " + std::to_string(layer), zeros));
      log_debug("[structure] without layer " + std::to_string(layer) + ": KL " + std::to_string(drops_[layer]) +
                ", its bytes are worth " + std::to_string(market_.price * (ffn_bytes(layer) + attention_bytes(layer))));
    }
    return {};
  }

  Result<double> damage_of_choice() {
    SPARING_TRY(const ThinnedMatrices thinned, take_out(spec_, market_.context.checkpoint, market_.context.sequences,
                                                        market_.context.sensitivity, market_.context.options));
    Weights weights;
    std::string what = "thinned";
    for (const auto& [site, matrix] : thinned) {
      weights.emplace(site, matrix.weight);
      what += ' ' + site + ' ' + std::to_string(matrix.kept.size());
    }
    return market_.measure(what, weights);
  }

  const StructureMarket& market_;
  StructureSpec spec_;
  std::map<std::string, Ladder> ladders_;
  const ModelConfig& config_;
  std::map<std::int64_t, double> drops_;
  double factor_ = 1, expected_ = 0, saved_ = 0;
};

}  // namespace

Result<std::optional<StructureSpec>> seek_structure(const StructureMarket& market, StructureSpec spec) {
  SPARING_TRY(const Method* method, find_method(spec.method));
  if (method->rank == nullptr) return usage_error("[structure] " + spec.method + " does not rank what could go");
  SPARING_TRY(Params params, Params::make(*method, spec.params));
  const SurveyContext& context = market.context;
  LadderCoder coder(context, *method, std::move(params));
  SPARING_CHECK_OK(context.options.calibrate(context.checkpoint, context.sequences,
                                             calibration_options(context.options, context.checkpoint), coder));
  return Search(market, std::move(spec), coder.take()).run();
}

}  // namespace sparing
