#include "plan/claim_runner.h"

#include <limits>
#include <nlohmann/json.hpp>

#include "base/atomic_file.h"
#include "base/interrupt.h"
#include "base/progress.h"
#include "base/sha256.h"
#include "eval/engine_logits.h"
#include "eval/evaluate.h"
#include "formats/json.h"
#include "plan/share_out.h"

namespace sparing {
namespace {

namespace fs = std::filesystem;

constexpr std::uint64_t kLongestScore = 1 << 20;

/// What the model or the method refuses is a claim's result; what the machine refuses ends the run.
bool is_refusal(const Error& error) {
  return error.kind == ErrorKind::usage || error.kind == ErrorKind::input;
}

std::string setting_name(const Setting& setting) {
  std::string name = setting.method;
  for (const auto& [param, value] : setting.params) name += " " + param + "=" + value;
  return name;
}

}  // namespace

Result<ClaimRunner> ClaimRunner::create(std::shared_ptr<const Checkpoint> checkpoint, std::string model_hash,
                                        ClaimOptions options) {
  SPARING_TRY(Assembler assembler, Assembler::create(std::move(checkpoint), std::move(model_hash)));
  ClaimRunner runner(std::move(assembler), std::move(options));
  const ClaimOptions& o = runner.options_;
  SPARING_TRY(runner.windows_, make_windows(o.text, o.context, o.windows, o.bos));
  runner.options_.engine.context = o.context;
  std::error_code failed;
  fs::create_directories(o.work, failed);
  if (failed) return resource_error("[claims] " + o.work.string() + ": " + failed.message());
  return runner;
}

Result<Plan> ClaimRunner::plan_of(const ComposeRequest& request, std::vector<BoundSite>& sites) {
  const std::string key =
      setting_name(request.linear) + ", " + setting_name(request.embedding) + ", " + std::to_string(request.seed);
  if (const auto known = plans_.find(key); known != plans_.end()) {
    Plan plan = known->second;
    SPARING_TRY(sites, bind_plan(plan, assembler_.checkpoint(), assembler_.model_hash()));
    return plan;
  }
  SPARING_TRY(Plan plan, compose_plan(request, assembler_.checkpoint(), assembler_.model_hash()));
  SPARING_CHECK_OK(share_out(plan, assembler_, nullptr, options_.execution));
  SPARING_TRY(sites, bind_plan(plan, assembler_.checkpoint(), assembler_.model_hash()));
  SPARING_CHECK_OK(assembler_.predict(plan, sites));
  return plans_[key] = plan;
}

/// Of the weights. What is shared out comes out differently by seed: the most of all.
Result<std::uint64_t> ClaimRunner::bytes_of(const ComposeRequest& request) {
  SPARING_TRY(const Method* method, find_method(request.linear.method));
  std::uint64_t most = 0;
  for (const std::uint64_t seed : options_.seeds) {
    ComposeRequest seeded = request;
    seeded.seed = seed;
    std::vector<BoundSite> sites;
    SPARING_TRY(const Plan plan, plan_of(seeded, sites));
    most = std::max(most, site_cost(plan, kWeights));
    if (method->sharing == nullptr) break;
  }
  return most;
}

Result<ClaimRunner::Choice> ClaimRunner::smallest(const ClaimSide& side, std::uint64_t at_least) {
  SPARING_TRY(const auto linear, claim_settings(side.params));
  SPARING_TRY(const auto embedding, claim_settings(side.embed_params));
  Choice best;
  std::uint64_t largest = 0;
  for (const ParamList& params : linear) {
    for (const ParamList& embed_params : embedding) {
      Choice setting;
      setting.request.linear = {std::string(side.method), params};
      setting.request.embedding = {std::string(side.embed_method), embed_params};
      setting.request.calibration = options_.calibration;
      SPARING_TRY(setting.bytes, bytes_of(setting.request));
      largest = std::max(largest, setting.bytes);
      if (setting.bytes < at_least || (best.bytes > 0 && best.bytes <= setting.bytes)) continue;
      setting.name = setting_name(setting.request.linear);
      if (embedding.size() > 1 || side.embed_method != "rtn") {
        setting.name += ", embedding " + setting_name(setting.request.embedding);
      }
      best = std::move(setting);
    }
  }
  if (best.bytes > 0) return best;
  return usage_error("[claims] no setting of the baseline has " + std::to_string(at_least) +
                     " bytes: its largest has " + std::to_string(largest));
}

Result<ClaimRunner::Score> ClaimRunner::evaluate_directory(const fs::path& model) {
  if (reference_ == nullptr) {
    EngineOptions as_it_is = options_.engine;
    if (!as_it_is.precision) as_it_is.precision = kernels::Precision::int16;
    SPARING_TRY(const auto engine, Engine::load(assembler_.checkpoint_ptr(), as_it_is));
    EngineLogits logits(*engine);
    SPARING_TRY(reference_, ReferenceLogits::record(logits, windows_, options_.work));
  }
  SPARING_TRY(const auto coded, open_checkpoint(model.string()));
  SPARING_TRY(const auto engine, Engine::load(coded, options_.engine));
  EngineLogits logits(*engine);
  Progress progress("eval", windows_.count, "windows");
  EvalOptions eval;
  eval.on_window = [&](const EvalReport&) { progress.advance(); };
  SPARING_TRY(const EvalReport report, evaluate(logits, reference_.get(), windows_, engine->pool(), eval));
  progress.finish();
  return Score{report.against->kld_mean.value, report.ppl.value, coded->total_bytes()};
}

std::optional<ClaimRunner::Score> ClaimRunner::kept_score(const fs::path& path) const {
  const auto text = read_text_file(path, kLongestScore);
  if (!text) return std::nullopt;
  const std::string where = "[claims] " + path.string();
  const auto json = parse_json(*text, where);
  if (!json) return std::nullopt;
  const JsonFields fields(*json, where);
  const auto kl = fields.real("kld_mean"), ppl = fields.real("ppl");
  const auto bytes = fields.integer("directory_bytes", {}, 0, std::numeric_limits<std::int64_t>::max());
  const auto build = fields.string("build");
  if (!kl || !ppl || !bytes || !build || (*build != options_.build && !options_.any_build)) return std::nullopt;
  return Score{*kl, *ppl, static_cast<std::uint64_t>(*bytes)};
}

Result<ClaimRunner::Score> ClaimRunner::score(const ComposeRequest& request, const std::string& name) {
  std::vector<BoundSite> sites;
  SPARING_TRY(const Plan plan, plan_of(request, sites));
  const nlohmann::json asked = {
      {"plan", plan_hash(plan)},
      {"text", sha256_hex(std::as_bytes(std::span(windows_.tokens)))},
      {"context", windows_.context},
      {"windows", windows_.count},
      {"kv", name_of(options_.engine.kv)},
      {"precision", options_.engine.precision ? static_cast<int>(*options_.engine.precision) : -1}};
  const std::string words = asked.dump(), key = sha256_hex(std::as_bytes(std::span(words))).substr(0, 24);
  if (const auto known = known_.find(key); known != known_.end()) return known->second;
  const fs::path kept = options_.work / (key + ".json"),
                 model = options_.work / (key + "-" + options_.build.substr(0, 8));
  std::error_code ignored;
  if (const auto before = kept_score(kept)) return known_[key] = *before;
  if (options_.on_side) options_.on_side(name + ", seed " + std::to_string(request.seed));
  SPARING_TRY(Journal journal, Journal::open(model));
  if (fs::exists(model, ignored)) {
    // Published by a run that died before it was scored: complete, since it has its name.
    journal.remove();
  } else {
    SPARING_CHECK_OK(execute(plan, sites, assembler_, journal, model, options_.execution));
  }
  SPARING_TRY(const Score score, evaluate_directory(model));
  const nlohmann::json found = {{"setting", name},      {"build", options_.build},
                                {"seed", request.seed}, {"kld_mean", score.kld_mean},
                                {"ppl", score.ppl},     {"directory_bytes", score.directory_bytes},
                                {"asked", asked}};
  SPARING_CHECK_OK(write_file_atomically(kept, found.dump(1) + "\n"));
  fs::remove_all(model, ignored);
  return known_[key] = score;
}

Status ClaimRunner::measure(const Choice& setting, const std::string& metric, ClaimedSide& side) {
  for (const std::uint64_t seed : options_.seeds) {
    if (interrupted())
      return interrupted_error("claims", "finished sides are kept; the same command goes on from there");
    ComposeRequest request = setting.request;
    request.seed = seed;
    SPARING_TRY(const Score found, score(request, setting.name));
    side.values.push_back(metric == "ppl" ? found.ppl : found.kld_mean);
    side.directory_bytes = found.directory_bytes;
  }
  return {};
}

Result<ClaimResult> ClaimRunner::run(const Claim& claim, std::string_view method) {
  ClaimResult r;
  r.id = claim.id;
  r.method = method;
  r.claim = claim.text;
  r.model = options_.model_name;
  r.metric = claim.metric;
  r.factor = claim.factor;
  r.seeds = options_.seeds;
  r.text = options_.text_name;
  r.context = windows_.context;
  r.windows = windows_.count;
  r.calibration = options_.calibration_name;
  r.calibration_tokens = options_.calibration.tokens;
  r.ours.name = std::string(claim.ours.method) + " " + std::string(claim.ours.params);
  r.baseline.name = std::string(claim.baseline.method) + " " + std::string(claim.baseline.params);
  const auto measured = [&](const ClaimSide& given, std::uint64_t at_least, ClaimedSide& side) -> Status {
    SPARING_TRY(const Choice setting, smallest(given, at_least));
    side.name = setting.name;
    side.bytes = setting.bytes;
    return measure(setting, r.metric, side);
  };
  Status done = measured(claim.ours, 0, r.ours);
  if (done.ok()) done = measured(claim.baseline, r.ours.bytes, r.baseline);
  if (done.ok()) {
    judge(r);
  } else if (is_refusal(done.error())) {
    r.ours.values.clear();
    r.baseline.values.clear();
    r.reason = "could not be run: " + done.error().message;
  } else {
    return std::move(done).error();
  }
  return r;
}

}  // namespace sparing
