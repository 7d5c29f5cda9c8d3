#include "plan/heal_stage.h"

#include <algorithm>
#include <cstring>
#include <nlohmann/json.hpp>

#include "base/log.h"
#include "base/system.h"
#include "lab/heal.h"
#include "plan/heal_spec.h"
#include "plan/measurements.h"
#include "text/tokenizer.h"

namespace sparing {
namespace {

constexpr const char* kBlock = "heal";  ///< in the journal; no block of a model is called so
constexpr std::size_t kHeldOutWindows = 8;
/// The original's pass over the text and the measurements, in parts of the training's own time.
constexpr double kBesides = 0.35;

class JournalKeeper final : public HealKeeper {
 public:
  explicit JournalKeeper(Journal& journal) : journal_(journal) {}
  Result<std::optional<std::string>> kept() override {
    SPARING_TRY(const auto record, journal_.load(kBlock));
    if (!record || record->weights.size() != 1) return std::optional<std::string>();
    const Bytes bytes = record->weights.front().bytes;
    return std::optional(std::string(reinterpret_cast<const char*>(bytes.data()), bytes.size()));
  }
  Status keep(std::string_view state) override {
    Buffer buffer(state.size());
    std::memcpy(buffer.data(), state.data(), state.size());
    BlockRecord record;
    record.weights.push_back(Blob::of(std::move(buffer)));
    return journal_.store(kBlock, record);
  }

