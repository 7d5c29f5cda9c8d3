#pragma once
// The options of the inference engine, shared by the subcommands that run a model.

#include <memory>
#include <string>

#include "cli/model_args.h"
#include "runtime/engine.h"
#include "text/tokenizer.h"

namespace sparing::cli {

struct EngineArgs {
  std::int64_t context = 0, batch = 512;
  std::string kv = "int16", precision = "declared", isa, bytes;
};
/// --batch-tokens, --kv, --precision, --isa in the group "Engine".
void add_engine(CLI::App* command, EngineArgs& args);

/// --bytes, for what runs one model.
void add_prefix(CLI::App* command, EngineArgs& args);

/// What the options ask of the engine; the context is EngineArgs'.
EngineOptions engine_options(const EngineArgs& args, const Session& session);

/// A model opened, with its tokenizer and engine.
struct LoadedModel {
  std::shared_ptr<const Checkpoint> checkpoint;
  std::shared_ptr<const Tokenizer> tokenizer;
  std::unique_ptr<Engine> engine;
};
/// `positions`: the context wanted; 0 leaves it to EngineArgs or the default.
Result<LoadedModel> load_model(const ModelArgs& args, const EngineArgs& engine, const Session& session,
                               std::int64_t positions = 0, std::int32_t sequences = 1);

}  // namespace sparing::cli
