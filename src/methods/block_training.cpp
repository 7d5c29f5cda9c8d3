#include "methods/block_training.h"

namespace sparing {

std::vector<ParamSpec> training_params() {
  using Type = ParamSpec::Type;
  return {
      {.name = "steps",
       .type = Type::integer,
       .default_value = 60,
       .min = 0,
       .max = 100000,
       .choices = {},
       .help = "training steps per block"},
      {.name = "batch",
       .type = Type::integer,
       .default_value = 8,
       .min = 1,
       .max = 1024,
       .choices = {},
       .help = "calibration sequences per step"},
      {.name = "checks",
       .type = Type::integer,
       .default_value = 2,
       .min = 1,
       .max = 1000,
       .choices = {},
       .help = "times a block is measured on the whole text; its best state is kept"},
      {.name = "target",
       .type = Type::choice,
       .default_value = 0,
       .min = 0,
       .max = 1,
       .choices = {"original", "block"},
       .help = "what a block should give: what it gives in the original model, or on its present inputs"},
      {.name = "loss",
       .type = Type::choice,
       .default_value = 0,
       .min = 0,
       .max = 1,
       .choices = {"relative", "plain"},
       .help = "squared error over each token's mean square, or as it is"},
      {.name = "products",
       .type = Type::choice,
       .default_value = 0,
       .min = 0,
       .max = 1,
       .choices = {"bf16", "f32"},
       .help = "what training multiplies in; weights are measured and stored alike"},
  };
}

TrainingSchedule training_schedule(const Params& params) {
  TrainingSchedule s;
  s.steps = params.integer("steps");
  s.batch = params.integer("batch");
  s.checks = params.integer("checks");
  s.target =
      params.choice("target") == "original" ? TrainingSchedule::Target::original : TrainingSchedule::Target::block;
  s.loss = params.choice("loss") == "relative" ? TrainingSchedule::Loss::relative : TrainingSchedule::Loss::plain;
  s.products = params.choice("products") == "bf16" ? TrainingSchedule::Products::bf16 : TrainingSchedule::Products::f32;
  return s;
}

double first_rate(double reach, std::int64_t steps) {
  return 2 * reach / static_cast<double>(steps + 1);
}

}  // namespace sparing
