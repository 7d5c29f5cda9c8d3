#pragma once
// Damage measured one class of sites at a time, before much is coded: how far the estimates are from it. A class that
// is one site (an embedding, a head) is measured at several rates, since an estimate from small changes may be right
// at eight bits and far off at two.

#include <functional>
#include <map>
#include <string>
#include <vector>

#include "plan/database.h"

namespace sparing {

/// Sites that share a correction: "attn.q", "mlp.down", "embed".
struct SiteClasses {
  std::vector<std::string> names;
  std::vector<std::size_t> of;  ///< the class of each site
};
SiteClasses classes_of(const std::vector<SurveyedSite>& sites);

/// Measures KL with these weights in place of the model's own. `what` names it, for keeping.
using MeasureWeights =
    std::function<Result<double>(const std::string& what, const std::map<std::string, CodedWeight, std::less<>>&)>;

/// Options that stand for a site's rates: the best by estimate at steps of bytes from the cheapest on, ascending.
std::vector<std::size_t> ladder(const SurveyedSite& site);

/// A factor for each of a site's options, from those at the rungs (one for each): interpolated between their bytes.
std::vector<double> factors_between(const SurveyedSite& site, const std::vector<std::size_t>& rungs,
                                    const std::vector<double>& at_rungs);

/// For every site and option, what to multiply its estimate with. choice: the option of each site; classes: the class
/// of each site. Codes drafts of `choice` and of ladders, in a folder of the journal of their own.
Result<std::vector<std::vector<double>>> anchor(const SurveyContext& context, const std::string& key,
                                                const std::vector<SurveyedSite>& sites,
                                                const std::vector<std::size_t>& classes,
                                                const std::vector<std::size_t>& choice, const MeasureWeights& measure);

}  // namespace sparing
