#include <CLI/App.hpp>
#include <CLI/Config.hpp>
#include <CLI/Formatter.hpp>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "base/atomic_file.h"
#include "base/interrupt.h"
#include "base/progress.h"
#include "base/units.h"
#include "cli/commands.h"
#include "cli/engine_args.h"
#include "cli/eval_text.h"
#include "cli/table.h"
#include "eval/choice_tasks.h"
#include "eval/engine_logits.h"
#include "eval/evaluate.h"
#include "eval/layer_figures.h"
#include "eval/report.h"
#include "eval/speed.h"
#include "formats/staging.h"

namespace sparing::cli {
namespace {

struct Options {
  ModelArgs candidate, reference;
  std::vector<std::string> more;
  EngineArgs engine;
  std::string text, tasks, labels, out;
  std::int64_t limit = 0;
  std::int64_t context = 512, chunks = 0;
  std::string reference_precision;
  bool skip_speed = false, kick = false;
  std::int64_t kick_questions = 200, generate = 0, generate_tokens = 64;
  float temperature = 0;
};

constexpr std::int64_t kPromptTokens = 16;
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

Status add_speed(Engine& engine, const Windows& windows, const std::string& suffix, nlohmann::json& json) {
  const std::int64_t prompt = std::min({kSpeedPrompt, windows.context / 2, engine.context() / 2});
  const std::int64_t decode = std::min(kSpeedDecode, engine.context() - prompt);
  engine.settle();
  SPARING_TRY(const Speed speed,
              measure_speed(engine, std::span(windows.tokens).first(static_cast<std::size_t>(prompt)), decode));
  json["tokens_per_s" + suffix] = speed.decode_rate();
  json["prompt_tokens_per_s" + suffix] = speed.prompt_rate();
  return {};
}

/// The labels beside a file: valid.jsonl has valid-labels.lst.
std::string labels_path(const Options& options) {
  if (!options.labels.empty()) return options.labels;
  const std::filesystem::path tasks(options.tasks);
  const std::filesystem::path beside = tasks.parent_path() / (tasks.stem().string() + "-labels.lst");
  std::error_code error;
  return std::filesystem::is_regular_file(beside, error) ? beside.string() : std::string();
}

Status read_tasks(const Options& options, ReportInput& input) {
  SPARING_TRY(const std::string lines, read_text_argument(options.tasks, "eval"));
  std::string labels;
  if (const std::string path = labels_path(options); !path.empty()) {
    SPARING_TRY(labels, read_text_file(path));
    if (labels.empty()) return input_error("[eval] " + path + " is empty: an answer a line is needed");
  }
  SPARING_TRY(input.tasks, read_choice_tasks(lines, labels, "[eval] " + options.tasks, options.limit));
  input.tasks_name = std::filesystem::path(options.tasks).filename().string();
  return {};
}

/// The tasks and the probes.
Status score(const LoadedModel& model, const ReportInput& input, JudgedModel& judged) {
  std::size_t questions = input.tasks.size();
  for (const Probe& probe : input.probes) questions += probe.tasks.size();
  if (questions == 0) return {};
  Progress progress("tasks", static_cast<std::int64_t>(questions), "questions");
  const auto advance = [&] { progress.advance(); };
  SPARING_TRY(judged.scores, score_choices(*model.engine, *model.tokenizer, input.tasks, advance));
  for (const Probe& probe : input.probes) {
    SPARING_TRY(auto scores, score_choices(*model.engine, *model.tokenizer, probe.tasks, advance));
    judged.kick.push_back(std::move(scores));
  }
  progress.finish();
  return {};
}

JudgedModel judged_from(const LoadedModel& model) {
  JudgedModel judged;
  const std::filesystem::path path = model.checkpoint->path().lexically_normal();
  judged.name = (path.has_filename() ? path : path.parent_path()).filename().string();
  judged.bytes = model.checkpoint->total_bytes();
  return judged;
}

/// What is shared by all candidates of one call.
struct Judge {
  const Options& options;
  const Session& session;
  std::string text;
  LoadedModel reference;  ///< engine null where there is none
  std::unique_ptr<EngineLogits> live;
  std::unique_ptr<ReferenceLogits> recorded;  ///< where several candidates share it
  ReportInput input;

  bool compared() const { return reference.engine != nullptr; }

