// sparing claims: runs what the methods claim, from compression to judgement, and keeps the results. Part of
// sparing-lab.

#include <CLI/App.hpp>
#include <CLI/Config.hpp>
#include <CLI/Formatter.hpp>
#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>

#include "base/atomic_file.h"
#include "base/interrupt.h"
#include "base/jobs.h"
#include "base/sha256.h"
#include "base/suggest.h"
#include "base/units.h"
#include "cli/app.h"
#include "cli/engine_args.h"
#include "cli/lab_commands.h"
#include "cli/plan_args.h"
#include "cli/table.h"
#include "lab/calibrate.h"
#include "plan/claim_runner.h"

namespace sparing::cli {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

struct Options {
  std::vector<std::string> ids, calib;
  ModelArgs model;
  EngineArgs engine;
  std::string name, text, out = "claims", work, device = "cpu";
  std::int64_t seeds = 3, chunks = 24, context = 512, calib_tokens = 32768, calib_length = 512;
  bool list = false, page = false, any_build = false;
};

struct Registered {
  const Method* method;
  const Claim* claim;
};

std::vector<Registered> all_claims() {
  std::vector<Registered> all;
  for (const Method* method : all_methods()) {
    for (const Claim& claim : method->claims) all.push_back({method, &claim});
  }
  return all;
}

/// Those that the words name: a claim's id, or a method for all of its claims; all where there are no words.
Result<std::vector<Registered>> chosen_claims(const std::vector<std::string>& words) {
  const std::vector<Registered> all = all_claims();
  if (words.empty()) return all;
  std::vector<std::string_view> known;
  for (const Registered& r : all) {
    if (std::ranges::find(known, r.method->name) == known.end()) known.push_back(r.method->name);
    known.push_back(r.claim->id);
  }
  for (const std::string& word : words) {
    if (std::ranges::find(known, word) != known.end()) continue;
    const auto method = find_method(word);
    if (method.ok()) {
      return usage_error("[claims] " + word + " has no claim: " + std::string((*method)->no_claim));
    }
    return usage_error("[claims] there is no claim '" + word + "'" + suggest(word, known));
  }
  std::vector<Registered> chosen;
  for (const Registered& r : all) {
    const bool named = std::ranges::any_of(
        words, [&](const std::string& word) { return word == r.claim->id || word == r.method->name; });
    if (named) chosen.push_back(r);
  }
  return chosen;
}

std::string side_text(const ClaimSide& side) {
  return std::string(side.method) + " " + std::string(side.params);
}

Status list_claims(const std::vector<Registered>& claims, const Session& session) {
  if (session.common.json) {
    Json list = Json::array();
    for (const auto& [method, claim] : claims) {
      list.push_back({{"id", claim->id},
                      {"method", method->name},
                      {"claim", claim->text},
                      {"ours", side_text(claim->ours)},
                      {"baseline", side_text(claim->baseline)},
                      {"metric", claim->metric},
                      {"factor", claim->factor},
                      {"model", claim->model}});
    }
    return print_json(list);
  }
  std::string out;
  for (const auto& [method, claim] : claims) {
    out += std::string(claim->id) + "\n  " + std::string(claim->text) + ".\n  " + std::string(claim->metric) + " of " +
           side_text(claim->ours) + " at most " + nlohmann::json(claim->factor).dump() + " of " +
           side_text(claim->baseline) + "'s\n";
    if (!claim->model.empty()) out += "  about " + std::string(claim->model) + "\n";
  }
  for (const Method* method : all_methods()) {
    if (!method->no_claim.empty()) {
      out += std::string(method->name) + ": no claim, since " + std::string(method->no_claim) + "\n";
    }
  }
  return print(out);
}

/// $NAME, or the folder beside the project that tests look in too.
fs::path folder_from(const char* variable, const char* otherwise) {
  const char* given = std::getenv(variable);
  return given != nullptr && *given != '\0' ? fs::path(given) : fs::path(otherwise);
}

std::string stem_of(const std::string& model) {
  const fs::path path = fs::path(model).lexically_normal();
  return (path.has_filename() ? path : path.parent_path()).stem().string();
}

std::string or_default(const std::string& given, const fs::path& otherwise) {
  return given.empty() ? otherwise.string() : given;
}

/// Another build may code otherwise, another device does: what they left in the work folder is not taken over.
Result<std::string> build_hash(const std::string& device) {
  SPARING_TRY(const auto program, MappedFile::open("/proc/self/exe"));
  const std::string hash = sha256_hex(program->bytes());
  return device == "cpu" ? hash : sha256_hex(std::as_bytes(std::span<const char>(hash + " " + device)));
}

Result<ClaimRunner> make_runner(const Options& o, const Session& session, const std::string& path,
                                const std::string& name) {
  ModelArgs args = o.model;
  args.model = path;
  SPARING_TRY(const auto checkpoint, open_model(args));
  SPARING_TRY(const auto tokenizer, load_tokenizer(*checkpoint, "claims"));
  if (tokenizer == nullptr) return usage_error("[claims] " + path + " has no tokenizer: give one with --tokenizer");
  SPARING_TRY(const std::string hash, checkpoint_hash(*checkpoint));
  const fs::path data = folder_from("SPARING_DATA", "../shared/data");
  ClaimOptions options;
  options.model_name = name;
  options.work = o.work.empty() ? fs::path(o.out) / ".work" : fs::path(o.work);
  SPARING_TRY(options.build, build_hash(o.device));
  options.any_build = o.any_build;
  for (std::int64_t i = 0; i < o.seeds; ++i)
    options.seeds.push_back(session.common.seed + static_cast<std::uint64_t>(i));
  options.context = std::min<std::int64_t>(o.context, checkpoint->config().context);
  options.windows = o.chunks;
  const std::string text = or_default(o.text, data / "wikitext-2-raw/wiki.test.raw");
  SPARING_TRY(const std::string words, read_text_argument(text, "claims"));
  options.text = tokenizer->encode(words, true, false);
  if (tokenizer->adds_bos()) options.bos = tokenizer->bos();
  options.text_name = fs::path(text).filename().string();
  const std::vector<std::string> calib =
      o.calib.empty() ? std::vector<std::string>{(data / "wikitext-2/valid.txt").string()} : o.calib;
  for (const std::string& source : calib) {
    options.calibration_name += (options.calibration_name.empty() ? "" : ", ") + fs::path(source).filename().string();
  }
  SPARING_TRY(
      options.calibration,
      describe_calibration(calib, o.calib_tokens, std::min<std::int64_t>(o.calib_length, checkpoint->config().context),
                           checkpoint->config()));
  options.engine = engine_options(o.engine, session);
  options.execution = lab_execution(session);
  SPARING_CHECK_OK(check_device(o.device));
  options.execution.device = o.device;
  options.on_side = [&session](const std::string& what) { note(session, what); };
  return ClaimRunner::create(checkpoint, hash, std::move(options));
}

std::string results_text(const std::vector<ClaimResult>& results) {
  Table table({"claim", "setting", ">bytes", ">ours", "baseline", ">its bytes", ">baseline", "verdict"});
  const auto value = [](const ClaimedSide& side) {
    if (side.values.empty()) return std::string("-");
    const Estimate e = over_seeds(side.values);
    return fixed(e.value, 4) + " ± " + fixed(e.error, 4);
  };
  std::string reasons;
  for (const ClaimResult& r : results) {
    table.row({r.id, r.ours.name, format_count(r.ours.bytes), value(r.ours), r.baseline.name,
               format_count(r.baseline.bytes), value(r.baseline), r.pass ? "pass" : "FAIL"});
    reasons += r.id + ": " + r.reason + "\n";
  }
  return table.text() + "\n" + reasons;
}

Status write_page(const fs::path& out, const Session& session) {
  const ClaimFolder folder = read_claims(out);
  for (const std::string& problem : folder.problems) note(session, "left out: " + problem);
  if (folder.results.empty()) return input_error("[claims] " + out.string() + ": no results in it");
  return write_file_atomically(out / "README.md", claims_page(folder.results));
}

Status run_claims(const Options& o, const Session& session) {
  if (o.page) return write_page(o.out, session);
  SPARING_TRY(const std::vector<Registered> claims, chosen_claims(o.ids));
  if (o.list) return list_claims(claims, session);
  catch_interrupts();
  const fs::path models = folder_from("SPARING_MODELS", "models");
  std::error_code failed;
  fs::create_directories(o.out, failed);
  if (failed) return resource_error("[claims] " + o.out + ": " + failed.message());

  std::vector<ClaimResult> results;
  std::string loaded;
  std::optional<ClaimRunner> runner;
  for (std::size_t i = 0; i < claims.size(); ++i) {
    const auto& [method, claim] = claims[i];
    const std::string about = claim->model.empty() ? "twin" : std::string(claim->model);
    const std::string path = or_default(o.model.model, models / (about + ".gguf"));
    const std::string name = o.name.empty() ? stem_of(path) : o.name;
    if (!claim->model.empty() && claim->model != name) {
      note(session, std::string(claim->id) + " is about " + std::string(claim->model) + ": left out");
      continue;
    }
    note(session, "[" + std::to_string(i + 1) + "/" + std::to_string(claims.size()) + "] " + std::string(claim->id) +
                      " on " + name);
    if (!runner || loaded != path) {
      SPARING_TRY(ClaimRunner made, make_runner(o, session, path, name));
      runner.emplace(std::move(made));
      loaded = path;
    }
    SPARING_TRY(ClaimResult result, runner->run(*claim, method->name));
    note(session, std::string("  ") + (result.pass ? "pass: " : "FAIL: ") + result.reason);
    // Written one by one: a run that stops keeps what it has found.
    SPARING_CHECK_OK(write_file_atomically(fs::path(o.out) / claim_file_name(result), to_json(result).dump(1) + "\n"));
    SPARING_CHECK_OK(write_page(o.out, session));
    results.push_back(std::move(result));
  }
  if (!session.common.json) return print(results.empty() ? std::string() : results_text(results));
  Json json = Json::array();
  for (const ClaimResult& result : results) json.push_back(to_json(result));
  return print_json(json);
}

}  // namespace

