#pragma once
// What the methods that emit int_group have in common: the parameters of the grid, and the site's checks and report.

#include "lab/math/grid.h"
#include "methods/method.h"

namespace sparing {

/// bits, group, symmetric, zero, scale, clip: the first parameters of every such method.
std::vector<ParamSpec> int_grid_params(std::vector<ParamSpec> rest, std::string_view clip_default);
/// The coding that these parameters ask for. Errors name the parameter: a group wider than the row, a zero that coded
/// scales cannot have.
Result<IntGroupSpec> int_grid_spec(std::string_view method, const Params& params, std::int64_t cols);
math::Clip int_grid_clip(const Params& params);

/// Sizes agree and every weight is finite; the message names the site.
Status check_problem(std::string_view method, const SiteProblem& problem);
/// |W - W'|^2 / |W|^2; 0 for a weight of zeros.
double relative_error(std::span<const float> weight, std::span<const float> decoded);
/// The same of the grid's values, decoded row by row.
double relative_error(std::span<const float> weight, const math::IntGrid& grid);
/// Values of all codes, [rows, cols].
std::vector<float> decoded_values(const math::IntGrid& grid);

}  // namespace sparing
