#include "cli/app.h"

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <exception>
#include <new>

#include "base/log.h"
#include "base/progress.h"
#include "cli/help.h"

namespace sparing::cli {
namespace {

int report(const Error& error) {
  std::string line = error.message;
  // One line, whatever a file's contents brought into it.
  std::replace(line.begin(), line.end(), '\n', ' ');
  std::fprintf(stderr, "error: %s\n", line.c_str());
  return static_cast<int>(error.kind);
}

std::vector<std::string> option_names(const CLI::App& command) {
  std::vector<std::string> names;
  for (const CLI::Option* option : command.get_options()) {
    for (const std::string& name : option->get_lnames()) names.push_back("--" + name);
  }
  return names;
}

/// The first word that no option or argument took, or empty.
std::string unexpected_word(const CLI::App& command) {
  const std::vector<std::string> left = command.remaining(true);
  return left.empty() ? std::string() : left.front();
}

Error parse_error(const std::string& program, const CLI::App& app, const CLI::ParseError& error) {
  const auto chosen = app.get_subcommands();
  const CLI::App& command = chosen.empty() ? app : *chosen.front();
  const std::string name = chosen.empty() ? program : command.get_name();
  const std::string help = " ('" + program + (chosen.empty() ? "" : " " + name) + " --help' lists what there is)";
  const std::string word = unexpected_word(command);
  if (dynamic_cast<const CLI::ExtrasError*>(&error) != nullptr && !word.empty()) {
    const bool option = word.size() > 1 && word[0] == '-';
    return usage_error("[" + name + "] " + word + ": " + (option ? "no such option" : "one argument too many") +
                       (option ? did_you_mean(word, option_names(command)) : "") + help);
  }
  std::string what = error.what();
  const std::string tail = " is required";
  if (what.ends_with(tail)) what = what.substr(0, what.size() - tail.size()) + ": missing";
  return usage_error("[" + name + "] " + what + help);
}

}  // namespace

int run_app(const Program& program, int argc, char** argv) {
  // `sparing help inspect` is `sparing inspect --help`.
  std::vector<std::string> words(argv + 1, argv + argc);
  if (!words.empty() && words[0] == "help") {
    words.erase(words.begin());
    words.emplace_back("--help");
  }
  if (!words.empty()) {
    for (const DelegatedCommand& command : program.delegated) {
      if (words[0] != command.name) continue;
      std::vector<char*> arguments{argv[0]};
      for (std::string& word : words) arguments.push_back(word.data());
      arguments.push_back(nullptr);
      return report(exec_lab(arguments.data()));
    }
  }

  Session session;
  CLI::App app(program.description, program.name);
  app.formatter(std::make_shared<HelpFormatter>());
  app.set_help_flag("-h,--help", "Print this help and exit");
  app.set_version_flag("--version", program.name + " " SPARING_VERSION, "Print the version and exit");
  app.footer(program.footer);
  for (const auto& add : program.commands) add(app, session);
  for (const DelegatedCommand& command : program.delegated) {
    app.add_subcommand(command.name, command.summary)->group(command.group);
  }
  if (words.empty()) {
    std::fputs(app.help().c_str(), stderr);
    return static_cast<int>(ErrorKind::usage);
  }
  if (words[0][0] != '-') {
    std::vector<std::string> names;
    for (const CLI::App* command : app.get_subcommands([](const CLI::App*) { return true; })) {
      names.push_back(command->get_name());
    }
    if (std::find(names.begin(), names.end(), words[0]) == names.end()) {
      return report(usage_error("[" + program.name + "] " + words[0] + ": no such command" +
                                did_you_mean(words[0], names) + " ('" + program.name + " --help' lists them)"));
    }
  }

  try {
    app.parse(std::vector<std::string>(words.rbegin(), words.rend()));
  } catch (const CLI::CallForHelp&) {
    const auto chosen = app.get_subcommands();
    const Status printed = print((chosen.empty() ? &app : chosen.front())->help());
    return printed ? 0 : report(printed.error());
  } catch (const CLI::CallForVersion& version) {
    const Status printed = print(std::string(version.what()) + "\n");
    return printed ? 0 : report(printed.error());
  } catch (const CLI::ParseError& error) {
    return report(parse_error(program.name, app, error));
  }
  if (!session.action) return report(usage_error("[" + program.name + "] no command given: see --help"));

  const CommonOptions& common = session.common;
  Progress::set_enabled(!common.quiet);
  if (common.quiet) set_log_level(LogLevel::error);
  if (common.verbose) set_log_level(LogLevel::debug);
  try {
    const Status done = session.action();
    return done ? 0 : report(done.error());
  } catch (const std::bad_alloc&) {
    return report(
        resource_error("[" + session.command + "] memory ran out: close other programs or use a smaller model"));
  } catch (const std::exception& error) {
    return report(internal_error("[" + session.command + "] a bug in Sparing: " + error.what()));
  }
}

}  // namespace sparing::cli
