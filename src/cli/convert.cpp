#include <CLI/App.hpp>
#include <CLI/Config.hpp>
#include <CLI/Formatter.hpp>
#include <map>
#include <nlohmann/json.hpp>

#include "base/interrupt.h"
#include "base/progress.h"
#include "base/units.h"
#include "cli/commands.h"
#include "cli/model_args.h"
#include "cli/table.h"
#include "formats/export.h"
#include "formats/sparing_writer.h"
#include "formats/staging.h"
#include "tensor/half.h"
#include "text/gguf_export.h"
#include "text/tokenizer.h"

namespace sparing::cli {
namespace {

struct Options {
  ModelArgs model;
  std::string to, dtype, out;
  double max_error = 0.01;
};

constexpr const char* kToHf = "hf";
constexpr const char* kToGguf = "gguf";
constexpr const char* kToSparing = "sparing";
constexpr const char* kToGptq = "gptq";
constexpr const char* kToCompressed = "compressed-tensors";

const std::map<std::string, GgmlType> kGgufTypes = {
    {"f32", GgmlType::f32},   {"f16", GgmlType::f16},   {"bf16", GgmlType::bf16}, {"q4_0", GgmlType::q4_0},
    {"q4_1", GgmlType::q4_1}, {"q5_0", GgmlType::q5_0}, {"q5_1", GgmlType::q5_1}, {"q8_0", GgmlType::q8_0}};

Result<std::string> target_of(const Options& options) {
  if (!options.to.empty()) return options.to;
  if (options.out.ends_with(".gguf")) return std::string(kToGguf);
  return usage_error("[convert] --out " + options.out +
                     ": say --to hf, gptq, compressed-tensors, gguf or sparing (only .gguf says it by itself)");
}

Status to_hf(const Checkpoint& checkpoint, const Options& options, std::optional<HfPacking> packing,
             const ExportProgress& progress) {
  HfExport hf;
  hf.packing = packing;
  hf.progress = progress;
  hf.dtype = options.dtype == "f32" ? DType::f32 : options.dtype == "bf16" ? DType::bf16 : DType::f16;
  SPARING_TRY(const auto tokenizer, load_tokenizer(checkpoint, "convert"));
  if (tokenizer != nullptr) {
    SPARING_TRY(hf.tokenizer_json, tokenizer->to_tokenizer_json());
    const ModelConfig& config = checkpoint.config();
    const auto text = [&](Token id) { return id >= 0 ? tokenizer->token_text(id) : std::string(); };
    hf.bos_token = text(tokenizer->bos() >= 0 ? tokenizer->bos() : config.bos);
    hf.eos_token = text(tokenizer->eos() >= 0 ? tokenizer->eos() : config.eos.empty() ? -1 : config.eos.front());
    hf.pad_token = text(config.pad);
  }
  return export_hf(checkpoint, options.out, hf);
}

Status to_gguf(const Checkpoint& checkpoint, const Options& options, const ExportProgress& progress,
               std::vector<GgufTensorReport>& report) {
  GgufExport gguf;
  gguf.progress = progress;
  gguf.report = &report;
  gguf.max_error = options.max_error;
  if (!options.dtype.empty()) gguf.type = kGgufTypes.at(options.dtype);
  // A GGUF's own vocabulary is passed on as it is.
  GgufVocab vocab;
  if (!std::holds_alternative<GgufVocab>(checkpoint.tokenizer())) {
    SPARING_TRY(const auto tokenizer, load_tokenizer(checkpoint, "convert"));
    if (tokenizer != nullptr) {
      SPARING_TRY(vocab, to_gguf_vocab(*tokenizer));
      gguf.vocab = &vocab;
    }
  }
  return export_gguf(checkpoint, options.out, gguf);
}

/// How many tensors of each type are exact, and those that are not.
std::string loss_text(const std::vector<GgufTensorReport>& report) {
  std::map<std::string, int> exact;
  Table rounded({"tensor", "type", ">relative error"});
  int rounded_count = 0;
  GgufTensorReport all;
  for (const GgufTensorReport& tensor : report) {
    const std::string type(ggml_type_name(static_cast<std::uint32_t>(tensor.type)));
    all.error += tensor.error;
    all.size += tensor.size;
    if (tensor.exact) {
      ++exact[type];
      continue;
    }
    ++rounded_count;
    rounded.row({tensor.tensor, type, fixed(100 * tensor.relative_error(), 3) + " %"});
  }
  std::string out;
  for (const auto& [type, count] : exact) out += (out.empty() ? "exact: " : ", ") + std::to_string(count) + " " + type;
  if (!out.empty()) out += "\n";
  if (rounded_count == 0) return out;
  rounded.row({"all", "", fixed(100 * all.relative_error(), 3) + " %"});
  return out + "rounded: " + std::to_string(rounded_count) + " tensors\n" + rounded.text();
}

nlohmann::json loss_json(const std::vector<GgufTensorReport>& report) {
  nlohmann::json list = nlohmann::json::array();
  for (const GgufTensorReport& tensor : report) {
    list.push_back({{"tensor", tensor.tensor},
                    {"type", ggml_type_name(static_cast<std::uint32_t>(tensor.type))},
                    {"exact", tensor.exact},
                    {"relative_error", tensor.relative_error()}});
  }
  return list;
}

/// The same weight as row-major floats.
Result<CodedWeight> as_dense(const CodedWeight& weight, DType dtype, const std::string& name) {
  const auto rows = static_cast<std::size_t>(weight.rows), cols = static_cast<std::size_t>(weight.cols);
  Buffer buffer(rows * cols * size_of(dtype));
  std::vector<float> row(cols);
  for (std::size_t r = 0; r < rows; ++r) {
    decode_effective_rows(weight, static_cast<std::int64_t>(r), 1, row.data());
    for (std::size_t c = 0; c < cols; ++c) {
      const std::size_t at = r * cols + c;
      if (dtype == DType::f32) {
        buffer.as<float>()[at] = row[c];
      } else if (dtype == DType::bf16) {
        buffer.as<std::uint16_t>()[at] = f32_to_bf16(row[c]);
      } else {
        const std::uint16_t half = f32_to_f16(row[c]);
        if ((half & 0x7FFF) == 0x7C00) {
          return usage_error("[convert] " + name + " holds " + std::to_string(row[c]) +
                             ", beyond f16: use --dtype bf16 or f32");
        }
        buffer.as<std::uint16_t>()[at] = half;
      }
    }
  }
  return dense_weight(weight.rows, weight.cols, dtype, Blob::of(std::move(buffer)));
}

Status to_sparing(const Checkpoint& checkpoint, const Options& options, const ExportProgress& progress) {
  SparingModel model;
  model.config = checkpoint.config();
  model.carried = checkpoint.carried();
  SPARING_TRY(const auto tokenizer, load_tokenizer(checkpoint, "convert"));
  if (tokenizer != nullptr) model.compact_tokenizer = tokenizer->to_compact();
  SPARING_TRY(const std::string hash, checkpoint_hash(checkpoint));
  model.provenance_json = nlohmann::ordered_json{{"tool", "sparing " SPARING_VERSION}, {"source", hash}}.dump();
  for (const TensorEntry& tensor : checkpoint.tensors()) {
    if (interrupted()) return interrupted_error("convert");
    const std::string& name = tensor.shape.name;
    if (tensor.shape.is_vector()) {
      SPARING_TRY(auto values, checkpoint.vector(name));
      model.vectors.emplace_back(name, std::move(values));
    } else {
      SPARING_TRY(CodedWeight weight, checkpoint.weight(name));
      if (!options.dtype.empty()) {
        const DType dtype = options.dtype == "f32" ? DType::f32 : options.dtype == "bf16" ? DType::bf16 : DType::f16;
        SPARING_TRY(weight, as_dense(weight, dtype, name));
      }
      model.weights.emplace_back(name, std::move(weight));
    }
    progress(name);
  }
  return write_sparing_directory(model, options.out);
}

Status run_convert(const Options& options, const Session& session) {
  catch_interrupts();
  SPARING_TRY(const std::string to, target_of(options));
  if (options.dtype.starts_with("q") && to != kToGguf) {
    return usage_error("[convert] --dtype " + options.dtype + ": GGUF only; --to " + to + " takes f16, bf16 or f32");
  }
  if (!(options.max_error >= 0)) {
    return usage_error("[convert] --max-error " + std::to_string(options.max_error) + ": 0 or more, 0.01 is 1 %");
  }
  SPARING_CHECK_OK(refuse_existing(options.out));
  SPARING_TRY(const auto checkpoint, open_model(options.model));
  Progress progress("convert", static_cast<std::int64_t>(checkpoint->tensors().size()), "tensors");
  const auto advance = [&](const std::string& name) { progress.advance(1, name); };
  std::vector<GgufTensorReport> report;
  SPARING_CHECK_OK(to == kToHf           ? to_hf(*checkpoint, options, {}, advance)
                   : to == kToGptq       ? to_hf(*checkpoint, options, HfPacking::gptq, advance)
                   : to == kToCompressed ? to_hf(*checkpoint, options, HfPacking::compressed, advance)
                   : to == kToGguf       ? to_gguf(*checkpoint, options, advance, report)
                                         : to_sparing(*checkpoint, options, advance));
  progress.finish();
  ModelArgs written;
  written.model = options.out;
  SPARING_TRY(const auto made, open_model(written));
  if (session.common.json) {
    nlohmann::json json = {{"out", options.out},
                           {"format", name_of(made->format())},
                           {"bytes", made->total_bytes()},
                           {"source", checkpoint->path().string()},
                           {"source_bytes", checkpoint->total_bytes()}};
    if (to == kToGguf) json["tensors"] = loss_json(report);
    return print_json(json);
  }
  return print(options.out + ": " + std::string(name_of(made->format())) + ", " + format_bytes(made->total_bytes()) +
               " (from " + format_bytes(checkpoint->total_bytes()) + ")\n" + loss_text(report));
}

}  // namespace

void register_convert(CLI::App& app, Session& session) {
  auto options = std::make_shared<Options>();
  CLI::App* command = add_command(app, session, kChangeGroup, "convert",
                                  "Write a model in another format, for other tools or for Sparing",
                                  {"sparing convert my-model --to gguf --out my-model.gguf",
                                   "sparing convert my-model --to gguf --dtype f16 --out my-model-f16.gguf",
                                   "sparing convert models/smollm2.gguf --to hf --dtype bf16 --out smollm2-hf",
                                   "sparing convert small --to compressed-tensors --out small-vllm",
                                   "sparing convert models/smollm2.gguf --to sparing --out smollm2-sparing"});
  add_model(command, options->model);
  command
      ->add_option("--to", options->to,
                   "hf (safetensors directory of floats); gptq or compressed-tensors (one too, its linear weights' "
                   "integer codes "
                   "packed as they are); gguf; or sparing (weights as they are coded)")
      ->type_name("FORMAT")
      ->check(CLI::IsMember({kToHf, kToGptq, kToCompressed, kToGguf, kToSparing}));
  command
      ->add_option("--dtype", options->dtype,
                   "f16, bf16, f32, or for GGUF also q4_0, q4_1, q5_0, q5_1, q8_0: every matrix is rounded to it. "
                   "Default for hf: f16; for gguf and sparing: as coded, each matrix in the type that holds it exactly")
      ->type_name("TYPE")
      ->check(CLI::IsMember(kGgufTypes));
  command
      ->add_option(
          "--max-error", options->max_error,
          "GGUF without --dtype: a matrix that no type holds exactly takes the smallest whose relative error is "
          "at most this")
      ->type_name("R")
      ->capture_default_str();
  command->add_option("--out", options->out, "New file or directory")->type_name("PATH")->required();
  on_chosen(command, session, [options, &session] { return run_convert(*options, session); });
}

}  // namespace sparing::cli
