#include "plan/execute.h"

#include <gtest/gtest.h>

#include <fstream>

#include "base/interrupt.h"
#include "base/log.h"
#include "formats/test_models.h"
#include "plan/compose.h"
#include "plan/heal_stage.h"

namespace sparing {
namespace {

namespace fs = std::filesystem;

const std::string kHash(64, 'a');

std::map<std::string, std::string> contents(const fs::path& folder) {
  std::map<std::string, std::string> files;
  for (const auto& entry : fs::recursive_directory_iterator(folder)) {
    if (entry.is_regular_file()) files[entry.path().filename().string()] = test::read_text(entry.path());
  }
  return files;
}

class ExecuteTest : public testing::Test {
 protected:
  void SetUp() override {
    set_log_level(LogLevel::error);
    model_ = test::random_model(test::small_config("qwen2"));
    open();
  }
  void open() {
    fs::remove_all(folder_ / "model");
    fs::create_directory(folder_ / "model");
    test::write_hf(model_, folder_ / "model");
    auto opened = open_checkpoint((folder_ / "model").string());
    ASSERT_TRUE(opened.ok()) << opened.error().message;
    auto assembler = Assembler::create(*opened, kHash);
    ASSERT_TRUE(assembler.ok()) << assembler.error().message;
    assembler_ = std::make_unique<Assembler>(std::move(*assembler));
  }
  Plan plan(const std::string& bits = "4") {
    ComposeRequest r;
    r.linear = {"rtn", {{"bits", bits}, {"group", "32"}}};
    r.embedding = {"rtn", {{"bits", "8"}, {"group", "32"}}};
    auto plan = compose_plan(r, assembler_->checkpoint(), kHash);
    EXPECT_TRUE(plan.ok()) << plan.error().message;
    auto sites = bind_plan(*plan, assembler_->checkpoint(), kHash);
    EXPECT_TRUE(assembler_->predict(*plan, *sites).ok());
    return *plan;
  }
  Result<ExecuteSummary> run(Plan plan, const fs::path& out) {
    auto sites = bind_plan(plan, assembler_->checkpoint(), kHash);
    EXPECT_TRUE(sites.ok());
    auto journal = Journal::open(out);
    EXPECT_TRUE(journal.ok()) << journal.error().message;
    ExecuteOptions options;
    options.threads = 2;
    return execute(plan, *sites, *assembler_, *journal, out, options);
  }
  std::vector<std::string> names() const {
    std::vector<std::string> found;
    for (const auto& entry : fs::directory_iterator(folder_.path())) found.push_back(entry.path().filename());
    std::ranges::sort(found);
    return found;
  }

