#include "formats/verify.h"

#include <CLI/App.hpp>
#include <CLI/Config.hpp>
#include <CLI/Formatter.hpp>
#include <nlohmann/json.hpp>

#include "base/units.h"
#include "cli/commands.h"
#include "cli/model_args.h"

namespace sparing::cli {
namespace {

Status run_verify(const ModelArgs& args, const Session& session) {
  SPARING_TRY(const auto checkpoint, open_model(args));
  SPARING_TRY(const VerifyReport report, verify_checkpoint(*checkpoint));
  SPARING_TRY(const auto tokenizer, load_tokenizer(*checkpoint, "verify"));
  const bool has_tokenizer = tokenizer != nullptr;
  if (session.common.json) {
    nlohmann::json json = {{"path", checkpoint->path().string()},
                           {"format", name_of(checkpoint->format())},
                           {"ok", true},
                           {"tensors", report.tensors},
                           {"hashes", report.hashes},
                           {"bytes", report.bytes},
                           {"tokenizer", has_tokenizer}};
    return print_json(json);
  }
  return print(
      checkpoint->path().string() + ": " + std::to_string(report.tensors) +
      " tensors have the right shapes and finite values" +
      (report.hashes > 0 ? ", " + std::to_string(report.hashes) + " hashes agree" : " (this format keeps no hashes)") +
      (has_tokenizer ? ", the tokenizer loads" : ", no tokenizer") + "; " + format_bytes(report.bytes) + "\n");
}

}  // namespace

void register_verify(CLI::App& app, Session& session) {
  auto options = std::make_shared<ModelArgs>();
  CLI::App* command =
      add_command(app, session, kLookGroup, "verify", "Check every tensor's hash, shape and values, and the tokenizer",
                  {"sparing verify my-model", "sparing verify models/smollm2.gguf --json"});
  add_model(command, *options);
  on_chosen(command, session, [options, &session] { return run_verify(*options, session); });
}

}  // namespace sparing::cli
