// oracle_render_chat: JSON objects, one a line, {"template", "messages": [{"role", "content", "extra"}], "options":
// {...}} on standard input; one a line {"text"} or {"error"} on standard output. Drives tests/oracle/chat_templates.py.
#include <iostream>
#include <nlohmann/json.hpp>

#include "text/chat_template.h"

int main() {
  std::string line;
  while (std::getline(std::cin, line)) {
    const auto request = nlohmann::ordered_json::parse(line);
    std::vector<sparing::ChatMessage> messages;
    for (const auto& m : request.at("messages")) {
      messages.push_back({m.at("role"), m.at("content"), m.value("extra", "")});
    }
    const auto& o = request.at("options");
    sparing::ChatOptions options;
    options.add_generation_prompt = o.at("add_generation_prompt");
    options.bos_token = o.at("bos_token");
    options.eos_token = o.at("eos_token");
    options.tools_json = o.value("tools", "");
    options.kwargs_json = o.value("kwargs", "");
    options.now = o.at("now");
    const auto out = sparing::render_chat(request.at("template").get<std::string>(), messages, options);
    nlohmann::ordered_json answer;
    answer[out.ok() ? "text" : "error"] = out.ok() ? *out : out.error().message;
    std::cout << answer.dump() << std::endl;
  }
}
