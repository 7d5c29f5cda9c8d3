#pragma once
// Takes channels, heads and layers out of a model, as its plan says, before any weight is coded. What comes of it is a
// model like any other, dense where it changed; it lives in the journal.

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "plan/execute.h"
#include "plan/plan.h"

namespace sparing {

/// A matrix that does without some of its inputs: zeros there, the others fitted anew.
struct ThinnedMatrix {
  std::vector<std::int32_t> kept;  ///< channels, or key-value heads; ascending
  CodedWeight weight;              ///< dense, of the source's shape
};
/// mlp.down and attn.o of the layers that change. With these in place of its own the source computes what the thinned
/// model does.
using ThinnedMatrices = std::map<std::string, ThinnedMatrix, std::less<>>;

/// Sites whose inputs are channels of layer N, and what is grouped there: "layers.N.mlp.down" by one, "layers.N.attn.o"
/// by the query heads of a key-value head.
std::string channels_site(std::int64_t layer);
std::string heads_site(std::int64_t layer);
std::int64_t inputs_per_kv_head(const ModelConfig& config, std::int64_t layer);

/// A matrix that gives nothing: with it at both places of a layer, the layer's input is its output.
CodedWeight zero_matrix(std::int64_t rows, std::int64_t cols);

/// A look at the model that decides about structure costs so many tokens of its text.
inline constexpr std::int64_t kStructureTokens = 8192;

/// Runs the text through the model; every matrix is thinned by the method and fitted to the original's outputs, on the
/// inputs that the thinned layers before it give. `sensitivity` weighs outputs. The same bits for any number of
/// threads.
Result<ThinnedMatrices> take_out(const StructureSpec& spec, const Checkpoint& source,
                                 const std::vector<std::vector<Token>>& sequences, const Sensitivity& sensitivity,
                                 const ExecuteOptions& options);

/// The thinned model: made, or found in the journal where an earlier run had made it. Errors: a spec that does not suit
/// the model, a program without the lab.
Result<std::shared_ptr<const Checkpoint>> restructured(const StructureSpec& spec, const Assembler& original,
                                                       std::uint64_t seed, Journal& journal,
                                                       const ExecuteOptions& options);

/// An assembler of the thinned model, or the one given where nothing is taken out.
Result<Assembler> assembler_for(const std::optional<StructureSpec>& structure, const Assembler& original,
                                std::uint64_t seed, Journal& journal, const ExecuteOptions& options);

}  // namespace sparing