  /// Continues beginnings from the text; of the reference too, once.
  Status generate(const LoadedModel& model, const Windows& windows, JudgedModel& judged) {
    if (options.generate == 0) return {};
    const auto prompts = prompts_from(windows, options.generate, std::min(kPromptTokens, windows.context / 2));
    const auto length = static_cast<std::int64_t>(prompts.front().size());
    GenerateOptions how;
    how.max_tokens = std::min(options.generate_tokens, model.engine->context() - length);
    how.sampling.temperature = options.temperature;
    how.sampling.seed = session.common.seed;
    Progress progress("generate", static_cast<std::int64_t>(prompts.size()), "texts");
    double rate = 0;
    SPARING_TRY(const auto texts,
                continue_prompts(*model.engine, model.tokenizer, prompts, how, rate, [&] { progress.advance(); }));
    progress.finish();
    judged.diversity = diversity_of(texts);
    judged.diversity->tokens_per_s = rate;
    input.generation_name = std::to_string(how.max_tokens) + " tokens after " + std::to_string(length) + ", ";
    input.generation_name +=
        options.temperature > 0 ? "temperature " + significant(options.temperature) : std::string("greedy");
    return {};
  }

  Result<LogitsSource*> reference_logits(const Windows& windows) {
    if (!compared()) return static_cast<LogitsSource*>(nullptr);
    if (live == nullptr) live = std::make_unique<EngineLogits>(*reference.engine);
    if (options.more.empty()) return static_cast<LogitsSource*>(live.get());
    if (recorded == nullptr) {
      SPARING_TRY(recorded, ReferenceLogits::record(*live, windows, std::filesystem::temp_directory_path()));
    }
    return static_cast<LogitsSource*>(recorded.get());
  }

  Status judge_text(const LoadedModel& candidate, JudgedModel& judged, nlohmann::json& json) {
    if (options.context > candidate.engine->config().context) {
      return usage_error("[eval] --ctx " + std::to_string(options.context) + ": the model was made for " +
                         std::to_string(candidate.engine->config().context) + " positions at most");
    }
    const std::vector<Token> tokens = candidate.tokenizer->encode(text, true, false);
    if (compared()) SPARING_CHECK_OK(check_same_tokens(candidate, reference, tokens, text));
    const Token bos = candidate.tokenizer->adds_bos() ? candidate.tokenizer->bos() : -1;
    SPARING_TRY(const Windows windows, make_windows(tokens, options.context, options.chunks, bos));
    if (options.chunks > windows.count) {
      note(session, "note: the text holds " + std::to_string(windows.count) + " windows of " +
                        std::to_string(options.context) + " tokens; --chunks asked for " +
                        std::to_string(options.chunks));
    }
    EngineLogits mine(*candidate.engine);
    SPARING_TRY(LogitsSource * theirs, reference_logits(windows));
    Progress progress("eval", windows.count, "windows");
    EvalOptions eval_options;
    eval_options.on_window = [&](const EvalReport& so_far) {
      std::string line = "perplexity " + fixed(so_far.ppl.value, 3);
      if (so_far.against) line += ", KL " + fixed(so_far.against->kld_mean.value, 4);
      progress.advance(1, line);
    };
    SPARING_TRY(judged.text, evaluate(mine, theirs, windows, candidate.engine->pool(), eval_options));
    progress.finish();
    json = to_json(*judged.text);
    SPARING_CHECK_OK(generate(candidate, windows, judged));
    if (compared() && !input.reference->diversity) SPARING_CHECK_OK(generate(reference, windows, *input.reference));
    if (judged.diversity) json["diversity"] = diversity_json(*judged.diversity);
    if (options.skip_speed) return {};
    SPARING_CHECK_OK(add_speed(*candidate.engine, windows, "", json));
    judged.tokens_per_s = json["tokens_per_s"].get<double>();
    if (!compared()) return {};
    SPARING_CHECK_OK(add_speed(*reference.engine, windows, "_ref", json));
    input.reference->tokens_per_s = json["tokens_per_s_ref"].get<double>();
    return {};
  }

