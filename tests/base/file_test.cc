#include "base/file.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>
#include <thread>

#include "base/random.h"
#include "tests/base/temp_folder.h"

namespace snapstore {
namespace {

Bytes RandomBytes(size_t size, uint64_t seed) {
  SplitMix64 random(seed);
  Bytes bytes(size);
  for (uint8_t& byte : bytes) byte = static_cast<uint8_t>(random.Next());
  return bytes;
}

TEST(File, OpenNamesThePathAndTheCause) {
  const Result<UniqueFd> file = OpenFile("/nowhere/at/all", O_RDONLY);
  ASSERT_FALSE(file.ok());
  EXPECT_TRUE(file.status().Is(StatusCode::kNotFound));
  EXPECT_EQ(file.status().message(), "open /nowhere/at/all: No such file or directory");
}

TEST(File, OpenedFilesAreNotInherited) {
  const Result<UniqueFd> file = OpenFile("/dev/null", O_RDONLY);
  ASSERT_TRUE(file.ok());
  EXPECT_NE(::fcntl(file->get(), F_GETFD) & FD_CLOEXEC, 0);
}

TEST(File, PositionedReadsStopOnlyAtTheEnd) {
  TempFolder folder;
  const Bytes bytes = RandomBytes(100'000, 1);
  const Result<UniqueFd> file = OpenFile(folder.File("a"), O_RDWR | O_CREAT);
  ASSERT_TRUE(file.ok());
  ASSERT_TRUE(PwriteFull(file->get(), bytes, 0, "a").ok());
  Bytes out(60'000);
  Result<size_t> got = PreadFull(file->get(), out, 50'000, "a");
  ASSERT_TRUE(got.ok());
  ASSERT_EQ(*got, 50'000u);
  EXPECT_TRUE(std::equal(out.begin(), out.begin() + 50'000, bytes.begin() + 50'000));
  got = PreadFull(file->get(), out, 100'000, "a");
  ASSERT_TRUE(got.ok());
  EXPECT_EQ(*got, 0u);
}

TEST(File, PositionedWritesLeaveHoles) {
  TempFolder folder;
  const Result<UniqueFd> file = OpenFile(folder.File("a"), O_RDWR | O_CREAT);
  ASSERT_TRUE(file.ok());
  ASSERT_TRUE(PwriteFull(file->get(), AsBytes("end"), 1 << 20, "a").ok());
  struct stat info {};
  ASSERT_EQ(::fstat(file->get(), &info), 0);
  EXPECT_EQ(info.st_size, (1 << 20) + 3);
  EXPECT_LT(info.st_blocks * 512, 1 << 20);
}

TEST(File, DirectReadsReachAnUnalignedEnd) {
  TempFolder folder;
  const Bytes bytes = RandomBytes(3 * 4096 + 1000, 2);
  ASSERT_TRUE(ReplaceFile(folder.File("a"), bytes).ok());
  const Result<UniqueFd> file = OpenFile(folder.File("a"), O_RDONLY | O_DIRECT);
  if (!file.ok()) GTEST_SKIP() << "no O_DIRECT here: " << file.status().ToString();
  constexpr size_t kSpace = size_t{32} << 10;
  const std::unique_ptr<uint8_t, void (*)(void*)> buffer(
      static_cast<uint8_t*>(std::aligned_alloc(4096, kSpace)), std::free);
  const Result<size_t> got = PreadFull(file->get(), {buffer.get(), kSpace}, 0, "a");
  ASSERT_TRUE(got.ok()) << got.status().ToString();
  ASSERT_EQ(*got, bytes.size());
  EXPECT_TRUE(std::equal(bytes.begin(), bytes.end(), buffer.get()));
}

TEST(File, PipesAreReadAndWrittenWhole) {
  int ends[2];
  ASSERT_EQ(::pipe(ends), 0);
  UniqueFd reader(ends[0]);
  const Bytes bytes = RandomBytes(1 << 20, 3);
  std::thread sender([&bytes, end = ends[1]] {
    const UniqueFd writer(end);
    EXPECT_TRUE(WriteFull(writer.get(), bytes, "pipe").ok());
  });
  Bytes out((1 << 20) + 10);
  const Result<size_t> got = ReadFull(reader.get(), out, "pipe");
  sender.join();
  ASSERT_TRUE(got.ok());
  ASSERT_EQ(*got, bytes.size());
  out.resize(*got);
  EXPECT_EQ(out, bytes);
}

TEST(File, ErrorsNameOperationNameAndOffset) {
  Bytes out(8);
  const Result<size_t> got = PreadFull(-1, out, 4096, "volume");
  ASSERT_FALSE(got.ok());
  EXPECT_EQ(got.status().message(), "read volume at 4096: Bad file descriptor");
  EXPECT_EQ(got.status().error_number(), EBADF);
  const Result<UniqueFd> full = OpenFile("/dev/full", O_WRONLY);
  ASSERT_TRUE(full.ok());
  EXPECT_TRUE(WriteFull(full->get(), out, "full").Is(StatusCode::kNoSpace));
}

TEST(File, WholeFilesAreReadUpToTheLimit) {
  TempFolder folder;
  for (const size_t size : {0u, 1u, 65'535u, 65'536u, 65'537u, 1'000'000u}) {
    const Bytes bytes = RandomBytes(size, size);
    ASSERT_TRUE(ReplaceFile(folder.File("a"), bytes).ok());
    const Result<Bytes> got = ReadWholeFile(folder.File("a"), size);
    ASSERT_TRUE(got.ok());
    EXPECT_EQ(*got, bytes);
    if (size > 0) {
      EXPECT_TRUE(
          ReadWholeFile(folder.File("a"), size - 1).status().Is(StatusCode::kInvalidArgument));
    }
  }
  const Result<Bytes> status = ReadWholeFile("/proc/self/status", 1 << 20);  // says size 0
  ASSERT_TRUE(status.ok());
  EXPECT_GT(status->size(), 100u);
  EXPECT_TRUE(ReadWholeFile("/proc/self/status", 10).status().Is(StatusCode::kInvalidArgument));
}

TEST(File, ReplaceLeavesNothingElseBehind) {
  TempFolder folder;
  ASSERT_TRUE(ReplaceFile(folder.File("a"), AsBytes("one")).ok());
  ASSERT_TRUE(ReplaceFile(folder.File("a"), AsBytes("two"), 0600).ok());
  EXPECT_EQ(*ReadWholeFile(folder.File("a"), 100), Bytes({'t', 'w', 'o'}));
  struct stat info {};
  ASSERT_EQ(::stat(folder.File("a").c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0600u);
  // A folder in the way makes rename fail; the temporary file must not stay.
  std::filesystem::create_directories(folder.File("d/e"));
  EXPECT_FALSE(ReplaceFile(folder.File("d"), AsBytes("x")).ok());
  size_t names = 0;
  for ([[maybe_unused]] const auto& entry : std::filesystem::directory_iterator(folder.path())) {
    ++names;
  }
  EXPECT_EQ(names, 2u);
}

TEST(File, DirectoriesAreMadeWithTheirParents) {
  TempFolder folder;
  ASSERT_TRUE(MakeDirectories(folder.File("a/b//c/")).ok());
  EXPECT_TRUE(std::filesystem::is_directory(folder.File("a/b/c")));
  EXPECT_TRUE(MakeDirectories(folder.File("a/b/c")).ok());
  EXPECT_TRUE(MakeDirectories("/").ok());
  EXPECT_FALSE(MakeDirectories("").ok());
  ASSERT_TRUE(ReplaceFile(folder.File("file"), AsBytes("x")).ok());
  EXPECT_FALSE(MakeDirectories(folder.File("file")).ok());
  EXPECT_FALSE(MakeDirectories(folder.File("file/below")).ok());
}

}  // namespace
}  // namespace snapstore
