#include "cli/generate_args.h"

#include <CLI/App.hpp>
#include <CLI/Config.hpp>
#include <CLI/Formatter.hpp>
#include <nlohmann/json.hpp>

#include "cli/table.h"

namespace sparing::cli {

GenerateOptions GenerateArgs::resolved(const Session& session) const {
  GenerateOptions resolved = options;
  resolved.sampling.seed = session.common.seed;
  resolved.draft = draft == "lookup" ? draft_tokens : 0;
  return resolved;
}

void add_generate(CLI::App* command, GenerateArgs& args) {
  GenerateOptions& options = args.options;
  command->add_option("--max-tokens", options.max_tokens, "Most tokens to generate")
      ->type_name("N")
      ->check(CLI::Range(std::int64_t{0}, std::int64_t{1} << 31))
      ->capture_default_str();
  command->add_option("--stop", options.stop, "End before this text (may be given several times)")
      ->type_name("TEXT")
      ->expected(1)
      ->take_all()
      ->allow_extra_args(false);
  command->add_flag("--ignore-end", options.ignore_end, "Go on past the model's end tokens");
  const std::string group = "Sampling";
  command->add_option("--temperature", options.sampling.temperature, "0 always takes the likeliest token")
      ->type_name("T")
      ->check(CLI::Range(0.0, 100.0))
      ->capture_default_str()
      ->group(group);
  command->add_option("--top-k", options.sampling.top_k, "Only the K likeliest tokens; 0: all")
      ->type_name("K")
      ->check(CLI::Range(0, 1 << 30))
      ->capture_default_str()
      ->group(group);
  command->add_option("--top-p", options.sampling.top_p, "Only the likeliest tokens that together reach P")
      ->type_name("P")
      ->check(CLI::Range(0.0, 1.0))
      ->capture_default_str()
      ->group(group);
  command->add_option("--min-p", options.sampling.min_p, "Only tokens at least P times as likely as the likeliest")
      ->type_name("P")
      ->check(CLI::Range(0.0, 1.0))
      ->capture_default_str()
      ->group(group);
  command
      ->add_option("--draft", args.draft,
                   "Guess ahead by 'lookup' of the text in itself: faster where it repeats, same output; or none")
      ->type_name("HOW")
      ->check(CLI::IsMember({"none", "lookup"}))
      ->capture_default_str();
  command->add_option("--draft-tokens", args.draft_tokens, "Most tokens guessed at once")
      ->type_name("N")
      ->check(CLI::Range(1, 64))
      ->capture_default_str();
}

nlohmann::json generation_json(const Generation& g) {
  return {
      {"finish", name_of(g.finish)},
      {"prompt_tokens", g.prompt_tokens},
      {"reused_tokens", g.reused_tokens},
      {"tokens", g.tokens.size()},
      {"prompt_tokens_per_s", g.prompt_rate()},
      {"decode_tokens_per_s", g.decode_rate()},
      {"first_token_ms", 1000 * g.first_token_seconds},
      {"drafted_tokens", g.drafted},
      {"accepted_tokens", g.accepted},
  };
}

std::string generation_line(const Generation& g) {
  std::string line = std::to_string(g.prompt_tokens) + " prompt tokens";
  if (g.reused_tokens > 0) line += " (" + std::to_string(g.reused_tokens) + " reused)";
  line += " at " + fixed(g.prompt_rate(), 0) + "/s, " + std::to_string(g.tokens.size()) + " tokens at " +
          fixed(g.decode_rate(), 1) + "/s, first after " + fixed(1000 * g.first_token_seconds, 0) + " ms";
  if (g.drafted > 0) line += ", " + std::to_string(g.accepted) + " of " + std::to_string(g.drafted) + " guesses right";
  return line + "; " + std::string(name_of(g.finish));
}

}  // namespace sparing::cli
