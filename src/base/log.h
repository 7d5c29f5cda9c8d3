#pragma once
// Messages for people, on standard error (standard output is for results). spdlog behind it.

#include <string>

namespace sparing {

enum class LogLevel { debug, info, warning, error };
void set_log_level(LogLevel level);
void log_debug(const std::string& message);
void log_info(const std::string& message);
void log_warning(const std::string& message);
void log_error(const std::string& message);

}  // namespace sparing
