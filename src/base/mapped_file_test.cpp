#include "base/mapped_file.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include "base/atomic_file.h"
#include "base/system.h"
#include "base/testing.h"

namespace sparing {
namespace {

using testkit::TemporaryFolder;

TEST(MappedFile, MapsWhatIsThere) {
  TemporaryFolder folder;
  ASSERT_TRUE(write_file_atomically(folder / "a", "hello").ok());
  const auto file = MappedFile::open(folder / "a");
  ASSERT_TRUE(file.ok());
  EXPECT_EQ((*file)->bytes().size(), 5u);
  EXPECT_EQ(static_cast<char>((*file)->bytes()[4]), 'o');
}

TEST(MappedFile, AnEmptyFileIsAnEmptySpan) {
  TemporaryFolder folder;
  ASSERT_TRUE(write_file_atomically(folder / "a", "").ok());
  const auto file = MappedFile::open(folder / "a");
  ASSERT_TRUE(file.ok());
  EXPECT_TRUE((*file)->bytes().empty());
  (*file)->forget((*file)->bytes());
}

TEST(MappedFile, RefusesWhatIsNoFile) {
  TemporaryFolder folder;
  ASSERT_EQ(::mkfifo((folder / "pipe").c_str(), 0600), 0);
  for (const auto& path : {folder / "none", folder.path(), folder / "pipe", std::filesystem::path("/dev/null")}) {
    const auto file = MappedFile::open(path);
    ASSERT_FALSE(file.ok()) << path;
    EXPECT_EQ(file.error().kind, ErrorKind::input);
    EXPECT_NE(file.error().message.find(path.string()), std::string::npos);
  }
}

TEST(MappedFile, ForgottenPagesLeaveMemoryAndComeBack) {
  TemporaryFolder folder;
  constexpr std::size_t size = 64 << 20;
  ASSERT_TRUE(write_file_atomically(folder / "a", std::string(size, 'x')).ok());
  const auto file = MappedFile::open(folder / "a");
  ASSERT_TRUE(file.ok());
  const auto touch = [&] {
    std::size_t sum = 0;
    for (std::size_t at = 0; at < size; at += 4096) sum += static_cast<std::size_t>((*file)->bytes()[at]);
    return sum;
  };
  const std::size_t first = touch();
  const std::uint64_t full = resident_bytes();
  (*file)->forget((*file)->bytes());
  EXPECT_LT(resident_bytes() + size / 2, full);
  EXPECT_EQ(touch(), first);
}

// Pages shared with a neighbour go too, and come back with what they held.
TEST(MappedFile, ForgettingAPartKeepsItsNeighbours) {
  TemporaryFolder folder;
  ASSERT_TRUE(write_file_atomically(folder / "a", std::string(10000, 'y')).ok());
  const auto file = MappedFile::open(folder / "a");
  ASSERT_TRUE(file.ok());
  (*file)->forget((*file)->bytes().subspan(1, 5));
  (*file)->forget((*file)->bytes().subspan(100, 9000));
  (*file)->will_need((*file)->bytes());
  for (std::byte b : (*file)->bytes()) ASSERT_EQ(static_cast<char>(b), 'y');
}

TEST(MappedFile, ForgettingAFewBytesLetsGoOfWhatTheirFaultMappedAround) {
  TemporaryFolder folder;
  constexpr std::size_t size = 64 << 20, step = 256 << 10;
  ASSERT_TRUE(write_file_atomically(folder / "a", std::string(size, 'z')).ok());
  const auto file = MappedFile::open(folder / "a");
  ASSERT_TRUE(file.ok());
  const std::uint64_t before = resident_bytes();
  for (std::size_t at = 100; at < size; at += step) {
    ASSERT_EQ(static_cast<char>((*file)->bytes()[at]), 'z');
    (*file)->forget((*file)->bytes().subspan(at, 4));
  }
  EXPECT_LT(resident_bytes(), before + (4 << 20));
}

// A fault may map much more than was read, so letting go of a few bytes must give back their pages.
TEST(MappedFile, ForgettingAFewBytesLetsGoOfTheirPage) {
  TemporaryFolder folder;
  constexpr std::size_t size = 32 << 20, step = 64 << 10;
  ASSERT_TRUE(write_file_atomically(folder / "a", std::string(size, 'z')).ok());
  const auto file = MappedFile::open(folder / "a");
  ASSERT_TRUE(file.ok());
  const std::uint64_t before = resident_bytes();
  for (std::size_t at = 100; at < size; at += step) {
    ASSERT_EQ(static_cast<char>((*file)->bytes()[at]), 'z');
    (*file)->forget((*file)->bytes().subspan(at / step * step, step));
    ASSERT_EQ(static_cast<char>((*file)->bytes()[at]), 'z');
    for (std::size_t near = at / step * step; near < at / step * step + step; near += 4096)
      (*file)->forget((*file)->bytes().subspan(near + 10, 4));
  }
  EXPECT_LT(resident_bytes(), before + size / 4);
}

}  // namespace
}  // namespace sparing
