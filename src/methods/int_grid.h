#pragma once
// What the methods that emit int_group have in common: the parameters of the grid.

#include "lab/math/grid.h"
#include "methods/method.h"

namespace sparing {

/// bits, group, symmetric, zero, scale, clip: the first parameters of every such method.
std::vector<ParamSpec> int_grid_params(std::vector<ParamSpec> rest, std::string_view clip_default);
/// The coding that these parameters ask for. Errors name the parameter: a group wider than the row, a zero that coded
/// scales cannot have.
Result<IntGroupSpec> int_grid_spec(std::string_view method, const Params& params, std::int64_t cols);
math::Clip int_grid_clip(const Params& params);

/// |W - W'|^2 / |W|^2 of the grid's values, decoded row by row; 0 for a weight of zeros.
double relative_error(std::span<const float> weight, const math::IntGrid& grid);
/// Values of all codes, [rows, cols].
std::vector<float> decoded_values(const math::IntGrid& grid);

}  // namespace sparing
