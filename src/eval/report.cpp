#include "eval/report.h"

#include <cstdio>
#include <nlohmann/json.hpp>

namespace sparing {
namespace {

using nlohmann::json;

json share_json(const Share& share) {
  return {{"value", share.value}, {"low", share.low}, {"high", share.high}};
}

json compared_json(const ChoiceComparison& c) {
  return {{"flips", share_json(c.flips)},       {"lost", c.lost},      {"won", c.won}, {"changed", c.changed},
          {"retained", share_json(c.retained)}, {"p_value", c.p_value}};
}

json summary_json(const ChoiceSummary& s) {
  return {{"tasks", s.tasks},
          {"accuracy", share_json(s.accuracy)},
          {"accuracy_norm", share_json(s.accuracy_norm)},
          {"likelihood", s.likelihood}};
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
  if (!m.kick.empty()) out["kick"] = kick_json(in, m);
  if (m.diversity) out["diversity"] = diversity_json(*m.diversity);
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

std::string tasks_markdown(const ReportInput& in) {
  std::string out;
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

std::string kick_markdown(const ReportInput& in) {
  if (in.probes.empty()) return {};
  std::string out =
      "\nProbes; 95 % intervals.\n\n| model | probe | questions | accuracy, % | kept of the reference's, % | lost | "
      "won "
      "| p |\n|---|---|---|---|---|---|---|---|\n";
  const auto lines = [&](const JudgedModel& m, bool reference) {
    for (const ProbeOutcome& o : probe_outcomes(in, m)) {
      out += "| " + cell(m.name) + (reference ? " (reference)" : "") + " | " + o.name + " | " +
             std::to_string(o.candidate.tasks) + " | " + percent(o.candidate.accuracy);
      if (o.against) {
        out += " | " + percent(o.against->retained) + " | " + std::to_string(o.against->lost) + " | " +
               std::to_string(o.against->won) + " | " + fixed(o.against->p_value, 3) + " |\n";
      } else {
        out += " | | | | |\n";
      }
    }
  };
  for (const JudgedModel& m : in.candidates) lines(m, false);
  if (in.reference) lines(*in.reference, true);
  for (const JudgedModel& m : in.candidates) {
    for (const std::string& line : hidden_losses(in, m)) out += "\nWarning: " + cell(m.name) + ": " + line + ".\n";
  }
  return out;
}

std::string diversity_markdown(const ReportInput& in) {
  if (!in.candidates.front().diversity) return {};
  std::string out =
      "\nGenerated text, " + in.generation_name +
      ".\n\n| model | distinct-1 | distinct-2 | distinct-3 | repeated 4-grams, % |\n|---|---|---|---|---|\n";
  const auto line = [&](const JudgedModel& m, bool reference) {
    const Diversity& d = *m.diversity;
    out += "| " + cell(m.name) + (reference ? " (reference)" : "") + " | " + fixed(d.distinct1, 3) + " | " +
           fixed(d.distinct2, 3) + " | " + fixed(d.distinct3, 3) + " | " + fixed(100 * d.repetition4.value, 1) + " ± " +
           fixed(100 * d.repetition4.error, 1) + " |\n";
  };
  for (const JudgedModel& m : in.candidates) line(m, false);
  if (in.reference) line(*in.reference, true);
  return out;
}

std::string pairs_markdown(const ReportInput& in) {
  std::string out;
  for (const Pairing& pair : pairings(in)) {
    if (out.empty()) {
      out =
          "\nPaired, on the same windows and questions.\n\n| first | second | KL, first - second | p | only first "
          "right "
          "| only second right | p |\n|---|---|---|---|---|---|---|\n";
    }
    out += "| " + cell(in.candidates[pair.first].name) + " | " + cell(in.candidates[pair.second].name) + " | ";
    if (pair.kld) {
      out += fixed(pair.kld->difference.value, 4) + " ± " + fixed(pair.kld->difference.error, 4) + " | " +
             fixed(pair.kld->p_value, 4);
    } else {
      out += " | ";
    }
    out += " | ";
    if (pair.tasks) {
      out += std::to_string(pair.tasks->lost) + " | " + std::to_string(pair.tasks->won) + " | " +
             fixed(pair.tasks->p_value, 3);
    } else {
      out += " | | ";
    }
    out += " |\n";
  }
  return out;
}

}  // namespace

json choices_json(const ReportInput& in, const JudgedModel& m) {
  json out = summary_json(summarise(in.tasks, m.scores));
  if (!in.reference || &m == &*in.reference) return out;
  const ChoiceComparison c = compare(in.tasks, in.reference->scores, m.scores);
  out.update(compared_json(c));
  out["flipped"] = c.flipped;
  return out;
}

std::vector<Pairing> pairings(const ReportInput& in) {
  std::vector<Pairing> all;
  for (std::size_t i = 0; i < in.candidates.size(); ++i) {
    for (std::size_t j = i + 1; j < in.candidates.size(); ++j) {
      const JudgedModel &a = in.candidates[i], &b = in.candidates[j];
      Pairing pair{i, j, {}, {}};
      if (a.text && b.text && a.text->against && b.text->against) {
        pair.kld = paired_test(a.text->against->kld_by_window, b.text->against->kld_by_window);
      }
      if (!in.tasks.empty()) pair.tasks = compare(in.tasks, a.scores, b.scores);
      if (pair.kld || pair.tasks) all.push_back(std::move(pair));
    }
  }
  return all;
}

std::vector<ProbeOutcome> probe_outcomes(const ReportInput& in, const JudgedModel& m) {
  const bool compared = in.reference && &m != &*in.reference;
  return probe_outcomes(in.probes, m.kick, compared ? in.reference->kick : ProbeScores());
}

std::vector<std::string> hidden_losses(const ReportInput& in, const JudgedModel& m) {
  if (m.kick.empty() || !m.text || !m.text->against) return {};
  return hidden_losses(probe_outcomes(in, m), m.text->against->ppl_ratio.value);
}

json kick_json(const ReportInput& in, const JudgedModel& m) {
  json probes = json::array();
  for (const ProbeOutcome& o : probe_outcomes(in, m)) {
    json probe = summary_json(o.candidate);
    probe["name"] = o.name;
    if (o.against) {
      probe["reference"] = summary_json(*o.reference);
      probe.update(compared_json(*o.against));
      probe["drop_points"] = o.drop;
    }
    probes.push_back(std::move(probe));
  }
  return {{"probes", std::move(probes)}, {"hidden_losses", hidden_losses(in, m)}};
}

json diversity_json(const Diversity& d) {
  return {{"texts", d.texts},
          {"tokens", d.tokens},
          {"distinct_1", d.distinct1},
          {"distinct_2", d.distinct2},
          {"distinct_3", d.distinct3},
          {"repetition_4", d.repetition4.value},
          {"repetition_4_error", d.repetition4.error},
          {"tokens_per_s", d.tokens_per_s}};
}

std::string questions_jsonl(const ReportInput& in, const JudgedModel& m) {
  std::string out;
  for (std::size_t i = 0; i < in.tasks.size(); ++i) {
    const ChoiceTask& task = in.tasks[i];
    const ChoiceScore& score = m.scores[i];
    json responses = json::array();
    for (const double log_p : score.log_p) responses.push_back(json::array({log_p, false}));
    const json line = {{"doc_id", i},
                       {"doc", {{"query", task.context}, {"choices", task.choices}, {"gold", task.answer}}},
                       {"target", task.answer},
                       {"resps", std::move(responses)},
                       {"acc", score.picked == task.answer ? 1.0 : 0.0},
                       {"acc_norm", score.picked_norm == task.answer ? 1.0 : 0.0}};
    out += line.dump(-1, ' ', false, json::error_handler_t::replace) + "\n";
  }
  return out;
}

json report_json(const ReportInput& in) {
  json out = {{"candidates", json::array()}};
  if (!in.text_name.empty()) out["text"] = in.text_name;
  if (!in.tasks_name.empty()) out["tasks"] = in.tasks_name;
  for (const JudgedModel& m : in.candidates) out["candidates"].push_back(model_json(in, m));
  if (in.reference) out["reference"] = model_json(in, *in.reference);
  for (const Pairing& pair : pairings(in)) {
    json entry = {{"first", in.candidates[pair.first].name}, {"second", in.candidates[pair.second].name}};
    if (pair.kld) {
      entry["kld"] = {{"difference", pair.kld->difference.value},
                      {"error", pair.kld->difference.error},
                      {"p_value", pair.kld->p_value}};
    }
    if (pair.tasks) entry["tasks"] = compared_json(*pair.tasks);
    out["pairs"].push_back(std::move(entry));
  }
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
  return out + tasks_markdown(in) + kick_markdown(in) + diversity_markdown(in) + pairs_markdown(in);
}

}  // namespace sparing
