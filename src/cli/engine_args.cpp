#include "cli/engine_args.h"

#include <CLI/App.hpp>
#include <CLI/Config.hpp>
#include <CLI/Formatter.hpp>
#include <future>

#include "base/units.h"
#include "formats/prefix.h"

namespace sparing::cli {

void add_engine(CLI::App* command, EngineArgs& args) {
  const std::string group = "Engine";
  command->add_option("--batch-tokens", args.batch, "Most tokens in one pass over a prompt")
      ->type_name("N")
      ->check(CLI::Range(1, 65536))
      ->capture_default_str()
      ->group(group);
  command->add_option("--kv", args.kv, "Type of the key-value cache: f32, f16, int16, int8 or int4")
      ->type_name("TYPE")
      ->check(CLI::IsMember({"f32", "f16", "int16", "int8", "int4"}))
      ->capture_default_str()
      ->group(group);
  command
      ->add_option("--precision", args.precision,
                   "Activations that integer codes are multiplied with: 'declared' by the model's graph (16 bits where "
                   "8 cost too much), or int8, int16 or f32 for all")
      ->type_name("P")
      ->check(CLI::IsMember({"declared", "int8", "int16", "f32"}))
      ->capture_default_str()
      ->group(group);
  command->add_option("--isa", args.isa, "Instruction set instead of the best: reference, avx2, avx512_vnni, ...")
      ->type_name("NAME")
      ->group(group);
}

void add_prefix(CLI::App* command, EngineArgs& args) {
  command
      ->add_option("--bytes", args.bytes,
                   "Of a stack of blocks (compress --method bitstack) load as many as fit in this")
      ->type_name("SIZE")
      ->group("Engine");
}

EngineOptions engine_options(const EngineArgs& args, const Session& session) {
  EngineOptions options;
  options.threads = session.common.threads;
  options.context = args.context;
  options.batch = args.batch;
  options.kv = find_kv_type(args.kv).value_or(kDefaultKv);
  if (args.precision == "int8") options.precision = kernels::Precision::int8;
  if (args.precision == "int16") options.precision = kernels::Precision::int16;
  if (args.precision == "f32") options.precision = kernels::Precision::f32;
  return options;
}

Result<LoadedModel> load_model(const ModelArgs& args, const EngineArgs& engine, const Session& session,
                               std::int64_t positions, std::int32_t sequences) {
  if (!engine.isa.empty()) SPARING_CHECK_OK(kernels::choose_isa(engine.isa));
  LoadedModel loaded;
  SPARING_TRY(loaded.checkpoint, open_model(args));
  if (!engine.bytes.empty()) {
    SPARING_TRY(const std::uint64_t bytes, parse_bytes(engine.bytes));
    SPARING_TRY(loaded.checkpoint, prefix_of(std::move(loaded.checkpoint), bytes));
  }
  // Beside the weights: its tables take one thread a third of a small model's start.
  auto tokenizer = std::async(std::launch::async, [&] { return Tokenizer::load(loaded.checkpoint->tokenizer()); });
  EngineOptions options = engine_options(engine, session);
  if (engine.context <= 0) options.context = positions;
  options.sequences = sequences;
  auto started = Engine::load(loaded.checkpoint, options);
  SPARING_TRY(loaded.tokenizer, tokenizer.get());
  SPARING_TRY(loaded.engine, std::move(started));
  return loaded;
}

}  // namespace sparing::cli