  /// One candidate's figures, and what a person reads of them.
  Result<nlohmann::json> judge(const std::string& model, std::string& said) {
    ModelArgs args = options.candidate;
    args.model = model;
    SPARING_TRY(const LoadedModel candidate, load_model(args, options.engine, session, options.context));
    JudgedModel judged = judged_from(candidate);
    nlohmann::json json = nlohmann::json::object();
    if (!text.empty()) SPARING_CHECK_OK(judge_text(candidate, judged, json));
    SPARING_CHECK_OK(score(candidate, input, judged));
    json["bytes"] = judged.bytes;
    json["candidate"] = candidate.checkpoint->path().string();
    if (compared()) {
      json["bytes_ref"] = reference.checkpoint->total_bytes();
      json["reference"] = reference.checkpoint->path().string();
    }
    if (!options.out.empty()) {
      SPARING_TRY(judged.layers, layer_figures(*candidate.checkpoint, reference.checkpoint.get()));
    }
    if (!options.more.empty()) said += (said.empty() ? "" : "\n") + judged.name + "\n";
    if (judged.text) said += report_text(*judged.text, json, compared());
    if (judged.diversity) said += "\n" + diversity_text(input, judged);
    if (!input.tasks.empty()) {
      json["tasks"] = choices_json(input, judged);
      said += (judged.text ? "\n" : "") + tasks_text(input, judged);
    }
    if (!input.probes.empty()) {
      json["kick"] = kick_json(input, judged);
      said += (judged.text || !input.tasks.empty() ? "\n" : "") + kick_text(input, judged);
    }
    input.candidates.push_back(std::move(judged));
    return json;
  }
};

Status write_report(const ReportInput& input, const std::string& out) {
  SPARING_TRY(StagingFolder staging, StagingFolder::create(out));
  std::vector<std::pair<std::string, std::string>> files = {
      {"index.html", report_html(input)},
      {"report.md", report_markdown(input)},
      {"report.json", report_json(input).dump(1, ' ', false, nlohmann::json::error_handler_t::replace) + "\n"}};
  if (!input.tasks.empty()) {
    for (std::size_t i = 0; i < input.candidates.size(); ++i) {
      files.emplace_back("questions-" + std::to_string(i + 1) + ".jsonl", questions_jsonl(input, input.candidates[i]));
    }
    if (input.reference) files.emplace_back("questions-reference.jsonl", questions_jsonl(input, *input.reference));
  }
  for (const auto& [name, text] : files) {
    if (Status status = write_file_atomically(staging.path() / name, text); !status.ok()) {
      return staging.explain(std::move(status).error());
    }
  }
  return staging.publish();
}

Status run_eval(const Options& options, const Session& session) {
  catch_interrupts();
  if (options.context < 4) {
    return usage_error("[eval] --ctx " + std::to_string(options.context) + ": at least 4 tokens a window");
  }
  if (options.text.empty() && options.tasks.empty() && !options.kick) {
    return usage_error("[eval] nothing to judge by: give --text, --tasks, --kick or several of them");
  }
  if (options.generate > 0 && options.text.empty()) {
    return usage_error("[eval] --generate takes the beginnings of its texts from --text: give one");
  }
  if (!options.out.empty()) SPARING_CHECK_OK(refuse_existing(options.out));
  Judge judge{options, session, {}, {}, {}, {}, {}};
  if (!options.text.empty()) {
    SPARING_TRY(judge.text, read_text_argument(options.text, "eval"));
    if (judge.text.empty()) {
      return input_error("[eval] " + options.text + " is empty: a window of " + std::to_string(options.context) +
                         " tokens needs about " + std::to_string(4 * options.context) + " bytes of text");
    }
    judge.input.text_name = std::filesystem::path(options.text).filename().string();
  }
  if (!options.tasks.empty()) SPARING_CHECK_OK(read_tasks(options, judge.input));
  if (options.kick) judge.input.probes = kick_probes(options.kick_questions, session.common.seed);
  if (!options.reference.model.empty()) {
    EngineArgs engine = options.engine;
    engine.bytes.clear();  // of the candidates alone
    // The model itself, not what its own 8-bit activations make of it.
    if (engine.precision == "declared") engine.precision = "int16";
    if (!options.reference_precision.empty()) engine.precision = options.reference_precision;
    SPARING_TRY(judge.reference, load_model(options.reference, engine, session, options.context));
    JudgedModel reference = judged_from(judge.reference);
    SPARING_CHECK_OK(score(judge.reference, judge.input, reference));
    if (!options.out.empty()) {
      SPARING_TRY(reference.layers, layer_figures(*judge.reference.checkpoint, nullptr));
    }
    judge.input.reference = std::move(reference);
  }

  std::string said;
  SPARING_TRY(nlohmann::json json, judge.judge(options.candidate.model, said));
  if (!options.more.empty()) {
    nlohmann::json all = nlohmann::json::array({json});
    for (const std::string& model : options.more) {
      SPARING_TRY(nlohmann::json next, judge.judge(model, said));
      all.push_back(std::move(next));
    }
    json["candidates"] = std::move(all);
    const nlohmann::json whole = report_json(judge.input);
    if (whole.contains("pairs")) json["pairs"] = whole["pairs"];
    said += "\n" + pairs_text(judge.input);
  }
  if (!options.out.empty()) {
    SPARING_CHECK_OK(write_report(judge.input, options.out));
    json["report"] = options.out;
    said += "\nreport: " + (std::filesystem::path(options.out) / "index.html").string() + "\n";
  }
  return session.common.json ? print_json(json) : print(said);
}

}  // namespace

void register_eval(CLI::App& app, Session& session) {
  auto options = std::make_shared<Options>();
  CLI::App* command =
      add_command(app, session, kLookGroup, "eval", "Measure perplexity, tasks, and divergence from a reference model",
                  {"sparing eval models/smollm2.gguf --text wiki.test.raw --chunks 24",
                   "sparing eval my-model --against models/twin.gguf --text wiki.test.raw --ctx 512 --chunks 24 --json",
                   "sparing eval small smaller --against models/twin.gguf --text wiki.test.raw --chunks 24 --tasks "
                   "piqa/valid.jsonl --out report",
                   "sparing eval small --against models/twin.gguf --text wiki.test.raw --chunks 12 --kick"});
  add_model(command, options->candidate, "The model to judge");
  command->get_option("MODEL")->description("The model to judge: file, directory or org/model");
  command->add_option("MORE", options->more, "More models to judge the same way")->type_name("MODEL");
  command
      ->add_option("--against", options->reference.model, "Reference model: adds KL divergence and agreement with it")
      ->type_name("MODEL");
  command->add_option("--text", options->text, "Text to predict ('-': standard input); never the calibration text")
      ->type_name("FILE");
  command
      ->add_option("--tasks", options->tasks,
                   "Multiple-choice questions, one JSON object a line (PIQA's fields, HellaSwag's, ARC's, MMLU's)")
      ->type_name("FILE");
  command
      ->add_option("--labels", options->labels,
                   "Answers to --tasks, a line each; else NAME-labels.lst beside NAME.jsonl")
      ->type_name("FILE");
  command->add_flag("--kick", options->kick,
                    "Probe knowledge, retrieval from the prompt and arithmetic, and warn of what perplexity hides");
  command->add_option("--kick-questions", options->kick_questions, "Questions of each probe; --seed draws them")
      ->type_name("N")
      ->check(CLI::Range(1, 100000))
      ->capture_default_str();
  command
      ->add_option("--generate", options->generate,
                   "Continue this many beginnings from --text and measure variety and repetition; 0: none")
      ->type_name("N")
      ->check(CLI::Range(0, 100000))
      ->capture_default_str();
  command->add_option("--generate-tokens", options->generate_tokens, "Tokens of each such text")
      ->type_name("N")
      ->check(CLI::Range(1, 1 << 20))
      ->capture_default_str();
  command->add_option("--temperature", options->temperature, "Of --generate; 0 always takes the likeliest token")
      ->type_name("T")
      ->check(CLI::Range(0.0, 100.0))
      ->capture_default_str();
  command->add_option("--limit", options->limit, "Questions to ask, from the first; 0: all")
      ->type_name("N")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
  command->add_option("--out", options->out, "New folder for a report: index.html with plots, report.md, report.json")
      ->type_name("DIR");
  command->add_option("--ctx", options->context, "Tokens a window; the second half of each is scored")
      ->type_name("N")
      ->capture_default_str();
  command->add_option("--chunks", options->chunks, "Windows to score, from the start of the text; 0: all")
      ->type_name("N")
      ->capture_default_str();
  command->add_flag("--no-speed", options->skip_speed, "Leave the speed measurement out");
  add_engine(command, options->engine);
  add_prefix(command, options->engine);
  command
      ->add_option("--against-precision", options->reference_precision,
                   "--precision of the reference; unless given int16, or as --precision says for all")
      ->type_name("P")
      ->check(CLI::IsMember({"declared", "int8", "int16", "f32"}))
      ->group("Engine");
  on_chosen(command, session, [options, &session] { return run_eval(*options, session); });
}

}  // namespace sparing::cli
