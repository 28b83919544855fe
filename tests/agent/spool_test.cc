// The arena's tail on a disk.
#include "agent/spool.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>

#include "agent/arena.h"
#include "base/file.h"
#include "base/unique_fd.h"
#include "tests/base/memory_folder.h"
#include "tests/base/run_command.h"
#include "tests/base/temp_folder.h"

namespace snapstore::agent {
namespace {

using ::testing::HasSubstr;

constexpr uint64_t kSpoolMiB = 1 << 20;

uint8_t ByteAt(size_t writer, uint64_t offset) {
  return static_cast<uint8_t>(writer * 101 + offset / 7 + offset / 4096);
}

// Bytes that tell writer and position; how many there was room for.
uint64_t Write(ArenaWriter* writer, size_t number, uint64_t done, uint64_t bytes) {
  for (const uint64_t end = done + bytes; done < end;) {
    const auto space = writer->Space();
    if (space.empty()) break;
    const uint64_t length = std::min<uint64_t>(end - done, space.size());
    for (uint64_t i = 0; i < length; ++i) space[i] = ByteAt(number, done + i);
    writer->Advance(length);
    done += length;
  }
  return done;
}

TEST(SpoolTest, WhatExceedsTheMemoryIsReadBackFromTheDisk) {
  const TempFolder folder;
  auto arena = Arena::Create(8 * kSpoolMiB, {folder.path() + "/made", 64 * kSpoolMiB});
  ASSERT_TRUE(arena.ok()) << arena.status().ToString();
  for (int round = 0; round < 2; ++round) {
    (*arena)->Clear();
    ASSERT_TRUE((*arena)->Prepare(40 * kSpoolMiB).ok());
    std::vector<ArenaWriter> writers;
    writers.reserve(3);
    for (int i = 0; i < 3; ++i) writers.emplace_back(arena->get(), std::to_string(i));
    std::array<uint64_t, 3> sizes{};
    for (int turn = 0; turn < 25; ++turn) {
      for (size_t i = 0; i < writers.size(); ++i) {
        sizes[i] = Write(&writers[i], i, sizes[i], 100'000 * (i + 1) + 1);
      }
    }
    for (size_t i = 0; i < writers.size(); ++i) {
      const ArenaFile file = writers[i].Finish();
      EXPECT_EQ(file.size, 25 * (100'000 * (i + 1) + 1));
      uint64_t at = 0;
      for (const auto& part : file.parts) {
        for (const uint8_t byte : part) ASSERT_EQ(byte, ByteAt(i, at++)) << i << ", " << at;
      }
      EXPECT_EQ(at, file.size);
    }
    EXPECT_TRUE((*arena)->status().ok());
    EXPECT_EQ((*arena)->grown(), 0u);
    EXPECT_GT((*arena)->used(), 12 * kSpoolMiB);
  }
  EXPECT_TRUE(std::filesystem::is_empty(folder.path() + "/made")) << "the file has no name";
}

TEST(SpoolTest, TheLimitsHoldTogetherAndAreNamed) {
  const TempFolder folder;
  auto arena = Arena::Create(8 * kSpoolMiB, {folder.path(), 6 * kSpoolMiB});
  ASSERT_TRUE(arena.ok());
  ArenaWriter writer(arena->get(), "large");
  EXPECT_EQ(Write(&writer, 0, 0, 100 * kSpoolMiB), 14 * kSpoolMiB);
  EXPECT_EQ((*arena)->grown(), 14 * kSpoolMiB) << "nothing was prepared";
  const Status full = (*arena)->Full("it");
  EXPECT_EQ(full.code(), StatusCode::kNoSpace);
  EXPECT_THAT(full.message(), HasSubstr("memory of 8 MiB and 6 MiB of " + folder.path()));
  EXPECT_THAT(full.message(), HasSubstr("--spool-limit"));
}

TEST(SpoolTest, AFullDiskIsMetBeforeAnythingIsTaken) {
  const MemoryFolder disk("size=8m");
  if (!disk.mounted()) GTEST_SKIP() << "may not mount";
  auto arena = Arena::Create(4 * kSpoolMiB, {disk.path(), 64 * kSpoolMiB});
  ASSERT_TRUE(arena.ok()) << arena.status().ToString();
  ASSERT_TRUE((*arena)->Prepare(10 * kSpoolMiB).ok());
  const Status full = (*arena)->Prepare(20 * kSpoolMiB);
  EXPECT_EQ(full.code(), StatusCode::kNoSpace) << full.ToString();
  EXPECT_THAT(full.message(), HasSubstr("spool: reserve 16 MiB in " + disk.path()));
  EXPECT_EQ((*arena)->ready(), 10 * kSpoolMiB);
  ASSERT_TRUE(ReplaceFile(disk.path() + "/others", Bytes(kSpoolMiB)).ok())
      << "it holds no more than that";
  std::filesystem::remove(disk.path() + "/others");

  ArenaWriter writer(arena->get(), "large");
  EXPECT_EQ(Write(&writer, 0, 0, 100 * kSpoolMiB), 12 * kSpoolMiB) << "as far as the disk goes";
  EXPECT_EQ((*arena)->Full("it").code(), StatusCode::kNoSpace);
  EXPECT_FALSE((*arena)->status().ok());
  (*arena)->Clear();
  EXPECT_TRUE((*arena)->status().ok());
}

// The number of this process's descriptor of a spool in that folder.
std::string SpoolDescriptor(const std::string& folder) {
  for (const auto& one : std::filesystem::directory_iterator("/proc/self/fd")) {
    std::error_code gone;
    if (std::filesystem::read_symlink(one.path(), gone).string().starts_with(folder + "/#")) {
      return one.path();
    }
  }
  ADD_FAILURE() << "no spool in " << folder;
  return "";
}

// A disk in a file, which is on a tmpfs of that size.
class SmallDisk {
 public:
  explicit SmallDisk(const char* size) : under_(size) {
    if (!under_.mounted()) return;
    point_ = under_.path() + "/mounted";
    mounted_ = mkdir(point_.c_str(), 0700) == 0 && ReplaceFile(image(), {}).ok() &&
               truncate(image().c_str(), 96 * kSpoolMiB) == 0 &&
               RunCommand({"/sbin/mkfs.ext4", "-q", image()}).wait_status == 0 &&
               RunCommand({"mount", "-o", "loop", image(), point_}).wait_status == 0;
  }
  ~SmallDisk() {
    if (mounted_) (void)umount2(point_.c_str(), MNT_DETACH);
  }
  bool mounted() const { return mounted_; }
  const std::string& path() const { return point_; }
  std::string image() const { return under_.path() + "/image"; }

 private:
  const MemoryFolder under_;
  std::string point_;
  bool mounted_ = false;
};

// Whether all of it is as Write made it; zeros are not.
bool IsAsWritten(const ArenaFile& file) {
  uint64_t at = 0;
  for (const auto& part : file.parts) {
    for (const uint8_t byte : part) {
      if (byte != ByteAt(0, at++)) return false;
    }
  }
  return true;
}

ArenaFile Filled(Arena* arena, uint64_t bytes) {
  EXPECT_TRUE(arena->Prepare(bytes).ok());
  ArenaWriter writer(arena, "file");
  EXPECT_EQ(Write(&writer, 0, 0, bytes), bytes);
  return writer.Finish();
}

TEST(SpoolTest, WhatIsGoneFromTheFileIsToldOfAndKillsNobody) {
  const TempFolder folder;
  auto arena = Arena::Create(4 * kSpoolMiB, {folder.path(), 64 * kSpoolMiB});
  ASSERT_TRUE(arena.ok()) << arena.status().ToString();
  ArenaFile file = Filled(arena->get(), 16 * kSpoolMiB);
  EXPECT_TRUE((*arena)->ReadStatus().ok());
  ASSERT_EQ(truncate(SpoolDescriptor(folder.path()).c_str(), 0), 0);
  EXPECT_FALSE(IsAsWritten(file));
  const Status status = (*arena)->ReadStatus();
  EXPECT_EQ(status.code(), StatusCode::kIo);
  EXPECT_THAT(status.message(),
              HasSubstr("spool: the disk of " + folder.path() + " cannot be read"));
  // Tried again with the next checkpoint.
  (*arena)->Clear();
  file = Filled(arena->get(), 16 * kSpoolMiB);
  EXPECT_TRUE(IsAsWritten(file));
  EXPECT_TRUE((*arena)->ReadStatus().ok());
}

TEST(SpoolTest, ADiskThatCannotBeReadIsToldOfAndKillsNobody) {
  const SmallDisk disk("size=96m");
  if (!disk.mounted()) GTEST_SKIP() << "may not mount";
  auto arena = Arena::Create(4 * kSpoolMiB, {disk.path(), 64 * kSpoolMiB});
  ASSERT_TRUE(arena.ok()) << arena.status().ToString();
  const ArenaFile file = Filled(arena->get(), 24 * kSpoolMiB);
  const UniqueFd fd(open(SpoolDescriptor(disk.path()).c_str(), O_RDWR | O_CLOEXEC));
  ASSERT_EQ(fsync(fd.get()), 0);
  ASSERT_EQ(posix_fadvise(fd.get(), 0, 0, POSIX_FADV_DONTNEED), 0);
  ASSERT_EQ(truncate(disk.image().c_str(), kSpoolMiB), 0);
  EXPECT_FALSE(IsAsWritten(file));
  EXPECT_THAT((*arena)->ReadStatus().message(), HasSubstr("cannot be read"));
}

TEST(SpoolTest, ADiskThatDidNotTakeWhatWasWrittenIsToldOf) {
  const SmallDisk disk("size=16m");
  if (!disk.mounted()) GTEST_SKIP() << "may not mount";
  auto arena = Arena::Create(4 * kSpoolMiB, {disk.path(), 64 * kSpoolMiB});
  ASSERT_TRUE(arena.ok()) << arena.status().ToString();
  (void)Filled(arena->get(), 48 * kSpoolMiB);
  // As the kernel does by itself sooner or later.
  const UniqueFd fd(open(SpoolDescriptor(disk.path()).c_str(), O_RDWR | O_CLOEXEC));
  EXPECT_NE(fsync(fd.get()), 0);
  EXPECT_THAT((*arena)->ReadStatus().message(), HasSubstr("cannot be written"));
}

TEST(SpoolTest, WithoutALimitItIsHalfOfWhatIsFree) {
  const MemoryFolder disk("size=64m");
  if (!disk.mounted()) GTEST_SKIP() << "may not mount";
  const auto spool = Spool::Create({disk.path(), {}});
  ASSERT_TRUE(spool.ok());
  EXPECT_EQ((*spool)->bytes_max(), 32 * kSpoolMiB);
  EXPECT_THAT(Spool::Create({"/proc/nowhere", {}}).status().message(), HasSubstr("spool: "));
}

}  // namespace
}  // namespace snapstore::agent
