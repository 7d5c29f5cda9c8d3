#include "plan/journal.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstring>
#include <fstream>

#include "base/atomic_file.h"
#include "base/log.h"
#include "base/system.h"

namespace sparing {
namespace {

namespace fs = std::filesystem;

class JournalTest : public testing::Test {
 protected:
  void SetUp() override {
    set_log_level(LogLevel::error);
    char name[] = "/tmp/sparing-journal-XXXXXX";
    folder_ = ::mkdtemp(name);
    out_ = folder_ / "model";
  }
  void TearDown() override { fs::remove_all(folder_); }

  static Blob blob(const std::string& text) {
    Buffer buffer(text.size());
    std::copy_n(reinterpret_cast<const std::byte*>(text.data()), text.size(), buffer.data());
    return Blob::of(std::move(buffer));
  }
  static std::string text(const Blob& b) { return {reinterpret_cast<const char*>(b.bytes.data()), b.bytes.size()}; }
  static BlockRecord record() { return {{blob("first weight"), blob(std::string(1000, 'w')), blob("")}, "{\"e\":1}"}; }

  fs::path folder_, out_;
  const std::string hash_ = std::string(64, '1'), other_ = std::string(64, '2');
};

TEST_F(JournalTest, BlocksComeBackAsTheyWere) {
  {
    auto journal = Journal::open(out_);
    ASSERT_TRUE(journal.ok());
    ASSERT_TRUE(journal->begin(hash_, "{}").ok());
    ASSERT_TRUE(journal->store("layers.0", record()).ok());
  }
  auto journal = Journal::open(out_);
  ASSERT_TRUE(journal.ok());
  ASSERT_TRUE(journal->begin(hash_, "{}").ok());
  auto loaded = journal->load("layers.0");
  ASSERT_TRUE(loaded.ok() && loaded->has_value());
  ASSERT_EQ((*loaded)->weights.size(), 3u);
  EXPECT_EQ(text((*loaded)->weights[0]), "first weight");
  EXPECT_EQ(text((*loaded)->weights[1]), std::string(1000, 'w'));
  EXPECT_EQ((*loaded)->report, "{\"e\":1}");
  EXPECT_EQ(reinterpret_cast<std::uintptr_t>((*loaded)->weights[1].bytes.data()) % 64, 0u);
  EXPECT_FALSE((*journal->load("layers.1")).has_value());
}

TEST_F(JournalTest, ALoadedBlockIsResidentOnceItIsRead) {
  auto journal = Journal::open(out_);
  ASSERT_TRUE(journal->begin(hash_, "{}").ok());
  const std::string big(48 << 20, 'w');
  ASSERT_TRUE(journal->store("embed", {{blob(big)}, ""}).ok());
  const std::uint64_t before = resident_bytes();
  const auto loaded = journal->load("embed");
  ASSERT_TRUE(loaded.ok() && loaded->has_value());
  EXPECT_LT(resident_bytes(), before + (8 << 20));
  // Compared where it lies: a sanitizer keeps a freed copy resident.
  const std::span<const std::byte> bytes = (*loaded)->weights[0].bytes;
  ASSERT_EQ(bytes.size(), big.size());
  EXPECT_EQ(std::memcmp(bytes.data(), big.data(), big.size()), 0);
  (*loaded)->weights[0].forget(bytes);
  EXPECT_LT(resident_bytes(), before + (8 << 20));
}

TEST_F(JournalTest, AnotherPlansBlocksAreNeverReused) {
  auto journal = Journal::open(out_);
  ASSERT_TRUE(journal->begin(hash_, "{}").ok());
  ASSERT_TRUE(journal->store("embed", record()).ok());
  ASSERT_TRUE(journal->begin(other_, "{}").ok());
  EXPECT_FALSE((*journal->load("embed")).has_value());
  // Nor when someone copies the file over, nor under another block's name.
  const fs::path from = Journal::folder_of(out_) / hash_ / "embed.block", to = Journal::folder_of(out_) / other_;
  fs::copy_file(from, to / "embed.block");
  EXPECT_FALSE((*journal->load("embed")).has_value());
  ASSERT_TRUE(journal->begin(hash_, "{}").ok());
  fs::copy_file(from, Journal::folder_of(out_) / hash_ / "head.block");
  EXPECT_FALSE((*journal->load("head")).has_value());
  EXPECT_TRUE((*journal->load("embed")).has_value());
}

TEST_F(JournalTest, EveryDamagedByteAndEveryTruncationIsSeen) {
  auto journal = Journal::open(out_);
  ASSERT_TRUE(journal->begin(hash_, "{}").ok());
  ASSERT_TRUE(journal->store("embed", {{blob("abc")}, "r"}).ok());
  const fs::path path = Journal::folder_of(out_) / hash_ / "embed.block";
  const std::string good = *read_text_file(path);
  for (std::size_t i = 0; i < good.size(); i += 3) {
    std::string bad = good;
    bad[i] = static_cast<char>(bad[i] ^ 0x41);
    std::ofstream(path, std::ios::binary | std::ios::trunc) << bad;
    EXPECT_FALSE((*journal->load("embed")).has_value()) << i;
    EXPECT_FALSE(fs::exists(path));
    std::ofstream(path, std::ios::binary | std::ios::trunc) << good.substr(0, i);
    EXPECT_FALSE((*journal->load("embed")).has_value()) << i;
  }
  std::ofstream(path, std::ios::binary | std::ios::trunc) << good;
  EXPECT_TRUE((*journal->load("embed")).has_value());
}

TEST_F(JournalTest, OneRunAtATime) {
  auto first = Journal::open(out_);
  ASSERT_TRUE(first.ok());
  const auto second = Journal::open(out_);
  ASSERT_FALSE(second.ok());
  EXPECT_NE(second.error().message.find("another compression"), std::string::npos);
}

TEST_F(JournalTest, AKilledRunsLockIsFree) {
  const pid_t child = ::fork();
  if (child == 0) {
    auto journal = Journal::open(out_);
    (void)journal->begin(hash_, "{}");
    (void)journal->store("embed", record());
    ::raise(SIGKILL);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  ASSERT_TRUE(WIFSIGNALED(status));
  auto journal = Journal::open(out_);
  ASSERT_TRUE(journal.ok()) << journal.error().message;
  ASSERT_TRUE(journal->begin(hash_, "{}").ok());
  EXPECT_TRUE((*journal->load("embed")).has_value());
}

TEST_F(JournalTest, PublishesOnceAndLeavesNothing) {
  {
    auto journal = Journal::open(out_);
    ASSERT_TRUE(journal->begin(hash_, "{}").ok());
    ASSERT_TRUE(journal->store("embed", record()).ok());
    const auto staging = journal->staging();
    ASSERT_TRUE(staging.ok());
    fs::create_directory(*staging);
    ASSERT_TRUE(write_file_atomically(*staging / "config.json", "{}").ok());
    EXPECT_FALSE(fs::exists(out_));
    ASSERT_TRUE(journal->publish().ok());
  }
  EXPECT_TRUE(fs::exists(out_ / "config.json"));
  EXPECT_FALSE(fs::exists(Journal::folder_of(out_)));
}

TEST_F(JournalTest, DeathBetweenRenameAndCleanUpIsRecognised) {
  const fs::path plan_folder = Journal::folder_of(out_) / hash_;
  {
    auto journal = Journal::open(out_);
    ASSERT_TRUE(journal->begin(hash_, "{}").ok());
    ASSERT_TRUE(journal->store("embed", record()).ok());
    EXPECT_FALSE(journal->was_published(hash_));
  }
  std::ofstream(plan_folder / "publishing") << "";
  fs::create_directory(out_);
  auto journal = Journal::open(out_);
  EXPECT_TRUE(journal->was_published(hash_));
  EXPECT_TRUE(Journal::may_be_published(out_));
  EXPECT_FALSE(Journal::may_be_published(folder_ / "other"));
  EXPECT_FALSE(journal->was_published(other_));
}

TEST_F(JournalTest, AnUnusedJournalVanishesAndAnUnwritablePlaceIsRefused) {
  { ASSERT_TRUE(Journal::open(out_).ok()); }
  EXPECT_FALSE(fs::exists(Journal::folder_of(out_)));
  const auto missing = Journal::open(folder_ / "no" / "such" / "folder");
  ASSERT_FALSE(missing.ok());
  EXPECT_EQ(missing.error().message.find('\n'), std::string::npos);
  EXPECT_EQ(Journal::folder_of("a/b/"), fs::path("a/.b.sparing-journal"));
}

TEST_F(JournalTest, NotesSurviveAndDamagedOnesReadAsNone) {
  auto journal = Journal::open(out_);
  ASSERT_TRUE(journal->keep_note("fit", "{\"x\":1}").ok());
  EXPECT_EQ(journal->note("fit"), "{\"x\":1}");
  EXPECT_FALSE(journal->note("other").has_value());
  std::ofstream(Journal::folder_of(out_) / "note-fit.json", std::ios::app) << "junk";
  EXPECT_FALSE(journal->note("fit").has_value());
}

}  // namespace
}  // namespace sparing
