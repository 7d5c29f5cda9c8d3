#pragma once
// The options that name a model, shared by the subcommands that take one.

#include <memory>
#include <string>

#include "cli/session.h"
#include "formats/checkpoint.h"
#include "text/tokenizer.h"

namespace sparing::cli {

struct ModelArgs {
  std::string model, tokenizer;
};
/// The MODEL argument and --tokenizer.
void add_model(CLI::App* command, ModelArgs& args, const std::string& help = "Model file, directory or org/model");
Result<std::shared_ptr<const Checkpoint>> open_model(const ModelArgs& args);
/// The model's tokenizer, or null where it has none. Refuses one of another model: with more tokens than the embedding.
Result<std::shared_ptr<const Tokenizer>> load_tokenizer(const Checkpoint& checkpoint, const std::string& operation);

/// A file's text, or standard input for "-".
Result<std::string> read_text_argument(const std::string& path, const std::string& operation);

}  // namespace sparing::cli
