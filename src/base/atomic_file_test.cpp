#include "base/atomic_file.h"

#include <gtest/gtest.h>
#include <sys/resource.h>

#include <csignal>
#include <fstream>

#include "base/testing.h"

namespace sparing {
namespace {

using testkit::TemporaryFolder;

TEST(AtomicFile, LeavesNothingWithoutCommit) {
  TemporaryFolder folder;
  {
    auto file = AtomicFile::create(folder / "a");
    ASSERT_TRUE(file.ok());
    ASSERT_TRUE(file->write("half").ok());
    EXPECT_FALSE(std::filesystem::exists(folder / "a"));
  }
  EXPECT_TRUE(folder.empty());
}

TEST(AtomicFile, ReplacesTheOldOneOnlyOnCommit) {
  TemporaryFolder folder;
  ASSERT_TRUE(write_file_atomically(folder / "a", "old").ok());
  auto file = AtomicFile::create(folder / "a");
  ASSERT_TRUE(file.ok());
  ASSERT_TRUE(file->write_zeros(5000).ok());
  ASSERT_TRUE(file->write("end").ok());
  ASSERT_TRUE(file->write_at(0, std::as_bytes(std::span("head", 4))).ok());
  EXPECT_EQ(file->size(), 5003u);
  EXPECT_EQ(*read_text_file(folder / "a"), "old");
  ASSERT_TRUE(file->commit().ok());
  EXPECT_EQ(*read_text_file(folder / "a"), "head" + std::string(4996, '\0') + "end");
}

TEST(AtomicFile, AMissingFolderIsSaidAndSoIsTheRemedy) {
  TemporaryFolder folder;
  const Status status = write_file_atomically(folder / "none" / "a", "text");
  ASSERT_FALSE(status.ok());
  EXPECT_EQ(status.error().kind, ErrorKind::resource);
  EXPECT_NE(status.error().message.find("create the folder first"), std::string::npos) << status.error().message;
}

// The file size limit stands in for a full disk: the same write fails half way, for any user.
TEST(AtomicFile, AFullDiskLeavesTheOldFileAndNoDebris) {
  TemporaryFolder folder;
  ASSERT_TRUE(write_file_atomically(folder / "a", "old").ok());
  rlimit before{};
  ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &before), 0);
  rlimit small = before;
  small.rlim_cur = 1 << 16;
  const auto handler = std::signal(SIGXFSZ, SIG_IGN);
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &small), 0);
  const Status status = write_file_atomically(folder / "a", std::string(1 << 18, 'x'));
  ::setrlimit(RLIMIT_FSIZE, &before);
  std::signal(SIGXFSZ, handler);
  ASSERT_FALSE(status.ok());
  EXPECT_EQ(status.error().kind, ErrorKind::resource);
  EXPECT_EQ(*read_text_file(folder / "a"), "old");
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(folder.path()), {}), 1);
}

TEST(PublishDirectory, RefusesWhatExists) {
  TemporaryFolder folder;
  std::filesystem::create_directories(folder / "staging/inner");
  ASSERT_TRUE(write_file_atomically(folder / "staging/inner/a", "text").ok());
  ASSERT_TRUE(write_file_atomically(folder / "file", "text").ok());
  std::filesystem::create_directory(folder / "empty");
  for (const char* taken : {"file", "empty"}) {
    const Status status = publish_directory(folder / "staging", folder / taken);
    ASSERT_FALSE(status.ok());
    EXPECT_EQ(status.error().kind, ErrorKind::usage);
  }
  ASSERT_TRUE(publish_directory(folder / "staging", folder / "out").ok());
  EXPECT_EQ(*read_text_file(folder / "out/inner/a"), "text");
  EXPECT_FALSE(std::filesystem::exists(folder / "staging"));
  EXPECT_FALSE(publish_directory(folder / "staging", folder / "other").ok());
}

TEST(ReadTextFile, RefusesMoreThanAsked) {
  TemporaryFolder folder;
  ASSERT_TRUE(write_file_atomically(folder / "a", "12345").ok());
  EXPECT_TRUE(read_text_file(folder / "a", 5).ok());
  const auto refused = read_text_file(folder / "a", 4);
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.error().kind, ErrorKind::input);
}

}  // namespace
}  // namespace sparing
