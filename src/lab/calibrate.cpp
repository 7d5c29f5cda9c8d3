#include "lab/calibrate.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <numeric>

#include "base/jobs.h"
#include "base/log.h"
#include "base/progress.h"
#include "base/system.h"
#include "lab/moments.h"
#include "lab/pass.h"
#include "lab/reconstruct.h"

namespace sparing {
namespace {

using lab::ActivationMatrix;
using lab::Pass;
using lab::Stage;
using lab::Weights;
using Clock = std::chrono::steady_clock;

double since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

std::string block_name(std::size_t index) {
  return "layers." + std::to_string(index);
}

struct Timing {
  double forward = 0, moments = 0, coding = 0, training = 0;
};

// Sums over the tokens at one stage.
struct Gathered {
  std::vector<float> moment, input_damage;
  std::map<std::string, std::vector<float>> residual_damage;  // by site
};
/// Of all tokens alike, and of tokens by their weights: what some of the sites that read a value ask for.
using GatheredBoth = std::array<Gathered, 2>;

class Calibration {
 public:
  Calibration(const Checkpoint& checkpoint, const CalibrationOptions& options, SiteCoder& coder, at::Device device)
      : checkpoint_(checkpoint),
        coder_(coder),
        device_(device),
        jobs_(options.jobs),
        pool_(options.threads),
        activations_(options.max_ram, options.scratch) {}

  Status run(const std::vector<std::vector<Token>>& sequences);

 private:
  Result<Weights> weights_of(const Graph& graph, const Stage& stage,
                             const std::function<const CodedWeight*(const std::string&)>& replaced = {}) const {
    return lab::load_weights(checkpoint_, graph, stage.first, stage.last, at::TensorOptions(at::kFloat).device(device_),
                             replaced);
  }
  Status embed();
  Status block(const Graph& graph, const std::string& name);
  Status train(const Graph& graph, const std::string& name, const TrainingSchedule& schedule,
               std::map<std::string, CodedWeight>& coded);
  Result<ActivationMatrix> target_on_present_inputs(const Graph& graph);
  Status head();
  bool done(const Graph& graph) const;
  bool wants_statistics(const std::string& site) const {
    return !coder_.finished(site) && coder_.wants_statistics(site);
  }
  bool wants_damage(const std::string& site) const { return wants_statistics(site) && coder_.wants_damage(site); }
  Status advance(const Graph& graph, const Stage& stage, const std::map<std::string, CodedWeight>& coded);
  bool is_guided(const std::string& site) const { return !coder_.token_weights(site).empty(); }
  /// Of the stage's tokens, with a mean of 1: the sum of what its guided sites ask for.
  std::vector<float> weights_at(const Stage& stage) const;
  Result<GatheredBoth> gather(const Stage& stage);
  Status code(const Stage& stage, const GatheredBoth& both, std::map<std::string, CodedWeight>& coded);
  std::string head_site() const { return model_.config.tied_head ? "embed" : "head"; }

