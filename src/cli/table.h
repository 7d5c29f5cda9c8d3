#pragma once
// Plain text tables for people.

#include <string>
#include <vector>

namespace sparing::cli {

class Table {
 public:
  /// A heading that begins with '>' is aligned right (numbers).
  explicit Table(std::vector<std::string> headings);
  void row(std::vector<std::string> cells);
  /// A line across, before the next row (totals).
  void rule();
  std::string text() const;

 private:
  std::vector<std::string> headings_;
  std::vector<bool> right_;
  std::vector<std::vector<std::string>> rows_;  ///< empty row: a rule
};

/// `digits` after the point.
std::string fixed(double value, int digits);
/// Three significant figures: 0.00123, 25.1, 1234.
std::string significant(double value);

}  // namespace sparing::cli
