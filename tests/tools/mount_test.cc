// The parts of `snapstore mount` that need no mount: inode numbers, names, reading ahead, the table
// of mounts.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <thread>

#include "base/random.h"
#include "tools/snapstore/mount/inode_number.h"
#include "tools/snapstore/mount/mount_point.h"
#include "tools/snapstore/mount/read_ahead.h"
#include "tools/snapstore/mount/snapshot_names.h"

namespace snapstore::cli {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

TEST(InodeNumberTest, ComesBackAsItWas) {
  const std::vector<Inode> inodes = {
      {Inode::Kind::kFixed, 0, kRootInode},
      {Inode::Kind::kFixed, 0, kHostsInode},
      {Inode::Kind::kHost, 0, 0},
      {Inode::Kind::kHost, 0, 70'000},
      {Inode::Kind::kLink, 0, 0},
      {Inode::Kind::kLink, kMountedSnapshotsMax, 2},
      {Inode::Kind::kTop, 0, 0},
      {Inode::Kind::kTop, kMountedSnapshotsMax, 0},
      {Inode::Kind::kEntry, 0, 0},
      {Inode::Kind::kEntry, kMountedSnapshotsMax, kMountedPositionMax},
  };
  std::vector<uint64_t> numbers;
  for (const Inode& inode : inodes) {
    const uint64_t number = InodeNumber(inode);
    EXPECT_NE(number, 0u);
    const Inode back = InodeOf(number);
    EXPECT_EQ(back.kind, inode.kind);
    EXPECT_EQ(back.snapshot, inode.snapshot);
    EXPECT_EQ(back.value, inode.value);
    EXPECT_THAT(numbers, ::testing::Not(::testing::Contains(number)));
    numbers.push_back(number);
  }
}

TEST(InodeNumberTest, AnyNumberIsUnderstood) {
  SplitMix64 random(5);
  for (int i = 0; i < 10'000; ++i) {
    const uint64_t number = random.Next() >> random.Below(64);
    const Inode inode = InodeOf(number);
    if (inode.in_snapshot()) {
      EXPECT_EQ(InodeNumber(inode), number);
    }
  }
}

SnapshotInfo InfoOf(const std::string& prefix, int64_t seconds, const std::string& host) {
  SnapshotInfo info;
  info.id = prefix + std::string(64 - prefix.size(), '0');
  info.time_ns = seconds * 1'000'000'000;
  info.host = host;
  return info;
}

std::vector<std::string> TimeNames(const SnapshotNames& names, std::optional<uint32_t> host) {
  std::vector<std::string> out;
  uint32_t number = 0;
  while (const auto snapshot = names.Next(number, host)) {
    out.push_back(snapshot->time_name);
    number = snapshot->number + 1;
  }
  return out;
}

TEST(SnapshotNamesTest, NamesSnapshotsOfOneSecondApart) {
  SnapshotNames names;
  const SnapshotInfo a = InfoOf("aa", 0, "h");
  const SnapshotInfo b = InfoOf("bb", 0, "h");
  const SnapshotInfo c = InfoOf("cc", 90, "h");
  EXPECT_THAT(names.Unknown({a.id, b.id}), ElementsAre(a.id, b.id));
  names.Update({c.id, b.id, a.id}, {c, b, a});
  EXPECT_THAT(names.Unknown({a.id, b.id}), IsEmpty());
  EXPECT_THAT(
      TimeNames(names, std::nullopt),
      ElementsAre("1970-01-01T00-00-00Z", "1970-01-01T00-00-00Z-bb000000", "1970-01-01T00-01-30Z"));
  EXPECT_EQ(names.Get(*names.FindTime("1970-01-01T00-00-00Z-bb000000"))->id, b.id);
  EXPECT_EQ(names.Get(*names.FindId(a.id.substr(0, 16)))->id, a.id);
  EXPECT_EQ(names.Get(*names.FindId(a.id))->id, a.id);
  EXPECT_FALSE(names.FindId("aa").has_value());
  EXPECT_EQ(names.Get(*names.Latest())->id, c.id);
}

TEST(SnapshotNamesTest, KeepsNumbersAndNamesWhileOthersComeAndGo) {
  SnapshotNames names;
  const SnapshotInfo a = InfoOf("aa", 0, "h");
  const SnapshotInfo b = InfoOf("bb", 0, "g");
  names.Update({a.id}, {a});
  names.Update({b.id, a.id}, {b});
  const std::string b_name = names.Get(1)->time_name;
  names.Update({b.id}, {});
  EXPECT_FALSE(names.FindId(a.id).has_value());
  EXPECT_FALSE(names.FindTime("1970-01-01T00-00-00Z").has_value());
  EXPECT_EQ(names.Get(0)->id, a.id);
  EXPECT_THAT(TimeNames(names, std::nullopt), ElementsAre(b_name));
  EXPECT_EQ(*names.Latest(), 1u);
  EXPECT_FALSE(names.FindHost("h").has_value());
  ASSERT_TRUE(names.FindHost("g").has_value());
  uint32_t host = 0;
  EXPECT_EQ(names.NextHost(&host), "g");
  EXPECT_EQ(host, *names.FindHost("g"));
  // It is there again: a mirror brought it back.
  names.Update({a.id, b.id}, {});
  EXPECT_EQ(*names.FindId(a.id), 0u);
  EXPECT_THAT(TimeNames(names, *names.FindHost("h")), ElementsAre("1970-01-01T00-00-00Z"));
}

TEST(SnapshotNamesTest, TellsApartIdsThatBeginAlike) {
  SnapshotNames names;
  const SnapshotInfo a = InfoOf("0123456789abcdefa", 0, "");
  const SnapshotInfo b = InfoOf("0123456789abcdefb", 1, "");
  names.Update({a.id, b.id}, {a, b});
  EXPECT_EQ(names.Get(*names.FindId("0123456789abcdef"))->id, a.id);
  EXPECT_EQ(names.Get(1)->id_name, b.id);
  EXPECT_EQ(*names.FindId(b.id), 1u);
}

TEST(SnapshotNamesTest, MakesAnyHostADirectory) {
  EXPECT_EQ(HostDirectoryName("web-1.example"), "web-1.example");
  EXPECT_EQ(HostDirectoryName(""), "unnamed");
  EXPECT_EQ(HostDirectoryName(".."), "%2E.");
  EXPECT_EQ(HostDirectoryName("a/b%\n"), "a%2Fb%25%0A");
}

constexpr uint64_t kMegabyte = 1 << 20;

TEST(ReadAheadTest, CoversAFileThatIsReadFromFrontToBackOnce) {
  const uint64_t size = 50 * kMegabyte + 12345;
  ReadAhead ahead(size, 8 * kMegabyte);
  uint64_t covered = 0;
  for (uint64_t at = 0; at < size; at += 128 << 10) {
    const ByteRange range = ahead.OnRead(at, 128 << 10);
    if (range.length == 0) continue;
    EXPECT_GE(range.offset, covered);
    EXPECT_LE(range.offset + range.length, std::min(size, at + 9 * kMegabyte));
    EXPECT_GT(range.offset, at);
    covered = range.offset + range.length;
  }
  EXPECT_EQ(covered, size);
}

TEST(ReadAheadTest, ToleratesTheDisorderOfParallelReads) {
  SplitMix64 random(3);
  ReadAhead ahead(64 * kMegabyte, 4 * kMegabyte);
  uint64_t fetched = 0;
  for (uint64_t group = 0; group < 64 * kMegabyte; group += kMegabyte) {
    std::vector<uint64_t> offsets;
    for (uint64_t i = 0; i < 8; ++i) offsets.push_back(group + i * (128 << 10));
    for (size_t i = 7; i > 0; --i) std::swap(offsets[i], offsets[random.Below(i + 1)]);
    for (const uint64_t offset : offsets) fetched += ahead.OnRead(offset, 128 << 10).length;
  }
  EXPECT_GT(fetched, 60 * kMegabyte);
  EXPECT_LE(fetched, 64 * kMegabyte);
}

TEST(ReadAheadTest, DoesNothingForReadsAtRandomOrShortLooks) {
  SplitMix64 random(4);
  ReadAhead ahead(1000 * kMegabyte, 8 * kMegabyte);
  EXPECT_EQ(ahead.OnRead(0, 64 << 10).length, 0u);
  uint64_t fetched = 0;
  for (int i = 0; i < 1000; ++i) {
    fetched += ahead.OnRead(random.Below(1000 * kMegabyte), 4096).length;
  }
  EXPECT_EQ(fetched, 0u);
}

TEST(ReadAheadTest, BeginsAnewWhereAReaderSeeksTo) {
  ReadAhead ahead(1000 * kMegabyte, 8 * kMegabyte);
  uint64_t fetched = 0;
  for (uint64_t i = 0; i < 8; ++i) {
    const ByteRange range = ahead.OnRead(500 * kMegabyte + i * (128 << 10), 128 << 10);
    if (range.length > 0) {
      EXPECT_GE(range.offset, 500 * kMegabyte);
    }
    fetched += range.length;
  }
  EXPECT_GE(fetched, kMegabyte);
}

TEST(BackgroundTasksTest, RunsWhatFitsAndDropsTheRest) {
  std::atomic<int> ran = 0;
  std::atomic<bool> hold = true;
  {
    BackgroundTasks tasks(1, 2);
    ASSERT_TRUE(tasks.Add([&] {
      while (hold) std::this_thread::sleep_for(std::chrono::milliseconds(1));
      ++ran;
    }));
    // Until the first one runs it takes a place itself.
    int queued = 0;
    for (int i = 0; i < 100; ++i) {
      queued += tasks.Add([&] { ++ran; }) ? 1 : 0;
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    EXPECT_EQ(queued, 2);
    hold = false;
    while (ran < 3) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  EXPECT_EQ(ran, 3);
}

TEST(MountPointTest, FindsTheLastMountOfAPath) {
  constexpr std::string_view kTable =
      "21 1 0:20 / / rw shared:1 - ext4 /dev/vda rw\n"
      "40 21 0:52 / /mnt/a\\040b rw,nosuid - fuse.snapstore /repo ro\n"
      "41 21 0:53 / /mnt/c rw shared:7 master:2 - tmpfs none rw\n"
      "42 21 0:54 / /mnt/c ro - fuse.snapstore s3://bucket/x ro\n";
  EXPECT_EQ(FindMount(kTable, "/mnt/a b").type, kMountType);
  EXPECT_EQ(FindMount(kTable, "/mnt/a b").device, "0:52");
  EXPECT_EQ(FindMount(kTable, "/mnt/c").device, "0:54");
  EXPECT_EQ(FindMount(kTable, "/mnt/a").type, "");
  EXPECT_EQ(FindMount(kTable, "/").type, "ext4");
}

}  // namespace
}  // namespace snapstore::cli
