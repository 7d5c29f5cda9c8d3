#pragma once
// What every subcommand shares: common options, the action to run, and results on standard output.

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

#include <nlohmann/json_fwd.hpp>

#include "base/result.h"

namespace CLI {
class App;
}

namespace sparing::cli {

struct CommonOptions {
  bool json = false, quiet = false, verbose = false;
  int threads = 0;  ///< 0: all that this process may use
  std::uint64_t seed = 0;
};

/// One run of the program. Subcommands fill `action` when they are chosen; run_app calls it.
struct Session {
  CommonOptions common;
  std::string command;             ///< the chosen subcommand's name
  std::function<Status()> action;  ///< empty until a subcommand is parsed
};

/// Adds a subcommand with the common options. `examples`: lines for the end of its help, each a command.
CLI::App* add_command(CLI::App& app, Session& session, const std::string& group, const std::string& name,
                      const std::string& summary, std::initializer_list<std::string_view> examples);
/// Runs `action` when `command` is the one chosen.
void on_chosen(CLI::App* command, Session& session, std::function<Status()> action);

/// Writes to standard output at once. A reader that has gone away, or a full disk, is an error.
Status print(std::string_view text);
/// One JSON value, indented, as the whole standard output.
Status print_json(const nlohmann::json& value);
/// A line for people on standard error, unless --quiet.
void note(const Session& session, const std::string& line);

}  // namespace sparing::cli
