#pragma once
#include <optional>
#include <string>

#include "base/result.h"

namespace sparing::cli {

/// The next line of standard input without its end; nothing at its end, or when Ctrl-C cut the wait short.
Result<std::optional<std::string>> read_line();

}  // namespace sparing::cli
