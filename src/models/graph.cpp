#include "models/graph.h"

#include <string_view>

#include "models/llama.h"

namespace sparing {
namespace {

struct Architecture {
  std::string_view name;
  Result<ModelGraph> (*build)(const ModelConfig&);
};
constexpr Architecture kArchitectures[] = {
    {.name = "llama", .build = build_llama},
    {.name = "mistral", .build = build_llama},
    {.name = "qwen2", .build = build_llama},
    {.name = "qwen3", .build = build_llama},
};

}  // namespace

Result<ModelGraph> build_graph(const ModelConfig& config) {
  std::string known;
  for (const Architecture& architecture : kArchitectures) {
    if (architecture.name == config.architecture) return architecture.build(config);
    if (!known.empty()) known += ", ";
    known += architecture.name;
  }
  return input_error("[model] unknown architecture '" + config.architecture + "': known are " + known);
}

}  // namespace sparing
