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
  in.reference->scores = {{{-1, -2}, 0, 0, 0.7}, {{-1, -2}, 0, 0, 0.3}};
  for (const double kl : {0.5, 0.1}) {
    JudgedModel m{"small|" + std::to_string(kl), static_cast<std::uint64_t>(5e7 / kl), {}, {}, {}, 10};
    m.text.emplace();
    m.text->context = 8;
    m.text->against.emplace();
    m.text->against->kld_mean = {kl, kl / 10};
    m.text->against->kld_by_position = {kl, kl * 2, kl};
    m.layers = {{"embed", 8, 0.01}, {"0", 4, 0.1}};
    m.scores = {{{-2, -1}, 1, 1, 0.3}, {{-2, -1}, 1, 1, 0.7}};
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
  const std::string text = report_markdown(in);
  EXPECT_NE(text.find("| small 0.500000 | 100.00 |"), std::string::npos) << text;
  EXPECT_NE(text.find("| twin (reference) |"), std::string::npos);
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
