#include "cli/help.h"

#include <algorithm>

#include "base/suggest.h"

namespace sparing::cli {
namespace {

constexpr std::size_t kColumn = 26, kWidth = 100;

/// "  name      text", the text wrapped and indented under itself.
std::string entry(const std::string& name, const std::string& text) {
  std::string out = "  " + name;
  std::size_t at = out.size();
  if (at + 2 > kColumn) {
    out += "\n";
    at = 0;
  }
  out.append(kColumn - at, ' ');
  at = kColumn;
  bool first = true;
  for (std::size_t begin = 0; begin < text.size();) {
    std::size_t end = text.find_first_of(" \n", begin);
    if (end == std::string::npos) end = text.size();
    const std::string word = text.substr(begin, end - begin);
    if (!first && at + 1 + word.size() > kWidth) {
      out += "\n" + std::string(kColumn, ' ');
      at = kColumn;
      first = true;
    }
    if (!first) {
      out += ' ';
      ++at;
    }
    out += word;
    at += word.size();
    first = false;
    begin = end;
    while (begin < text.size() && (text[begin] == ' ' || text[begin] == '\n')) ++begin;
  }
  return out + "\n";
}

std::string option_text(const CLI::Option* option) {
  std::string text = option->get_description();
  if (!option->get_default_str().empty()) text += " [" + option->get_default_str() + "]";
  if (option->get_required() && !option->get_positional()) text += " (required)";
  return text;
}

std::string option_name(const CLI::Option* option, bool is_positional) {
  if (is_positional) return option->get_name(true, false);
  std::string name;
  for (const std::string& s : option->get_snames()) name += (name.empty() ? "-" : ", -") + s;
  for (const std::string& l : option->get_lnames()) name += (name.empty() ? "--" : ", --") + l;
  if (option->get_type_size() != 0 && option->get_expected_max() > 0) {
    // What comes after a colon is CLI11's rendering of the checks.
    const std::string type = option->get_type_name();
    name += " " + type.substr(0, type.find(':'));
  }
  return name;
}

}  // namespace

HelpFormatter::HelpFormatter() {
  label("Positionals", "Arguments");
}

std::string HelpFormatter::make_usage(const CLI::App* app, std::string name) const {
  std::string out = "Usage: " + name;
  for (const CLI::Option* option : app->get_options([](const CLI::Option* o) { return o->get_positional(); })) {
    out += " " + make_option_usage(option);
  }
  if (!app->get_subcommands([](const CLI::App*) { return true; }).empty()) out += " COMMAND";
  return out + " [OPTIONS]\n";
}

std::string HelpFormatter::make_group(std::string group, bool is_positional,
                                      std::vector<const CLI::Option*> options) const {
  std::string out = "\n" + group + ":\n";
  for (const CLI::Option* option : options) out += entry(option_name(option, is_positional), option_text(option));
  return out;
}

std::string HelpFormatter::make_subcommand(const CLI::App* sub) const {
  return entry(sub->get_name(), sub->get_description());
}

std::string HelpFormatter::make_help(const CLI::App* app, std::string name, CLI::AppFormatMode mode) const {
  name = app->get_name();
  for (const CLI::App* parent = app->get_parent(); parent != nullptr; parent = parent->get_parent()) {
    name = parent->get_name() + " " + name;
  }
  std::string out = app->get_description() + "\n\n" + make_usage(app, name) + make_positionals(app);
  std::vector<std::string> groups = app->get_groups();
  // The shared options come last.
  std::stable_partition(groups.begin(), groups.end(), [](const std::string& g) { return g != "Common options"; });
  out += make_subcommands(app, mode);
  for (const std::string& group : groups) {
    const auto options =
        app->get_options([&](const CLI::Option* o) { return o->get_group() == group && o->nonpositional(); });
    if (!group.empty() && !options.empty()) out += make_group(group, false, options);
  }
  if (!app->get_footer().empty()) out += "\n" + app->get_footer() + "\n";
  return out;
}

std::vector<std::string> near_names(std::string_view word, const std::vector<std::string>& known) {
  std::vector<std::pair<int, std::string>> found;
  const int limit = std::max(1, static_cast<int>(word.size() / 3));
  for (const std::string& name : known) {
    const bool prefix = word.size() >= 2 && name.starts_with(word);
    const int d = prefix ? 0 : edit_distance(word, name);
    if (d <= limit) found.emplace_back(d, name);
  }
  std::sort(found.begin(), found.end());
  std::vector<std::string> names;
  for (std::size_t i = 0; i < std::min<std::size_t>(3, found.size()); ++i) names.push_back(found[i].second);
  return names;
}

std::string did_you_mean(std::string_view word, const std::vector<std::string>& known) {
  const auto names = near_names(word, known);
  if (names.empty()) return {};
  std::string text = "; did you mean " + names[0];
  for (std::size_t i = 1; i < names.size(); ++i) text += (i + 1 == names.size() ? " or " : ", ") + names[i];
  return text + "?";
}

}  // namespace sparing::cli
