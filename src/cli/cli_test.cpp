#include <gtest/gtest.h>

#include "cli/app.h"
#include "cli/help.h"
#include "cli/table.h"

namespace sparing::cli {
namespace {

Status run_probe(const std::string& word) {
  if (word == "bad-file") return input_error("[probe] bad-file: not a model\nsecond line");
  if (word == "memory") throw std::bad_alloc();
  if (word == "bug") throw std::logic_error("index");
  return {};
}

void register_probe(CLI::App& app, Session& session) {
  auto word = std::make_shared<std::string>();
  auto level = std::make_shared<int>(3);
  CLI::App* command = add_command(app, session, kLookGroup, "probe", "Probes things", {"sparing probe this"});
  command->add_option("WORD", *word, "What to probe")->required();
  command->add_option("--level", *level, "How deep")->type_name("N")->capture_default_str();
  on_chosen(command, session, [word, level, &session] {
    if (*word == "seed") return session.common.seed == 7 && session.common.json ? Status() : usage_error("seed");
    return run_probe(*word);
  });
}

int run(std::vector<std::string> words) {
  Program program;
  program.name = "sparing";
  program.commands = {register_probe};
  program.delegated = {{"compress", kChangeGroup, "Elsewhere"}};
  words.insert(words.begin(), "sparing");
  std::vector<char*> argv;
  for (std::string& word : words) argv.push_back(word.data());
  argv.push_back(nullptr);
  return run_app(program, static_cast<int>(words.size()), argv.data());
}

struct Captured {
  int code;
  std::string out, err;
};
Captured capture(std::vector<std::string> words) {
  testing::internal::CaptureStdout();
  testing::internal::CaptureStderr();
  const int code = run(std::move(words));
  return {code, testing::internal::GetCapturedStdout(), testing::internal::GetCapturedStderr()};
}

TEST(App, ExitCodesFollowTheError) {
  EXPECT_EQ(capture({"probe", "fine"}).code, 0);
  EXPECT_EQ(capture({"probe", "bad-file"}).code, 3);
  EXPECT_EQ(capture({"probe", "memory"}).code, 4);
  EXPECT_EQ(capture({"probe", "bug"}).code, 70);
  EXPECT_EQ(capture({"probe", "seed", "--seed", "7", "--json"}).code, 0);
  EXPECT_EQ(capture({"probe", "seed", "--seed", "8", "--json"}).code, 2);
}

TEST(App, MessagesAreOneLine) {
  EXPECT_EQ(capture({"probe", "bad-file"}).err, "error: [probe] bad-file: not a model second line\n");
}

TEST(App, UsageErrorsNameTheWord) {
  Captured got = capture({"prob"});
  EXPECT_EQ(got.code, 2);
  EXPECT_NE(got.err.find("prob: no such command; did you mean probe?"), std::string::npos) << got.err;
  got = capture({"probe", "x", "--levle", "2"});
  EXPECT_EQ(got.code, 2);
  EXPECT_NE(got.err.find("--levle: no such option; did you mean --level?"), std::string::npos) << got.err;
  got = capture({"probe", "x", "y"});
  EXPECT_EQ(got.code, 2);
  EXPECT_NE(got.err.find("y: one argument too many"), std::string::npos) << got.err;
  got = capture({"probe"});
  EXPECT_EQ(got.code, 2);
  EXPECT_NE(got.err.find("WORD: missing"), std::string::npos) << got.err;
  EXPECT_EQ(capture({"probe", "x", "--level", "many"}).code, 2);
  EXPECT_EQ(capture({"--nonsense"}).code, 2);
  EXPECT_EQ(capture({}).code, 2);
  EXPECT_TRUE(capture({"probe"}).out.empty());
}

TEST(App, HelpShowsExamplesDefaultsAndGroups) {
  const std::string help = capture({"probe", "--help"}).out;
  for (const char* part : {"Usage: sparing probe WORD [OPTIONS]", "--level N", "How deep [3]",
                           "Common options:", "Examples:\n  sparing probe this", "--threads N"}) {
    EXPECT_NE(help.find(part), std::string::npos) << part << "\n" << help;
  }
  EXPECT_EQ(capture({"help", "probe"}).out, help);
  const std::string top = capture({"--help"}).out;
  EXPECT_NE(top.find("compress"), std::string::npos);
  EXPECT_NE(top.find("Look at models:"), std::string::npos);
}

TEST(Help, NearNames) {
  const std::vector<std::string> known = {"inspect", "eval", "convert", "run"};
  EXPECT_EQ(near_names("inspct", known), std::vector<std::string>{"inspect"});
  EXPECT_EQ(near_names("conv", known), std::vector<std::string>{"convert"});
  EXPECT_TRUE(near_names("zzzzz", known).empty());
}

TEST(Table, AlignsAndRules) {
  Table table({"site", ">bytes"});
  table.row({"é", "1"});
  table.rule();
  table.row({"all", "1,000"});
  EXPECT_EQ(table.text(), "site  bytes\n-----------\né         1\n-----------\nall   1,000\n");
  EXPECT_EQ(significant(25.078), "25.1");
  EXPECT_EQ(significant(0.001234), "0.00123");
  EXPECT_EQ(significant(98362432), "98362432");
}

}  // namespace
}  // namespace sparing::cli