  const Checkpoint& checkpoint_;
  SiteCoder& coder_;
  at::Device device_;
  int jobs_;
  ThreadPool pool_;
  lab::ActivationPool activations_;
  ModelGraph model_;
  lab::CalibrationText text_;
  std::unique_ptr<Pass> now_, original_;  ///< the model as coded so far; the original, where damage is asked for
  Timing timing_;
};

bool Calibration::done(const Graph& graph) const {
  return std::ranges::all_of(graph.ops,
                             [&](const Op& op) { return op.kind != OpKind::linear || coder_.finished(op.site); });
}

Status Calibration::advance(const Graph& graph, const Stage& stage, const std::map<std::string, CodedWeight>& coded) {
  const auto start = Clock::now();
  {
    SPARING_TRY(const Weights weights, weights_of(graph, stage, [&](const std::string& site) -> const CodedWeight* {
                  const auto found = coded.find(site);
                  return found != coded.end() ? &found->second : coder_.finished(site);
                }));
    SPARING_CHECK_OK(now_->advance(graph, stage, weights));
  }
  if (original_) {
    SPARING_TRY(const Weights weights, weights_of(graph, stage));
    SPARING_CHECK_OK(original_->advance(graph, stage, weights));
  }
  timing_.forward += since(start);
  return {};
}

std::vector<float> Calibration::weights_at(const Stage& stage) const {
  std::vector<float> sum;
  for (const auto& [site, joins] : stage.readers) {
    if (!wants_statistics(site)) continue;
    const std::span<const float> weights = coder_.token_weights(site);
    if (weights.empty()) continue;
    sum.resize(weights.size());
    for (std::size_t t = 0; t < sum.size(); ++t) sum[t] += weights[t];
  }
  const double total = std::accumulate(sum.begin(), sum.end(), 0.0);
  if (!(total > 0)) return std::vector<float>(sum.size(), 1.0f);  // nothing depends on any of them
  const double scale = static_cast<double>(sum.size()) / total;
  for (float& weight : sum) weight = static_cast<float>(weight * scale);
  return sum;
}

Result<GatheredBoth> Calibration::gather(const Stage& stage) {
  GatheredBoth both;
  const auto start = Clock::now();
  const ActivationMatrix& input = now_->value(stage.observed);
  const std::int64_t width = input.width();
  for (const bool guided : {false, true}) {
    const auto of_these = [&](const Stage::Reader& r) {
      return wants_statistics(r.site) && is_guided(r.site) == guided;
    };
    if (std::ranges::none_of(stage.readers, of_these)) continue;
    const std::vector<float> weights = guided ? weights_at(stage) : std::vector<float>();
    Gathered& sums = both[guided ? 1 : 0];
    sums.moment = lab::second_moment(text_, input, weights, pool_);
    for (std::int64_t j = 0; j < width; ++j)
      if (!std::isfinite(sums.moment[static_cast<std::size_t>(j * (width + 1))]))
        return input_error("[calibrate] " + stage.readers.front().site + ": input " + std::to_string(j) +
                           " is not finite on the calibration text: check the model with `sparing verify`");
    const auto damaged = [&](const Stage::Reader& r) { return of_these(r) && wants_damage(r.site); };
    if (!original_ || std::ranges::none_of(stage.readers, damaged)) continue;
    sums.input_damage = lab::damage_by_input(text_, original_->value(stage.observed), input, input, weights, pool_);
    for (const Stage::Reader& reader : stage.readers)
      if (reader.joins >= 0 && damaged(reader))
        sums.residual_damage[reader.site] = lab::damage_by_input(text_, original_->value(reader.joins),
                                                                 now_->value(reader.joins), input, weights, pool_);
  }
  timing_.moments += since(start);
  return both;
}

Status Calibration::code(const Stage& stage, const GatheredBoth& both, std::map<std::string, CodedWeight>& coded) {
  const auto start = Clock::now();
  std::vector<std::string> sites;
  for (const auto& [site, joins] : stage.readers)
    if (!coder_.finished(site)) sites.push_back(site);
  std::vector<CodedWeight> weights(sites.size());
  coder_.expect_at_once(std::min(jobs_, static_cast<int>(sites.size())));
  SPARING_CHECK_OK(at_once(jobs_, sites.size(), [&](std::size_t i) -> Status {
    const std::string& site = sites[i];
    const Gathered& sums = both[is_guided(site) ? 1 : 0];
    Statistics statistics;
    if (!sums.moment.empty()) {
      statistics.cols = now_->value(stage.observed).width();
      statistics.tokens = text_.tokens();
      statistics.second_moment = sums.moment;
    }
    if (wants_damage(site)) {
      statistics.input_damage = sums.input_damage;
      if (const auto found = sums.residual_damage.find(site); found != sums.residual_damage.end())
        statistics.residual_damage = found->second;
    }
    SPARING_TRY(weights[i], coder_.code(site, wants_statistics(site) ? &statistics : nullptr));
    return {};
  }));
  for (std::size_t i = 0; i < sites.size(); ++i) coded.emplace(sites[i], std::move(weights[i]));
  timing_.coding += since(start);
  return {};
}

// The original block on the inputs that the coded model gives it. Leaves those inputs entered.
Result<ActivationMatrix> Calibration::target_on_present_inputs(const Graph& graph) {
  const Stage whole = lab::whole_graph(graph);
  SPARING_TRY(const Weights weights, weights_of(graph, whole));
  SPARING_CHECK_OK(now_->advance(graph, whole, weights));
  return now_->take(graph.output);
}

// Trains what the coder gave out for this block, and runs the text through the result.
Status Calibration::train(const Graph& graph, const std::string& name, const TrainingSchedule& schedule,
                          std::map<std::string, CodedWeight>& coded) {
  const auto start = Clock::now();
  std::map<std::string, TrainableWeight*> sites;
  for (auto& [site, weight] : coded)
    if (TrainableWeight* const trainable = coder_.trainable(site)) sites.emplace(site, trainable);
  if (sites.empty()) return {};
  now_->rewind(graph);
  now_->enter(graph);
  now_->hold_input();
  ActivationMatrix own_target;
  if (schedule.target == TrainingSchedule::Target::block) {
    SPARING_TRY(own_target, target_on_present_inputs(graph));
  }
  const Stage whole = lab::whole_graph(graph);
  const auto replaced = [&](const std::string& site) -> const CodedWeight* {
    const auto found = coded.find(site);
    return found != coded.end() ? &found->second : coder_.finished(site);
  };
  {
    SPARING_TRY(const Weights fixed, weights_of(graph, whole, replaced));
    SPARING_TRY(const lab::ReconstructionReport report,
                lab::reconstruct({.text = text_,
                                  .block = graph,
                                  .fixed = fixed,
                                  .input = now_->value(graph.input),
                                  .target = own_target ? own_target : original_->value(graph.output),
                                  .sites = sites,
                                  .schedule = schedule},
                                 pool_));
    char text[160];
    std::snprintf(text, sizeof text, "block error %.3g -> %.3g after %lld of %lld steps%s", report.before, report.after,
                  static_cast<long long>(report.kept_step), static_cast<long long>(schedule.steps),
                  report.diverged ? ", then it diverged" : "");
    log_debug("[calibrate] " + name + ": " + text);
    if (report.diverged || report.kept_step == 0)
      log_warning("[calibrate] " + name + ": " + text + (report.kept_step == 0 ? ": its start is kept" : ""));
    for (const auto& [site, trainable] : sites) {
      SPARING_TRY(coded[site], coder_.trained(site, text));
    }
  }
  own_target = {};
  now_->rewind(graph);
  now_->enter(graph);
  SPARING_TRY(const Weights weights, weights_of(graph, whole, replaced));
  SPARING_CHECK_OK(now_->advance(graph, whole, weights));
  now_->release(whole);
  timing_.training += since(start);
  return {};
}

Status Calibration::block(const Graph& graph, const std::string& name) {
  now_->enter(graph);
  if (original_) original_->enter(graph);
  const bool finished = done(graph);
  const TrainingSchedule schedule = finished ? TrainingSchedule{} : coder_.schedule(name);
  if (schedule.steps > 0) now_->hold_input();
  std::map<std::string, CodedWeight> coded;
  for (const Stage& stage : finished ? std::vector{lab::whole_graph(graph)} : lab::cut_into_stages(graph)) {
    SPARING_CHECK_OK(advance(graph, stage, coded));
    if (!finished) {
      SPARING_TRY(const GatheredBoth sums, gather(stage));
      SPARING_CHECK_OK(code(stage, sums, coded));
    }
    now_->release(stage);
    if (original_) original_->release(stage);
  }
  if (schedule.steps > 0) SPARING_CHECK_OK(train(graph, name, schedule, coded));
  now_->leave(graph);
  if (original_) original_->leave(graph);
  return finished ? Status() : coder_.finish_block(name);
}

Status Calibration::embed() {
  // A tied table that wants the head's statistics is coded last: until then the original is looked up.
  const bool waits = model_.config.tied_head && wants_statistics("embed");
  const CodedWeight* table = waits ? nullptr : coder_.finished("embed");
  CodedWeight coded;
  if (!table && !waits) {
    SPARING_TRY(coded, coder_.code("embed", nullptr));
    SPARING_CHECK_OK(coder_.finish_block("embed"));
    table = &coded;
  }
  SPARING_TRY(const CodedWeight original, checkpoint_.weight("embed"));
  SPARING_CHECK_OK(now_->embed(table ? *table : original, model_.config.hidden));
  if (original_) SPARING_CHECK_OK(original_->embed(original, model_.config.hidden));
  checkpoint_.forget("embed");
  return {};
}

Status Calibration::head() {
  const Graph& graph = model_.head;
  if (coder_.finished(head_site())) return {};
  std::map<std::string, CodedWeight> coded;
  const Stage stage = lab::cut_into_stages(graph).front();
  now_->enter(graph);
  if (original_) original_->enter(graph);
  GatheredBoth sums;
  if (wants_statistics(head_site())) {
    SPARING_CHECK_OK(advance(graph, stage, coded));
    SPARING_TRY(sums, gather(stage));
  }
  SPARING_CHECK_OK(code(stage, sums, coded));
  return coder_.finish_block(head_site());
}

Status Calibration::run(const std::vector<std::vector<Token>>& sequences) {
  SPARING_TRY(model_, build_graph(checkpoint_.config()));
  SPARING_TRY(text_, lab::prepare_text(sequences, model_.config, device_));
  std::int64_t widest = model_.config.hidden;
  for (const LayerConfig& layer : model_.config.layers) widest = std::max<std::int64_t>(widest, layer.ffn);
  if (text_.tokens() < widest)
    log_warning("[calibrate] " + std::to_string(text_.tokens()) + " tokens of text for inputs " +
                std::to_string(widest) + " wide leave directions unseen: give at least " + std::to_string(widest) +
                ", better " + std::to_string(16 * widest));

  std::vector<const Graph*> graphs;
  for (const Graph& graph : model_.blocks) graphs.push_back(&graph);
  const auto asks = [&](const Graph& graph) {
    return std::ranges::any_of(graph.ops,
                               [&](const Op& op) { return op.kind == OpKind::linear && wants_damage(op.site); });
  };
  bool compares = asks(model_.head);
  for (std::size_t i = 0; i < graphs.size() && !compares; ++i) {
    const TrainingSchedule schedule = coder_.schedule(block_name(i));
    compares = asks(*graphs[i]) ||
               (!done(*graphs[i]) && schedule.steps > 0 && schedule.target == TrainingSchedule::Target::original);
  }
  now_ = std::make_unique<Pass>(text_, activations_, pool_);
  if (compares) original_ = std::make_unique<Pass>(text_, activations_, pool_);
  SPARING_CHECK_OK(embed());
  std::size_t last = graphs.size();  // blocks that must run: none after the last that is not finished
  if (coder_.finished(head_site()))
    while (last > 0 && done(*graphs[last - 1])) --last;
  std::size_t resumed = 0;
  while (resumed < last && done(*graphs[resumed])) ++resumed;
  Progress progress("calibrating", static_cast<std::int64_t>(last), "block");
  for (std::size_t i = 0; i < last; ++i) {
    const auto start = Clock::now();
    timing_ = {};
    const std::string name = block_name(i);
    SPARING_CHECK_OK(block(*graphs[i], name));
    give_back_free_memory();
    char text[160];
    std::snprintf(text, sizeof text, "[calibrate] %s: %.2f s (forward %.2f, moments %.2f, coding %.2f, training %.2f)",
                  name.c_str(), since(start), timing_.forward, timing_.moments, timing_.coding, timing_.training);
    log_debug(text);
    if (i + 1 == resumed) progress.resume_at(static_cast<std::int64_t>(resumed));
    if (i >= resumed) progress.advance(1, name);
  }
  progress.finish();
  return head();
}

}  // namespace

Status check_device(const std::string& name) {
  SPARING_CHECK_OK(lab::find_device(name));
  return {};
}

Status calibrate(const Checkpoint& checkpoint, const std::vector<std::vector<Token>>& sequences,
                 const CalibrationOptions& options, SiteCoder& coder) {
  return lab::on_device("calibrate", options.device, [&](at::Device device) {
    return Calibration(checkpoint, options, coder, device).run(sequences);
  });
}

}  // namespace sparing
