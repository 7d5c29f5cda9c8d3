#include "cli/session.h"

#include <unistd.h>

#include <CLI/App.hpp>
#include <CLI/Config.hpp>
#include <CLI/Formatter.hpp>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <nlohmann/json.hpp>

namespace sparing::cli {

CLI::App* add_command(CLI::App& app, Session& session, const std::string& group, const std::string& name,
                      const std::string& summary, std::initializer_list<std::string_view> examples) {
  CLI::App* command = app.add_subcommand(name, summary);
  command->group(group);
  std::string footer = "Examples:";
  for (const std::string_view example : examples) footer += "\n  " + std::string(example);
  command->footer(footer);

  CommonOptions& common = session.common;
  const std::string shared = "Common options";
  command
      ->add_flag("--json", common.json, "Print one JSON object on standard output, everything else on standard error")
      ->group(shared);
  command->add_flag("-q,--quiet", common.quiet, "No progress and no notes; errors only")->group(shared);
  command->add_flag("-v,--verbose", common.verbose, "Say more on standard error")->group(shared);
  command->add_option("--threads", common.threads, "Threads to compute with; 0: all cores this process may use")
      ->type_name("N")
      ->check(CLI::Range(0, 1024))
      ->group(shared);
  command->add_option("--seed", common.seed, "Seed of everything random: the same seed gives the same output")
      ->type_name("N")
      ->group(shared);
  command->get_option("--help")->group(shared);
  return command;
}

void on_chosen(CLI::App* command, Session& session, std::function<Status()> action) {
  command->callback([command, &session, action = std::move(action)] {
    session.command = command->get_name();
    session.action = action;
  });
}

Status print(std::string_view text) {
  while (!text.empty()) {
    const ssize_t written = ::write(STDOUT_FILENO, text.data(), text.size());
    if (written < 0) {
      if (errno == EINTR) continue;
      return resource_error(std::string("[output] standard output: ") + std::strerror(errno));
    }
    text.remove_prefix(static_cast<std::size_t>(written));
  }
  return {};
}

Status print_json(const nlohmann::json& value) {
  return print(value.dump(2, ' ', false, nlohmann::json::error_handler_t::replace) + "\n");
}

void note(const Session& session, const std::string& line) {
  if (!session.common.quiet) std::fprintf(stderr, "%s\n", line.c_str());
}

}  // namespace sparing::cli
