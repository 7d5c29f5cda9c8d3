#include "lab/reconstruct.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>
#include <c10/core/InferenceMode.h>

#include <algorithm>
#include <cmath>
#include <memory>
#include <numeric>

#include "base/interrupt.h"
#include "base/jobs.h"
#include "base/rng.h"
#include "lab/backward.h"

namespace sparing::lab {
namespace {

/// Gradients of one step are kept apart in this much memory at most; fixed, so that sums do not depend on threads.
constexpr std::int64_t kGradientBytes = std::int64_t{512} << 20;
/// Of a block's sites at once: the three widest are most of it.
constexpr int kSitesAtOnce = 4;

class Reconstruction {
 public:
  Reconstruction(const ReconstructionProblem& problem, ThreadPool& pool);
  Result<ReconstructionReport> run();

 private:
  void refresh();
  RunOptions options_of(std::size_t sequence) const;
  at::Tensor weight_of(const at::Tensor& target) const;
  void add_gradients(std::size_t sequence, Weights& gradients) const;
  double loss_of(std::size_t sequence) const;
  double measure();
  double scale_of_target() const;
  void step(std::span<const std::size_t> batch, double left);
  void step_site(const std::string& site, const std::vector<Weights>& gradients, double left, ThreadPool& pool);
  std::size_t sequences() const { return problem_.text.sequences->size(); }

