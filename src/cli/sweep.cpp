// sparing sweep: what compression does to written text over temperature, top-k and length, ending in advice.

#include "eval/sweep.h"

#include <CLI/App.hpp>
#include <CLI/Config.hpp>
#include <CLI/Formatter.hpp>
#include <algorithm>
#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>

#include "base/interrupt.h"
#include "base/progress.h"
#include "cli/commands.h"
#include "cli/engine_args.h"
#include "cli/table.h"
#include "eval/engine_logits.h"
#include "eval/report.h"

namespace sparing::cli {
namespace {

struct Options {
  ModelArgs model;
  std::vector<std::string> more;
  std::string reference, text;
  EngineArgs engine;
  std::vector<float> temperatures = {0, 0.3f, 0.7f, 1};
  std::vector<std::int32_t> top_ks = {0, 40};
  std::vector<std::int64_t> lengths = {64, 256};
  std::int64_t context = 512, chunks = 4, texts = 8, prompt = 16;
};

using Texts = std::vector<std::vector<Token>>;

/// What one model wrote: by decoding, texts of the greatest length.
struct Written {
  std::vector<Texts> texts;
  std::vector<double> tokens_per_s;
};

/// The shared half of a call.
struct Sweep {
  const Options& options;
  const Session& session;
  std::vector<Decoding> how;
  LoadedModel reference;
  Windows windows;
  Texts prompts;
  Written of_reference;

  Result<Written> write(const LoadedModel& model, const std::string& name) const {
    Written written;
    Progress progress("writing, " + name, static_cast<std::int64_t>(how.size() * prompts.size()), "texts");
    for (const Decoding& decoding : how) {
      GenerateOptions generate;
      generate.max_tokens = *std::ranges::max_element(options.lengths);
      generate.sampling.temperature = decoding.temperature;
      generate.sampling.top_k = decoding.top_k;
      generate.sampling.seed = session.common.seed;
      double rate = 0;
      SPARING_TRY(Texts texts, continue_prompts(*model.engine, model.tokenizer, prompts, generate, rate,
                                                [&] { progress.advance(); }));
      written.texts.push_back(std::move(texts));
      written.tokens_per_s.push_back(rate);
    }
    progress.finish();
    return written;
  }

  /// The first `length` tokens of each text are what a shorter run would have written.
  Diversity diversity(const Written& written, std::size_t decoding, std::int64_t length) const {
    Texts texts = written.texts[decoding];
    for (std::vector<Token>& text : texts) {
      text.resize(std::min(text.size(), static_cast<std::size_t>(length)));
    }
    Diversity d = diversity_of(texts);
    d.tokens_per_s = written.tokens_per_s[decoding];
    return d;
  }

