#include "methods/int_grid.h"

#include "methods/site.h"

namespace sparing {

std::vector<ParamSpec> int_grid_params(std::vector<ParamSpec> rest, std::string_view clip_default) {
  using Type = ParamSpec::Type;
  std::vector<ParamSpec> params = {
      bits_param(4, 2, 8),
      group_param(),
      {.name = "symmetric",
       .type = Type::boolean,
       .default_value = 0,
       .min = 0,
       .max = 1,
       .choices = {},
       .help = "no stored zero: codes are centred"},
      {.name = "zero",
       .type = Type::choice,
       .default_value = 0,
       .min = 0,
       .max = 1,
       .choices = {"integer", "min"},
       .help = "what an asymmetric group stores: an integer zero of `bits` bits, or its minimum in f16"},
      {.name = "scale",
       .type = Type::choice,
       .default_value = 0,
       .min = 0,
       .max = 2,
       .choices = {"f16", "coded6", "coded8"},
       .help = "scales (and minima) in f16, or in 6 or 8 bits under an f16 super-scale per 8 groups"},
      {.name = "clip",
       .type = Type::choice,
       .default_value = clip_default == "mse" ? 1.0 : 0.0,
       .min = 0,
       .max = 1,
       .choices = {"none", "mse"},
       .help = "span of a group's grid: least to largest weight, or searched for the least squared error"},
  };
  params.insert(params.end(), rest.begin(), rest.end());
  return params;
}

Result<IntGroupSpec> int_grid_spec(std::string_view method, const Params& params, std::int64_t cols) {
  IntGroupSpec spec;
  spec.bits = static_cast<std::int32_t>(params.integer("bits"));
  SPARING_TRY(spec.groups.group, group_inputs(method, params, cols));
  spec.zero_offset = 0;
  if (params.flag("symmetric")) {
    spec.zero = ZeroKind::constant;
    spec.zero_offset = 1 << (spec.bits - 1);
  } else if (params.choice("zero") == "integer") {
    spec.zero = ZeroKind::integer;
    spec.zero_bits = spec.bits;
  } else {
    spec.zero = ZeroKind::f16_min;
  }
  if (params.choice("scale") != "f16") {
    spec.groups.scale = ScaleKind::coded;
    spec.groups.scale_bits = params.choice("scale") == "coded6" ? 6 : 8;
    spec.groups.super = 8;
    if (spec.zero == ZeroKind::f16_min) {
      spec.zero = ZeroKind::coded_min;
      spec.zero_bits = spec.groups.scale_bits;
    }
  }
  return spec;
}

math::Clip int_grid_clip(const Params& params) {
  return params.choice("clip") == "mse" ? math::Clip::mse : math::Clip::none;
}

double relative_error(std::span<const float> weight, const math::IntGrid& grid) {
  WeightError sum;
  std::vector<float> values(static_cast<std::size_t>(grid.cols()));
  for (std::int64_t r = 0; r < grid.rows(); ++r) {
    grid.decode_row(r, values.data());
    sum.add(weight.subspan(static_cast<std::size_t>(r) * values.size(), values.size()), values);
  }
  return sum.relative();
}

std::vector<float> decoded_values(const math::IntGrid& grid) {
  std::vector<float> values(static_cast<std::size_t>(grid.rows() * grid.cols()));
  for (std::int64_t r = 0; r < grid.rows(); ++r) grid.decode_row(r, values.data() + r * grid.cols());
  return values;
}

}  // namespace sparing
