#include "lab/heal.h"

#include <ATen/ops/mm.h>
#include <ATen/ops/tensor.h>
#include <c10/core/InferenceMode.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <numbers>
#include <numeric>

#include "base/interrupt.h"
#include "base/log.h"
#include "base/progress.h"
#include "base/rng.h"
#include "lab/backward.h"
#include "lab/divergence.h"
#include "lab/math/adam.h"
#include "lab/student.h"
#include "lab/teacher.h"

namespace sparing {
namespace {

using lab::ActivationMatrix;
using lab::Student;
using Clock = std::chrono::steady_clock;

double since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

/// All that later steps depend on besides the problem, and what the report needs.
struct Progression {
  std::int64_t steps = 0, kept_steps = 0;
  std::int64_t over = 0;  ///< 1: training has ended
  std::int64_t stopped = 0;
  double mean_norm = 0, last = 0, best = 0, held_out_before = 0, trained_before = 0;
};

class Healing {
 public:
  Healing(const HealProblem& problem, const HealOptions& options, lab::ActivationPool& activations, ThreadPool& pool,
          ModelGraph model, lab::CalibrationText text, std::vector<std::vector<Token>> sequences, Student student);
  Status prepare();
  Result<HealResult> run();
  Result<double> speed();

 private:
  at::ScalarType products() const {
    return problem_.schedule.products == HealSchedule::Products::bf16 ? at::kBFloat16 : at::kFloat;
  }
  const std::string& head_site() const { return model_.head.ops.back().site; }
  std::int64_t steps() const;
  double left(std::int64_t step) const;
  std::vector<std::size_t> batch_of(std::int64_t step);
  at::Tensor target_of(std::size_t sequence) const { return text_.rows(states_, sequence); }
  at::Tensor forward(std::size_t sequence, std::vector<lab::Tape>& tapes) const;
  double gradient_of(std::size_t sequence, std::span<float> sum, std::map<std::string, at::Tensor>& whole) const;
  double measure(std::size_t first, std::size_t last);
  double step(const std::vector<std::size_t>& batch, double rate);
  Status check(std::int64_t tokens);
  Status keep_state();
  Result<bool> take_up_state();

