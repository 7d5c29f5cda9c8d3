#pragma once
// The frame around the subcommands: parsing, help, exit codes. Both programs (sparing, sparing-lab) use it.

#include <string>
#include <vector>

#include "cli/session.h"

namespace sparing::cli {

/// A subcommand that sparing-lab runs: listed here for help, handed over with its arguments as they are.
struct DelegatedCommand {
  std::string name, group, summary;
};

struct Program {
  std::string name;         ///< as users call it: "sparing", also in sparing-lab, which they never call
  std::string description;  ///< first line of --help
  std::string footer;       ///< last lines of --help
  /// register_inspect, ... in the order of the help.
  std::vector<void (*)(CLI::App& app, Session& session)> commands;
  std::vector<DelegatedCommand> delegated;
};

/// Groups of the help.
inline constexpr const char *kLookGroup = "Look at models", *kChangeGroup = "Change models", *kUseGroup = "Use models";

/// Parses, runs, reports. Returns the exit code: 0, or the ErrorKind.
int run_app(const Program& program, int argc, char** argv);

/// Replaces this process by sparing-lab (beside this program, or in ../libexec/sparing) with the same arguments.
/// Returns only on failure.
Error exec_lab(char** argv);

}  // namespace sparing::cli
