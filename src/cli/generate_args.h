#pragma once
// Options of sampling and generation, shared by run and chat.

#include "cli/session.h"
#include "runtime/generate.h"

namespace sparing::cli {

struct GenerateArgs {
  GenerateOptions options;
  std::string draft = "none";
  std::int64_t draft_tokens = 8;
  /// The options with --draft and --seed resolved.
  GenerateOptions resolved(const Session& session) const;
};
void add_generate(CLI::App* command, GenerateArgs& args);

/// {"finish": ..., "prompt_tokens": ..., "tokens": ..., rates, ...} without the text.
nlohmann::json generation_json(const Generation& generation);
/// "12 prompt tokens at 900/s, 64 tokens at 120/s, first after 20 ms"
std::string generation_line(const Generation& generation);

}  // namespace sparing::cli
