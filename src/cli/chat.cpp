#include <unistd.h>

#include <CLI/App.hpp>
#include <CLI/Config.hpp>
#include <CLI/Formatter.hpp>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "base/interrupt.h"
#include "cli/commands.h"
#include "cli/conversation.h"
#include "cli/generate_args.h"
#include "cli/read_line.h"

namespace sparing::cli {
namespace {

struct Options {
  ModelArgs model;
  EngineArgs engine;
  GenerateArgs generate;
  std::string system;
};

constexpr const char* kHelp =
    "/system TEXT  start anew with this system message\n"
    "/reset        start anew\n"
    "/stats        speed of each answer, on or off\n"
    "/exit         leave (or Ctrl-D)\n"
    "Ctrl-C stops an answer.";

enum class Next { ask, skip, leave };

/// What a line that begins with '/' asks for.
Next obey(const std::string& line, Conversation& chat, bool& stats, const Session& session) {
  if (line == "/exit" || line == "/quit") return Next::leave;
  if (line == "/reset") {
    chat.reset();
  } else if (line.starts_with("/system ")) {
    chat.set_system(line.substr(8));
  } else if (line == "/stats") {
    stats = !stats;
  } else if (line == "/help" || line.starts_with("/")) {
    note(session, kHelp);
  }
  return Next::skip;
}

Status run_chat(const Options& options, const Session& session) {
  catch_interrupts();
  SPARING_TRY(LoadedModel model, load_model(options.model, options.engine, session));
  SPARING_TRY(Conversation chat, Conversation::start(std::move(model), options.system));
  const bool terminal = ::isatty(STDIN_FILENO) != 0, stream = !session.common.json;
  bool stats = session.common.verbose;
  if (terminal) note(session, "Type a message; /help lists commands, Ctrl-D leaves.");
  nlohmann::json turns = nlohmann::json::array();
  for (;;) {
    if (terminal) std::fputs("> ", stderr);
    SPARING_TRY(const std::optional<std::string> line, read_line());
    if (!line) break;
    if (line->empty()) continue;
    if (line->front() == '/') {
      if (obey(*line, chat, stats, session) == Next::leave) break;
      continue;
    }
    SPARING_TRY(const Generation answer,
                chat.say(*line, options.generate.resolved(session),
                         [stream](std::string_view text) { return stream ? print(text) : Status(); }));
    if (stream) SPARING_CHECK_OK(print("\n"));
    if (chat.forgotten() > 0) {
      note(session,
           "note: the context is full; the " + std::to_string(chat.forgotten()) + " oldest messages are forgotten");
    }
    if (stats) note(session, generation_line(answer));
    nlohmann::json turn = generation_json(answer);
    turn["text"] = answer.text;
    turns.push_back(std::move(turn));
    if (answer.finish == Finish::cancelled) {
      if (!terminal) return interrupted_error("chat", "the answer so far is above");
      clear_interrupt();
    }
  }
  if (terminal) std::fputs("\n", stderr);
  if (stream) return {};
  nlohmann::json messages = nlohmann::json::array();
  for (const ChatMessage& message : chat.messages()) {
    messages.push_back({{"role", message.role}, {"content", message.content}});
  }
  return print_json({{"messages", messages}, {"turns", turns}});
}

}  // namespace

void register_chat(CLI::App& app, Session& session) {
  auto options = std::make_shared<Options>();
  CLI::App* command =
      add_command(app, session, kUseGroup, "chat", "Talk with a model, line by line",
                  {"sparing chat models/smollm2.gguf", "sparing chat my-model --system 'Answer briefly.'",
                   "printf 'Hello.\\nAnd you?\\n' | sparing chat my-model --json"});
  add_model(command, options->model);
  command->add_option("--system", options->system, "System message; the template's own by default")->type_name("TEXT");
  command->add_option("--ctx", options->engine.context, "Positions to make room for; 0: the model's, at most 4096")
      ->type_name("N")
      ->check(CLI::Range(std::int64_t{0}, std::int64_t{1} << 24))
      ->capture_default_str();
  add_generate(command, options->generate);
  add_engine(command, options->engine);
  add_prefix(command, options->engine);
  on_chosen(command, session, [options, &session] { return run_chat(*options, session); });
}

}  // namespace sparing::cli
