#include "cli/model_args.h"

#include <unistd.h>

#include <CLI/App.hpp>
#include <CLI/Config.hpp>
#include <CLI/Formatter.hpp>
#include <cerrno>
#include <cstring>

#include "base/atomic_file.h"
#include "base/interrupt.h"

namespace sparing::cli {

void add_model(CLI::App* command, ModelArgs& args, const std::string& help) {
  command->add_option("MODEL", args.model, help)->required();
  command->add_option("--tokenizer", args.tokenizer, "Tokenizer file or directory, when not the model's own")
      ->type_name("PATH");
}

Result<std::shared_ptr<const Checkpoint>> open_model(const ModelArgs& args) {
  OpenOptions options;
  options.tokenizer = args.tokenizer;
  return open_checkpoint(args.model, options);
}

Result<std::shared_ptr<const Tokenizer>> load_tokenizer(const Checkpoint& checkpoint, const std::string& operation) {
  if (std::holds_alternative<std::monostate>(checkpoint.tokenizer())) return std::shared_ptr<const Tokenizer>();
  SPARING_TRY(std::shared_ptr<const Tokenizer> tokenizer, Tokenizer::load(checkpoint.tokenizer()));
  if (tokenizer->vocab_size() > checkpoint.config().vocab) {
    return input_error("[" + operation + "] " + checkpoint.path().string() + ": the tokenizer has " +
                       std::to_string(tokenizer->vocab_size()) + " tokens, the model " +
                       std::to_string(checkpoint.config().vocab) +
                       ": it is another model's, give the model's own with --tokenizer");
  }
  return tokenizer;
}

Result<std::string> read_text_argument(const std::string& path, const std::string& operation) {
  if (path != "-") return read_text_file(path);
  constexpr std::size_t kMost = std::size_t{1} << 31;
  std::string text;
  char part[1 << 16];
  for (;;) {
    const ssize_t got = ::read(STDIN_FILENO, part, sizeof part);
    if (got == 0) return text;
    if (got < 0) {
      if (errno == EINTR && !interrupted()) continue;
      if (errno == EINTR) return interrupted_error(operation);
      return input_error("[" + operation + "] standard input: " + std::strerror(errno));
    }
    text.append(part, static_cast<std::size_t>(got));
    if (text.size() > kMost) return input_error("[" + operation + "] standard input: more than 2 GiB of text");
  }
}

}  // namespace sparing::cli
