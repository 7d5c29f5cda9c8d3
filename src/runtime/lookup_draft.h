#pragma once
#include <cstdint>
#include <span>
#include <vector>

#include "text/tokenizer.h"

namespace sparing {

/// Guesses how the text goes on by looking up its last tokens earlier in itself (prompt lookup decoding): what followed
/// the latest earlier occurrence of the longest suffix of 2 to 4 tokens. At most `most` tokens; none if nothing
/// matches.
std::vector<Token> lookup_draft(std::span<const Token> text, std::int64_t most);

}  // namespace sparing
