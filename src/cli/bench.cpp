#include <CLI/App.hpp>
#include <CLI/Config.hpp>
#include <CLI/Formatter.hpp>
#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/interrupt.h"
#include "base/system.h"
#include "base/units.h"
#include "cli/commands.h"
#include "cli/engine_args.h"
#include "cli/table.h"
#include "eval/roofline.h"
#include "eval/speed.h"

namespace sparing::cli {
namespace {

struct Options {
  ModelArgs model;
  EngineArgs engine;
  std::vector<std::int64_t> prompts{512}, batches{1};
  std::int64_t decode = 64, rounds = 3;
};

/// Multiplies and adds for a prompt of `n` tokens from an empty cache: every matrix once a token, the head once,
/// attention over what is visible.
double prompt_operations(const Checkpoint& checkpoint, std::int64_t n) {
  const ModelConfig& config = checkpoint.config();
  const auto tokens = static_cast<double>(n);
  double operations = 2.0 * config.hidden * config.vocab;
  for (const TensorEntry& tensor : checkpoint.tensors()) {
    const TensorShape& shape = tensor.shape;
    if (shape.is_vector() || shape.name == "embed" || shape.name == "head") continue;
    operations += 2.0 * static_cast<double>(shape.rows) * static_cast<double>(shape.cols) * tokens;
  }
  const double window = config.sliding_window > 0 ? std::min<double>(config.sliding_window, tokens) : tokens;
  const double pairs = window * (window + 1) / 2 + (tokens - window) * window;
  for (const LayerConfig& layer : config.layers) operations += 4.0 * layer.heads * config.head_dim * pairs;
  return operations;
}

struct Row {
  std::int64_t prompt = 0, batch = 0;
  double prompt_rate = 0, decode_rate = 0, first_token_ms = 0, compute_share = 0, bandwidth_share = 0;
};

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  const std::size_t n = values.size();
  return n % 2 == 1 ? values[n / 2] : (values[n / 2 - 1] + values[n / 2]) / 2;
}

Result<Row> measure(const LoadedModel& model, const Options& options, const Roofline& roofline, std::int64_t prompt,
                    std::int64_t batch, std::uint64_t seed) {
  Engine& engine = *model.engine;
  std::vector<double> prompt_rates, decode_rates, firsts;
  for (std::int64_t round = 0; round < options.rounds; ++round) {
    const auto tokens = arbitrary_tokens(prompt, engine.config().vocab, seed + static_cast<std::uint64_t>(round));
    SPARING_TRY(const Speed speed, measure_speed(engine, tokens, options.decode, static_cast<std::int32_t>(batch)));
    prompt_rates.push_back(speed.prompt_rate());
    decode_rates.push_back(speed.decode_rate());
    firsts.push_back(1000 * speed.prompt_seconds);
  }
  Row row;
  row.prompt = prompt;
  row.batch = batch;
  row.prompt_rate = median(prompt_rates);
  row.decode_rate = median(decode_rates);
  row.first_token_ms = median(firsts);
  const double seconds = row.first_token_ms / 1000;
  if (seconds > 0 && roofline.int8_ops > 0) {
    row.compute_share = prompt_operations(*model.checkpoint, prompt) / seconds / roofline.int8_ops;
  }
  if (roofline.read_bandwidth > 0) {
    // The weights are read once for all sequences of a pass.
    row.bandwidth_share = row.decode_rate / static_cast<double>(batch) * static_cast<double>(engine.bytes_per_token()) /
                          roofline.read_bandwidth;
  }
  return row;
}

nlohmann::json row_json(const Row& row) {
  return {{"prompt", row.prompt},
          {"batch", row.batch},
          {"prompt_tokens_per_s", row.prompt_rate},
          {"decode_tokens_per_s", row.decode_rate},
          {"first_token_ms", row.first_token_ms},
          {"compute_share", row.compute_share},
          {"bandwidth_share", row.bandwidth_share}};
}

Status run_bench(const Options& options, const Session& session) {
  catch_interrupts();
  const std::int64_t longest = *std::max_element(options.prompts.begin(), options.prompts.end());
  const std::int64_t widest = *std::max_element(options.batches.begin(), options.batches.end());
  // The limits first: what they are measured with must not count as the model's memory.
  const Roofline roofline = [&] {
    ThreadPool pool(session.common.threads);
    return measure_roofline(pool);
  }();
  const bool from_here = restart_peak_resident();
  SPARING_TRY(const LoadedModel model, load_model(options.model, options.engine, session, longest + options.decode + 1,
                                                  static_cast<std::int32_t>(widest)));
  Engine& engine = *model.engine;
  // Untimed: moves and touches the weights and wakes the threads.
  engine.settle();
  SPARING_CHECK_OK(
      measure_speed(engine, arbitrary_tokens(std::min<std::int64_t>(longest, 16), engine.config().vocab), 2));
  std::vector<Row> rows;
  for (const std::int64_t batch : options.batches) {
    for (const std::int64_t prompt : options.prompts) {
      SPARING_TRY(const Row row, measure(model, options, roofline, prompt, batch, session.common.seed));
      rows.push_back(row);
    }
  }

  const std::string isa(kernels::name_of(kernels::chosen_isa()));
  const std::uint64_t resident = from_here ? peak_resident_bytes() : resident_bytes();
  if (session.common.json) {
    nlohmann::json json = row_json(rows.front());
    json.erase("prompt");
    json.erase("batch");
    json.update({
        {"model", model.checkpoint->path().string()},
        {"bytes", model.checkpoint->total_bytes()},
        {"resident_bytes", resident},
        {"weight_bytes", engine.weight_bytes()},
        {"kv_bytes", engine.kv_bytes()},
        {"bytes_per_token", engine.bytes_per_token()},
        {"isa", isa},
        {"cpu", cpu_model_name()},
        {"threads", engine.pool().size()},
        {"decode", options.decode},
        {"rounds", options.rounds},
        {"roofline",
         {{"read_bytes_per_s", roofline.read_bandwidth},
          {"int8_ops_per_s", roofline.int8_ops},
          {"int8_unit", roofline.int8_unit},
          {"f32_ops_per_s", roofline.f32_ops},
          {"f32_unit", roofline.f32_unit}}},
    });
    for (const Row& row : rows) json["runs"].push_back(row_json(row));
    return print_json(json);
  }
  std::string out = model.checkpoint->path().string() + ", " + format_bytes(model.checkpoint->total_bytes()) + " on " +
                    cpu_model_name() + ", " + std::to_string(engine.pool().size()) + " threads, " + isa + "\n";
  out += "limits: read " + fixed(roofline.read_bandwidth / 1e9, 1) + " GB/s, int8 (" + roofline.int8_unit + ") " +
         fixed(roofline.int8_ops / 1e9, 0) + " Gop/s, f32 (" + roofline.f32_unit + ") " +
         fixed(roofline.f32_ops / 1e9, 0) + " Gop/s\n";
  out += "resident " + format_bytes(resident) + (from_here ? " at most" : "") + ": weights " +
         format_bytes(engine.weight_bytes()) + ", KV " + format_bytes(engine.kv_bytes()) + "; " +
         format_bytes(engine.bytes_per_token()) + " read per decoded token\n\n";
  Table table(
      {">prompt", ">batch", ">prompt tok/s", ">of int8 limit", ">first token", ">decode tok/s", ">of read limit"});
  for (const Row& row : rows) {
    table.row({std::to_string(row.prompt), std::to_string(row.batch), fixed(row.prompt_rate, 0),
               fixed(100 * row.compute_share, 1) + " %", fixed(row.first_token_ms, 1) + " ms",
               options.decode > 0 ? fixed(row.decode_rate, 1) : "-",
               options.decode > 0 ? fixed(100 * row.bandwidth_share, 1) + " %" : "-"});
  }
  return print(out + table.text());
}

}  // namespace

