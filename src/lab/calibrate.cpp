#include "lab/calibrate.h"

#include <ATen/Parallel.h>

#include <ATen/ops/from_blob.h>
#include <c10/core/InferenceMode.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstring>

#include "base/interrupt.h"
#include "base/log.h"
#include "base/progress.h"
#include "base/units.h"
#include "lab/activations.h"
#include "lab/interpreter.h"
#include "lab/math/gemm.h"

// OpenBLAS's own threads would fight with ours, and split products differently for each number of them.
extern "C" void openblas_set_num_threads(int) __attribute__((weak));

namespace sparing {
namespace {

using lab::ActivationMatrix;
using lab::Values;
using lab::Weights;
using Clock = std::chrono::steady_clock;

double since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

// Sequences whose products are gathered together: fixed, so that sums do not depend on the number of threads.
constexpr std::int64_t kBatchTokens = 4096;

struct Timing {
  double forward = 0, moments = 0, coding = 0;
};

class Calibration {
 public:
  Calibration(const Checkpoint& checkpoint, const std::vector<std::vector<Token>>& sequences,
              const CalibrationOptions& options, SiteCoder& coder)
      : checkpoint_(checkpoint),
        sequences_(sequences),
        coder_(coder),
        pool_(options.threads),
        activations_(options.max_ram, options.scratch) {}

  Status run();

 private:
  // Ops between two observed inputs, and what is observed at the end.
  struct Stage {
    std::size_t first, last;
    Value observed;                  ///< -1: none
    std::vector<std::string> sites;  ///< that read it
  };

  Status check();
  std::vector<Stage> stages(const Graph& graph) const;
  Status embed();
  Status block(const Graph& graph, const std::string& name);
  Status head();
  Status finish_embedding(const Statistics* statistics);
  Status advance(const Graph& graph, const Stage& stage, const Weights& weights, std::vector<ActivationMatrix>& live,
                 std::vector<float>* moment);
  Result<Weights> stage_weights(const Graph& graph, const Stage& stage,
                                const std::map<std::string, CodedWeight>& coded);
  bool done(const Graph& graph) const;
  const CodedWeight* finished(const std::string& site) const { return coder_.finished(site); }

