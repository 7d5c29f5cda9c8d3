#pragma once
#include <string>
#include <string_view>

#include "base/result.h"

namespace sparing {

/// A pattern written for Oniguruma as PCRE2 must read it: general categories (\p{L}, \pN, \p{^Lu}, \P{M}) are completed
/// by the characters that are newer than PCRE2's Unicode. (Not so within [...] when negated, nor \w and \d: there a
/// character of after Unicode 14 may be judged otherwise.) Refuses set operations within classes, which PCRE2 would
/// read as plain characters.
Result<std::string> to_pcre2(std::string_view pattern);

}  // namespace sparing
