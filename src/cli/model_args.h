#pragma once
// The options that name a model, shared by the subcommands that take one.

#include <memory>
#include <string>

#include "cli/session.h"
#include "formats/checkpoint.h"

namespace sparing::cli {

struct ModelArgs {
  std::string model, tokenizer;
};
/// The MODEL argument and --tokenizer.
void add_model(CLI::App* command, ModelArgs& args, const std::string& help = "Model file, directory or org/model");
Result<std::shared_ptr<const Checkpoint>> open_model(const ModelArgs& args);

/// A file's text, or standard input for "-".
Result<std::string> read_text_argument(const std::string& path, const std::string& operation);

}  // namespace sparing::cli