  const Checkpoint& checkpoint_;
  const std::vector<std::vector<Token>>& sequences_;
  SiteCoder& coder_;
  ThreadPool pool_;
  lab::ActivationPool activations_;
  ModelGraph model_;
  std::vector<std::int64_t> offsets_;                         ///< row of each sequence's first token, and the total
  std::map<std::int64_t, lab::Rotation> rotations_;           ///< by length
  std::vector<std::pair<std::size_t, std::size_t>> batches_;  ///< sequences [first, last)
  ActivationMatrix stream_;                                   ///< the input of the next block
  Timing timing_;
};

Status Calibration::check() {
  if (sequences_.empty()) return usage_error("[calibrate] no text: give at least one sequence of tokens");
  std::int64_t total = 0, widest = model_.config.hidden;
  for (const auto& sequence : sequences_) {
    if (sequence.empty()) return usage_error("[calibrate] a sequence is empty: leave it out");
    for (const Token token : sequence)
      if (token < 0 || token >= model_.config.vocab)
        return input_error("[calibrate] token " + std::to_string(token) + " is outside the vocabulary of " +
                           std::to_string(model_.config.vocab) + ": is this the model's tokenizer?");
    offsets_.push_back(total);
    total += static_cast<std::int64_t>(sequence.size());
  }
  offsets_.push_back(total);
  for (const LayerConfig& layer : model_.config.layers) widest = std::max<std::int64_t>(widest, layer.ffn);
  if (total < widest)
    log_warning("[calibrate] " + std::to_string(total) + " tokens of text for inputs " + std::to_string(widest) +
                " wide leave directions unseen: give at least " + std::to_string(widest) + ", better " +
                std::to_string(16 * widest));
  for (std::size_t first = 0; first < sequences_.size();) {
    std::size_t last = first + 1;
    while (last < sequences_.size() && offsets_[last + 1] - offsets_[first] <= kBatchTokens) ++last;
    batches_.emplace_back(first, last);
    first = last;
  }
  for (const auto& sequence : sequences_) {
    const auto length = static_cast<std::int64_t>(sequence.size());
    if (!rotations_.contains(length)) rotations_[length] = lab::rotation(model_.config.rope, length, at::kFloat);
  }
  return {};
}

std::vector<Calibration::Stage> Calibration::stages(const Graph& graph) const {
  std::vector<Stage> all;
  std::size_t first = 0;
  std::vector<Value> seen;
  for (std::size_t i = 0; i < graph.ops.size(); ++i) {
    const Op& op = graph.ops[i];
    if (op.kind != OpKind::linear || std::ranges::count(seen, op.inputs[0]) > 0) continue;
    seen.push_back(op.inputs[0]);
    Stage stage{first, i, op.inputs[0], {}};
    for (const Op& other : graph.ops)
      if (other.kind == OpKind::linear && other.inputs[0] == op.inputs[0]) stage.sites.push_back(other.site);
    all.push_back(std::move(stage));
    first = i;
  }
  all.push_back({first, graph.ops.size(), -1, {}});
  return all;
}

bool Calibration::done(const Graph& graph) const {
  return std::ranges::all_of(graph.ops,
                             [&](const Op& op) { return op.kind != OpKind::linear || coder_.finished(op.site); });
}

Result<Weights> Calibration::stage_weights(const Graph& graph, const Stage& stage,
                                           const std::map<std::string, CodedWeight>& coded) {
  return lab::load_weights(checkpoint_, graph, stage.first, stage.last, at::kFloat,
                           [&](const std::string& site) -> const CodedWeight* {
                             const auto found = coded.find(site);
                             return found != coded.end() ? &found->second : coder_.finished(site);
                           });
}

// Runs a stage over all tokens. live[v] holds value v where it is needed from one stage to the next.
Status Calibration::advance(const Graph& graph, const Stage& stage, const Weights& weights,
                            std::vector<ActivationMatrix>& live, std::vector<float>* moment) {
  const std::int64_t total = offsets_.back();
  std::vector<Value> in, out;
  for (Value v = 0; v < static_cast<Value>(graph.widths.size()); ++v) {
    const auto reads = [&](std::size_t from, std::size_t to) {
      return std::any_of(graph.ops.begin() + static_cast<std::ptrdiff_t>(from),
                         graph.ops.begin() + static_cast<std::ptrdiff_t>(to),
                         [&](const Op& op) { return std::ranges::count(op.inputs, v) > 0; });
    };
    const bool made = std::any_of(graph.ops.begin() + static_cast<std::ptrdiff_t>(stage.first),
                                  graph.ops.begin() + static_cast<std::ptrdiff_t>(stage.last),
                                  [&](const Op& op) { return op.output == v; });
    const bool later = v == graph.output || reads(stage.last, graph.ops.size());
    if (made && later) out.push_back(v);
    if (!made && live[static_cast<std::size_t>(v)] && reads(stage.first, stage.last)) in.push_back(v);
  }
  for (const Value v : out) {
    SPARING_TRY(live[static_cast<std::size_t>(v)], activations_.make(total, graph.widths[static_cast<std::size_t>(v)]));
  }
  const std::int64_t width = stage.observed >= 0 ? graph.widths[static_cast<std::size_t>(stage.observed)] : 0;
  for (const auto& [first, last] : batches_) {
    if (interrupted()) return interrupted_error("[calibrate]", "finished blocks are kept");
    const auto start = Clock::now();
    pool_.parallel_for(static_cast<std::int64_t>(last - first), 1, [&](std::int64_t begin, std::int64_t end, int) {
      at::set_num_threads(1);
      const c10::InferenceMode inference;
      for (std::int64_t i = begin; i < end; ++i) {
        const std::size_t s = first + static_cast<std::size_t>(i);
        const auto length = static_cast<std::int64_t>(sequences_[s].size());
        Values values(graph.widths.size());
        for (const Value v : in)
          values[static_cast<std::size_t>(v)] =
              at::from_blob(live[static_cast<std::size_t>(v)].row(offsets_[s]),
                            {length, graph.widths[static_cast<std::size_t>(v)]}, at::kFloat);
        lab::RunOptions how;
        how.rms_eps = model_.config.rms_eps;
        how.rotation = rotations_.at(length);
        lab::run(graph, stage.first, stage.last, weights, how, values, true);
        for (const Value v : out) {
          const at::Tensor value = values[static_cast<std::size_t>(v)].contiguous();
          std::memcpy(live[static_cast<std::size_t>(v)].row(offsets_[s]), value.data_ptr<float>(),
                      static_cast<std::size_t>(value.numel()) * sizeof(float));
        }
      }
    });
    timing_.forward += since(start);
    const std::int64_t row = offsets_[first], rows = offsets_[last] - row;
    if (moment) {
      const auto gathering = Clock::now();
      math::add_gram(rows, width, live[static_cast<std::size_t>(stage.observed)].row(row), width, moment->data(),
                     pool_);
      timing_.moments += since(gathering);
    }
    for (const Value v : in) live[static_cast<std::size_t>(v)].rest(row, rows);
    for (const Value v : out) live[static_cast<std::size_t>(v)].rest(row, rows);
  }
  // What no later stage reads is let go.
  for (Value v = 0; v < static_cast<Value>(graph.widths.size()); ++v) {
    const bool later =
        v == graph.output || std::any_of(graph.ops.begin() + static_cast<std::ptrdiff_t>(stage.last), graph.ops.end(),
                                         [&](const Op& op) { return std::ranges::count(op.inputs, v) > 0; });
    if (!later) live[static_cast<std::size_t>(v)] = {};
  }
  return {};
}

Status Calibration::block(const Graph& graph, const std::string& name) {
  std::vector<ActivationMatrix> live(graph.widths.size());
  live[static_cast<std::size_t>(graph.input)] = std::move(stream_);
  if (done(graph)) {
    const Stage whole{0, graph.ops.size(), -1, {}};
    SPARING_TRY(const Weights weights, stage_weights(graph, whole, {}));
    SPARING_CHECK_OK(advance(graph, whole, weights, live, nullptr));
    stream_ = std::move(live[static_cast<std::size_t>(graph.output)]);
    return {};
  }
  std::map<std::string, CodedWeight> coded;
  for (const Stage& stage : stages(graph)) {
    std::vector<float> moment;
    const bool wanted = std::ranges::any_of(
        stage.sites, [&](const std::string& site) { return !coder_.finished(site) && coder_.wants_statistics(site); });
    const std::int64_t width = stage.observed >= 0 ? graph.widths[static_cast<std::size_t>(stage.observed)] : 0;
    if (wanted) moment.resize(static_cast<std::size_t>(width * width));
    {
      SPARING_TRY(const Weights weights, stage_weights(graph, stage, coded));
      SPARING_CHECK_OK(advance(graph, stage, weights, live, wanted ? &moment : nullptr));
    }
    if (wanted) {
      math::mirror_upper(width, moment.data());
      for (std::int64_t j = 0; j < width; ++j)
        if (!std::isfinite(moment[static_cast<std::size_t>(j * width + j)]))
          return input_error("[calibrate] " + stage.sites.front() + ": input " + std::to_string(j) +
                             " is not finite on the calibration text: check the model with `sparing verify`");
    }
    const Statistics statistics{width, offsets_.back(), moment};
    for (const std::string& site : stage.sites) {
      if (coder_.finished(site)) continue;
      const auto start = Clock::now();
      SPARING_TRY(CodedWeight weight, coder_.code(site, coder_.wants_statistics(site) ? &statistics : nullptr));
      coded.emplace(site, std::move(weight));
      timing_.coding += since(start);
    }
  }
  stream_ = std::move(live[static_cast<std::size_t>(graph.output)]);
  return coder_.finish_block(name);
}

Status Calibration::embed() {
  const bool waits = model_.config.tied_head && coder_.wants_statistics("embed");
  const CodedWeight* table = waits ? nullptr : finished("embed");
  CodedWeight own;
  if (!table && !waits) {
    SPARING_TRY(own, coder_.code("embed", nullptr));
    table = &own;
    SPARING_CHECK_OK(coder_.finish_block("embed"));
  }
  if (!table) {
    SPARING_TRY(own, checkpoint_.weight("embed"));
    table = &own;
  }
  SPARING_TRY(stream_, activations_.make(offsets_.back(), model_.config.hidden));
  pool_.parallel_for(static_cast<std::int64_t>(sequences_.size()), 1, [&](std::int64_t first, std::int64_t last, int) {
    for (auto s = static_cast<std::size_t>(first); s < static_cast<std::size_t>(last); ++s)
      for (std::size_t t = 0; t < sequences_[s].size(); ++t)
        decode_effective_rows(*table, sequences_[s][t], 1, stream_.row(offsets_[s] + static_cast<std::int64_t>(t)));
  });
  checkpoint_.forget("embed");
  return {};
}

// The head's site is "head", or the tied embedding, which the stage names "embed".
Status Calibration::head() {
  const Graph& graph = model_.head;
  const std::string site = model_.config.tied_head ? "embed" : "head";
  if (coder_.finished(site)) return {};
  std::vector<float> moment;
  Statistics statistics;
  const bool wanted = coder_.wants_statistics(site);
  if (wanted) {
    std::vector<ActivationMatrix> live(graph.widths.size());
    live[static_cast<std::size_t>(graph.input)] = std::move(stream_);
    const Stage stage = stages(graph).front();
    const std::int64_t width = graph.widths[static_cast<std::size_t>(stage.observed)];
    moment.resize(static_cast<std::size_t>(width * width));
    SPARING_TRY(const Weights weights, stage_weights(graph, stage, {}));
    SPARING_CHECK_OK(advance(graph, stage, weights, live, &moment));
    math::mirror_upper(width, moment.data());
    statistics = {width, offsets_.back(), moment};
  }
  const auto start = Clock::now();
  SPARING_TRY(const CodedWeight weight, coder_.code(site, wanted ? &statistics : nullptr));
  timing_.coding += since(start);
  return coder_.finish_block(site);
}

Status Calibration::run() {
  SPARING_TRY(model_, build_graph(checkpoint_.config()));
  SPARING_CHECK_OK(check());
  if (openblas_set_num_threads) openblas_set_num_threads(1);
  SPARING_CHECK_OK(embed());
  std::size_t last = model_.blocks.size();  // blocks that must run: none after the last that is not finished
  if (coder_.finished(model_.config.tied_head ? "embed" : "head"))
    while (last > 0 && done(model_.blocks[last - 1])) --last;
  Progress progress("calibrating", static_cast<std::int64_t>(last), "block");
  std::int64_t resumed = 0;
  while (resumed < static_cast<std::int64_t>(last) && done(model_.blocks[static_cast<std::size_t>(resumed)])) ++resumed;
  for (std::size_t i = 0; i < last; ++i) {
    const auto start = Clock::now();
    timing_ = {};
    const std::string name = "layers." + std::to_string(i);
    SPARING_CHECK_OK(block(model_.blocks[i], name));
    char text[160];
    std::snprintf(text, sizeof text, "[calibrate] %s: %.2f s (forward %.2f, moments %.2f, coding %.2f)", name.c_str(),
                  since(start), timing_.forward, timing_.moments, timing_.coding);
    log_debug(text);
    if (static_cast<std::int64_t>(i) + 1 == resumed) {
      progress.resume_at(resumed);
    } else if (static_cast<std::int64_t>(i) >= resumed) {
      progress.advance(1, name);
    }
  }
  progress.finish();
  return head();
}

}  // namespace

Status calibrate(const Checkpoint& checkpoint, const std::vector<std::vector<Token>>& sequences,
                 const CalibrationOptions& options, SiteCoder& coder) {
  const int before = at::get_num_threads();
  Status status = Calibration(checkpoint, sequences, options, coder).run();
  at::set_num_threads(before);
  return status;
}

}  // namespace sparing
