#pragma once
// A parsed template: one kind of node with named parts, small enough to need no class hierarchy.

#include <memory>
#include <string>
#include <vector>

#include "text/jinja/value.h"

namespace sparing::jinja {

struct Node;
using NodePtr = std::unique_ptr<const Node>;

struct Node {
  enum class Kind {
    // expressions
    constant,     ///< value
    name,         ///< text
    list,         ///< parts; `flag`: a tuple
    dict,         ///< parts: key, value, key, value ...
    attribute,    ///< parts[0].text
    subscript,    ///< parts[0][parts[1]]
    slice,        ///< parts[0][parts[1]:parts[2]:parts[3]], the last three may be null
    call,         ///< parts[0](parts[1...]); names[i] names argument i or is empty
    filter,       ///< parts[0] | text(parts[1...])
    test,         ///< parts[0] is text(parts[1...]); `flag`: is not
    unary,        ///< text: - + not
    binary,       ///< text: + - * / // % ** ~ and or
    compare,      ///< parts[0] names[0] parts[1] names[1] parts[2] ...
    conditional,  ///< parts[0] if parts[1] else parts[2], which may be null
    // statements
    output,      ///< parts[0]
    data,        ///< text
    block,       ///< parts in order
    branch,      ///< if parts[0] then parts[1] else parts[2], which may be null
    loop,        ///< for names in parts[0] if parts[1] (may be null): parts[2], else parts[3] (may be null); `flag`:
                 ///< recursive
    set,         ///< names = parts[0]; text is set for ns.text = ...
    set_block,   ///< names[0] = what parts[0] prints, through filters parts[1...]
    macro,       ///< text(names...) with defaults in parts[1...] for the last of them: parts[0]
    leave_loop,  ///< break
    next_round,  ///< continue
  };
  Kind kind;
  int line = 1;
  std::string text;
  Value value;
  bool flag = false;
  std::vector<std::string> names;
  std::vector<NodePtr> parts;
};

/// Throws Failure, which names what is not supported.
NodePtr parse(std::string_view source);

}  // namespace sparing::jinja