  Result<std::vector<SweepRow>> rows(const LoadedModel& model, const std::string& name) {
    if (model.tokenizer->encode("The same words?", true, false) !=
            reference.tokenizer->encode("The same words?", true, false) ||
        model.engine->config().vocab != reference.engine->config().vocab) {
      return usage_error("[sweep] " + name + " has another tokenizer than the reference: compare models of one");
    }
    EngineLogits mine(*model.engine), theirs(*reference.engine);
    Progress progress("comparing, " + name, windows.count, "windows");
    SPARING_TRY(const auto departures,
                mean_departures(mine, theirs, windows, how, model.engine->pool(), [&] { progress.advance(); }));
    progress.finish();
    SPARING_TRY(const Written written, write(model, name));
    std::vector<SweepRow> rows;
    for (std::size_t h = 0; h < how.size(); ++h) {
      for (const std::int64_t length : options.lengths) {
        rows.push_back(
            {how[h], length, diversity(written, h, length), diversity(of_reference, h, length), departures[h]});
      }
    }
    return rows;
  }
};

std::string rows_text(const std::vector<SweepRow>& rows) {
  Table table({"decoding", ">tokens", ">differs, %", ">KL", ">distinct-2", ">reference", ">repeated, %", ">reference",
               ">tokens/s"});
  for (const SweepRow& r : rows) {
    table.row({describe(r.how), std::to_string(r.length), fixed(100 * r.departure.differs.value, 1),
               r.how.temperature > 0 ? fixed(r.departure.kl.value, 4) : "-", fixed(r.candidate.distinct2, 3),
               fixed(r.reference.distinct2, 3), fixed(100 * r.candidate.repetition4.value, 1),
               fixed(100 * r.reference.repetition4.value, 1), fixed(r.candidate.tokens_per_s, 1)});
  }
  return table.text();
}

nlohmann::json rows_json(const std::vector<SweepRow>& rows) {
  nlohmann::json list = nlohmann::json::array();
  for (const SweepRow& r : rows) {
    list.push_back({{"temperature", r.how.temperature},
                    {"top_k", r.how.top_k},
                    {"length", r.length},
                    {"differs", r.departure.differs.value},
                    {"differs_error", r.departure.differs.error},
                    {"kl", r.how.temperature > 0 ? nlohmann::json(r.departure.kl.value) : nlohmann::json(nullptr)},
                    {"candidate", diversity_json(r.candidate)},
                    {"reference", diversity_json(r.reference)}});
  }
  return list;
}

Status check(const Options& o) {
  for (const float temperature : o.temperatures) {
    if (!(temperature >= 0 && temperature <= 100)) {
      return usage_error("[sweep] --temperatures " + significant(temperature) + ": 0 to 100");
    }
  }
  for (const std::int32_t top_k : o.top_ks) {
    if (top_k < 0) return usage_error("[sweep] --top-k " + std::to_string(top_k) + ": 0 (all) or more");
  }
  for (const std::int64_t length : o.lengths) {
    if (length < 4 || length > 1 << 20) {
      return usage_error("[sweep] --lengths " + std::to_string(length) + ": at least 4 tokens, so that one can repeat");
    }
  }
  return {};
}

Status run_sweep(const Options& o, const Session& session) {
  SPARING_CHECK_OK(check(o));
  catch_interrupts();
  Sweep sweep{o, session, decodings(o.temperatures, o.top_ks), {}, {}, {}, {}};
  SPARING_TRY(const std::string text, read_text_argument(o.text, "sweep"));
  const std::int64_t longest = o.prompt + *std::ranges::max_element(o.lengths);
  const std::int64_t positions = std::max(o.context, longest);
  ModelArgs args = o.model;
  args.model = o.reference;
  SPARING_TRY(sweep.reference, load_model(args, o.engine, session, positions));
  if (positions > sweep.reference.engine->config().context) {
    return usage_error("[sweep] " + std::to_string(positions) + " positions are wanted and the model was made for " +
                       std::to_string(sweep.reference.engine->config().context) + ": lower --lengths or --ctx");
  }
  const Tokenizer& tokenizer = *sweep.reference.tokenizer;
  const Token bos = tokenizer.adds_bos() ? tokenizer.bos() : -1;
  const std::vector<Token> tokens = tokenizer.encode(text, true, false);
  SPARING_TRY(const Windows all, make_windows(tokens, o.context, 0, bos));
  SPARING_TRY(sweep.windows, make_windows(tokens, o.context, o.chunks, bos));
  sweep.prompts = prompts_from(all, o.texts, o.prompt);
  SPARING_TRY(sweep.of_reference, sweep.write(sweep.reference, "reference"));

  std::vector<std::string> models = {o.model.model};
  models.insert(models.end(), o.more.begin(), o.more.end());
  nlohmann::json json = nlohmann::json::array();
  std::string said;
  for (const std::string& path : models) {
    args.model = path;
    SPARING_TRY(const LoadedModel model, load_model(args, o.engine, session, positions));
    SPARING_TRY(const std::vector<SweepRow> rows, sweep.rows(model, path));
    const std::vector<std::string> advice = sweep_advice(rows);
    json.push_back(
        {{"model", path}, {"bytes", model.checkpoint->total_bytes()}, {"rows", rows_json(rows)}, {"advice", advice}});
    said += (said.empty() ? "" : "\n") + path + ", against " + o.reference + "\n" + rows_text(rows) + "\n";
    for (const std::string& line : advice) said += line + "\n";
  }
  if (session.common.json) return print_json({{"reference", o.reference}, {"models", std::move(json)}});
  return print(said);
}

}  // namespace

void register_sweep(CLI::App& app, Session& session) {
  auto o = std::make_shared<Options>();
  CLI::App* command = add_command(app, session, kLookGroup, "sweep",
                                  "Measure what compression does to written text over how it is decoded",
                                  {"sparing sweep small --against models/twin.gguf --text wiki.test.raw",
                                   "sparing sweep small smaller --against models/twin.gguf --text wiki.test.raw "
                                   "--temperatures 0,0.7 --top-k 0,20,100 "
                                   "--lengths 64,512 --json"});
  add_model(command, o->model, "The model to judge: file, directory or org/model");
  command->add_option("MORE", o->more, "More models to judge the same way")->type_name("MODEL");
  command->add_option("--against", o->reference, "The model that they were made from")->type_name("MODEL")->required();
  command->add_option("--text", o->text, "Text to compare on, and whose beginnings are continued ('-': standard input)")
      ->type_name("FILE")
      ->required();
  command->add_option("--temperatures", o->temperatures, "Temperatures, with commas between; 0: greedy")
      ->type_name("T,...")
      ->delimiter(',')
      ->allow_extra_args(false)
      ->default_str("0,0.3,0.7,1");
  command->add_option("--top-k", o->top_ks, "Only the K likeliest tokens; 0: all")
      ->type_name("K,...")
      ->delimiter(',')
      ->allow_extra_args(false)
      ->default_str("0,40");
  command->add_option("--lengths", o->lengths, "Tokens to write")
      ->type_name("N,...")
      ->delimiter(',')
      ->allow_extra_args(false)
      ->default_str("64,256");
  command->add_option("--texts", o->texts, "Beginnings to continue")
      ->type_name("N")
      ->check(CLI::Range(1, 100000))
      ->capture_default_str();
  command->add_option("--prompt", o->prompt, "Tokens of each beginning")
      ->type_name("N")
      ->check(CLI::Range(1, 1 << 16))
      ->capture_default_str();
  command->add_option("--ctx", o->context, "Tokens a window to compare on; the second half of each counts")
      ->type_name("N")
      ->check(CLI::Range(4, 1 << 20))
      ->capture_default_str();
  command->add_option("--chunks", o->chunks, "Windows to compare on; 0: all")
      ->type_name("N")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
  add_engine(command, o->engine);
  on_chosen(command, session, [o, &session] { return run_sweep(*o, session); });
}

}  // namespace sparing::cli
