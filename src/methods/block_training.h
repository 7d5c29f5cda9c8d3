#pragma once
// What the methods that are trained on their block's outputs have in common: the schedule and its parameters.

#include "methods/method.h"

namespace sparing {

/// steps, batch, checks, target, loss, products, in this order.
std::vector<ParamSpec> training_params();
TrainingSchedule training_schedule(const Params& params);
/// The first step's rate for something to move by `reach` in all while the rate falls linearly to 0.
double first_rate(double reach, std::int64_t steps);

}  // namespace sparing
