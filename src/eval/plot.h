#pragma once
// Plots as inline SVG, for the report.

#include <string>
#include <utility>
#include <vector>

namespace sparing {

struct Series {
  std::string name;
  std::vector<std::pair<double, double>> points;
  std::vector<std::string> labels;  ///< of the points, or none
  int colour = 0;                   ///< class "c0" ... "c7" of the style sheet
  bool line = true, dots = false, dashed = false;
};

struct Plot {
  std::string title, x, y;
  std::vector<Series> series;
  bool x_from_zero = false, y_from_zero = true;
  bool log_y = false;  ///< for values above 0; others are left out
};
/// <svg ...> with axes, grid, legend and a tooltip on each dot. Empty series are left out; text is escaped.
std::string svg(const Plot& plot);

/// & < > " ' as entities.
std::string html_escaped(const std::string& text);

}  // namespace sparing
