#include "eval/choice_tasks.h"

#include <gtest/gtest.h>

#include <cmath>

namespace sparing {
namespace {

TEST(ChoiceTasks, ReadsTheUsualFields) {
  const auto tasks = read_choice_tasks(
      "{\"goal\": \"g\", \"sol1\": \"a\", \"sol2\": \"b\"}\n\n"
      "{\"ctx\": \"c\", \"endings\": [\"x\", \"y\", \"z\"], \"label\": \"2\"}\r\n"
      "{\"question\": \"q\", \"choices\": {\"text\": [\"x\", \"y\"], \"label\": [\"1\", \"2\"]}, \"answerKey\": "
      "\"2\"}\n"
      "{\"query\": \"q\", \"choices\": [\"x\", \"y\"], \"gold\": 1}\n"
      "{\"question\": \"q\", \"options\": [\"x\", \"y\"], \"answer\": \"B\"}",
      "1\n\n\n\n\n\n", "[t]");
  ASSERT_FALSE(tasks.ok());  // the labels end before the file does
  const auto read = read_choice_tasks(
      "{\"goal\": \"g\", \"sol1\": \"a\", \"sol2\": \"b\", \"label\": 1}\n\n"
      "{\"ctx\": \"c\", \"endings\": [\"x\", \"y\", \"z\"], \"label\": \"2\"}\r\n"
      "{\"question\": \"q\", \"choices\": {\"text\": [\"x\", \"y\"], \"label\": [\"1\", \"2\"]}, \"answerKey\": "
      "\"2\"}\n"
      "{\"query\": \"q\", \"choices\": [\"x\", \"y\"], \"gold\": 1}\n"
      "{\"question\": \"q\", \"options\": [\"x\", \"y\"], \"answer\": \"B\"}",
      "", "[t]");
  ASSERT_TRUE(read.ok()) << read.error().message;
  ASSERT_EQ(read->size(), 5u);
  EXPECT_EQ((*read)[0].context, "Question: g\nAnswer:");
  EXPECT_EQ((*read)[0].choices, (std::vector<std::string>{" a", " b"}));
  EXPECT_EQ((*read)[1].context, "c");
  EXPECT_EQ((*read)[1].answer, 2);
  for (const std::size_t i : {0, 2, 3, 4}) EXPECT_EQ((*read)[i].answer, 1) << i;
  const auto labelled =
      read_choice_tasks("{\"goal\": \"g\", \"sol1\": \"a\", \"sol2\": \"b\"}\n{\"goal\": 3}", "1\n0\n", "[t]", 1);
  ASSERT_TRUE(labelled.ok()) << labelled.error().message;
  EXPECT_EQ((*labelled)[0].answer, 1);
}

TEST(ChoiceTasks, ReadsWhatTheHarnessLogs) {
  const auto read = read_choice_tasks(
      "{\"doc_id\": 0, \"doc\": {\"goal\": \"g\"}, \"target\": \"1\", \"arguments\": [[\"Q:\", \" a\"], [\"Q:\", \" "
      "b\"]]}\n"
      "{\"target\": 0, \"arguments\": {\"gen_args_0\": {\"arg_0\": \"Q:\", \"arg_1\": \" a\"}, \"gen_args_1\": "
      "{\"arg_0\": "
      "\"Q:\", \"arg_1\": \" b\"}}}\n"
      "{\"doc\": {\"query\": \"c\", \"choices\": [\" x\", \"y\"], \"gold\": 1}, \"target\": 1}",
      "", "[t]");
  ASSERT_TRUE(read.ok()) << read.error().message;
  ASSERT_EQ(read->size(), 3u);
  EXPECT_EQ((*read)[0].context, "Q:");
  EXPECT_EQ((*read)[0].choices, (std::vector<std::string>{" a", " b"}));
  EXPECT_EQ((*read)[0].answer, 1);
  EXPECT_EQ((*read)[1].choices, (*read)[0].choices);
  EXPECT_EQ((*read)[1].answer, 0);
  EXPECT_EQ((*read)[2].choices, (std::vector<std::string>{" x", " y"}));
  EXPECT_EQ((*read)[2].answer, 1);
}

TEST(ChoiceTasks, RefusesByLineAndField) {
  const std::pair<const char*, const char*> cases[] = {
      {"", "no tasks"},
      {"{\"goal\": \"g\", \"sol1\": \"a\"}", "line 1: field sol2 is missing"},
      {"{\"sol1\": \"a\", \"sol2\": \"b\"}", "no context"},
      {"\n{\"query\": \"q\", \"gold\": 1}", "line 2: no choices"},
      {"{\"query\": \"q\", \"choices\": [\"x\"], \"gold\": 0}", "1 choices"},
      {"{\"query\": \"q\", \"choices\": [\"x\", 3], \"gold\": 0}", "choice 1"},
      {"{\"query\": \"q\", \"choices\": [\"x\", \"y\"]}", "no answer"},
      {"{\"query\": \"q\", \"choices\": [\"x\", \"y\"], \"gold\": 2}", "answer 2"},
      {"{\"query\": \"q\", \"choices\": [\"x\", \"y\"], \"gold\": -1}", "answer -1"},
      {"{\"query\": \"q\", \"choices\": [\"x\", \"y\"], \"gold\": \"Z\"}", "none of the 2"},
      {"{\"arguments\": [[\"a\", \"b\"]], \"target\": 0}", "1 requests"},
      {"{\"arguments\": [[\"a\", \"b\"], [\"c\", \"d\"]], \"target\": 0}", "different contexts"},
      {"{\"arguments\": [[\"a\"], 3], \"target\": 0}", "not a context and a continuation"},
      {"{\"arguments\": [[\"a\", \"b\"], [\"a\", \"d\"]], \"target\": 2}", "answer 2"},
      {"[1]", "not a JSON object"},
      {"{", "line 1"},
  };
  for (const auto& [text, message] : cases) {
    const auto read = read_choice_tasks(text, "", "[t] f");
    ASSERT_FALSE(read.ok()) << text;
    EXPECT_NE(read.error().message.find(message), std::string::npos) << read.error().message;
    EXPECT_EQ(read.error().message.find('\n'), std::string::npos);
  }
}

TEST(ChoiceTasks, IntervalsAndTests) {
  // Wilson's interval of 8 of 10 (Newcombe 1998's method 3): 0.4902 to 0.9433.
  const Share share = share_of(8, 10);
  EXPECT_NEAR(share.low, 0.4902, 1e-4);
  EXPECT_NEAR(share.high, 0.9433, 1e-4);
  EXPECT_EQ(share_of(0, 5).low, 0);
  EXPECT_EQ(share_of(5, 5).high, 1);
  // Exact binomial: 2 * (1 + 10) / 2^10 for a split of 1 to 9.
  EXPECT_NEAR(mcnemar(1, 9), 22.0 / 1024, 1e-12);
  EXPECT_NEAR(mcnemar(9, 1), 22.0 / 1024, 1e-12);
  EXPECT_EQ(mcnemar(0, 0), 1);
  EXPECT_EQ(mcnemar(5, 5), 1);
}

TEST(ChoiceTasks, FlipsCountBothWays) {
  std::vector<ChoiceTask> tasks(5, {"c", {" a", " b", " d"}, 0});
  const auto scores = [](std::initializer_list<std::int32_t> picked) {
    std::vector<ChoiceScore> out;
    for (const std::int32_t p : picked) out.push_back({{}, p, p, p == 0 ? 0.75 : 0.25});
    return out;
  };
  const auto before = scores({0, 0, 0, 1, 1}), now = scores({0, 1, 0, 2, 0});
  const ChoiceComparison c = compare(tasks, before, now);
  EXPECT_EQ(c.lost, 1);
  EXPECT_EQ(c.won, 1);
  EXPECT_EQ(c.changed, 3);
  EXPECT_EQ(c.flipped, (std::vector<std::int64_t>{1, 4}));
  EXPECT_DOUBLE_EQ(c.flips.value, 0.4);
  EXPECT_DOUBLE_EQ(c.retained.value, 2.0 / 3);
  EXPECT_DOUBLE_EQ(summarise(tasks, before).accuracy.value, 0.6);
  EXPECT_DOUBLE_EQ(summarise(tasks, before).likelihood, (3 * 0.75 + 2 * 0.25) / 5);
}

}  // namespace
}  // namespace sparing
