#include "eval/report.h"

#include <cstdio>
#include <nlohmann/json.hpp>

namespace sparing {
namespace {

using nlohmann::json;

json share_json(const Share& share) {
  return {{"value", share.value}, {"low", share.low}, {"high", share.high}};
}

json model_json(const ReportInput& in, const JudgedModel& m) {
  json out = {{"model", m.name}, {"bytes", m.bytes}};
  if (m.tokens_per_s > 0) out["tokens_per_s"] = m.tokens_per_s;
  if (m.text) {
    out["text"] = to_json(*m.text);
    if (m.text->against) out["text"]["kld_by_position"] = m.text->against->kld_by_position;
  }
  for (const LayerFigures& layer : m.layers) {
    out["layers"].push_back({{"layer", layer.layer}, {"bits", layer.bits}, {"damage", layer.damage}});
  }
  if (!m.scores.empty()) out["tasks"] = choices_json(in, m);
  return out;
}

std::string fixed(double value, int digits) {
  char text[64];
  std::snprintf(text, sizeof text, "%.*f", digits, value);
  return text;
}

/// Table cells hold no bars.
std::string cell(std::string text) {
  for (char& c : text) {
    if (c == '|' || c == '\n') c = ' ';
  }
  return text;
}

std::string percent(const Share& share) {
  return fixed(100 * share.value, 2) + " (" + fixed(100 * share.low, 1) + "–" + fixed(100 * share.high, 1) + ")";
}

}  // namespace

json choices_json(const ReportInput& in, const JudgedModel& m) {
  const ChoiceSummary s = summarise(in.tasks, m.scores);
  json out = {{"tasks", s.tasks},
              {"accuracy", share_json(s.accuracy)},
              {"accuracy_norm", share_json(s.accuracy_norm)},
              {"likelihood", s.likelihood}};
  if (!in.reference || &m == &*in.reference) return out;
  const ChoiceComparison c = compare(in.tasks, in.reference->scores, m.scores);
  out.update({{"flips", share_json(c.flips)},
              {"lost", c.lost},
              {"won", c.won},
              {"changed", c.changed},
              {"retained", share_json(c.retained)},
              {"p_value", c.p_value},
              {"flipped", c.flipped}});
  return out;
}

json report_json(const ReportInput& in) {
  json out = {{"candidates", json::array()}};
  if (!in.text_name.empty()) out["text"] = in.text_name;
  if (!in.tasks_name.empty()) out["tasks"] = in.tasks_name;
  for (const JudgedModel& m : in.candidates) out["candidates"].push_back(model_json(in, m));
  if (in.reference) out["reference"] = model_json(in, *in.reference);
  return out;
}

std::string report_markdown(const ReportInput& in) {
  std::string out = "# What compression cost\n";
  if (in.candidates.front().text) {
    out += "\n" + cell(in.text_name) + "; KL in nats against " +
           (in.reference ? cell(in.reference->name) : std::string("nothing")) + ".\n\n" +
           "| model | MB | perplexity | KL mean | median | 90 % | 99 % | 99.9 % | max | same top, % |\n" +
           "|---|---|---|---|---|---|---|---|---|---|\n";
    for (const JudgedModel& m : in.candidates) {
      out += "| " + cell(m.name) + " | " + fixed(static_cast<double>(m.bytes) / 1e6, 2) + " | " +
             fixed(m.text->ppl.value, 3) + " ± " + fixed(m.text->ppl.error, 3);
      if (m.text->against) {
        const Divergence& d = *m.text->against;
        out += " | " + fixed(d.kld_mean.value, 4) + " ± " + fixed(d.kld_mean.error, 4) + " | " +
               fixed(d.kld_median, 4) + " | " + fixed(d.kld_p90, 4) + " | " + fixed(d.kld_p99, 3) + " | " +
               fixed(d.kld_p999, 2) + " | " + fixed(d.kld_max, 2) + " | " + fixed(100 * d.top1_agreement.value, 2);
      } else {
        out += " | | | | | | |";
      }
      out += " |\n";
    }
  }
  if (in.tasks.empty()) return out;
  out += "\n" + cell(in.tasks_name) + ", " + std::to_string(in.tasks.size()) + " questions; 95 % intervals.\n\n" +
         "| model | accuracy, % | by length, % | flips, % | lost | won | p |\n|---|---|---|---|---|---|---|\n";
  const auto line = [&](const JudgedModel& m, bool reference) {
    const ChoiceSummary s = summarise(in.tasks, m.scores);
    out += "| " + cell(m.name) + (reference ? " (reference)" : "") + " | " + percent(s.accuracy) + " | " +
           percent(s.accuracy_norm);
    if (in.reference && !reference) {
      const ChoiceComparison c = compare(in.tasks, in.reference->scores, m.scores);
      out += " | " + percent(c.flips) + " | " + std::to_string(c.lost) + " | " + std::to_string(c.won) + " | " +
             fixed(c.p_value, 3) + " |\n";
    } else {
      out += " | | | | |\n";
    }
  };
  for (const JudgedModel& m : in.candidates) line(m, false);
  if (in.reference) line(*in.reference, true);
  return out;
}

}  // namespace sparing
