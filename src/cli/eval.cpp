#include <CLI/App.hpp>
#include <CLI/Config.hpp>
#include <CLI/Formatter.hpp>
#include <nlohmann/json.hpp>

#include "base/interrupt.h"
#include "base/progress.h"
#include "base/units.h"
#include "cli/commands.h"
#include "cli/engine_args.h"
#include "cli/table.h"
#include "eval/engine_logits.h"
#include "eval/evaluate.h"
#include "eval/speed.h"

namespace sparing::cli {
namespace {

struct Options {
  ModelArgs candidate, reference;
  EngineArgs engine;
  std::string text;
  std::int64_t context = 512, chunks = 0;
  std::string reference_precision;
  bool skip_speed = false;
};

constexpr std::int64_t kSpeedPrompt = 128, kSpeedDecode = 64;

/// The same text must be the same tokens for both, or their distributions are not about the same thing.
Status check_same_tokens(const LoadedModel& candidate, const LoadedModel& reference, const std::vector<Token>& mine,
                         const std::string& text) {
  if (candidate.engine->config().vocab != reference.engine->config().vocab) {
    return usage_error("[eval] vocabularies of " + std::to_string(candidate.engine->config().vocab) + " and " +
                       std::to_string(reference.engine->config().vocab) +
                       " tokens: compare models of one tokenizer, or leave --against out");
  }
  const std::vector<Token> theirs = reference.tokenizer->encode(text, true, false);
  if (mine == theirs) return {};
  const auto [a, b] = std::mismatch(mine.begin(), mine.end(), theirs.begin(), theirs.end());
  const auto piece = [](const Tokenizer& tokenizer, const std::vector<Token>& ids, auto at) {
    return at == ids.end() ? std::string("the end") : "'" + tokenizer.token_text(*at) + "'";
  };
  return usage_error("[eval] the models' tokenizers read the text differently (token " +
                     std::to_string(a - mine.begin()) + ": " + piece(*candidate.tokenizer, mine, a) + " and " +
                     piece(*reference.tokenizer, theirs, b) +
                     "): compare models of one tokenizer, or leave --against out");
}

std::string with_error(const Estimate& estimate, int digits) {
  return fixed(estimate.value, digits) + " ± " + fixed(estimate.error, digits);
}

std::string report_text(const EvalReport& report, const nlohmann::json& json, bool compared) {
  Table table({"measure", ">candidate", ">reference"});
  const auto bytes = [&](const char* key) { return format_bytes(json[key].get<std::uint64_t>()); };
  const auto rate = [&](const char* key) { return json.contains(key) ? fixed(json[key].get<double>(), 1) : "-"; };
  table.row({"bytes", bytes("bytes"), compared ? bytes("bytes_ref") : ""});
  table.row({"perplexity", with_error(report.ppl, 3), compared ? with_error(report.against->ppl_ref, 3) : ""});
  if (json.contains("tokens_per_s")) {
    table.row({"decode, tokens/s", rate("tokens_per_s"), compared ? rate("tokens_per_s_ref") : ""});
    table.row({"prompt, tokens/s", rate("prompt_tokens_per_s"), compared ? rate("prompt_tokens_per_s_ref") : ""});
  }
  std::string out = table.text();
  if (!compared) return out;
  const Divergence& d = *report.against;
  Table against({"against the reference", ">value"});
  against.row({"perplexity ratio", with_error(d.ppl_ratio, 4)});
  against.row({"KL divergence, mean", with_error(d.kld_mean, 5)});
  against.row({"  median", fixed(d.kld_median, 5)});
  against.row({"  90 %", fixed(d.kld_p90, 5)});
  against.row({"  99 %", fixed(d.kld_p99, 5)});
  against.row({"  99.9 %", fixed(d.kld_p999, 5)});
  against.row({"  maximum", fixed(d.kld_max, 5)});
  against.row({"same top token",
               fixed(100 * d.top1_agreement.value, 2) + " ± " + fixed(100 * d.top1_agreement.error, 2) + " %"});
  against.row({"p(token) change, mean", fixed(100 * d.delta_p_mean.value, 3) + " %"});
  against.row({"p(token) change, RMS", fixed(100 * d.delta_p_rms, 3) + " %"});
  return out + "\n" + against.text();
}

Status add_speed(Engine& engine, const Windows& windows, const std::string& suffix, nlohmann::json& json) {
  const std::int64_t prompt = std::min({kSpeedPrompt, windows.context / 2, engine.context() / 2});
  const std::int64_t decode = std::min(kSpeedDecode, engine.context() - prompt);
  SPARING_TRY(const Speed speed,
              measure_speed(engine, std::span(windows.tokens).first(static_cast<std::size_t>(prompt)), decode));
  json["tokens_per_s" + suffix] = speed.decode_rate();
  json["prompt_tokens_per_s" + suffix] = speed.prompt_rate();
  return {};
}

Status run_eval(const Options& options, const Session& session) {
  catch_interrupts();
  if (options.context < 4) {
    return usage_error("[eval] --ctx " + std::to_string(options.context) + ": at least 4 tokens a window");
  }
  SPARING_TRY(const std::string text, read_text_argument(options.text, "eval"));
  if (text.empty()) {
    return input_error("[eval] " + options.text + " is empty: a window of " + std::to_string(options.context) +
                       " tokens needs about " + std::to_string(4 * options.context) + " bytes of text");
  }
  SPARING_TRY(const LoadedModel candidate, load_model(options.candidate, options.engine, session, options.context));
  if (options.context > candidate.engine->config().context) {
    return usage_error("[eval] --ctx " + std::to_string(options.context) + ": the model was made for " +
                       std::to_string(candidate.engine->config().context) + " positions at most");
  }
  const bool compared = !options.reference.model.empty();
  LoadedModel reference;
  if (compared) {
    EngineArgs engine = options.engine;
    if (!options.reference_precision.empty()) engine.precision = options.reference_precision;
    SPARING_TRY(reference, load_model(options.reference, engine, session, options.context));
  }

  const std::vector<Token> tokens = candidate.tokenizer->encode(text, true, false);
  if (compared) SPARING_CHECK_OK(check_same_tokens(candidate, reference, tokens, text));
  const Token bos = candidate.tokenizer->adds_bos() ? candidate.tokenizer->bos() : -1;
  SPARING_TRY(const Windows windows, make_windows(tokens, options.context, options.chunks, bos));
  if (options.chunks > windows.count) {
    note(session, "note: the text holds " + std::to_string(windows.count) + " windows of " +
                      std::to_string(options.context) + " tokens; --chunks asked for " +
                      std::to_string(options.chunks));
  }

  EngineLogits mine(*candidate.engine);
  std::unique_ptr<EngineLogits> theirs;
  if (compared) theirs = std::make_unique<EngineLogits>(*reference.engine);
  Progress progress("eval", windows.count, "windows");
  EvalOptions eval_options;
  eval_options.on_window = [&](const EvalReport& so_far) {
    std::string line = "perplexity " + fixed(so_far.ppl.value, 3);
    if (so_far.against) line += ", KL " + fixed(so_far.against->kld_mean.value, 4);
    progress.advance(1, line);
  };
  SPARING_TRY(const EvalReport report, evaluate(mine, theirs.get(), windows, candidate.engine->pool(), eval_options));
  progress.finish();

  nlohmann::json json = to_json(report);
  json["bytes"] = candidate.checkpoint->total_bytes();
  json["candidate"] = candidate.checkpoint->path().string();
  if (compared) {
    json["bytes_ref"] = reference.checkpoint->total_bytes();
    json["reference"] = reference.checkpoint->path().string();
  }
  if (!options.skip_speed) {
    SPARING_CHECK_OK(add_speed(*candidate.engine, windows, "", json));
    if (compared) SPARING_CHECK_OK(add_speed(*reference.engine, windows, "_ref", json));
  }
  return session.common.json ? print_json(json) : print(report_text(report, json, compared));
}

}  // namespace

void register_eval(CLI::App& app, Session& session) {
  auto options = std::make_shared<Options>();
  CLI::App* command = add_command(
      app, session, kLookGroup, "eval", "Measure perplexity, and divergence from a reference model",
      {"sparing eval models/smollm2.gguf --text wiki.test.raw --chunks 24",
       "sparing eval my-model --against models/twin.gguf --text wiki.test.raw --ctx 512 --chunks 24 --json"});
  add_model(command, options->candidate, "The model to judge");
  command->get_option("MODEL")->description("The model to judge: file, directory or org/model");
  command
      ->add_option("--against", options->reference.model, "Reference model: adds KL divergence and agreement with it")
      ->type_name("MODEL");
  command->add_option("--text", options->text, "Text to predict ('-': standard input); never the calibration text")
      ->type_name("FILE")
      ->required();
  command->add_option("--ctx", options->context, "Tokens a window; the second half of each is scored")
      ->type_name("N")
      ->capture_default_str();
  command->add_option("--chunks", options->chunks, "Windows to score, from the start of the text; 0: all")
      ->type_name("N")
      ->capture_default_str();
  command->add_flag("--no-speed", options->skip_speed, "Leave the speed measurement out");
  add_engine(command, options->engine);
  command->add_option("--against-precision", options->reference_precision, "--precision of the reference, if another")
      ->type_name("P")
      ->check(CLI::IsMember({"declared", "f32"}))
      ->group("Engine");
  on_chosen(command, session, [options, &session] { return run_eval(*options, session); });
}

}  // namespace sparing::cli
