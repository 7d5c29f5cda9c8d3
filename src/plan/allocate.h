#pragma once
// Choosing one option for each site from a table of prices and damages.

#include <optional>
#include <vector>

#include "plan/database.h"

namespace sparing {

/// What an option costs and what it does.
struct Priced {
  std::uint64_t bytes = 0;
  double nanoseconds = 0;  ///< where speed is asked for
  double damage = 0;
};
using PriceTable = std::vector<std::vector<Priced>>;  ///< by site
using Choice = std::vector<std::size_t>;              ///< the option of each site

std::uint64_t bytes_of(const PriceTable& table, const Choice& choice);
double time_of(const PriceTable& table, const Choice& choice);
double damage_of(const PriceTable& table, const Choice& choice);

/// The least damage within the bytes (a knapsack of so many states), or within bytes and nanoseconds (an integer
/// program). Nothing where no choice fits.
Result<std::optional<Choice>> choose(const PriceTable& table, std::uint64_t bytes, std::optional<double> nanoseconds,
                                     std::size_t states);

/// Options of each method that lie next to what was chosen along that method's trade-off of bytes and damage, so many
/// to either side in steps of at least 6 % of bytes (twice as many at an embedding or a head, where more is at stake),
/// ascending.
std::vector<std::size_t> around(const SurveyedSite& site, std::size_t chosen, std::size_t reach);

/// What the site would have for the next bytes: the candidate with the most damage saved a byte; nothing where no
/// dearer one saves any.
std::optional<RunnerUp> runner_up(const std::vector<Candidate>& candidates, const std::vector<Priced>& prices,
                                  std::size_t chosen);

}  // namespace sparing