void register_bench(CLI::App& app, Session& session) {
  auto options = std::make_shared<Options>();
  CLI::App* command =
      add_command(app, session, kUseGroup, "bench", "Measure speed and memory, beside the limits of this machine",
                  {"sparing bench my-model --prompt 512 --decode 64 --threads 2",
                   "sparing bench my-model --prompt 32,128,512 --batch 1,8 --json"});
  command->footer(
      command->get_footer() +
      "\n\nResident memory is the process's peak from the opening of the model to the last token: everything,\n"
      "pages of mapped files included. What the limits are measured with, before, does not count.");
  add_model(command, options->model);
  command->add_option("--prompt", options->prompts, "Prompt lengths, in tokens")
      ->type_name("N,...")
      ->delimiter(',')
      ->allow_extra_args(false)
      ->check(CLI::Range(std::int64_t{1}, std::int64_t{1} << 20))
      ->default_str("512");
  command->add_option("--decode", options->decode, "Tokens to decode after each prompt")
      ->type_name("N")
      ->check(CLI::Range(std::int64_t{0}, std::int64_t{1} << 20))
      ->capture_default_str();
  command->add_option("--batch", options->batches, "Sequences decoded together")
      ->type_name("N,...")
      ->delimiter(',')
      ->allow_extra_args(false)
      ->check(CLI::Range(std::int64_t{1}, std::int64_t{256}))
      ->default_str("1");
  command->add_option("--rounds", options->rounds, "Times that each is measured; medians are given")
      ->type_name("N")
      ->check(CLI::Range(std::int64_t{1}, std::int64_t{1000}))
      ->capture_default_str();
  add_engine(command, options->engine);
  add_prefix(command, options->engine);
  on_chosen(command, session, [options, &session] { return run_bench(*options, session); });
}

}  // namespace sparing::cli