  const ReconstructionProblem& problem_;
  ThreadPool& pool_;
  Weights weights_;                            ///< as the block multiplies: the fixed ones, and the trained as of now
  std::map<std::string, at::Tensor> present_;  ///< the trained in f32
  std::int64_t shards_ = 1;
  std::map<std::string, std::vector<float>> gradient_;
  std::vector<std::string> by_size_;                 ///< the sites, largest first
  std::vector<std::unique_ptr<ThreadPool>> shares_;  ///< of the threads, for sites that step at once
};

Reconstruction::Reconstruction(const ReconstructionProblem& problem, ThreadPool& pool)
    : problem_(problem), pool_(pool), weights_(problem.fixed) {
  std::int64_t bytes = 0;
  const at::ScalarType dtype =
      problem.schedule.products == TrainingSchedule::Products::bf16 ? at::kBFloat16 : at::kFloat;
  for (const Op& op : problem.block.ops) {
    if (op.kind != OpKind::linear) continue;
    if (!problem.sites.contains(op.site)) {
      weights_[op.site] = weights_.at(op.site).to(dtype);
      continue;
    }
    const std::int64_t rows = problem.block.widths[static_cast<std::size_t>(op.output)],
                       cols = problem.block.widths[static_cast<std::size_t>(op.inputs[0])];
    present_[op.site] = at::empty({rows, cols}, at::kFloat);
    weights_[op.site] = at::empty({rows, cols}, at::TensorOptions(dtype).device(problem.text.device));
    gradient_[op.site].resize(static_cast<std::size_t>(rows * cols));
    bytes += rows * cols * static_cast<std::int64_t>(sizeof(float));
  }
  for (const auto& [site, gradient] : gradient_) by_size_.push_back(site);
  std::stable_sort(by_size_.begin(), by_size_.end(), [&](const std::string& a, const std::string& b) {
    return gradient_.at(a).size() > gradient_.at(b).size();
  });
  const int jobs = std::min({pool.size(), kSitesAtOnce, static_cast<int>(by_size_.size())});
  for (int i = 0; i < jobs; ++i) shares_.push_back(std::make_unique<ThreadPool>(threads_each(pool.size(), jobs)));
  shards_ = std::clamp<std::int64_t>(kGradientBytes / std::max<std::int64_t>(bytes, 1), 1, problem.schedule.batch);
}

void Reconstruction::refresh() {
  for (const auto& [site, trainable] : problem_.sites) {
    const at::Tensor& values = present_.at(site);
    trainable->values({values.data_ptr<float>(), static_cast<std::size_t>(values.numel())}, pool_);
    at::Tensor& weight = weights_.at(site);
    weight = values.to(weight.device(), weight.scalar_type());
  }
}

RunOptions Reconstruction::options_of(std::size_t sequence) const {
  RunOptions how;
  how.rms_eps = problem_.text.rms_eps;
  how.rotation = problem_.text.rotations.at(problem_.text.length(sequence));
  return how;
}

/// What a token's squared error is divided by, [tokens, 1]; undefined: nothing.
at::Tensor Reconstruction::weight_of(const at::Tensor& target) const {
  if (problem_.schedule.loss == TrainingSchedule::Loss::plain) return {};
  return target.square().sum(-1, true) + 1e-30;
}

double Reconstruction::loss_of(std::size_t sequence) const {
  const Graph& block = problem_.block;
  Values values(block.widths.size());
  values[static_cast<std::size_t>(block.input)] = problem_.text.rows(problem_.input, sequence);
  lab::run(block, 0, block.ops.size(), weights_, options_of(sequence), values, true);
  const at::Tensor target = problem_.text.rows(problem_.target, sequence), weight = weight_of(target);
  at::Tensor errors = (values[static_cast<std::size_t>(block.output)] - target).square().sum(-1, true);
  if (weight.defined()) errors.div_(weight);
  return static_cast<double>(errors.sum().item<float>());
}

/// Adds the gradients of one sequence's loss.
void Reconstruction::add_gradients(std::size_t sequence, Weights& gradients) const {
  const Graph& block = problem_.block;
  Tape tape;
  const at::Tensor y = tape.forward(block, 0, block.ops.size(), weights_, options_of(sequence),
                                    problem_.text.rows(problem_.input, sequence)),
                   target = problem_.text.rows(problem_.target, sequence), weight = weight_of(target);
  at::Tensor by_output = (y - target).mul_(2);
  if (weight.defined()) by_output.div_(weight);
  tape.backward(by_output, [&](const std::string& site, const at::Tensor& gradient) {
    if (!problem_.sites.contains(site)) return;
    at::Tensor& sum = gradients[site];
    if (sum.defined()) {
      sum.add_(gradient);
    } else {
      sum = gradient.to(at::kFloat, false, true);
    }
  });
}

double Reconstruction::measure() {
  std::vector<double> losses(sequences());
  each_alone(pool_, static_cast<std::int64_t>(losses.size()), [&](std::size_t s) {
    const at::NoGradGuard no_grad;
    losses[s] = loss_of(s);
  });
  return std::accumulate(losses.begin(), losses.end(), 0.0);
}

double Reconstruction::scale_of_target() const {
  if (problem_.schedule.loss == TrainingSchedule::Loss::relative) return static_cast<double>(problem_.text.tokens());
  double sum = 0;
  for (std::size_t s = 0; s < sequences(); ++s)
    sum += static_cast<double>(problem_.text.rows(problem_.target, s).square().sum().item<float>());
  return sum;
}

void Reconstruction::step(std::span<const std::size_t> batch, double left) {
  const std::size_t shards = std::min(static_cast<std::size_t>(shards_), batch.size());
  std::vector<Weights> gradients(shards);
  each_alone(pool_, static_cast<std::int64_t>(shards), [&](std::size_t shard) {
    const c10::InferenceMode inference;
    for (std::size_t i = shard; i < batch.size(); i += shards) add_gradients(batch[i], gradients[shard]);
    for (auto& [site, gradient] : gradients[shard]) gradient = gradient.to(at::kCPU).contiguous();
  });
  // Several sites at once, the largest first: what is serial in one holds up only its share of the threads.
  take_turns(pool_, shares_.size(), by_size_.size(),
             [&](std::size_t i, std::size_t share) { step_site(by_size_[i], gradients, left, *shares_[share]); });
}

void Reconstruction::step_site(const std::string& site, const std::vector<Weights>& gradients, double left,
                               ThreadPool& pool) {
  std::vector<float>& sum = gradient_.at(site);
  std::vector<const float*> parts;
  for (const auto& shard : gradients) parts.push_back(shard.at(site).data_ptr<float>());
  pool.parallel_for(static_cast<std::int64_t>(sum.size()), 1024, [&](std::int64_t first, std::int64_t last, int) {
    std::copy(parts[0] + first, parts[0] + last, sum.begin() + first);
    for (std::size_t p = 1; p < parts.size(); ++p)
      for (std::int64_t i = first; i < last; ++i) sum[static_cast<std::size_t>(i)] += parts[p][i];
  });
  problem_.sites.at(site)->step(sum, left, pool);
}

Result<ReconstructionReport> Reconstruction::run() {
  const TrainingSchedule& schedule = problem_.schedule;
  ReconstructionReport report;
  const double whole = scale_of_target();
  refresh();
  double best = measure();
  if (!std::isfinite(best) || !std::isfinite(whole))
    return input_error("[train] " + problem_.sites.begin()->first +
                       ": its block's outputs are not finite before training: check the model with `sparing verify`");
  report.before = best;
  Rng rng(schedule.seed);
  std::vector<std::size_t> order;
  for (std::int64_t step = 0; step < schedule.steps; ++step) {
    if (interrupted())
      return interrupted_error("calibrate", "finished blocks are kept; the same command goes on from there");
    std::vector<std::size_t> batch;
    const auto wanted = std::min(static_cast<std::size_t>(schedule.batch), sequences());
    while (batch.size() < wanted) {
      if (order.empty()) {
        order.resize(sequences());
        std::iota(order.begin(), order.end(), 0);
        for (std::size_t i = order.size(); i > 1; --i) std::swap(order[i - 1], order[rng.below(i)]);
      }
      batch.push_back(order.back());
      order.pop_back();
    }
    this->step(batch, 1.0 - static_cast<double>(step) / static_cast<double>(schedule.steps));
    refresh();
    const std::int64_t done = step + 1;
    if (done * schedule.checks / schedule.steps == step * schedule.checks / schedule.steps) continue;
    const double loss = measure();
    if (!std::isfinite(loss)) {
      report.diverged = true;
      break;
    }
    if (loss >= best) continue;
    best = loss;
    report.kept_step = done;
    for (const auto& [site, trainable] : problem_.sites) trainable->keep();
  }
  for (const auto& [site, trainable] : problem_.sites) trainable->recall();
  report.after = best;
  if (whole > 0) report.before /= whole, report.after /= whole;
  return report;
}

}  // namespace

Result<ReconstructionReport> reconstruct(const ReconstructionProblem& problem, ThreadPool& pool) {
  return Reconstruction(problem, pool).run();
}

}  // namespace sparing::lab
