#include "plan/restructure.h"

#include <algorithm>
#include <filesystem>

#include "base/log.h"
#include "formats/sparing_writer.h"
#include "lab/math/gemm.h"
#include "plan/measurements.h"
#include "plan/original_coder.h"
#include "plan/structure_spec.h"
#include "plan/survey.h"
#include "tensor/half.h"

namespace sparing {
namespace {

namespace fs = std::filesystem;

/// What is to be done at one matrix.
struct Task {
  std::int64_t span = 1, keep = 0;  ///< inputs of a group; groups that stay
};

std::map<std::string, Task> tasks_of(const StructureSpec& spec, const ModelConfig& config) {
  std::map<std::string, Task> tasks;
  for (const LayerStructure& layer : spec.layers) {
    const std::int64_t span = inputs_per_kv_head(config, layer.layer);
    if (layer.dropped || layer.ffn >= 0) tasks[channels_site(layer.layer)] = {1, layer.dropped ? 0 : layer.ffn};
    if (layer.dropped || layer.kv_heads >= 0)
      tasks[heads_site(layer.layer)] = {span, layer.dropped ? 0 : layer.kv_heads};
  }
  return tasks;
}

CodedWeight dense_f16(std::int64_t rows, std::int64_t cols, std::span<const float> values) {
  Buffer buffer(values.size() * sizeof(std::uint16_t));
  for (std::size_t i = 0; i < values.size(); ++i) buffer.as<std::uint16_t>()[i] = f32_to_f16(values[i]);
  return dense_weight(rows, cols, DType::f16, Blob::of(std::move(buffer)));
}

/// In f16 where that holds the values exactly, else in f32.
CodedWeight dense_exact(std::int64_t rows, std::int64_t cols, std::span<const float> values) {
  if (std::ranges::all_of(values, [](float v) { return f16_to_f32(f32_to_f16(v)) == v; }))
    return dense_f16(rows, cols, values);
  Buffer buffer(values.size_bytes());
  std::ranges::copy(values, buffer.as<float>().begin());
  return dense_weight(rows, cols, DType::f32, Blob::of(std::move(buffer)));
}

class StructureCoder final : public OriginalCoder {
 public:
  StructureCoder(const StructureSpec& spec, const Method& method, Params params, const Checkpoint& source,
                 const Sensitivity& sensitivity, int threads)
      : OriginalCoder(source),
        method_(method),
        params_(std::move(params)),
        sensitivity_(sensitivity),
        pool_(threads),
        tasks_(tasks_of(spec, source.config())) {}

  bool wants_statistics(const std::string& site) const override { return tasks_.at(site).keep > 0; }
  bool wants_damage(const std::string& site) const override { return tasks_.at(site).keep > 0; }
  Status finish_block(const std::string&) override { return {}; }
  ThinnedMatrices take() { return std::move(thinned_); }

 protected:
  bool is_done(const std::string& site) const override { return !tasks_.contains(site); }

  Status look(const std::string& site, const Statistics* statistics) override {
    const Task task = tasks_.at(site);
    SPARING_TRY(const std::vector<float> weight, site_values(checkpoint_, site));
    SPARING_TRY(const CodedWeight original, checkpoint_.weight(site));
    const std::int64_t rows = original.rows, cols = original.cols;
    ThinnedMatrix& thinned = thinned_[site];
    std::vector<float> values(weight.size());
    if (task.keep > 0) {
      const std::span<const float> h = statistics->second_moment;
      SPARING_TRY(thinned.kept, kept_groups(site, task, weight, rows, h));
      // What the original's outputs would be, on its own inputs and its own stream, against the inputs there are.
      std::vector<float> inputs(h.begin(), h.end()), cross(weight.size());
      for (std::size_t i = 0; i < statistics->input_damage.size(); ++i) inputs[i] += statistics->input_damage[i];
      if (!statistics->residual_damage.empty()) std::ranges::copy(statistics->residual_damage, cross.begin());
      math::gemm<float>(rows, cols, cols, 1.0f, math::rows_of(weight.data(), cols),
                        math::rows_of(static_cast<const float*>(inputs.data()), cols), cross.data(), cols, pool_);
      std::vector<std::int32_t> kept;
      for (const std::int32_t group : thinned.kept) {
        for (std::int64_t i = 0; i < task.span; ++i) kept.push_back(static_cast<std::int32_t>(group * task.span + i));
      }
      SPARING_TRY(const std::vector<float> fitted,
                  math::fit_on_inputs(cross, rows, h, cols, kept, params_.real("damping"), pool_));
      for (std::int64_t r = 0; r < rows; ++r)
        for (std::size_t j = 0; j < kept.size(); ++j)
          values[static_cast<std::size_t>(r * cols + kept[j])] = fitted[static_cast<std::size_t>(r) * kept.size() + j];
    }
    thinned.weight = dense_f16(rows, cols, values);
    return validate(thinned.weight, true);
  }
  Result<CodedWeight> left(const std::string& site) override { return thinned_.at(site).weight; }