void register_claims(CLI::App& app, Session& session) {
  CLI::App* command = add_command(
      app, session, kLookGroup, "claims", "Run what the methods claim against their baselines at equal bytes",
      {"sparing claims --list", "sparing claims gptq-rounding-3bit",
       "sparing claims gptq signround --model models/twin.gguf --chunks 12 --seeds 1",
       "sparing claims --model tiny.bin --name tiny --calib text.txt --text other.txt --out tiny-claims"});
  auto o = std::make_shared<Options>();
  command->add_option("ID", o->ids, "Claims, or methods for all of theirs; every claim where none is named");
  command->add_flag("--list", o->list, "List them and stop");
  command->add_flag("--page", o->page, "Write --out's README.md again from its results and stop");
  command->add_option("--model", o->model.model, "Model to run on [each claim's own, else twin.gguf, in models/]")
      ->type_name("MODEL");
  command->add_option("--tokenizer", o->model.tokenizer, "Tokenizer file or directory, when not the model's own")
      ->type_name("PATH");
  command->add_option("--name", o->name, "What the results call the model [its file's name]")
      ->type_name("NAME")
      ->check([](const std::string& name) {
        return name.find('/') == std::string::npos ? std::string() : "a name without '/' is needed";
      });
  command->add_option("--text", o->text, "Text to judge on [wikitext-2-raw/wiki.test.raw in $SPARING_DATA]")
      ->type_name("FILE");
  command->add_option("--ctx", o->context, "Tokens a window, at most the model's")
      ->type_name("N")
      ->check(CLI::Range(std::int64_t{4}, std::int64_t{1} << 20))
      ->capture_default_str();
  command->add_option("--chunks", o->chunks, "Windows to judge on, from the start of the text; 0: all")
      ->type_name("N")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
  command->add_option("--calib", o->calib, "Text to calibrate on, repeatable; or self [wikitext-2/valid.txt]")
      ->type_name("FILE|self")
      ->allow_extra_args(false);
  command->add_option("--calib-tokens", o->calib_tokens, "Tokens to calibrate on")
      ->type_name("N")
      ->check(CLI::Range(std::int64_t{1}, std::int64_t{1} << 40))
      ->capture_default_str();
  command->add_option("--calib-length", o->calib_length, "Tokens of one sequence, at most the model's")
      ->type_name("N")
      ->check(CLI::Range(std::int64_t{2}, std::int64_t{1} << 20))
      ->capture_default_str();
  command->add_option("--seeds", o->seeds, "How many seeds, from --seed on")
      ->type_name("N")
      ->check(CLI::Range(1, 1000))
      ->capture_default_str();
  command->add_option("--out", o->out, "Folder of the results: a JSON file a claim and model, and README.md")
      ->type_name("DIR")
      ->capture_default_str();
  command->add_option("--work", o->work, "Folder for models and finished sides [.work in --out]")->type_name("DIR");
  command->add_flag("--any-build", o->any_build, "Take over finished sides of other builds of this program too");
  add_device(command, o->device);
  add_engine(command, o->engine);
  on_chosen(command, session, [o, &session] { return run_claims(*o, session); });
}

}  // namespace sparing::cli
