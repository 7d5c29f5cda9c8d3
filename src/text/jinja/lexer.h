#pragma once
// A template's text as tokens, with Jinja's control of white space as transformers sets it (trim_blocks,
// lstrip_blocks).

#include <string>
#include <string_view>
#include <vector>

namespace sparing::jinja {

struct TemplateToken {
  enum class Kind {
    data,
    block_begin,
    block_end,
    variable_begin,
    variable_end,
    name,
    string,
    integer,
    real,
    symbol,
    end
  };
  Kind kind = Kind::end;
  std::string text;
  int line = 1;
};
/// Throws Failure.
std::vector<TemplateToken> lex(std::string_view source);

}  // namespace sparing::jinja
