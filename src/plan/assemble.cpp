#include "plan/assemble.h"

#include <nlohmann/json.hpp>

#include "plan/budgets.h"
#include "text/tokenizer.h"

namespace sparing {

Result<Assembler> Assembler::create(std::shared_ptr<const Checkpoint> checkpoint, std::string model_hash,
                                    std::shared_ptr<const Checkpoint> original) {
  Assembler assembler;
  assembler.shared_.config = checkpoint->config();
  for (const TensorEntry& tensor : checkpoint->tensors()) {
    if (!tensor.shape.is_vector()) continue;
    SPARING_TRY(auto values, checkpoint->vector(tensor.shape.name));
    assembler.shared_.vectors.emplace_back(tensor.shape.name, std::move(values));
  }
  if (!std::holds_alternative<std::monostate>(checkpoint->tokenizer())) {
    SPARING_TRY(const auto tokenizer, Tokenizer::load(checkpoint->tokenizer()));
    assembler.shared_.compact_tokenizer = tokenizer->to_compact();
  }
  assembler.shared_.carried = checkpoint->carried();
  assembler.shared_.provenance_json =
      nlohmann::ordered_json{{"tool", "sparing " SPARING_VERSION}, {"source", model_hash}}.dump();
  assembler.original_ = original ? std::move(original) : checkpoint;
  assembler.checkpoint_ = std::move(checkpoint);
  assembler.model_hash_ = std::move(model_hash);
  return assembler;
}

SparingModel Assembler::model(const Plan& plan, std::vector<std::pair<std::string, CodedWeight>> weights) const {
  SparingModel model = shared_;
  model.weights = std::move(weights);
  model.recipe_json = recipe_json(plan);
  model.config.activation_bits = plan.activation_bits;
  return model;
}

Status Assembler::predict(Plan& plan, const std::vector<BoundSite>& sites) const {
  std::vector<std::pair<std::string, CodedWeight>> weights;
  for (std::size_t i = 0; i < sites.size(); ++i) {
    SPARING_TRY(CodedWeight weight, sized_weight(sites[i], *checkpoint_));
    plan.sites[i].costs[std::string(kWeights)] = stored_bytes(weight);
    weights.emplace_back(sites[i].site.name, std::move(weight));
  }
  SPARING_TRY(plan.totals[std::string(kWeights)], sparing_directory_bytes(model(plan, std::move(weights))));
  if (plan.budgets.contains(kRam)) {
    SPARING_TRY(const std::uint64_t besides, resident_besides(checkpoint_->config(), plan.context));
    plan.totals[std::string(kRam)] = plan.totals.at(std::string(kWeights)) + besides;
  }
  return {};
}

Status Assembler::write(const Plan& plan, std::vector<std::pair<std::string, CodedWeight>> weights,
                        const std::map<std::string, std::vector<float>>& vectors,
                        const std::filesystem::path& out) const {
  SparingModel finished = model(plan, std::move(weights));
  for (auto& [name, values] : finished.vectors) {
    if (const auto other = vectors.find(name); other != vectors.end()) values = other->second;
  }
  return write_sparing_directory(finished, out);
}

}  // namespace sparing
