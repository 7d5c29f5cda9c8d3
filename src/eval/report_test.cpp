#include "eval/report.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "eval/plot.h"

namespace sparing {
namespace {

std::size_t count(const std::string& text, const std::string& what) {
  std::size_t n = 0;
  for (auto at = text.find(what); at != std::string::npos; at = text.find(what, at + 1)) ++n;
  return n;
}

ReportInput input() {
  ReportInput in;
  in.text_name = "wiki <b>";
  in.tasks_name = "piqa";
  in.tasks = {{"Question: <i>one</i>\nAnswer:", {" yes", " no"}, 0}, {"two", {" yes", " no"}, 1}};
  in.reference = JudgedModel{"twin", 200'000'000, {}, {{"embed", 16, 0}, {"0", 16, 0}}, {}, 0};
  in.probes = {{"knowledge <1>", in.tasks}};
  in.generation_name = "7 tokens & more";
  in.reference->diversity = diversity_of(std::vector<std::vector<Token>>{{1, 2, 3, 4, 5, 6, 7}});
  in.reference->kick = {{{{-1, -2}, 0, 0, 0.7}, {{-2, -1}, 1, 1, 0.3}}};
  in.reference->scores = {{{-1, -2}, 0, 0, 0.7}, {{-1, -2}, 0, 0, 0.3}};
  for (const double kl : {0.5, 0.1}) {
    JudgedModel m{"small|" + std::to_string(kl), static_cast<std::uint64_t>(5e7 / kl), {}, {}, {}, 10};
    m.text.emplace();
    m.text->context = 8;
    m.text->against.emplace();
    m.text->against->kld_mean = {kl, kl / 10};
    m.text->against->kld_by_position = {kl, kl * 2, kl};
    m.layers = {{"embed", 8, 0.01}, {"0", 4, 0.1}};
    m.text->against->kld_by_window = {kl, kl + 1};
    m.text->against->ppl_ratio = {1.01, 0};
    m.scores = {{{-2, -1}, 1, 1, 0.3}, {{-2, -1}, 1, 1, 0.7}};
    m.kick = {m.scores};
    m.diversity = diversity_of(std::vector<std::vector<Token>>{{1, 2, 1, 2, 1, 2, 1}});
    in.candidates.push_back(std::move(m));
  }
  return in;
}

TEST(Report, ThePageHoldsEverythingAndLoadsNothing) {
  const std::string page = report_html(input());
  EXPECT_EQ(count(page, "<svg"), 4u);
  EXPECT_EQ(count(page, "</svg>"), 4u);
  EXPECT_EQ(count(page, "<details>"), 4u);  // both tasks flip in both candidates
  EXPECT_EQ(count(page, "<script"), 0u);
  EXPECT_EQ(count(page, "http"), 0u);
  EXPECT_EQ(count(page, "src="), 0u);
  EXPECT_EQ(count(page, "nan"), 0u);
  EXPECT_EQ(count(page, "<i>one"), 0u);
  EXPECT_NE(page.find("&lt;i&gt;one"), std::string::npos);
  EXPECT_NE(page.find("wiki &lt;b&gt;"), std::string::npos);
  EXPECT_EQ(count(page, "class='warning'"), 2u);
  EXPECT_NE(page.find("knowledge &lt;1&gt; fell by 50.0 points"), std::string::npos);
  EXPECT_NE(page.find("7 tokens &amp; more"), std::string::npos);
  EXPECT_NE(page.find("Candidates against each other"), std::string::npos);
}

TEST(Report, JsonAndMarkdownSayTheSame) {
  const ReportInput in = input();
  const nlohmann::json json = report_json(in);
  EXPECT_EQ(json["candidates"].size(), 2u);
  EXPECT_EQ(json["candidates"][0]["text"]["kld_mean"], 0.5);
  EXPECT_EQ(json["candidates"][1]["tasks"]["lost"], 1);
  EXPECT_EQ(json["candidates"][1]["tasks"]["won"], 1);
  EXPECT_EQ(json["candidates"][1]["layers"][1]["bits"], 4);
  EXPECT_FALSE(json["reference"]["tasks"].contains("flips"));
  const nlohmann::json& kick = json["candidates"][0]["kick"];
  EXPECT_EQ(kick["probes"][0]["drop_points"], 50);
  EXPECT_EQ(kick["probes"][0]["reference"]["accuracy"]["value"], 1);
  EXPECT_EQ(kick["hidden_losses"].size(), 1u) << "perplexity rose by 1 %";
  EXPECT_DOUBLE_EQ(json["candidates"][0]["diversity"]["distinct_2"], 2.0 / 6);
  ASSERT_EQ(json["pairs"].size(), 1u);
  EXPECT_NEAR(json["pairs"][0]["kld"]["difference"], 0.4, 1e-12);
  EXPECT_EQ(json["pairs"][0]["tasks"]["lost"], 0);
  const std::string text = report_markdown(in);
  EXPECT_NE(text.find("knowledge <1> fell by 50.0 points"), std::string::npos) << text;
  EXPECT_NE(text.find("| twin (reference) | 1.000 | 1.000 | 1.000 | 0.0 ± 0.0 |"), std::string::npos) << text;
  EXPECT_NE(text.find("| small 0.500000 | small 0.100000 | 0.4000"), std::string::npos) << text;
  EXPECT_NE(text.find("| small 0.500000 | 100.00 |"), std::string::npos) << text;
  EXPECT_NE(text.find("| twin (reference) |"), std::string::npos);
}

TEST(Report, QuestionsAreLoggedAsTheyAreRead) {
  const ReportInput in = input();
  const std::string lines = questions_jsonl(in, in.candidates[0]);
  EXPECT_EQ(count(lines, "\n"), 2u);
  const auto first = nlohmann::json::parse(lines.substr(0, lines.find('\n')));
  EXPECT_EQ(first["resps"][1][0], -1);
  EXPECT_EQ(first["acc"], 0);
  const auto read = read_choice_tasks(lines, "", "[t]");
  ASSERT_TRUE(read.ok()) << read.error().message;
  EXPECT_EQ((*read)[1].context, in.tasks[1].context);
  EXPECT_EQ((*read)[1].choices, in.tasks[1].choices);
  EXPECT_EQ((*read)[1].answer, 1);
}

TEST(Plot, DrawsWhatIsFinite) {
  Plot plot{"t & u", "x", "y", {{"a", {{0, 1}, {1, 10}, {2, -1}}, {}, 0, true, true, false}}, false, false, true};
  const std::string drawn = svg(plot);
  EXPECT_EQ(count(drawn, "<circle"), 2u);  // -1 has no logarithm
  EXPECT_NE(drawn.find("t &amp; u"), std::string::npos);
  plot.series[0].points = {{1, 1}};
  EXPECT_EQ(count(svg(plot), "nan"), 0u);
  plot.series.clear();
  EXPECT_EQ(svg(plot), "");
}

}  // namespace
}  // namespace sparing
