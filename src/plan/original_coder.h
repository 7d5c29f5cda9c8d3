#pragma once
// Calibration that only looks: every site stays as the source has it, so all statistics are the original model's.

#include <map>
#include <string>

#include "lab/calibrate.h"
#include "plan/plan.h"

namespace sparing {

class OriginalCoder : public SiteCoder {
 public:
  explicit OriginalCoder(const Checkpoint& checkpoint) : checkpoint_(checkpoint) {}

  const CodedWeight* finished(const std::string& site) override {
    if (!is_done(site)) return nullptr;
    // One block's weights at a time: the last that was asked for.
    std::erase_if(held_, [&](const auto& entry) { return block_of(entry.first) != block_of(site); });
    const auto found = held_.find(site);
    if (found != held_.end()) return &found->second;
    auto weight = checkpoint_.weight(site);
    if (!weight) return nullptr;
    return &held_.emplace(site, std::move(weight).value()).first->second;
  }
  Result<CodedWeight> code(const std::string& site, const Statistics* statistics) override {
    SPARING_CHECK_OK(look(site, statistics));
    return left(site);
  }

 protected:
  /// What the site is from here on, once it was looked at.
  virtual Result<CodedWeight> left(const std::string& site) {
    auto weight = checkpoint_.weight(site);
    checkpoint_.forget(site);  // its values have been checked
    return weight;
  }
  /// Whether this site's block was looked at before, by an earlier run.
  virtual bool is_done(const std::string& site) const = 0;
  virtual Status look(const std::string& site, const Statistics* statistics) = 0;
  const Checkpoint& checkpoint_;

 private:
  std::map<std::string, CodedWeight> held_;
};

}  // namespace sparing