  const HealProblem& problem_;
  const HealOptions& options_;
  lab::ActivationPool& activations_;
  ThreadPool& pool_;
  ModelGraph model_;
  std::vector<std::vector<Token>> sequences_;  ///< trained on, then held out
  lab::CalibrationText text_;
  Student student_;
  ActivationMatrix states_;
  at::Tensor original_head_;
  std::vector<float> parameters_, units_, best_;
  std::vector<std::vector<float>> gradients_;  ///< one for each sequence of a batch
  Student::MatrixGradients whole_;             ///< likewise, where codes are trained
  std::string best_codes_;
  math::Adam adam_;
  Progression at_;
  std::vector<std::size_t> order_;  ///< of the epoch in progress, drawn from its end
  std::int64_t drawn_ = 0;          ///< sequences, in all
  Rng rng_;
};

Healing::Healing(const HealProblem& problem, const HealOptions& options, lab::ActivationPool& activations,
                 ThreadPool& pool, ModelGraph model, lab::CalibrationText text,
                 std::vector<std::vector<Token>> sequences, Student student)
    : problem_(problem),
      options_(options),
      activations_(activations),
      pool_(pool),
      model_(std::move(model)),
      sequences_(std::move(sequences)),
      text_(std::move(text)),
      student_(std::move(student)),
      parameters_(student_.parameters()),
      units_(student_.units()),
      best_(parameters_),
      adam_(student_.size(), {}),
      rng_(problem.schedule.seed) {}

Status Healing::prepare() {
  text_.sequences = &sequences_;  // where they stay
  SPARING_TRY(const ModelGraph original, build_graph(problem_.original.config()));
  SPARING_TRY(states_, lab::final_states(problem_.original, original, text_, activations_, products(), pool_));
  SPARING_TRY(const CodedWeight head, problem_.original.weight(head_site()));
  original_head_ = lab::decode(head).to(text_.device, products());
  problem_.original.forget(head_site());
  if (problem_.schedule.code_rate > 0) {
    SPARING_CHECK_OK(student_.train_codes(problem_.coded_from(), pool_));
    best_codes_ = student_.codes();
  }
  student_.set(parameters_, pool_);
  whole_.resize(static_cast<std::size_t>(problem_.schedule.batch));
  gradients_.resize(whole_.size());
  for (auto& gradient : gradients_) gradient.resize(parameters_.size());
  return {};
}

std::int64_t Healing::steps() const {
  const std::int64_t tokens = problem_.schedule.batch * static_cast<std::int64_t>(problem_.sequences.front().size());
  return std::max<std::int64_t>(1, problem_.schedule.tokens / tokens);
}

double Healing::left(std::int64_t step) const {
  const double total = static_cast<double>(steps()), rising = std::ceil(problem_.schedule.warmup * total),
               at = static_cast<double>(step);
  if (at < rising) return (at + 1) / (rising + 1);
  return 0.5 + 0.5 * std::cos(std::numbers::pi * (at - rising + 0.5) / std::max(1.0, total - rising + 0.5));
}

std::vector<std::size_t> Healing::batch_of(std::int64_t step) {
  const std::int64_t wanted = (step + 1) * problem_.schedule.batch;
  std::vector<std::size_t> batch;
  // From the beginning where a run goes on: a few numbers a sequence.
  while (drawn_ < wanted) {
    if (order_.empty()) {
      order_.resize(problem_.sequences.size());
      std::iota(order_.begin(), order_.end(), 0);
      for (std::size_t i = order_.size(); i > 1; --i) std::swap(order_[i - 1], order_[rng_.below(i)]);
    }
    if (drawn_ >= wanted - problem_.schedule.batch) batch.push_back(order_.back());
    order_.pop_back();
    ++drawn_;
  }
  return batch;
}

// What the head reads.
at::Tensor Healing::forward(std::size_t sequence, std::vector<lab::Tape>& tapes) const {
  lab::RunOptions how;
  how.rms_eps = text_.rms_eps;
  how.rotation = text_.rotations.at(static_cast<std::int64_t>(sequences_[sequence].size()));
  at::Tensor x = student_.embed(sequences_[sequence]).to(text_.device);
  const bool kept = !tapes.empty();
  for (std::size_t b = 0; b < model_.blocks.size(); ++b) {
    lab::Tape passing;
    lab::Tape& tape = kept ? tapes[b] : passing;
    x = tape.forward(model_.blocks[b], 0, model_.blocks[b].ops.size(), student_.weights(), how, x);
  }
  lab::Tape passing;
  return (kept ? tapes.back() : passing)
      .forward(model_.head, 0, model_.head.ops.size() - 1, student_.weights(), how, x);
}

double Healing::gradient_of(std::size_t sequence, std::span<float> sum,
                            std::map<std::string, at::Tensor>& whole) const {
  std::vector<lab::Tape> tapes(model_.blocks.size() + 1);
  const at::Tensor hidden = forward(sequence, tapes).to(products());
  const lab::GradientSink sink = [&](const std::string& name, const at::Tensor& there) {
    const at::Tensor gradient = there.to(at::kCPU);
    student_.add_gradient(name, gradient, sum);
    if (student_.trains_codes() && gradient.dim() == 2) whole[name] = gradient;
  };
  at::Tensor by_logits;
  const at::Tensor& head = student_.weights().at(head_site());
  const double loss = lab::divergence_gradient(
      {.original_hidden = target_of(sequence), .original_head = original_head_, .hidden = hidden, .head = head},
      by_logits);
  sink(head_site(), at::mm(by_logits.t(), hidden));
  at::Tensor gradient = at::mm(by_logits, head).to(at::kFloat);
  by_logits.reset();
  while (!tapes.empty()) {
    gradient = tapes.back().backward(gradient, sink);
    tapes.pop_back();
  }
  gradient = gradient.to(at::kCPU);
  student_.add_embedding_gradient(sequences_[sequence], gradient, sum);
  if (const auto tied = whole.find("embed"); tied != whole.end()) {
    const std::vector<std::int64_t> rows(sequences_[sequence].begin(), sequences_[sequence].end());
    tied->second.index_add_(0, at::tensor(rows), gradient.to(tied->second.scalar_type()));
  }
  return loss;
}

double Healing::measure(std::size_t first, std::size_t last) {
  std::vector<double> sums(last - first);
  lab::each_alone(pool_, static_cast<std::int64_t>(sums.size()), [&](std::size_t s) {
    const c10::InferenceMode inference;
    std::vector<lab::Tape> none;
    const at::Tensor hidden = forward(first + s, none);
    sums[s] = lab::divergence({.original_hidden = target_of(first + s),
                               .original_head = original_head_,
                               .hidden = hidden,
                               .head = student_.weights().at(head_site())});
  });
  return std::accumulate(sums.begin(), sums.end(), 0.0) /
         static_cast<double>(text_.offsets[last] - text_.offsets[first]);
}

double Healing::step(const std::vector<std::size_t>& batch, double rate) {
  std::vector<double> losses(batch.size());
  lab::each_alone(pool_, static_cast<std::int64_t>(batch.size()), [&](std::size_t i) {
    const c10::InferenceMode inference;
    std::ranges::fill(gradients_[i], 0.0f);
    losses[i] = gradient_of(batch[i], gradients_[i], whole_[i]);
  });
  std::vector<float>& sum = gradients_.front();
  pool_.parallel_for(static_cast<std::int64_t>(sum.size()), 4096, [&](std::int64_t begin, std::int64_t end, int) {
    for (std::size_t s = 1; s < gradients_.size(); ++s)
      for (auto i = static_cast<std::size_t>(begin); i < static_cast<std::size_t>(end); ++i) sum[i] += gradients_[s][i];
  });
  const auto tokens = static_cast<double>(batch.size() * problem_.sequences.front().size());
  const double norm = math::relative_norm(sum, units_) / tokens, clip = problem_.schedule.clip;
  if (!std::isfinite(norm)) return std::numeric_limits<double>::quiet_NaN();
  const bool first = at_.steps == 0;
  const double cut = clip > 0 && !first && norm > clip * at_.mean_norm ? clip * at_.mean_norm / norm : 1;
  at_.mean_norm = first ? norm : 0.9 * at_.mean_norm + 0.1 * norm * cut;
  adam_.begin_step();
  const std::vector<Student::Range> ranges = student_.ranges();
  pool_.parallel_for(static_cast<std::int64_t>(ranges.size()), 1, [&](std::int64_t begin, std::int64_t end, int) {
    for (std::int64_t r = begin; r < end; ++r) {
      const Student::Range& range = ranges[static_cast<std::size_t>(r)];
      const auto from = static_cast<std::size_t>(range.first), count = static_cast<std::size_t>(range.count);
      adam_.step(range.first, std::span<const float>(sum).subspan(from, count), cut / tokens,
                 std::span<const float>(units_).subspan(from, count),
                 rate * (range.vector ? problem_.schedule.vector_rate : problem_.schedule.scale_rate),
                 std::span(parameters_).subspan(from, count));
    }
  });
  if (student_.trains_codes()) student_.step_codes(whole_, rate * problem_.schedule.code_rate, pool_);
  for (auto& whole : whole_) whole.clear();
  student_.set(parameters_, pool_);
  return std::accumulate(losses.begin(), losses.end(), 0.0) / tokens;
}

Status Healing::check(std::int64_t tokens) {
  const double now = measure(problem_.sequences.size(), sequences_.size()), gain = at_.last - now;
  char text[120];
  std::snprintf(text, sizeof text, "[heal] %lld tokens: held-out KL %.5f", static_cast<long long>(at_.steps * tokens),
                now);
  log_info(text);
  if (now < at_.best) {
    at_.best = now;
    at_.kept_steps = at_.steps;
    best_ = parameters_;
    best_codes_ = student_.codes();
  }
  const double since_last = std::max(1.0, static_cast<double>(problem_.schedule.check)) / 1000;
  at_.stopped = !std::isfinite(now) || (problem_.schedule.stop > 0 && gain < problem_.schedule.stop * since_last);
  at_.over = at_.stopped || at_.steps >= steps();
  at_.last = now;
  return {};
}

constexpr std::string_view kMagic = "SPHEAL02";

Status Healing::keep_state() {
  if (!options_.keeper) return {};
  std::string state(kMagic);
  const auto append = [&](const void* data, std::size_t bytes) { state.append(static_cast<const char*>(data), bytes); };
  append(&at_, sizeof at_);
  for (const std::vector<float>* part : {&parameters_, &best_, &adam_.moments()})
    append(part->data(), part->size() * sizeof(float));
  state += best_codes_;
  state += student_.code_state();
  return options_.keeper->keep(state);
}

Result<bool> Healing::take_up_state() {
  if (!options_.keeper) return false;
  SPARING_TRY(const std::optional<std::string> state, options_.keeper->kept());
  const std::size_t floats = parameters_.size() + best_.size() + adam_.moments().size();
  if (!state || !state->starts_with(kMagic) ||
      state->size() !=
          kMagic.size() + sizeof at_ + floats * sizeof(float) + best_codes_.size() + student_.code_state_size())
    return false;
  const char* from = state->data() + kMagic.size();
  const auto take = [&](void* to, std::size_t bytes) {
    std::memcpy(to, from, bytes);
    from += bytes;
  };
  take(&at_, sizeof at_);
  for (std::vector<float>* part : {&parameters_, &best_, &adam_.moments()})
    take(part->data(), part->size() * sizeof(float));
  take(best_codes_.data(), best_codes_.size());
  student_.take_code_state({from, student_.code_state_size()});
  adam_.resume(at_.steps);
  student_.set(parameters_, pool_);
  return true;
}

Result<HealResult> Healing::run() {
  const auto per_step = problem_.schedule.batch * static_cast<std::int64_t>(problem_.sequences.front().size());
  const std::size_t trained = problem_.sequences.size(), shown = std::min(trained, sequences_.size() - trained);
  SPARING_TRY(const bool resumed, take_up_state());
  if (!resumed) {
    at_.held_out_before = at_.best = at_.last = measure(trained, sequences_.size());
    at_.trained_before = measure(0, shown);
    if (!std::isfinite(at_.best) || !std::isfinite(at_.trained_before))
      return input_error("[heal] the coded model's outputs are not finite: code it with more bits");
  }
  Progress progress("healing", steps() * per_step, "token");
  progress.resume_at(at_.steps * per_step);
  auto kept = Clock::now();
  double seconds = 0, writing = 0;
  const std::int64_t begun = at_.steps;
  while (!at_.over) {
    const auto start = Clock::now();
    const double loss = step(batch_of(at_.steps), left(at_.steps));
    seconds += since(start);
    ++at_.steps;
    char note[48];
    std::snprintf(note, sizeof note, "KL %.4f", loss);
    progress.advance(per_step, note);
    const std::int64_t now = at_.steps * per_step, check = std::max<std::int64_t>(problem_.schedule.check, 1);
    if (!std::isfinite(loss)) {
      log_warning("[heal] the gradients stopped being finite: training ends, its best state is kept");
      at_.over = 1;
    } else if (now / check != (now - per_step) / check || at_.steps >= steps()) {
      SPARING_CHECK_OK(this->check(per_step));
    }
    // A state of codes is large: writing it takes a thirtieth of the time at most.
    if (at_.over || interrupted() || since(kept) >= std::max(options_.seconds_between_states, 30 * writing)) {
      kept = Clock::now();
      SPARING_CHECK_OK(keep_state());
      writing = since(kept);
      kept = Clock::now();
    }
    if (interrupted() && !at_.over)
      return interrupted_error("heal", "its state is kept; the same command goes on from there");
  }
  progress.finish();
  student_.take_codes(best_codes_);
  student_.set(best_, pool_);
  HealResult result;
  result.weights = student_.coded();
  result.vectors = student_.vectors();
  result.report = {.held_out_before = at_.held_out_before,
                   .held_out_after = at_.best,
                   .trained_before = at_.trained_before,
                   .trained_after = measure(0, shown),
                   .tokens = at_.steps * per_step,
                   .kept_tokens = at_.kept_steps * per_step,
                   .stopped = at_.stopped != 0,
                   .tokens_per_s = seconds > 0 ? static_cast<double>((at_.steps - begun) * per_step) / seconds : 0};
  return result;
}

Result<double> Healing::speed() {
  std::vector<std::size_t> batch(gradients_.size());
  std::iota(batch.begin(), batch.end(), 0);
  static_cast<void>(step(batch, 0));  // memory, caches, generated code
  const auto start = Clock::now();
  static_cast<void>(step(batch, 0));
  return static_cast<double>(batch.size() * sequences_.front().size()) / since(start);
}

Result<Healing> make_healing(const HealProblem& problem, const HealOptions& options, lab::ActivationPool& activations,
                             ThreadPool& pool, at::Device device) {
  if (problem.sequences.empty() || problem.held_out.empty())
    return usage_error("[heal] no text: give sequences to train on and some to measure on");
  for (const auto& sequence : problem.sequences)
    if (sequence.size() != problem.sequences.front().size())
      return internal_error("[heal] sequences of different lengths");
  SPARING_TRY(ModelGraph model, build_graph(problem.coded_from().config()));
  if (model.head.ops.back().kind != OpKind::linear || !model.head.ops.back().bias.empty())
    return usage_error("[heal] this architecture's head is not a plain linear layer: leave healing out");
  std::vector<std::vector<Token>> sequences = problem.sequences;
  sequences.insert(sequences.end(), problem.held_out.begin(), problem.held_out.end());
  SPARING_TRY(lab::CalibrationText text, lab::prepare_text(sequences, model.config, device));
  SPARING_TRY(
      Student student,
      Student::make(problem.coded_from(), model, problem.weights,
                    problem.schedule.products == HealSchedule::Products::bf16 ? at::kBFloat16 : at::kFloat, device));
  if (student.size() == 0) return usage_error("[heal] the model has nothing continuous to train");
  Healing healing(problem, options, activations, pool, std::move(model), std::move(text), std::move(sequences),
                  std::move(student));
  return healing;
}

/// What may be in memory of the original's states, beside the matrices (as products want them, and coded) and each
/// thread's activations and logits. 0: no limit.
std::uint64_t room_for_states(const HealProblem& problem, const HealOptions& options) {
  if (options.max_ram == 0) return 0;
  std::uint64_t matrices = 0, coded = 0;
  for (const auto& [name, weight] : problem.weights) {
    matrices += static_cast<std::uint64_t>(weight.rows * weight.cols);
    coded += stored_bytes(weight);
  }
  const ModelConfig& config = problem.original.config();
  const std::uint64_t tokens = problem.sequences.empty() ? 0 : problem.sequences.front().size(),
                      width = problem.schedule.products == HealSchedule::Products::bf16 ? 2 : 4;
  std::uint64_t wide = 0;
  for (const LayerConfig& layer : config.layers)
    wide += static_cast<std::uint64_t>(8 * config.hidden + 4 * layer.heads * config.head_dim + 4 * layer.ffn);
  const std::uint64_t sequence = tokens * (wide * 4 + 3 * width * static_cast<std::uint64_t>(config.vocab)),
                      batch = static_cast<std::uint64_t>(problem.schedule.batch),
                      codes = problem.schedule.code_rate > 0 ? (2 + width * batch) * matrices : 0,
                      needed = width * matrices + 4 * coded + codes + batch * sequence;
  return options.max_ram > needed ? options.max_ram - needed : 1;
}

}  // namespace

Result<HealResult> heal(const HealProblem& problem, const HealOptions& options) {
  return lab::on_device("heal", options.device, [&](at::Device device) -> Result<HealResult> {
    ThreadPool pool(options.threads);
    lab::ActivationPool activations(room_for_states(problem, options), options.scratch);
    SPARING_TRY(Healing healing, make_healing(problem, options, activations, pool, device));
    SPARING_CHECK_OK(healing.prepare());
    return healing.run();
  });
}

Result<double> heal_speed(const Checkpoint& original, std::int64_t length, const HealSchedule& schedule,
                          const HealOptions& options) {
  HealProblem problem{.original = original, .weights = {}, .sequences = {}, .held_out = {}, .schedule = schedule};
  Rng rng(schedule.seed);
  for (std::int64_t s = 0; s < schedule.batch; ++s) {
    auto& sequence = problem.sequences.emplace_back(static_cast<std::size_t>(length));
    for (Token& token : sequence)
      token = static_cast<Token>(rng.below(static_cast<std::uint64_t>(original.config().vocab)));
  }
  problem.held_out = {problem.sequences.front()};
  for (const TensorEntry& tensor : original.tensors()) {
    if (tensor.shape.is_vector()) continue;
    SPARING_TRY(problem.weights[tensor.shape.name], original.weight(tensor.shape.name));
  }
  return lab::on_device("heal", options.device, [&](at::Device device) -> Result<double> {
    ThreadPool pool(options.threads);
    lab::ActivationPool activations(options.max_ram, options.scratch);
    SPARING_TRY(Healing healing, make_healing(problem, options, activations, pool, device));
    SPARING_CHECK_OK(healing.prepare());
    return healing.speed();
  });
}

}  // namespace sparing
