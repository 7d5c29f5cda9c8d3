#include <algorithm>
#include <cstdio>

#include "eval/plot.h"
#include "eval/report.h"

namespace sparing {
namespace {

constexpr std::size_t kMostFlips = 40, kPositionBins = 64, kTokensABin = 128;

const char* const kStyle = R"(
:root{--paper:#fcfcfb;--ink:#1c1c1a;--soft:#6b6a66;--rule:#dedcd6;--card:#fff}
@media(prefers-color-scheme:dark){:root{--paper:#17181a;--ink:#e9e8e4;--soft:#a09e98;--rule:#35363a;--card:#1f2023}}
*{box-sizing:border-box}
body{margin:0 auto;max-width:1080px;padding:32px 24px 64px;background:var(--paper);color:var(--ink);
font:15px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,sans-serif}
h1{font-size:26px;margin:0 0 4px}h2{font-size:19px;margin:40px 0 12px;padding-top:16px;border-top:1px solid var(--rule)}
p{max-width:72ch}.soft{color:var(--soft)}
.scroll{overflow-x:auto}table{border-collapse:collapse;width:100%;font-size:14px;font-variant-numeric:tabular-nums}
th,td{padding:6px 9px;text-align:right;border-bottom:1px solid var(--rule);white-space:nowrap}
th{font-weight:600;color:var(--soft);font-size:13px;white-space:normal;vertical-align:bottom}th:first-child,td:first-child{text-align:left}
table.pair td:nth-child(2),table.pair th:nth-child(2){text-align:left}tr.ref td{color:var(--soft);font-style:italic}
.plots{display:grid;grid-template-columns:repeat(auto-fit,minmax(420px,1fr));gap:20px}
figure{margin:0;padding:14px 16px;background:var(--card);border:1px solid var(--rule);border-radius:8px}
figcaption{font-weight:600;margin-bottom:6px}svg{width:100%;height:auto;display:block}
svg text{font:16px system-ui,sans-serif;fill:var(--soft)}svg .name{font-size:17px}svg .label{fill:var(--ink)}
.grid{stroke:var(--rule);stroke-width:1}.axis{stroke:var(--soft);stroke-width:1}
.series{fill:none;stroke-width:2}.dashed{stroke-dasharray:5 4;stroke-width:1.5}
.legend{display:flex;flex-wrap:wrap;gap:4px 16px;font-size:13px;color:var(--soft);margin-top:6px}
.legend i{display:inline-block;width:12px;height:12px;border-radius:3px;margin-right:6px;vertical-align:-1px}
path.c0{stroke:#2a6fbb}path.c1{stroke:#c8541f}path.c2{stroke:#2f8f5b}path.c3{stroke:#8a4fb0}
path.c4{stroke:#b8921a}path.c5{stroke:#b8416b}path.c6{stroke:#3b9aa3}path.c7{stroke:#8b8a86}
circle.c0,i.c0{fill:#2a6fbb;background:#2a6fbb}circle.c1,i.c1{fill:#c8541f;background:#c8541f}
circle.c2,i.c2{fill:#2f8f5b;background:#2f8f5b}circle.c3,i.c3{fill:#8a4fb0;background:#8a4fb0}
circle.c4,i.c4{fill:#b8921a;background:#b8921a}circle.c5,i.c5{fill:#b8416b;background:#b8416b}
circle.c6,i.c6{fill:#3b9aa3;background:#3b9aa3}circle.c7,i.c7{fill:#8b8a86;background:#8b8a86}
details{border:1px solid var(--rule);border-radius:8px;padding:8px 14px;margin:8px 0;background:var(--card)}
summary{cursor:pointer}summary b.lost{color:#c8541f}summary b.won{color:#2f8f5b}
.warning{border-left:3px solid #c8541f;padding:4px 12px;background:var(--card)}
.choice{margin:8px 0;padding:6px 12px;border-left:3px solid var(--rule);white-space:pre-wrap}
.choice.right{border-color:#2f8f5b}.tag{font-size:12px;color:var(--soft);margin-right:8px}
)";

std::string fixed(double value, int digits) {
  char text[64];
  std::snprintf(text, sizeof text, "%.*f", digits, value);
  return text;
}
std::string megabytes(std::uint64_t bytes) {
  return fixed(static_cast<double>(bytes) / 1e6, 2);
}
std::string with_error(const Estimate& e, int digits) {
  return fixed(e.value, digits) + " <span class='soft'>± " + fixed(e.error, digits) + "</span>";
}
std::string percent(const Share& share) {
  return fixed(100 * share.value, 2) + " <span class='soft'>" + fixed(100 * share.low, 1) + " – " +
         fixed(100 * share.high, 1) + "</span>";
}
std::string row(const std::vector<std::string>& cells, const char* style = "", const char* tag = "td") {
  std::string out = std::string("<tr") + (*style != '\0' ? " class='" + std::string(style) + "'" : "") + ">";
  for (const std::string& cell : cells) out += std::string("<") + tag + ">" + cell + "</" + tag + ">";
  return out + "</tr>";
}

std::string text_table(const ReportInput& in) {
  std::string out = "<h2>Predictions on text</h2><p class='soft'>" + html_escaped(in.text_name);
  const EvalReport& first = *in.candidates.front().text;
  out +=
      ": " + std::to_string(first.windows) + " windows of " + std::to_string(first.context) +
      " tokens, the second half of each scored. ± is one standard error. KL is KL(reference ‖ candidate) in nats.</p>"
      "<div class='scroll'><table>";
  out += row({"model", "MB", "perplexity", "KL mean", "median", "90 %", "99 %", "99.9 %", "max", "same top, %",
              "Δp mean, %", "Δp RMS, %", "tokens/s"},
             "", "th");
  const auto speed = [](const JudgedModel& m) {
    return m.tokens_per_s > 0 ? fixed(m.tokens_per_s, 1) : std::string("–");
  };
  for (const JudgedModel& m : in.candidates) {
    std::vector<std::string> cells = {html_escaped(m.name), megabytes(m.bytes), with_error(m.text->ppl, 3)};
    if (m.text->against) {
      const Divergence& d = *m.text->against;
      cells.insert(cells.end(),
                   {with_error(d.kld_mean, 4), fixed(d.kld_median, 4), fixed(d.kld_p90, 4), fixed(d.kld_p99, 3),
                    fixed(d.kld_p999, 2), fixed(d.kld_max, 2), fixed(100 * d.top1_agreement.value, 2),
                    fixed(100 * d.delta_p_mean.value, 3), fixed(100 * d.delta_p_rms, 2)});
    } else {
      cells.resize(cells.size() + 9, "–");
    }
    cells.push_back(speed(m));
    out += row(cells);
  }
  if (in.reference) {
    std::vector<std::string> cells = {html_escaped(in.reference->name) + " (reference)",
                                      megabytes(in.reference->bytes)};
    cells.push_back(first.against ? with_error(first.against->ppl_ref, 3) : "–");
    cells.resize(cells.size() + 9, "–");
    cells.push_back(speed(*in.reference));
    out += row(cells, "ref");
  }
  return out + "</table></div>";
}

Plot bytes_plot(const ReportInput& in) {
  Plot plot{
      "KL divergence against bytes", "megabytes, everything counted", "KL, mean (log scale)", {}, false, false, true};
  std::vector<std::pair<double, double>> all;
  for (std::size_t i = 0; i < in.candidates.size(); ++i) {
    const JudgedModel& m = in.candidates[i];
    const std::pair<double, double> at{static_cast<double>(m.bytes) / 1e6, m.text->against->kld_mean.value};
    all.push_back(at);
    plot.series.push_back({"", {at}, {m.name}, static_cast<int>(i), false, true, false});
  }
  std::sort(all.begin(), all.end());
  Series front{"Pareto front: no candidate is both smaller and closer", {}, {}, 7, true, false, true};
  for (const auto& point : all) {
    if (front.points.empty() || point.second < front.points.back().second) front.points.push_back(point);
  }
  if (front.points.size() > 1) plot.series.insert(plot.series.begin(), front);
  return plot;
}

Plot position_plot(const ReportInput& in) {
  Plot plot{"KL divergence by position in the window",
            "tokens read before",
            "KL, mean of neighbours",
            {},
            false,
            true,
            false};
  for (std::size_t i = 0; i < in.candidates.size(); ++i) {
    const EvalReport& report = *in.candidates[i].text;
    const std::vector<double>& kl = report.against->kld_by_position;
    Series series{in.candidates[i].name, {}, {}, static_cast<int>(i), true, false, false};
    // Few windows have few tokens at a position: wider bins, so that what is seen is no noise.
    const auto steady = static_cast<std::size_t>(report.scored_tokens) / kTokensABin;
    const std::size_t bins = std::min(std::clamp<std::size_t>(steady, 4, kPositionBins), kl.size());
    for (std::size_t b = 0; b < bins; ++b) {
      const std::size_t begin = b * kl.size() / bins, end = (b + 1) * kl.size() / bins;
      double sum = 0;
      for (std::size_t j = begin; j < end; ++j) sum += kl[j];
      const double middle = static_cast<double>(begin + end) / 2 + static_cast<double>(report.context / 2);
      series.points.emplace_back(middle, sum / static_cast<double>(end - begin));
    }
    plot.series.push_back(std::move(series));
  }
  return plot;
}

Plot layer_plot(const ReportInput& in, bool damage) {
  Plot plot{damage ? "Relative error of the weights by layer" : "Bits per weight by layer",
            "layer (−1: embedding)",
            damage ? "relative error, %" : "bits, scales counted",
            {},
            false,
            true,
            false};
  for (std::size_t i = 0; i < in.candidates.size(); ++i) {
    Series series{in.candidates[i].name, {}, {}, static_cast<int>(i), true, true, false};
    double at = -1;
    for (const LayerFigures& layer : in.candidates[i].layers) {
      series.points.emplace_back(at, damage ? 100 * layer.damage : layer.bits);
      at += 1;
    }
    plot.series.push_back(std::move(series));
  }
  return plot;
}

std::string task_table(const ReportInput& in) {
  std::string out =
      "<h2>Tasks</h2><p class='soft'>" + html_escaped(in.tasks_name) + ": " + std::to_string(in.tasks.size()) +
      " questions. Ranges are 95 % intervals; a flip is an answer that turned right or wrong; p is McNemar's "
      "exact test of lost against won.</p><div class='scroll'><table>";
  out += row({"model", "accuracy, %", "by length, %", "likelihood of the answer, %", "flips, %", "lost", "won",
              "kept of the reference's right answers, %", "p"},
             "", "th");
  const auto cells_of = [&](const JudgedModel& m) {
    const ChoiceSummary s = summarise(in.tasks, m.scores);
    return std::vector<std::string>{html_escaped(m.name), percent(s.accuracy), percent(s.accuracy_norm),
                                    fixed(100 * s.likelihood, 2)};
  };
  for (const JudgedModel& m : in.candidates) {
    std::vector<std::string> cells = cells_of(m);
    if (in.reference) {
      const ChoiceComparison c = compare(in.tasks, in.reference->scores, m.scores);
      cells.insert(cells.end(), {percent(c.flips), std::to_string(c.lost), std::to_string(c.won), percent(c.retained),
                                 fixed(c.p_value, 3)});
    } else {
      cells.resize(cells.size() + 5, "–");
    }
    out += row(cells);
  }
  if (in.reference) {
    std::vector<std::string> cells = cells_of(*in.reference);
    cells[0] += " (reference)";
    cells.resize(cells.size() + 5, "–");
    out += row(cells, "ref");
  }
  return out + "</table></div>";
}

std::string kick_table(const ReportInput& in) {
  std::string out =
      "<h2>Probes</h2><p class='soft'>What the model still knows, finds in its prompt and works out: multiple choice "
      "of "
      "four, so that guessing gives 25 %. Ranges are 95 % intervals; p is McNemar's exact test of lost against "
      "won.</p><div class='scroll'><table class='pair'>";
  out += row({"model", "probe", "questions", "accuracy, %", "reference, %", "points lost",
              "kept of the reference's right answers, %", "lost", "won", "p"},
             "", "th");
  for (const JudgedModel& m : in.candidates) {
    bool first = true;
    for (const ProbeOutcome& o : probe_outcomes(in, m)) {
      std::vector<std::string> cells = {first ? html_escaped(m.name) : "", html_escaped(o.name),
                                        std::to_string(o.candidate.tasks), percent(o.candidate.accuracy)};
      if (o.against) {
        cells.insert(cells.end(),
                     {percent(o.reference->accuracy), fixed(o.drop, 1), percent(o.against->retained),
                      std::to_string(o.against->lost), std::to_string(o.against->won), fixed(o.against->p_value, 3)});
      } else {
        cells.resize(cells.size() + 6, "–");
      }
      out += row(cells);
      first = false;
    }
  }
  return out + "</table></div>";
}

std::string diversity_table(const ReportInput& in) {
  std::string out = "<h2>Generated text</h2><p class='soft'>" + std::to_string(in.candidates.front().diversity->texts) +
                    " texts: " + html_escaped(in.generation_name) +
                    ". distinct-n: different n-grams over all; repetition: 4-grams that the same text has had "
                    "before.</p><div class='scroll'><table>";
  out += row({"model", "distinct-1", "distinct-2", "distinct-3", "repeated 4-grams, %"}, "", "th");
  const auto line = [&](const JudgedModel& m, const char* tag, const char* style) {
    const Diversity& d = *m.diversity;
    out += row({html_escaped(m.name) + tag, fixed(d.distinct1, 3), fixed(d.distinct2, 3), fixed(d.distinct3, 3),
                with_error({100 * d.repetition4.value, 100 * d.repetition4.error}, 1)},
               style);
  };
  for (const JudgedModel& m : in.candidates) line(m, "", "");
  if (in.reference && in.reference->diversity) line(*in.reference, " (reference)", "ref");
  return out + "</table></div>";
}

std::string pairs_table(const ReportInput& in) {
  const std::vector<Pairing> pairs = pairings(in);
  if (pairs.empty()) return {};
  std::string out =
      "<h2>Candidates against each other</h2><p class='soft'>Paired: the same windows and questions for both. The "
      "first p is a sign-flip test over windows, the second McNemar's.</p><div class='scroll'><table class='pair'>";
  out += row({"first", "second", "KL, first − second", "p", "only the first right", "only the second", "p"}, "", "th");
  for (const Pairing& pair : pairs) {
    std::vector<std::string> cells = {html_escaped(in.candidates[pair.first].name),
                                      html_escaped(in.candidates[pair.second].name)};
    cells.push_back(pair.kld ? with_error(pair.kld->difference, 4) : "–");
    cells.push_back(pair.kld ? fixed(pair.kld->p_value, 4) : "–");
    cells.push_back(pair.tasks ? std::to_string(pair.tasks->lost) : "–");
    cells.push_back(pair.tasks ? std::to_string(pair.tasks->won) : "–");
    cells.push_back(pair.tasks ? fixed(pair.tasks->p_value, 3) : "–");
    out += row(cells);
  }
  return out + "</table></div>";
}

std::string flips_of(const ReportInput& in, const JudgedModel& m) {
  const ChoiceComparison c = compare(in.tasks, in.reference->scores, m.scores);
  if (c.flipped.empty()) return "<p>" + html_escaped(m.name) + ": no answer flipped.</p>";
  std::string out = "<h3>" + html_escaped(m.name) + "</h3>";
  if (c.flipped.size() > kMostFlips) {
    out +=
        "<p class='soft'>The first " + std::to_string(kMostFlips) + " of " + std::to_string(c.flipped.size()) + ".</p>";
  }
  for (std::size_t i = 0; i < std::min(kMostFlips, c.flipped.size()); ++i) {
    const auto at = static_cast<std::size_t>(c.flipped[i]);
    const ChoiceTask& task = in.tasks[at];
    const ChoiceScore &before = in.reference->scores[at], &now = m.scores[at];
    const bool won = now.picked == task.answer;
    out += std::string("<details><summary><b class='") + (won ? "won'>won" : "lost'>lost") + "</b> " +
           std::to_string(at + 1) + ": " + html_escaped(task.context) + "</summary>";
    const auto choice = [&](std::int32_t k) {
      const auto n = static_cast<std::size_t>(k);
      std::string tags;
      if (k == task.answer) tags += "right ";
      if (k == before.picked) tags += "· reference's pick ";
      if (k == now.picked) tags += "· candidate's pick ";
      out += std::string("<div class='choice") + (k == task.answer ? " right" : "") + "'><span class='tag'>" + tags +
             "· log p " + fixed(before.log_p[n], 2) + " → " + fixed(now.log_p[n], 2) + "</span>" +
             html_escaped(task.choices[n]) + "</div>";
    };
    for (std::int32_t k = 0; k < static_cast<std::int32_t>(task.choices.size()); ++k) {
      if (k == task.answer || k == before.picked || k == now.picked) choice(k);
    }
    out += "</details>";
  }
  return out;
}

}  // namespace

std::string report_html(const ReportInput& in) {
  std::string out =
      "<!doctype html><html lang='en'><head><meta charset='utf-8'><meta name='viewport' "
      "content='width=device-width,initial-scale=1'><title>Sparing: report</title><style>" +
      std::string(kStyle) + "</style></head><body><h1>What compression cost</h1><p class='soft'>";
  out += in.reference ? "Against " + html_escaped(in.reference->name) + ", " + megabytes(in.reference->bytes) + " MB."
                      : std::string("No reference was given.");
  out += "</p>";
  for (const JudgedModel& m : in.candidates) {
    for (const std::string& line : hidden_losses(in, m)) {
      out += "<p class='warning'><b>" + html_escaped(m.name) + "</b>: " + html_escaped(line) + ".</p>";
    }
  }
  const bool text = in.candidates.front().text.has_value(), against = text && in.candidates.front().text->against;
  if (text) out += text_table(in);
  std::string plots;
  if (against) plots += svg(bytes_plot(in)) + svg(position_plot(in));
  if (!in.candidates.front().layers.empty()) {
    plots += svg(layer_plot(in, false));
    if (in.reference) plots += svg(layer_plot(in, true));
  }
  if (!plots.empty()) out += "<h2>Where it was spent</h2><div class='plots'>" + plots + "</div>";
  if (text) out += in.candidates.front().diversity ? diversity_table(in) : "";
  if (!in.probes.empty()) out += kick_table(in);
  if (!in.tasks.empty()) out += task_table(in);
  out += pairs_table(in);
  if (!in.tasks.empty()) {
    if (in.reference) {
      out += "<h2>Flips</h2>";
      for (const JudgedModel& m : in.candidates) out += flips_of(in, m);
    }
  }
  return out + "</body></html>\n";
}

}  // namespace sparing