 private:
  Result<std::vector<std::int32_t>> kept_groups(const std::string& site, const Task& task,
                                                const std::vector<float>& weight, std::int64_t rows,
                                                std::span<const float> h) {
    StructureProblem problem{.site = site,
                             .weight = {.rows = rows,
                                        .cols = static_cast<std::int64_t>(weight.size()) / rows,
                                        .span = task.span,
                                        .weight = weight,
                                        .h = h,
                                        .row_weights = {}},
                             .threads = pool_.size()};
    problem.most = problem.weight.groups() - task.keep;
    if (const auto found = sensitivity_.outputs.find(site); found != sensitivity_.outputs.end())
      problem.weight.row_weights = found->second;
    SPARING_TRY(const math::GroupRanking ranking, method_.rank(problem, params_));
    std::vector<bool> gone(static_cast<std::size_t>(problem.weight.groups()));
    for (const std::int32_t group : ranking.order) gone[static_cast<std::size_t>(group)] = true;
    std::vector<std::int32_t> kept;
    for (std::size_t g = 0; g < gone.size(); ++g)
      if (!gone[g]) kept.push_back(static_cast<std::int32_t>(g));
    return kept;
  }

  const Method& method_;
  Params params_;
  const Sensitivity& sensitivity_;
  ThreadPool pool_;
  std::map<std::string, Task> tasks_;
  ThinnedMatrices thinned_;
};

/// Rows and columns of a matrix, or entries of a vector, that stay; empty: all.
struct Slice {
  std::vector<std::int32_t> rows, cols;
};

std::vector<std::int32_t> inputs_of(const std::vector<std::int32_t>& groups, std::int64_t span) {
  std::vector<std::int32_t> inputs;
  for (const std::int32_t group : groups)
    for (std::int64_t i = 0; i < span; ++i) inputs.push_back(static_cast<std::int32_t>(group * span + i));
  return inputs;
}

/// What stays of "attn.q" and its like in one layer.
Slice slice_of(const std::string& part, const ModelConfig& config, std::int64_t layer, const ThinnedMatrices& thinned) {
  Slice slice;
  if (const auto down = thinned.find(channels_site(layer)); down != thinned.end()) {
    if (part.starts_with("mlp.gate") || part.starts_with("mlp.up")) slice.rows = down->second.kept;
    if (part == "mlp.down") slice.cols = down->second.kept;
  }
  if (const auto o = thinned.find(heads_site(layer)); o != thinned.end()) {
    const std::int64_t query = inputs_per_kv_head(config, layer);
    const bool vector_of_heads = part == "attn.q_norm" || part == "attn.k_norm";
    if (part.starts_with("attn.q") && !vector_of_heads) slice.rows = inputs_of(o->second.kept, query);
    if ((part.starts_with("attn.k") && !vector_of_heads) || part.starts_with("attn.v"))
      slice.rows = inputs_of(o->second.kept, config.head_dim);
    if (part == "attn.o") slice.cols = inputs_of(o->second.kept, query);
  }
  return slice;
}

Result<CodedWeight> sliced(const CodedWeight& weight, const Slice& slice) {
  std::vector<float> all(static_cast<std::size_t>(weight.rows * weight.cols)), kept;
  decode_effective_rows(weight, 0, weight.rows, all.data());
  const std::int64_t rows = slice.rows.empty() ? weight.rows : static_cast<std::int64_t>(slice.rows.size()),
                     cols = slice.cols.empty() ? weight.cols : static_cast<std::int64_t>(slice.cols.size());
  kept.reserve(static_cast<std::size_t>(rows * cols));
  for (std::int64_t r = 0; r < rows; ++r) {
    const std::int64_t row = slice.rows.empty() ? r : slice.rows[static_cast<std::size_t>(r)];
    for (std::int64_t c = 0; c < cols; ++c) {
      const std::int64_t col = slice.cols.empty() ? c : slice.cols[static_cast<std::size_t>(c)];
      kept.push_back(all[static_cast<std::size_t>(row * weight.cols + col)]);
    }
  }
  return dense_exact(rows, cols, kept);
}

/// The model without what was taken out, ready to be written.
Result<SparingModel> sliced_model(const StructureSpec& spec, const Assembler& original,
                                  const ThinnedMatrices& thinned) {
  const Checkpoint& source = original.original();
  SparingModel model = original.shared();
  model.vectors.clear();
  SPARING_TRY(model.config, thinned_config(source.config(), spec.layers));
  std::vector<std::int64_t> from;  // the source's layer, by the thinned model's
  for (std::int64_t i = 0; i < static_cast<std::int64_t>(source.config().layers.size()); ++i) {
    if (std::ranges::none_of(spec.layers, [&](const LayerStructure& l) { return l.layer == i && l.dropped; }))
      from.push_back(i);
  }
  for (const TensorShape& shape : expected_tensors(model.config)) {
    std::string name = shape.name;
    Slice slice;
    const std::string prefix = block_of(name);
    if (prefix != name && prefix.starts_with("layers.")) {
      const std::string part = name.substr(prefix.size() + 1);
      const std::int64_t layer = from[std::stoul(prefix.substr(7))];
      name = "layers." + std::to_string(layer) + "." + part;
      slice = slice_of(part, source.config(), layer, thinned);
    }
    if (shape.is_vector()) {
      SPARING_TRY(const std::vector<float> all, source.vector(name));
      std::vector<float> kept;
      for (const std::int32_t i : slice.rows) kept.push_back(all[static_cast<std::size_t>(i)]);
      model.vectors.emplace_back(shape.name, slice.rows.empty() ? all : std::move(kept));
      continue;
    }
    const auto changed = thinned.find(name);
    SPARING_TRY(CodedWeight weight, changed != thinned.end() ? changed->second.weight : source.weight(name));
    if (!slice.rows.empty() || !slice.cols.empty()) {
      SPARING_TRY(weight, sliced(weight, slice));
      source.forget(name);
    }
    model.weights.emplace_back(shape.name, std::move(weight));
  }
  return model;
}

}  // namespace

CodedWeight zero_matrix(std::int64_t rows, std::int64_t cols) {
  return dense_f16(rows, cols, std::vector<float>(static_cast<std::size_t>(rows * cols)));
}

std::string channels_site(std::int64_t layer) {
  return "layers." + std::to_string(layer) + ".mlp.down";
}

std::string heads_site(std::int64_t layer) {
  return "layers." + std::to_string(layer) + ".attn.o";
}

std::int64_t inputs_per_kv_head(const ModelConfig& config, std::int64_t layer) {
  const LayerConfig& shape = config.layers[static_cast<std::size_t>(layer)];
  return static_cast<std::int64_t>(shape.heads / shape.kv_heads) * config.head_dim;
}

Result<ThinnedMatrices> take_out(const StructureSpec& spec, const Checkpoint& source,
                                 const std::vector<std::vector<Token>>& sequences, const Sensitivity& sensitivity,
                                 const ExecuteOptions& options) {
  SPARING_TRY(const Method* method, find_method(spec.method));
  if (method->rank == nullptr) return usage_error("[structure] " + spec.method + " does not rank what could go");
  SPARING_TRY(Params params, Params::make(*method, spec.params));
  StructureCoder coder(spec, *method, std::move(params), source, sensitivity, options.threads);
  SPARING_CHECK_OK(options.calibrate(source, sequences, calibration_options(options, source), coder));
  return coder.take();
}

Result<std::shared_ptr<const Checkpoint>> restructured(const StructureSpec& spec, const Assembler& original,
                                                       std::uint64_t seed, Journal& journal,
                                                       const ExecuteOptions& options) {
  const Checkpoint& source = original.original();
  SPARING_CHECK_OK(thinned_config(source.config(), spec.layers));
  if (!options.calibrate || !options.sensitivity)
    return usage_error("[structure] this program cannot calibrate: use sparing-lab");
  const nlohmann::ordered_json asked = {
      {"model", original.model_hash()}, {"seed", seed}, {"structure", structure_recipe(spec)}};
  const fs::path folder = journal.folder() / ("structure-" + short_hash(asked.dump()));
  std::error_code ignored;
  if (fs::exists(folder, ignored)) {
    if (auto kept = open_checkpoint(folder.string()); kept.ok()) return kept;
    log_warning("[structure] " + folder.string() + " is damaged: it is made again");
    fs::remove_all(folder, ignored);
  }
  log_info("[structure] taking out what the plan leaves out");
  SPARING_TRY(const CalibrationTokens text, calibration_tokens(spec.text, original.original_ptr(),
                                                               original.model_hash(), seed, options.threads, &journal));
  const auto some = some_of(text.sequences, kStructureTokens);
  const nlohmann::ordered_json looked = {
      {"model", original.model_hash()}, {"seed", seed}, {"text", structure_recipe({"", {}, spec.text, {}})}};
  SPARING_TRY(const Sensitivity sensitivity,
              noted_sensitivity(source, some_of(text.sequences, kStructureTokens / 2), seed,
                                "structure-sensitivity-" + short_hash(looked.dump()), journal, options));
  SPARING_TRY(const ThinnedMatrices thinned, take_out(spec, source, some, sensitivity, options));
  SPARING_TRY(const SparingModel model, sliced_model(spec, original, thinned));
  SPARING_CHECK_OK(write_sparing_directory(model, folder));
  return open_checkpoint(folder.string());
}

Result<Assembler> assembler_for(const std::optional<StructureSpec>& structure, const Assembler& original,
                                std::uint64_t seed, Journal& journal, const ExecuteOptions& options) {
  if (!structure) return original;
  SPARING_TRY(auto checkpoint, restructured(*structure, original, seed, journal, options));
  return Assembler::create(std::move(checkpoint), original.model_hash(), original.original_ptr());
}

}  // namespace sparing