  testkit::TemporaryFolder folder_;
  test::Model model_;
  std::unique_ptr<Assembler> assembler_;
};

// What rtn has coded lies on a grid: recoding it, also from a dequantised copy, gives the same weights at no more
// bytes.
TEST_F(ExecuteTest, RecodesWhatLiesOnAGridAndRefusesWhatDoesNot) {
  ComposeRequest r;
  r.linear = r.embedding = {"recode", {}};
  const auto none = compose_plan(r, assembler_->checkpoint(), kHash);
  ASSERT_FALSE(none.ok());
  EXPECT_NE(none.error().message.find("[recode] none of"), std::string::npos) << none.error().message;
  ASSERT_TRUE(run(plan(), folder_ / "coded").ok());
  const auto coded = open_checkpoint((folder_ / "coded").string());
  ASSERT_TRUE(coded.ok()) << coded.error().message;
  const auto made = compose_plan(r, **coded, kHash);
  ASSERT_TRUE(made.ok()) << made.error().message;
  auto assembler = Assembler::create(*coded, kHash);
  ASSERT_TRUE(assembler.ok());
  assembler_ = std::make_unique<Assembler>(std::move(*assembler));
  ASSERT_TRUE(run(*made, folder_ / "recoded").ok());
  const auto recoded = open_checkpoint((folder_ / "recoded").string());
  ASSERT_TRUE(recoded.ok()) << recoded.error().message;
  for (const SiteChoice& choice : made->sites) {
    EXPECT_EQ(choice.method, "recode") << choice.site;
    EXPECT_EQ(*site_values(**coded, choice.site), *site_values(**recoded, choice.site)) << choice.site;
  }
  EXPECT_LE((*recoded)->total_bytes(), (*coded)->total_bytes() + 4096) << "the recipe is a little longer";
  EXPECT_EQ((*coded)->config().activation_bits, 0);
  EXPECT_EQ((*recoded)->config().activation_bits, 16) << "nothing else is lost";
  assembler_ = std::make_unique<Assembler>(Assembler::create(*recoded, kHash).value());
  ASSERT_TRUE(run(plan("2"), folder_ / "again").ok());
  EXPECT_EQ(open_checkpoint((folder_ / "again").string()).value()->config().activation_bits, 0);
}

TEST_F(ExecuteTest, TheDirectoryHasThePredictedBytesAndReadsBack) {
  for (const char* bits : {"2", "3", "4", "5", "8"}) {
    const Plan p = plan(bits);
    const fs::path out = folder_ / (std::string("out") + bits);
    const auto summary = run(p, out);
    ASSERT_TRUE(summary.ok()) << summary.error().message;
    std::uint64_t bytes = 0;
    for (const auto& [name, text] : contents(out)) bytes += text.size();
    EXPECT_EQ(bytes, p.totals.at("weights"));
    EXPECT_EQ(bytes, summary->bytes);
    const auto read = open_checkpoint(out.string());
    ASSERT_TRUE(read.ok()) << read.error().message;
    EXPECT_EQ((*read)->total_bytes(), bytes);
    EXPECT_EQ((*read)->config(), assembler_->checkpoint().config());
  }
}

TEST_F(ExecuteTest, AKilledRunGoesOnToTheSameBits) {
  const Plan p = plan();
  ASSERT_TRUE(run(p, folder_ / "whole").ok());
  // A run that had finished one block, was killed in the middle of another and while building the output.
  const fs::path out = folder_ / "out";
  {
    Plan copy = p;
    auto sites = bind_plan(copy, assembler_->checkpoint(), kHash);
    auto journal = Journal::open(out);
    ASSERT_TRUE(journal->begin(plan_hash(p), plan_to_json(p)).ok());
    BlockStore store(&*journal, *sites);
    ASSERT_FALSE(*store.load("layers.0"));
    std::vector<SiteResult> results;
    for (const BoundSite* site : store.sites_of("layers.0")) {
      results.push_back(*code_site(*site, assembler_->checkpoint(), nullptr, p.seed, 1));
    }
    ASSERT_TRUE(store.store("layers.0", std::move(results)).ok());
  }
  const fs::path journal = Journal::folder_of(out) / plan_hash(p);
  std::ofstream(journal / "layers.1.block.partial-77") << "half a blo";
  fs::create_directory(journal / "output");
  std::ofstream(journal / "output" / "config.json") << "{";
  const auto summary = run(p, out);
  ASSERT_TRUE(summary.ok()) << summary.error().message;
  EXPECT_EQ(summary->resumed, 1u);
  EXPECT_EQ(contents(out), contents(folder_ / "whole"));
  EXPECT_EQ(names(), (std::vector<std::string>{"model", "out", "whole"}));
}

TEST_F(ExecuteTest, KeptWorkGoesOnOnTheDeviceItBeganOn) {
  const fs::path out = folder_ / "out";
  {
    Journal journal = std::move(*Journal::open(out));
    EXPECT_TRUE(stay_on_device(journal, "cuda").ok());
    EXPECT_TRUE(journal.keep_note("something", "1").ok());
  }
  {
    Journal journal = std::move(*Journal::open(out));
    EXPECT_TRUE(stay_on_device(journal, "cuda").ok());
    const Status other = stay_on_device(journal, "cpu");
    ASSERT_FALSE(other.ok());
    EXPECT_NE(other.error().message.find("--device cpu"), std::string::npos);
    EXPECT_NE(other.error().message.find("\"cuda\""), std::string::npos);
    journal.remove();
  }
  Journal journal = std::move(*Journal::open(out));
  EXPECT_TRUE(stay_on_device(journal, "cpu").ok());
  EXPECT_FALSE(journal.holds_work()) << "nothing to keep about the default";
}

TEST_F(ExecuteTest, ADamagedRecordIsDoneAgain) {
  const Plan p = plan();
  ASSERT_TRUE(run(p, folder_ / "whole").ok());
  const fs::path out = folder_ / "out";
  request_interrupt();
  const auto stopped = run(p, out);
  clear_interrupt();
  ASSERT_FALSE(stopped.ok());
  EXPECT_EQ(stopped.error().kind, ErrorKind::interrupted);
  {
    Plan copy = p;
    auto sites = bind_plan(copy, assembler_->checkpoint(), kHash);
    auto journal = Journal::open(out);
    ASSERT_TRUE(journal->begin(plan_hash(p), plan_to_json(p)).ok());
    BlockStore store(&*journal, *sites);
    std::vector<SiteResult> results;
    for (const BoundSite* site : store.sites_of("embed")) {
      results.push_back(*code_site(*site, assembler_->checkpoint(), nullptr, p.seed, 1));
    }
    ASSERT_TRUE(store.store("embed", std::move(results)).ok());
  }
  const fs::path record = Journal::folder_of(out) / plan_hash(p) / "embed.block";
  std::string bytes = test::read_text(record);
  bytes[bytes.size() - 40] = static_cast<char>(bytes[bytes.size() - 40] ^ 1);
  test::write_text(record, bytes);
  const auto summary = run(p, out);
  ASSERT_TRUE(summary.ok()) << summary.error().message;
  EXPECT_EQ(summary->resumed, 0u);
  EXPECT_EQ(contents(out), contents(folder_ / "whole"));
}

TEST_F(ExecuteTest, KeptSitesAreTheSourceExactly) {
  Plan p = plan();
  for (SiteChoice& site : p.sites) {
    site.method = "keep";
    site.params.clear();
  }
  auto sites = bind_plan(p, assembler_->checkpoint(), kHash);
  ASSERT_TRUE(assembler_->predict(p, *sites).ok());
  ASSERT_TRUE(run(p, folder_ / "out").ok());
  const auto read = *open_checkpoint((folder_ / "out").string());
  for (const SiteInfo& site : weight_sites(*read)) {
    const CodedWeight a = *read->weight(site.name), b = *assembler_->checkpoint().weight(site.name);
    std::vector<float> x(static_cast<std::size_t>(site.rows * site.cols)), y(x.size());
    decode_effective_rows(a, 0, site.rows, x.data());
    decode_effective_rows(b, 0, site.rows, y.data());
    EXPECT_EQ(x, y) << site.name;
  }
}

TEST_F(ExecuteTest, WeightsThatAreNotFiniteAreNamed) {
  model_.tensors["layers.1.mlp.up"][70] = std::numeric_limits<float>::quiet_NaN();
  open();
  const auto summary = run(plan(), folder_ / "out");
  ASSERT_FALSE(summary.ok());
  EXPECT_NE(summary.error().message.find("layers.1.mlp.up_proj.weight"), std::string::npos) << summary.error().message;
  EXPECT_NE(summary.error().message.find("not finite"), std::string::npos);
  EXPECT_EQ(names(), std::vector<std::string>{"model"});
}

TEST_F(ExecuteTest, WhatHealingTrainedStandsInTheDirectory) {
  Plan p = plan();
  p.heal = HealSpec{};
  p.heal->text = {.self = true, .files = {}, .tokens = 128, .length = 64};
  auto sites = bind_plan(p, assembler_->checkpoint(), kHash);
  ASSERT_TRUE(assembler_->predict(p, *sites).ok());
  const auto refused = run(p, folder_ / "out");
  ASSERT_FALSE(refused.ok());
  EXPECT_NE(refused.error().message.find("sparing-lab"), std::string::npos);

  std::vector<float> norm = *assembler_->checkpoint().vector("norm");
  norm[3] = 0.5f;
  ExecuteOptions options;
  options.threads = 1;
  options.heal = [&](const Plan&, const Assembler&, const BlockStore& store, Journal&,
                     const ExecuteOptions&) -> Result<HealedModel> {
    HealedModel healed;
    healed.weights["layers.0.attn.q"] = store.find("layers.1.attn.q")->weight;
    healed.vectors["norm"] = norm;
    healed.outcome.tokens = 128;
    return healed;
  };
  auto journal = Journal::open(folder_ / "out");
  const auto summary = execute(p, *sites, *assembler_, *journal, folder_ / "out", options);
  ASSERT_TRUE(summary.ok()) << summary.error().message;
  EXPECT_EQ(summary->bytes, p.totals.at("weights"));
  EXPECT_EQ(summary->heal->tokens, 128);
  const auto read = *open_checkpoint((folder_ / "out").string());
  EXPECT_EQ(*read->vector("norm"), norm);
  const CodedWeight first = *read->weight("layers.0.attn.q"), second = *read->weight("layers.1.attn.q");
  EXPECT_TRUE(std::ranges::equal(first.terms[0].blob.bytes, second.terms[0].blob.bytes));
}

TEST_F(ExecuteTest, APlanThatCalibratesNeedsTheLab) {
  Plan p = plan();
  p.sites[2].method = "gptq";
  p.calibration = {.self = true, .files = {}, .tokens = 128, .length = 64};
  auto sites = bind_plan(p, assembler_->checkpoint(), kHash);
  ASSERT_TRUE(sites.ok()) << sites.error().message;
  BlockStore store(nullptr, *sites);
  const Status refused = code_blocks(p, *assembler_, {{1, 2}}, store, {});
  ASSERT_FALSE(refused.ok());
  EXPECT_NE(refused.error().message.find("sparing-lab"), std::string::npos);
}

}  // namespace
}  // namespace sparing
