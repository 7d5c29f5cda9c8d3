#include "text/chat_template.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <ctime>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

namespace sparing {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

std::string read(const fs::path& path) {
  std::ifstream file(path);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}
const Json& golden() {
  static const Json all =
      Json::parse(read(fs::path(SPARING_SOURCE_DIR) / "tests/golden/chat_templates/answers.json"), nullptr, false);
  return all;
}
std::string error_of(std::string_view text) {
  const auto out = render_chat(text, {{"user", "x"}}, {});
  return out.ok() ? "rendered: " + *out : out.error().message;
}
std::string render(std::string_view text, const ChatOptions& options = {}) {
  const auto out = render_chat(text, {{"user", "x"}}, options);
  return out.ok() ? *out : "error: " + out.error().message;
}

class ChatGolden : public testing::TestWithParam<const char*> {};

TEST_P(ChatGolden, RendersAsTransformersDoes) {
  setenv("TZ", "UTC", 1);
  tzset();
  const std::string name = GetParam();
  const std::string text = read(fs::path(SPARING_SOURCE_DIR) / "tests/golden/chat_templates" / (name + ".jinja"));
  const auto parsed = ChatTemplate::parse(text);
  ASSERT_TRUE(parsed.ok()) << parsed.error().message;
  const Json &cases = golden().at("cases"), &want = golden().at("answers").at(name);
  ASSERT_GE(cases.size(), 20u);
  for (std::size_t i = 0; i < cases.size(); ++i) {
    std::vector<ChatMessage> messages;
    for (const Json& m : cases[i].at("messages"))
      messages.push_back({m.at("role"), m.at("content"), m.value("extra", "")});
    const Json& o = cases[i].at("options");
    ChatOptions options;
    options.add_generation_prompt = o.at("add_generation_prompt");
    options.bos_token = o.at("bos_token").get<std::string>();
    options.eos_token = o.at("eos_token").get<std::string>();
    options.tools_json = o.value("tools", "");
    options.kwargs_json = o.value("kwargs", "");
    options.now = o.at("now");
    const auto got = parsed->render(messages, options);
    SCOPED_TRACE(name + ": " + cases[i].at("name").get<std::string>());
    EXPECT_EQ(got.ok(), !want[i].is_null()) << (got.ok() ? *got : got.error().message);
    if (got.ok() && !want[i].is_null()) {
      EXPECT_EQ(*got, want[i].get<std::string>());
    }
  }
}
INSTANTIATE_TEST_SUITE_P(Templates, ChatGolden, testing::Values("llama2", "llama3", "mistral", "qwen3", "constructs"));

TEST(ChatTemplate, PassesOnWhatTheTemplateRaises) {
  EXPECT_NE(error_of("{{ raise_exception('roles must alternate') }}").find("roles must alternate"), std::string::npos);
}

TEST(ChatTemplate, RefusesByName) {
  const std::pair<const char*, const char*> cases[] = {{"{% include 'x' %}", "include"},
                                                       {"{{ x | nosuch }}", "nosuch"},
                                                       {"{{ x is nosuch }}", "nosuch"},
                                                       {"{{ nosuch() }}", "nosuch"},
                                                       {"{{ nosuch.deep.er }}", "nosuch"},
                                                       {"{% for x in y %}", "endfor"},
                                                       {"{{ messages.append(1) }}", "append"},
                                                       {"{{ 'é' | upper }}", "upper"},
                                                       {"{{ 1 + }}", "line 1"},
                                                       {"{{ ('x' | safe).strip() }}", "safe"},
                                                       {"a\n{% if x", "line 2"},
                                                       {"{{ messages | map(attribute='a') | tojson }}", "generator"},
                                                       {"{% set x.y = 1 %}", "'x'"},
                                                       {"{{ 1 // 0 }}", "division"},
                                                       {"{{ 9223372036854775807 + 1 }}", "range"}};
  for (const auto& [text, named] : cases) {
    const std::string message = error_of(text);
    EXPECT_EQ(message.rfind("[chat template]", 0), 0u) << text << ": " << message;
    EXPECT_NE(message.find(named), std::string::npos) << text << ": " << message;
    EXPECT_EQ(message.find('\n'), std::string::npos);
  }
}

TEST(ChatTemplate, PrettyJsonIsPythons) {
  // json.dumps(value, indent=2): no blank after the comma, nothing between the brackets of what is empty.
  EXPECT_EQ(render("{{ {'a': [1, {}], 'b': []} | tojson(indent=2) }}"),
            "{\n  \"a\": [\n    1,\n    {}\n  ],\n  \"b\": []\n}");
  EXPECT_EQ(render("{{ [1, 2] | tojson(indent=0) }}"), "[\n1,\n2\n]");
  EXPECT_EQ(render("{{ [1, 2] | tojson(indent=1, separators=(', ', ':')) }}"), "[\n 1, \n 2\n]");
  EXPECT_EQ(render("{{ '\x7f' | tojson(ensure_ascii=true) }}"), "\"\\u007f\"");
  EXPECT_NE(error_of("{{ [1] | tojson(indent=65) }}").find("64"), std::string::npos);
}

TEST(ChatTemplate, BoundsWhatAHostileTemplateCosts) {
  EXPECT_NE(error_of("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}").find("deep"), std::string::npos);
  EXPECT_NE(error_of("{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}").find("work"),
            std::string::npos);
  EXPECT_NE(error_of("{{ range(1000000) }}").find("100000"), std::string::npos);
  EXPECT_EQ(error_of("{{ 'x' * 99999999999 }}").rfind("[chat template]", 0), 0u);
  EXPECT_EQ(error_of("{{ " + std::string(5000, '(') + "1" + std::string(5000, ')') + " }}").rfind("[chat template]", 0),
            0u);
  std::string chain = "{{ 1";
  for (int i = 0; i < 20000; ++i) chain += "+1";
  EXPECT_EQ(error_of(chain + " }}").rfind("[chat template]", 0), 0u);
}

TEST(ChatTemplate, SeesWhatTransformersPasses) {
  EXPECT_EQ(
      render("{{ tools is none }} {{ documents is none }} {{ bos_token is defined }} {{ add_generation_prompt }}"),
      "True True False False");
  ChatOptions options;
  options.bos_token = "<s>";
  options.kwargs_json = R"({"enable_thinking": false, "n": 3})";
  EXPECT_EQ(render("{{ bos_token }}{{ n + 1 }}{{ enable_thinking is false }}", options), "<s>4True");
  options.kwargs_json = "[1]";
  EXPECT_EQ(render("x", options).rfind("error: [chat template]", 0), 0u);
}

}  // namespace
}  // namespace sparing
