#include <unistd.h>

#include <CLI/App.hpp>
#include <CLI/Config.hpp>
#include <CLI/Formatter.hpp>
#include <nlohmann/json.hpp>

#include "base/interrupt.h"
#include "cli/commands.h"
#include "cli/conversation.h"
#include "cli/engine_args.h"
#include "cli/generate_args.h"

namespace sparing::cli {
namespace {

struct Options {
  ModelArgs model;
  EngineArgs engine;
  GenerateArgs generate;
  std::string prompt, file;
  std::string system;
  bool prompt_given = false, special = false, echo = false, chat = false;
};

Result<std::string> prompt_of(const Options& options) {
  if (options.prompt_given && !options.file.empty()) {
    return usage_error("[run] --prompt and --file: give one of them");
  }
  if (options.prompt_given && options.prompt != "-") return options.prompt;
  if (!options.file.empty()) return read_text_argument(options.file, "run");
  if (!options.prompt_given && ::isatty(STDIN_FILENO) != 0) {
    return usage_error("[run] no prompt: give --prompt TEXT, --file FILE or text on standard input");
  }
  return read_text_argument("-", "run");
}

Status run_run(const Options& options, const Session& session) {
  catch_interrupts();
  SPARING_TRY(const std::string prompt, prompt_of(options));
  SPARING_TRY(const LoadedModel model, load_model(options.model, options.engine, session));
  std::vector<Token> tokens;
  if (options.chat) {
    SPARING_TRY(const ChatTemplate chat_template, chat_template_of(model, "run"));
    std::vector<ChatMessage> messages;
    if (!options.system.empty()) messages.push_back({"system", options.system});
    messages.push_back({"user", prompt});
    SPARING_TRY(tokens, chat_prompt(chat_template, *model.tokenizer, messages));
  } else {
    tokens = model.tokenizer->encode(prompt, true, options.special);
  }
  if (tokens.empty()) {
    return usage_error("[run] the prompt is empty and this model has no start token: give it some text");
  }
  std::vector<Token> held;
  const bool stream = !session.common.json;
  if (stream && options.echo) SPARING_CHECK_OK(print(prompt));
  SPARING_TRY(const Generation generation,
              generate(*model.engine, model.tokenizer, 0, held, tokens, options.generate.resolved(session),
                       [stream](std::string_view text) { return stream ? print(text) : Status(); }));
  if (stream) {
    SPARING_CHECK_OK(print("\n"));
    note(session, generation_line(generation));
  } else {
    nlohmann::json json = generation_json(generation);
    json["prompt"] = prompt;
    json["text"] = generation.text;
    json["seed"] = session.common.seed;
    SPARING_CHECK_OK(print_json(json));
  }
  if (generation.finish == Finish::cancelled) return interrupted_error("run", "the text so far is above");
  return {};
}

}  // namespace

void register_run(CLI::App& app, Session& session) {
  auto options = std::make_shared<Options>();
  CLI::App* command = add_command(app, session, kUseGroup, "run", "Continue a prompt, streaming the text",
                                  {"sparing run models/smollm2.gguf --prompt 'The capital of France is'",
                                   "sparing run models/smollm2.gguf --chat --prompt 'Name three rivers.'",
                                   "sparing run my-model --file prompt.txt --temperature 0.8 --top-p 0.95 --seed 7",
                                   "echo 'Once upon a time' | sparing run my-model --max-tokens 64 --json"});
  add_model(command, options->model);
  CLI::Option* prompt = command->add_option("-p,--prompt", options->prompt, "Text to continue ('-': standard input)");
  prompt->type_name("TEXT");
  command->add_option("-f,--file", options->file, "File with the text to continue")->type_name("FILE");
  CLI::Option* chat =
      command->add_flag("--chat", options->chat, "Take the prompt as a user's message, with the model's chat template");
  command->add_option("--system", options->system, "System message before it; the template's own by default")
      ->type_name("TEXT")
      ->needs(chat);
  command->add_flag("--special", options->special, "Read special tokens written in the prompt as such (<|im_start|>)");
  command->add_flag("--echo", options->echo, "Print the prompt before its continuation");
  command->add_option("--ctx", options->engine.context, "Positions to make room for; 0: the model's, at most 4096")
      ->type_name("N")
      ->check(CLI::Range(std::int64_t{0}, std::int64_t{1} << 24))
      ->capture_default_str();
  add_generate(command, options->generate);
  add_engine(command, options->engine);
  add_prefix(command, options->engine);
  on_chosen(command, session, [options, prompt, &session] {
    options->prompt_given = prompt->count() > 0;
    return run_run(*options, session);
  });
}

}  // namespace sparing::cli
