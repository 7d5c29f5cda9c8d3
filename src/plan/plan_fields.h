#pragma once
// Fields of a plan file as untrusted input: what the readers of its sections share.

#include <initializer_list>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "plan/plan.h"

namespace sparing {

/// "[plan] where: what"
Error plan_error(const std::string& where, const std::string& what);
/// Values from a file go into messages: short, on one line, printable.
std::string shown(const nlohmann::ordered_json& value);
/// Checks that an object has every required field and none that is unknown.
Status check_fields(const nlohmann::ordered_json& object, const std::string& where,
                    std::initializer_list<std::string_view> required, std::initializer_list<std::string_view> optional);
/// A count of tokens or sequences, at most 2^40.
Result<std::int64_t> tokens_of(const nlohmann::ordered_json& value, const std::string& where);
Result<double> real_of(const nlohmann::ordered_json& value, const std::string& where);
/// self, files, tokens and length of an object whose fields have been checked.
Result<CalibrationSpec> text_spec_of(const nlohmann::ordered_json& value, const std::string& where);
nlohmann::ordered_json text_spec_to_json(const CalibrationSpec& spec);
/// What of it decides the output: texts by their hashes.
nlohmann::ordered_json text_recipe(const CalibrationSpec& spec);
/// Parameters as a person writes them (8, 0.01, true, "mse") to the strings that Params::make takes, and back.
Result<ParamList> params_of(const nlohmann::ordered_json& value, const std::string& where);
nlohmann::ordered_json params_object(const ParamList& params);

}  // namespace sparing
