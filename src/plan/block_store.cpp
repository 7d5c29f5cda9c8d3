#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/log.h"
#include "plan/execute.h"

namespace sparing {
namespace {

using Json = nlohmann::ordered_json;

Json report_to_json(const SiteReport& report) {
  return {{"weight_error", report.weight_error}, {"output_error", report.output_error}, {"note", report.note}};
}

SiteReport report_from_json(const Json& json) {
  SiteReport report;
  if (!json.is_object()) return report;
  const auto number = [&](const char* name) {
    return json.contains(name) && json[name].is_number() ? json[name].get<double>() : 0.0;
  };
  report.weight_error = number("weight_error");
  report.output_error = number("output_error");
  if (json.contains("note") && json["note"].is_string()) report.note = json["note"].get<std::string>();
  return report;
}

}  // namespace

BlockStore::BlockStore(Journal* journal, const std::vector<BoundSite>& sites) : journal_(journal), sites_(sites) {
  for (const BoundSite& site : sites) {
    std::string block = block_of(site.site.name);
    if (std::ranges::find(blocks_, block) == blocks_.end()) blocks_.push_back(std::move(block));
  }
}

std::vector<const BoundSite*> BlockStore::sites_of(const std::string& block) const {
  std::vector<const BoundSite*> found;
  for (const BoundSite& site : sites_) {
    if (block_of(site.site.name) == block) found.push_back(&site);
  }
  return found;
}

Result<bool> BlockStore::load(const std::string& block) {
  if (journal_ == nullptr) return false;
  SPARING_TRY(const auto record, journal_->load(block));
  if (!record) return false;
  const auto sites = sites_of(block);
  if (record->weights.size() != sites.size()) return false;
  const Json reports = Json::parse(record->report, nullptr, false);
  std::vector<std::pair<std::string, SiteResult>> read;
  for (std::size_t i = 0; i < sites.size(); ++i) {
    auto weight = decode_weight_record(record->weights[i]);
    if (!weight || weight->first != sites[i]->site.name || weight->second.rows != sites[i]->site.rows ||
        weight->second.cols != sites[i]->site.cols) {
      log_warning("[journal] " + block + ": its record does not fit the plan: done again");
      return false;
    }
    SiteResult result{std::move(weight->second), {}};
    if (reports.is_array() && i < reports.size()) result.report = report_from_json(reports[i]);
    forget(result.weight);
    read.emplace_back(std::move(weight->first), std::move(result));
  }
  for (auto& [site, result] : read) results_.insert_or_assign(site, std::move(result));
  return true;
}

Status BlockStore::store(const std::string& block, std::vector<SiteResult> results) {
  const auto sites = sites_of(block);
  if (journal_ == nullptr) {
    for (std::size_t i = 0; i < sites.size(); ++i) {
      results_.insert_or_assign(sites[i]->site.name, std::move(results[i]));
    }
    return {};
  }
  BlockRecord record;
  Json reports = Json::array();
  for (std::size_t i = 0; i < sites.size(); ++i) {
    SPARING_TRY(std::string bytes, encode_weight_record(sites[i]->site.name, results[i].weight));
    record.weights.push_back(Blob::of(std::move(bytes)));
    forget(results[i].weight);  // a weight that is kept lies in the source's file
    results[i].weight = {};
    reports.push_back(report_to_json(results[i].report));
  }
  record.report = reports.dump(-1, ' ', false, Json::error_handler_t::replace);
  results.clear();
  SPARING_CHECK_OK(journal_->store(block, record));
  record = {};
  // Read back: from here on the weights are the file's pages, not this process's memory, as after a restart.
  SPARING_TRY(const bool there, load(block));
  if (!there) return internal_error("[journal] " + block + ": cannot be read back");
  return {};
}

const SiteResult* BlockStore::find(const std::string& site) const {
  const auto found = results_.find(site);
  return found == results_.end() ? nullptr : &found->second;
}

}  // namespace sparing
