#include "text/chat_template.h"

#include <nlohmann/json.hpp>

#include "text/jinja/evaluator.h"
#include "text/unicode.h"

namespace sparing {
namespace {

using Json = nlohmann::ordered_json;
using jinja::Dict;
using jinja::List;
using jinja::None;
using jinja::Value;

constexpr std::size_t kLargestTemplate = 1 << 20;
constexpr int kDeepestJson = 90;

Error bad(const std::string& what) {
  std::string line = what.substr(0, 300);
  for (char& c : line) {
    if (static_cast<unsigned char>(c) < 0x20) c = ' ';
  }
  return input_error("[chat template] " + line + ": give another template, or other messages");
}

Value value_of(const Json& json, int depth = 0) {
  if (depth > kDeepestJson) jinja::fail("JSON nested deeper than " + std::to_string(kDeepestJson));
  switch (json.type()) {
    case Json::value_t::boolean:
      return json.get<bool>();
    case Json::value_t::number_integer:
      return json.get<std::int64_t>();
    case Json::value_t::number_unsigned:
      if (json.get<std::uint64_t>() > static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max())) {
        jinja::fail("the number " + json.dump() + " is out of range");
      }
      return json.get<std::int64_t>();
    case Json::value_t::number_float:
      return json.get<double>();
    case Json::value_t::string:
      return json.get_ref<const std::string&>();
    case Json::value_t::array: {
      List list;
      for (const Json& item : json) list.items.push_back(value_of(item, depth + 1));
      return list;
    }
    case Json::value_t::object: {
      Dict dict;
      for (const auto& [key, item] : json.items()) dict.items.emplace_back(key, value_of(item, depth + 1));
      return dict;
    }
    default:
      return None{};
  }
}

Json parse_json_of(const std::string& text, Json::value_t type, const char* what) {
  Json json = Json::parse(text, nullptr, false);
  if (json.type() != type)
    jinja::fail(std::string(what) + " is not a JSON " + (type == Json::value_t::array ? "list" : "object"));
  return json;
}

/// transformers gives the reasoning under all its names, whichever the message used.
Dict alias_reasoning(Dict message) {
  const Value* found = nullptr;
  for (const char* name : {"reasoning_content", "thinking", "reasoning"}) {
    const Value* const v = message.find(name);
    if (v != nullptr && !v->is_none()) {
      found = v;
      break;
    }
  }
  if (found == nullptr) return message;
  const Value reasoning = *found;
  Dict out;
  out.set("thinking", reasoning);
  for (auto& [key, value] : message.items) out.set(key, std::move(value));
  out.set("reasoning_content", reasoning);
  return out;
}

Dict variables_of(const std::vector<ChatMessage>& messages, const ChatOptions& options) {
  Dict variables;
  List list;
  for (const ChatMessage& m : messages) {
    Dict d;
    d.set("role", replace_invalid_utf8(m.role));
    d.set("content", replace_invalid_utf8(m.content));
    if (!m.extra_json.empty()) {
      const Json extra = parse_json_of(m.extra_json, Json::value_t::object, "a message's extra_json");
      for (const auto& [key, value] : extra.items()) d.set(key, value_of(value));
    }
    list.items.emplace_back(alias_reasoning(std::move(d)));
  }
  const auto token = [&](const char* name, const std::optional<std::string>& text) {
    if (text) variables.set(name, replace_invalid_utf8(*text));
  };
  token("bos_token", options.bos_token);
  token("eos_token", options.eos_token);
  token("unk_token", options.unk_token);
  token("pad_token", options.pad_token);
  variables.set("messages", std::move(list));
  variables.set("tools", options.tools_json.empty()
                             ? Value(None{})
                             : value_of(parse_json_of(options.tools_json, Json::value_t::array, "tools_json")));
  variables.set("documents", None{});
  variables.set("add_generation_prompt", options.add_generation_prompt);
  if (!options.kwargs_json.empty()) {
    const Json kwargs = parse_json_of(options.kwargs_json, Json::value_t::object, "kwargs_json");
    for (const auto& [key, value] : kwargs.items()) variables.set(key, value_of(value));
  }
  return variables;
}

}  // namespace

struct ChatTemplate::Impl {
  jinja::NodePtr root;
};

Result<ChatTemplate> ChatTemplate::parse(std::string_view text) {
  if (text.size() > kLargestTemplate) return bad("a template of " + std::to_string(text.size()) + " bytes");
  if (!is_valid_utf8(text)) return bad("a template that is not UTF-8");
  try {
    auto impl = std::make_shared<Impl>();
    impl->root = jinja::parse(text);
    ChatTemplate out;
    out.impl_ = std::move(impl);
    return out;
  } catch (const jinja::Failure& failure) {
    return bad(failure.message);
  }
}

Result<std::string> ChatTemplate::render(const std::vector<ChatMessage>& messages, const ChatOptions& options) const {
  try {
    return jinja::render(*impl_->root, variables_of(messages, options),
                         options.now != 0 ? options.now : std::time(nullptr));
  } catch (const jinja::Failure& failure) {
    return bad(failure.message);
  }
}

Result<std::string> render_chat(std::string_view template_text, const std::vector<ChatMessage>& messages,
                                const ChatOptions& options) {
  SPARING_TRY(const ChatTemplate parsed, ChatTemplate::parse(template_text));
  return parsed.render(messages, options);
}

}  // namespace sparing