 private:
  Journal& journal_;
};

HealSchedule schedule_of(const HealSpec& spec, std::uint64_t seed) {
  HealSchedule schedule;
  schedule.tokens = spec.text.tokens;
  schedule.batch = spec.batch;
  schedule.scale_rate = spec.scale_rate;
  schedule.vector_rate = spec.vector_rate;
  schedule.code_rate = spec.code_rate;
  schedule.stop = spec.stop;
  schedule.products = spec.bf16 ? HealSchedule::Products::bf16 : HealSchedule::Products::f32;
  schedule.seed = seed_of(seed, "heal");
  return schedule;
}

HealOptions options_of(const ExecuteOptions& execution) {
  HealOptions options;
  options.threads = execution.threads;
  options.device = execution.device;
  options.scratch = execution.scratch;
  if (execution.max_ram > 0)
    options.max_ram = execution.max_ram > resident_bytes() ? execution.max_ram - resident_bytes() : 1;
  return options;
}

/// What a note on healing is kept under; `also`: what it depends on besides the model and the recipe.
std::string note_key(const std::string& what, nlohmann::ordered_json also, const HealSpec& spec,
                     const Assembler& assembler) {
  also["model"] = assembler.model_hash();
  also["heal"] = heal_recipe(spec);
  return what + "-" + short_hash(also.dump());
}

/// Tokens a second by a step, or as an earlier run found.
Result<double> noted_speed(const HealSpec& spec, const Assembler& assembler, Journal* journal,
                           const ExecuteOptions& execution) {
  HealSpec any = spec;
  any.text.tokens = 0;  // however many there will be
  const std::string key = note_key("heal-speed", nlohmann::ordered_json::object(), any, assembler);
  if (journal != nullptr) {
    if (const auto noted = journal->note(key)) {
      const auto speed = nlohmann::json::parse(*noted, nullptr, false);
      if (speed.is_number() && speed.get<double>() > 0) return speed.get<double>();
    }
  }
  SPARING_TRY(const double speed,
              heal_speed(assembler.checkpoint(), spec.text.length, schedule_of(spec, 0), options_of(execution)));
  if (journal != nullptr) SPARING_CHECK_OK(journal->keep_note(key, nlohmann::json(speed).dump()));
  return speed;
}

/// Windows spread evenly over the held-out text, begun as sequences are.
std::vector<std::vector<Token>> windows_of(const std::vector<Token>& text, std::int64_t length, Token bos) {
  const std::int64_t taken = bos >= 0 ? length - 1 : length, total = static_cast<std::int64_t>(text.size()),
                     count = std::clamp<std::int64_t>(total / taken, 1, kHeldOutWindows);
  std::vector<std::vector<Token>> windows;
  for (std::int64_t i = 0; i < count && taken <= total; ++i) {
    const auto from = text.begin() + (total - taken) * i / std::max<std::int64_t>(1, count - 1);
    auto& window = windows.emplace_back(static_cast<std::size_t>(length), bos);
    std::copy(from, from + taken, window.end() - taken);
  }
  return windows;
}

}  // namespace

Result<HealedModel> heal_plan(const Plan& plan, const Assembler& assembler, const BlockStore& store, Journal& journal,
                              const ExecuteOptions& execution) {
  const HealSpec& spec = *plan.heal;
  SPARING_TRY(CalibrationTokens text, calibration_tokens(spec.text, assembler.original_ptr(), assembler.model_hash(),
                                                         plan.seed, execution.threads, &journal, ShortText::repeat));
  SPARING_TRY(const auto tokenizer, Tokenizer::load(assembler.checkpoint().tokenizer()));
  // Sampled text already begins as the model's does.
  const Token bos = !spec.text.self && tokenizer->adds_bos() ? tokenizer->bos() : -1;
  HealProblem problem{.original = assembler.original(),
                      .source = &assembler.checkpoint(),
                      .weights = {},
                      .sequences = std::move(text.sequences),
                      .held_out = windows_of(text.held_out, spec.text.length, bos),
                      .schedule = schedule_of(spec, plan.seed)};
  for (const std::string& block : store.blocks()) {
    for (const BoundSite* site : store.sites_of(block)) {
      const SiteResult* result = store.find(site->site.name);
      if (result == nullptr) return internal_error("[heal] " + site->site.name + " was not coded");
      problem.weights.emplace(site->site.name, result->weight);
    }
  }
  JournalKeeper keeper(journal);
  HealOptions options = options_of(execution);
  options.keeper = &keeper;
  SPARING_TRY(HealResult healed, heal(problem, options));
  const HealReport& report = healed.report;
  return HealedModel{std::move(healed.weights),
                     std::move(healed.vectors),
                     {.held_out_before = report.held_out_before,
                      .held_out_after = report.held_out_after,
                      .trained_before = report.trained_before,
                      .trained_after = report.trained_after,
                      .tokens = report.tokens,
                      .kept_tokens = report.kept_tokens,
                      .stopped = report.stopped,
                      .tokens_per_s = report.tokens_per_s}};
}

bool heals_fast_in_bf16(const std::string& device) {
  if (device != "cpu") return true;
#if defined(__x86_64__)
  __builtin_cpu_init();
  return __builtin_cpu_supports("avx512bf16") != 0;
#else
  return false;
#endif
}

Result<double> heal_seconds_of(const HealSpec& spec, const Assembler& assembler, Journal& journal,
                               const ExecuteOptions& execution) {
  SPARING_TRY(const double speed, noted_speed(spec, assembler, &journal, execution));
  return static_cast<double>(spec.text.tokens) / speed * (1 + kBesides);
}

Result<std::int64_t> heal_tokens_for(double seconds, const HealSpec& spec, const Assembler& assembler, Journal* journal,
                                     const ExecuteOptions& execution) {
  const std::string key = note_key("heal", {{"seconds", seconds}}, spec, assembler);
  if (journal != nullptr) {
    if (const auto noted = journal->note(key)) {
      const auto tokens = nlohmann::json::parse(*noted, nullptr, false);
      if (tokens.is_number_unsigned()) return tokens.get<std::int64_t>();
    }
  }
  SPARING_TRY(const double speed, noted_speed(spec, assembler, journal, execution));
  const std::int64_t step = spec.batch * spec.text.length;
  const auto steps = static_cast<std::int64_t>(seconds * speed / (1 + kBesides) / static_cast<double>(step));
  const std::int64_t tokens = std::max<std::int64_t>(1, steps) * step;
  log_info("[heal] " + std::to_string(static_cast<std::int64_t>(speed)) +
           " tokens a second here: " + std::to_string(tokens) + " tokens");
  if (journal != nullptr) SPARING_CHECK_OK(journal->keep_note(key, nlohmann::json(tokens).dump()));
  return tokens;
}

}  // namespace sparing
