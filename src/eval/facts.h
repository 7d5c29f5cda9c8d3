#pragma once
// Common knowledge, for asking whether a model still has it: pairs by relation, written for this project.

#include <span>
#include <string_view>

namespace sparing {

struct Fact {
  std::string_view subject, object;
};
/// "The capital of " subject " is" -> " " object. Objects of one relation are each other's wrong answers.
struct Relation {
  std::string_view name, before, after;
  std::span<const Fact> facts;
};
std::span<const Relation> all_relations();

}  // namespace sparing
