#include <CLI/App.hpp>
#include <CLI/Config.hpp>
#include <CLI/Formatter.hpp>
#include <map>
#include <nlohmann/json.hpp>

#include "base/units.h"
#include "cli/commands.h"
#include "cli/model_args.h"
#include "cli/table.h"
#include "runtime/engine.h"
#include "runtime/ops.h"

namespace sparing::cli {
namespace {

struct Count {
  std::int64_t tensors = 0;
  std::uint64_t parameters = 0, bytes = 0;

  void add(const TensorEntry& tensor) {
    ++tensors;
    parameters += parameters_of(tensor);
    bytes += tensor.stored_bytes;
  }
  static std::uint64_t parameters_of(const TensorEntry& tensor) {
    const auto rows = static_cast<std::uint64_t>(tensor.shape.rows);
    return tensor.shape.is_vector() ? rows : rows * static_cast<std::uint64_t>(tensor.shape.cols);
  }
  double bits() const {
    return parameters == 0 ? 0 : 8.0 * static_cast<double>(bytes) / static_cast<double>(parameters);
  }
};

/// What a tensor does in the model, from its canonical name.
std::string role_of(const TensorShape& shape) {
  const std::string& name = shape.name;
  if (name == "embed") return "embedding";
  if (name == "head") return "head";
  if (shape.is_vector()) return name.ends_with(".bias") ? "biases" : "norms";
  return name.find(".attn.") != std::string::npos ? "attention" : "feed-forward";
}

struct Inventory {
  std::vector<std::pair<std::string, Count>> roles;
  std::map<std::string, Count> codings;
  Count all;
  std::uint64_t other_bytes = 0;  ///< tokenizer, metadata, padding
};

Inventory inventory_of(const Checkpoint& checkpoint) {
  Inventory inventory;
  for (const char* role : {"embedding", "attention", "feed-forward", "head", "norms", "biases"}) {
    inventory.roles.emplace_back(role, Count{});
  }
  for (const TensorEntry& tensor : checkpoint.tensors()) {
    const std::string role = role_of(tensor.shape);
    for (auto& [name, count] : inventory.roles) {
      if (name == role) count.add(tensor);
    }
    inventory.codings[tensor.coding].add(tensor);
    inventory.all.add(tensor);
  }
  std::erase_if(inventory.roles, [](const auto& role) { return role.second.tensors == 0; });
  const std::uint64_t total = checkpoint.total_bytes();
  inventory.other_bytes = total > inventory.all.bytes ? total - inventory.all.bytes : 0;
  return inventory;
}

/// "9" or, where layers differ, "4..9".
std::string range_of(const ModelConfig& config, std::int32_t LayerConfig::*field) {
  if (config.layers.empty()) return "0";
  std::int32_t low = config.layers[0].*field, high = low;
  for (const LayerConfig& layer : config.layers) {
    low = std::min(low, layer.*field);
    high = std::max(high, layer.*field);
  }
  return low == high ? std::to_string(low) : std::to_string(low) + ".." + std::to_string(high);
}

/// Keys and values of one token as the engine keeps them unless told otherwise.
std::uint64_t kv_bytes_per_token(const ModelConfig& config) {
  std::uint64_t heads = 0;
  for (const LayerConfig& layer : config.layers) heads += static_cast<std::uint64_t>(layer.kv_heads);
  const std::uint64_t block =
      key_block_bytes(kDefaultKv, config.head_dim) + value_block_bytes(kDefaultKv, config.head_dim);
  return heads * block / kKeyBlock;
}

nlohmann::json count_json(const Count& count) {
  return {{"tensors", count.tensors},
          {"parameters", count.parameters},
          {"bytes", count.bytes},
          {"bits_per_parameter", count.bits()}};
}

nlohmann::json inspect_json(const Checkpoint& checkpoint, const Inventory& inventory) {
  const ModelConfig& config = checkpoint.config();
  nlohmann::json layers = nlohmann::json::array(), sites = nlohmann::json::array(), roles, codings;
  for (const LayerConfig& layer : config.layers) {
    layers.push_back({{"heads", layer.heads}, {"kv_heads", layer.kv_heads}, {"ffn", layer.ffn}});
  }
  for (const TensorEntry& tensor : checkpoint.tensors()) {
    nlohmann::json site = {{"name", tensor.shape.name},
                           {"role", role_of(tensor.shape)},
                           {"rows", tensor.shape.rows},
                           {"coding", tensor.coding},
                           {"bytes", tensor.stored_bytes}};
    if (!tensor.shape.is_vector()) site["cols"] = tensor.shape.cols;
    sites.push_back(std::move(site));
  }
  for (const auto& [role, count] : inventory.roles) roles[role] = count_json(count);
  for (const auto& [coding, count] : inventory.codings) codings[coding] = count_json(count);
  std::vector<std::string> carried;
  for (const auto& [name, text] : checkpoint.carried()) carried.push_back(name);
  return {
      {"path", checkpoint.path().string()},
      {"format", name_of(checkpoint.format())},
      {"architecture", config.architecture},
      {"name", config.name},
      {"hidden", config.hidden},
      {"head_dim", config.head_dim},
      {"vocab", config.vocab},
      {"context", config.context},
      {"sliding_window", config.sliding_window},
      {"tied_head", config.tied_head},
      {"rope_theta", config.rope.theta},
      {"bos", config.bos},
      {"eos", config.eos},
      {"layers", layers},
      {"parameters", inventory.all.parameters},
      {"bytes", checkpoint.total_bytes()},
      {"weight_bytes", inventory.all.bytes},
      {"other_bytes", inventory.other_bytes},
      {"bits_per_parameter", inventory.all.bits()},
      {"kv_bytes_per_token", kv_bytes_per_token(config)},
      {"chat_template", checkpoint.chat_template().has_value()},
      {"carried", carried},
      {"roles", roles},
      {"codings", codings},
      {"sites", sites},
  };
}

std::string counts_table(const std::string& heading, const std::vector<std::pair<std::string, Count>>& counts,
                         const Count& all, std::uint64_t other) {
  Table table({heading, ">tensors", ">parameters", ">bytes", ">bits each", ">share"});
  const double whole = static_cast<double>(all.bytes + other);
  const auto share = [whole](std::uint64_t bytes) {
    return whole == 0 ? "" : fixed(100.0 * static_cast<double>(bytes) / whole, 1) + " %";
  };
  for (const auto& [name, count] : counts) {
    table.row({name, std::to_string(count.tensors), format_count(count.parameters), format_bytes(count.bytes),
               fixed(count.bits(), 2), share(count.bytes)});
  }
  if (other > 0) table.row({"tokenizer and metadata", "", "", format_bytes(other), "", share(other)});
  table.rule();
  table.row(
      {"all", std::to_string(all.tensors), format_count(all.parameters), format_bytes(all.bytes + other), "", ""});
  return table.text();
}

std::string inspect_text(const Checkpoint& checkpoint, const Inventory& inventory, bool list_sites) {
  const ModelConfig& config = checkpoint.config();
  std::string out = config.name.empty() ? checkpoint.path().filename().string() : config.name;
  out += " (" + config.architecture + ", " + std::string(name_of(checkpoint.format())) + ")\n" +
         checkpoint.path().string() + "\n\n";
  out += std::to_string(config.layers.size()) + " layers, width " + std::to_string(config.hidden) + ", feed-forward " +
         range_of(config, &LayerConfig::ffn) + ", heads " + range_of(config, &LayerConfig::heads) + " with " +
         range_of(config, &LayerConfig::kv_heads) + " for keys and values, of " + std::to_string(config.head_dim) +
         "\n";
  out += "vocabulary " + format_count(static_cast<std::uint64_t>(config.vocab)) +
         (config.tied_head ? ", tied head" : "") + ", context " +
         format_count(static_cast<std::uint64_t>(config.context));
  if (config.sliding_window > 0) out += ", window " + std::to_string(config.sliding_window);
  out += ", KV cache " + format_bytes(kv_bytes_per_token(config)) + " a token in " + std::string(name_of(kDefaultKv)) +
         "\n";
  out += std::string("chat template: ") + (checkpoint.chat_template() ? "yes" : "no") + "\n\n";
  out += counts_table("role", inventory.roles, inventory.all, inventory.other_bytes) + "\n";
  out += counts_table("coding", {inventory.codings.begin(), inventory.codings.end()}, inventory.all, 0);
  if (!list_sites) return out;
  Table sites({"site", ">rows", ">cols", "coding", ">bytes"});
  for (const TensorEntry& tensor : checkpoint.tensors()) {
    sites.row({tensor.shape.name, std::to_string(tensor.shape.rows),
               tensor.shape.is_vector() ? "" : std::to_string(tensor.shape.cols), tensor.coding,
               format_count(tensor.stored_bytes)});
  }
  return out + "\n" + sites.text();
}

}  // namespace

void register_inspect(CLI::App& app, Session& session) {
  struct Options {
    ModelArgs model;
    bool sites = false;
  };
  auto options = std::make_shared<Options>();
  CLI::App* command =
      add_command(app, session, kLookGroup, "inspect", "Show a model's architecture, and its bytes by role and coding",
                  {"sparing inspect models/smollm2.gguf", "sparing inspect my-model --sites",
                   "sparing inspect HuggingFaceTB/SmolLM2-135M --json"});
  add_model(command, options->model);
  command->add_flag("--sites", options->sites, "List every tensor too");
  on_chosen(command, session, [options, &session]() -> Status {
    SPARING_TRY(const auto checkpoint, open_model(options->model));
    const Inventory inventory = inventory_of(*checkpoint);
    if (session.common.json) return print_json(inspect_json(*checkpoint, inventory));
    return print(inspect_text(*checkpoint, inventory, options->sites));
  });
}

}  // namespace sparing::cli
