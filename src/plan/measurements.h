#pragma once
// Numbers that were dear to come by, kept in one note of the journal.

#include <cmath>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>

#include "base/sha256.h"
#include "plan/journal.h"

namespace sparing {

class Measurements {
 public:
  Measurements(Journal& journal, std::string key) : journal_(journal), key_(std::move(key)) {
    if (const auto noted = journal_.note(key_)) known_ = nlohmann::json::parse(*noted, nullptr, false);
    if (!known_.is_object()) known_ = nlohmann::json::object();
  }
  std::optional<double> find(const std::string& what) const {
    const auto found = known_.find(what);
    if (found == known_.end() || !found->is_number()) return std::nullopt;
    return found->get<double>();
  }
  Status keep(const std::string& what, double value) {
    known_[what] = value;
    return journal_.keep_note(key_, known_.dump());
  }

 private:
  Journal& journal_;
  std::string key_;
  nlohmann::json known_;
};

/// A key of 32 hex digits for what a text says.
inline std::string short_hash(const std::string& text) {
  return sha256_hex(std::as_bytes(std::span(text))).substr(0, 32);
}

}  // namespace sparing
