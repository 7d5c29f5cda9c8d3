// Templates and messages from hostile hands: refused or rendered, within bounds.
#include <string>

#include "text/chat_template.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const std::string content(text.substr(0, 40));
  const std::vector<sparing::ChatMessage> messages = {
      {"system", "Be brief."},
      {"user", content},
      {"assistant", "Yes.", R"({"reasoning_content": "x", "n": [1, 2.5, null]})"},
      {"user", "?"}};
  sparing::ChatOptions options;
  options.add_generation_prompt = true;
  options.bos_token = "<s>";
  options.eos_token = "</s>";
  options.tools_json = R"([{"type": "function", "function": {"name": "f", "parameters": {}}}])";
  options.now = 1;
  static_cast<void>(sparing::render_chat(text, messages, options).ok());
  return 0;
}
