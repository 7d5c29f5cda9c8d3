#pragma once
// How long a product with each coding and shape takes on this machine, one token at a time, weights from memory.

#include <map>
#include <string>

#include "base/thread_pool.h"
#include "kernels/linear.h"
#include "plan/journal.h"
#include "plan/sites.h"

namespace sparing {

class SpeedTable {
 public:
  /// What an earlier run had measured is taken from the journal's note `key`.
  SpeedTable(Journal& journal, std::string key, const ModelConfig& config, int threads);

  /// Nanoseconds of one product with a site stored in these terms. Measured once for each coding and shape, on as many
  /// weights as no cache holds; the first time dear. Errors: a coding that the kernels refuse.
  Result<double> nanoseconds(const SiteInfo& site, const std::vector<CodecSpec>& terms);
  /// Keeps what was measured since the last call.
  Status keep();

 private:
  Result<double> measure(const CodecSpec& spec, std::int64_t rows, std::int64_t cols, kernels::Precision precision);

  Journal& journal_;
  std::string key_;
  struct Precisions {
    kernels::Precision many = kernels::Precision::int8, few = kernels::Precision::int8;  ///< by bits of the codes
  };
  std::map<std::string, Precisions> precisions_;  ///< of each site's product
  ThreadPool pool_;
  std::map<std::string, double> known_;
  bool changed_ = false;
};

}  // namespace sparing
