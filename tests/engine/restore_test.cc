// What a restore brings back, bit for bit, and what it leaves alone.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <filesystem>

#include "base/file.h"
#include "base/memory_limit.h"
#include "base/random.h"
#include "tests/base/memory_folder.h"
#include "tests/base/sanitized.h"
#include "tests/engine/fixture.h"

namespace snapstore {
namespace {

// Allocated bytes.
uint64_t DiskUsage(const std::string& path) {
  struct stat stat;
  EXPECT_EQ(::stat(path.c_str(), &stat), 0) << path;
  return static_cast<uint64_t>(stat.st_blocks) * 512;
}

void SetMtime(const std::string& path, int64_t seconds, long nanos) {
  const timespec times[2] = {{.tv_sec = seconds, .tv_nsec = nanos},
                             {.tv_sec = seconds, .tv_nsec = nanos}};
  ASSERT_EQ(::utimensat(AT_FDCWD, path.c_str(), times, AT_SYMLINK_NOFOLLOW), 0) << path;
}

// A sparse file: data at 1 MiB, holes around it.
void WriteSparse(const std::string& path, uint64_t size) {
  const Result<UniqueFd> fd = OpenFile(path, O_WRONLY | O_CREAT | O_TRUNC);
  ASSERT_TRUE(fd.ok());
  ASSERT_EQ(::ftruncate(fd->get(), static_cast<off_t>(size)), 0);
  ASSERT_TRUE(PwriteFull(fd->get(), AsBytes(RandomBytes(100'000, 3)), kMiB, path).ok());
}

class RestoreTest : public EngineFixture {
 protected:
  void ExpectSame() { EXPECT_EQ(ScanTree(source()), ScanTree(Restored(source()))); }
};

TEST_F(RestoreTest, BringsBackContentOfEverySize) {
  SplitMix64 random(1);
  for (const size_t size : {size_t{0}, size_t{1}, size_t{4095}, size_t{4096}, size_t{70'000},
                            3 * kMiB + 17, 20 * kMiB}) {
    WriteFileAt(source("file-" + std::to_string(size)), RandomBytes(size, random.Next()));
  }
  WriteFileAt(source("repeated"), std::string(5 * kMiB, '\xff'));
  const RestoreSummary summary = RestoreAll(Snapshot());
  ExpectSame();
  EXPECT_EQ(summary.failed, 0u);
  EXPECT_EQ(summary.bytes_total, summary.bytes_written);
}

TEST_F(RestoreTest, BringsBackEveryKindOfEntry) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root for devices and owners";
  WriteFileAt(source("file"), "content");
  ASSERT_EQ(::link(source("file").c_str(), source("link").c_str()), 0);
  ASSERT_EQ(::symlink("no/such/place", source("symlink").c_str()), 0);
  ASSERT_EQ(::lchown(source("symlink").c_str(), 12, 34), 0);
  ASSERT_EQ(::mkfifo(source("fifo").c_str(), 0640), 0);
  ASSERT_EQ(::mknod(source("socket").c_str(), S_IFSOCK | 0600, 0), 0);
  ASSERT_EQ(::mknod(source("null").c_str(), S_IFCHR | 0666, makedev(1, 3)), 0);
  ASSERT_EQ(::mknod(source("block").c_str(), S_IFBLK | 0600, makedev(7, 99)), 0);
  WriteFileAt(source("dir/setuid"), "x");
  ASSERT_EQ(::chown(source("dir/setuid").c_str(), 1234, 5678), 0);
  ASSERT_EQ(::chmod(source("dir/setuid").c_str(), 06755), 0);
  ASSERT_EQ(::chmod(source("dir").c_str(), 01770), 0);
  WriteFileAt(source("read-only-dir/file"), "x");
  ASSERT_EQ(::chmod(source("read-only-dir").c_str(), 0500), 0);
  for (const char* name : {"file", "symlink", "fifo", "null"}) SetMtime(source(name), 1234, 56789);
  SetMtime(source("dir/setuid"), -5, 999'999'999);
  SetMtime(source("dir"), 4'102'444'800, 1);
  RestoreAll(Snapshot());
  ExpectSame();
}

TEST_F(RestoreTest, BringsBackExtendedAttributesAndAcls) {
  WriteFileAt(source("file"), "content");
  const std::string value("\0binary\xff", 8);
  if (::setxattr(source("file").c_str(), "user.test", value.data(), value.size(), 0) != 0) {
    GTEST_SKIP() << "the file system has no extended attributes";
  }
  // Version 2; user::rw-, user:1000:r--, group::r--, mask::r--, other::---.
  const std::string acl(
      "\2\0\0\0\1\0\6\0\xff\xff\xff\xff\2\0\4\0\xe8\3\0\0\4\0\4\0\xff\xff\xff\xff"
      "\x10\0\4\0\xff\xff\xff\xff\x20\0\0\0\xff\xff\xff\xff",
      44);
  ASSERT_EQ(
      ::setxattr(source("file").c_str(), "system.posix_acl_access", acl.data(), acl.size(), 0), 0);
  std::filesystem::create_directory(source("dir"));
  ASSERT_EQ(
      ::setxattr(source("dir").c_str(), "system.posix_acl_default", acl.data(), acl.size(), 0), 0);
  WriteFileAt(source("dir/heir"), "has the directory's ACL");
  const std::string id = Snapshot();
  // What is there already must not add its own.
  WriteFileAt(Restored(source("file")), "old");
  ASSERT_EQ(::setxattr(Restored(source("file")).c_str(), "user.foreign", "x", 1, 0), 0);
  RestoreAll(id, /*in_place=*/true);
  ExpectSame();
}

TEST_F(RestoreTest, KeepsHolesAndLongRuns) {
  WriteSparse(source("sparse"), 64 * kMiB);
  WriteFileAt(source("ones"), std::string(32 * kMiB, '\1'));
  const RestoreSummary summary = RestoreAll(Snapshot());
  ExpectSame();
  EXPECT_LT(DiskUsage(Restored(source("sparse"))), kMiB);
  EXPECT_EQ(summary.bytes_total, 96 * kMiB);
  EXPECT_LT(summary.bytes_written, 33 * kMiB);
}

TEST_F(RestoreTest, TakesNamesOfAnyBytesAndPathsOfAnyLength) {
  WriteFileAt(source("line\nbreak \xff\xfe \x1b[31m"), "x");
  // 40 components of 200 bytes: longer than PATH_MAX.
  UniqueFd here(::open(source().c_str(), O_PATH | O_DIRECTORY));
  const std::string component(200, 'd');
  for (int i = 0; i < 40; ++i) {
    ASSERT_EQ(::mkdirat(here.get(), component.c_str(), 0755), 0);
    here.Reset(::openat(here.get(), component.c_str(), O_PATH | O_DIRECTORY));
    ASSERT_TRUE(here.valid());
  }
  UniqueFd file(::openat(here.get(), "deep", O_WRONLY | O_CREAT, 0600));
  ASSERT_TRUE(WriteFull(file.get(), AsBytes("down here"), "deep").ok());
  RestoreAll(Snapshot());

  EXPECT_EQ(ReadFileAt(Restored(source("line\nbreak \xff\xfe \x1b[31m"))), "x");
  here.Reset(::open(Restored(source()).c_str(), O_PATH | O_DIRECTORY));
  for (int i = 0; i < 40; ++i) {
    here.Reset(::openat(here.get(), component.c_str(), O_PATH | O_DIRECTORY));
    ASSERT_TRUE(here.valid()) << i;
  }
  file.Reset(::openat(here.get(), "deep", O_RDONLY));
  Bytes bytes(100);
  const Result<size_t> got = ReadFull(file.get(), bytes, "deep");
  ASSERT_TRUE(got.ok());
  EXPECT_EQ(AsText(bytes).substr(0, *got), "down here");
}

TEST_F(RestoreTest, RestoresOnlyWhatIsSelectedAndSaysWhatIsMissing) {
  WriteFileAt(source("a/b/c/wanted"), "1");
  WriteFileAt(source("a/b/other"), "2");
  WriteFileAt(source("a.b"), "3");
  ASSERT_EQ(::chmod(source("a/b").c_str(), 0711), 0);
  RestoreRequest request;
  request.snapshot_id = Snapshot();
  request.target = target();
  request.paths = {source("a/b/c") + "/", "./" + source("a/b/c/wanted"), source("a.b")};
  const Result<RestoreSummary> summary = Restore(request);
  ASSERT_TRUE(summary.ok()) << summary.status().ToString();
  EXPECT_EQ(summary->entries, 3u);
  EXPECT_EQ(ReadFileAt(Restored(source("a/b/c/wanted"))), "1");
  EXPECT_EQ(ReadFileAt(Restored(source("a.b"))), "3");
  EXPECT_FALSE(std::filesystem::exists(Restored(source("a/b/other"))));
  // Directories on the way get what is known of them.
  struct stat stat;
  ASSERT_EQ(::stat(Restored(source("a/b")).c_str(), &stat), 0);
  EXPECT_EQ(stat.st_mode & 07777, 0711u);

  request.paths = {source("a"), source("no-such")};
  request.target = folder_.File("second");
  EXPECT_EQ(Restore(request).status().code(), StatusCode::kNotFound);
  EXPECT_FALSE(std::filesystem::exists(folder_.File("second")));
}

TEST_F(RestoreTest, GivesHardLinksContentWhenTheirFirstNameIsNotSelected) {
  const std::string content = RandomBytes(300'000, 7);
  WriteFileAt(source("a/first"), content);
  std::filesystem::create_directory(source("b"));
  ASSERT_EQ(::link(source("a/first").c_str(), source("b/second").c_str()), 0);
  ASSERT_EQ(::link(source("a/first").c_str(), source("b/third").c_str()), 0);
  RestoreRequest request;
  request.snapshot_id = Snapshot();
  request.target = target();
  request.paths = {source("b")};
  ASSERT_TRUE(Restore(request).ok());
  EXPECT_EQ(ReadFileAt(Restored(source("b/second"))), content);
  struct stat second;
  struct stat third;
  ASSERT_EQ(::stat(Restored(source("b/second")).c_str(), &second), 0);
  ASSERT_EQ(::stat(Restored(source("b/third")).c_str(), &third), 0);
  EXPECT_EQ(second.st_ino, third.st_ino);
  EXPECT_FALSE(std::filesystem::exists(Restored(source("a"))));
}

TEST_F(RestoreTest, ReplacesWhatStandsInTheWayAndLeavesOtherNamesOfItAlone) {
  WriteFileAt(source("file"), "new");
  WriteFileAt(source("dir/inside"), "inside");
  ASSERT_EQ(::symlink("somewhere", source("symlink").c_str()), 0);
  const std::string id = Snapshot();
  const std::string root = Restored(source());
  WriteFileAt(root + "/file", "old");
  ASSERT_EQ(::link((root + "/file").c_str(), (root + "/backup").c_str()), 0);
  WriteFileAt(root + "/dir", "a file where a directory belongs");
  std::filesystem::create_directory(root + "/symlink");
  WriteFileAt(root + "/unrelated", "stays");
  RestoreAll(id);
  EXPECT_EQ(ReadFileAt(root + "/file"), "new");
  EXPECT_EQ(ReadFileAt(root + "/backup"), "old");
  EXPECT_EQ(ReadFileAt(root + "/dir/inside"), "inside");
  EXPECT_EQ(std::filesystem::read_symlink(root + "/symlink"), "somewhere");
  EXPECT_EQ(ReadFileAt(root + "/unrelated"), "stays");
}

TEST_F(RestoreTest, WarnsOfOneEntryAndRestoresTheOthers) {
  WriteFileAt(source("a"), "1");
  WriteFileAt(source("b"), "2");
  const std::string id = Snapshot();
  WriteFileAt(Restored(source("a")) + "/in-the-way", "keep me");
  RecordingObserver observer;
  const Result<RestoreSummary> summary = Restore(AllOf(id), &observer);
  ASSERT_TRUE(summary.ok()) << summary.status().ToString();
  EXPECT_EQ(summary->failed, 1u);
  ASSERT_EQ(observer.warnings.size(), 1u);
  EXPECT_EQ(observer.warnings[0].item, EntryPath(source("a")));
  EXPECT_EQ(ReadFileAt(Restored(source("b"))), "2");
  EXPECT_EQ(ReadFileAt(Restored(source("a")) + "/in-the-way"), "keep me");
}

class ManyFilesTest : private MemoryFolder, public EngineFixture {
 protected:
  ManyFilesTest() : EngineFixture(MemoryFolder::path()) {}
};

TEST_F(ManyFilesTest, AreRestoredInBoundedMemoryWithFewDescriptors) {
  constexpr int kFolders = 100;
  constexpr int kFilesEach = 1000;
  for (int i = 0; i < kFolders; ++i) {
    const std::string folder = source("folder-" + std::to_string(i));
    std::filesystem::create_directory(folder);
    for (int k = 0; k < kFilesEach; ++k) {
      const std::string path = folder + "/file-" + std::to_string(k);
      const Result<UniqueFd> fd = OpenFile(path, O_WRONLY | O_CREAT);
      ASSERT_TRUE(fd.ok());
      // A quarter of them alike, so that files share chunks.
      const std::string text = k % 4 == 0 ? "the same in many" : path;
      ASSERT_TRUE(WriteFull(fd->get(), AsBytes(text), path).ok());
    }
  }
  const std::string id = Snapshot();
  repository_.reset();
  // Few descriptors, and the smallest budget.
  struct rlimit before;
  ASSERT_EQ(::getrlimit(RLIMIT_NOFILE, &before), 0);
  const struct rlimit few { .rlim_cur = 600, .rlim_max = before.rlim_max };
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &few), 0);
  repository_ = OpenRepository(nullptr, "cache", 64ull << 20);
  // The peak from here on: earlier tests of this process do not count.
  const Result<UniqueFd> clear = OpenFile("/proc/self/clear_refs", O_WRONLY);
  ASSERT_TRUE(clear.ok() && WriteFull(clear->get(), AsBytes("5"), "clear_refs").ok());
  const uint64_t rss_before = ReadMemoryUsage()->rss_bytes;
  RecordingObserver observer;
  const Result<RestoreSummary> summary = Restore(AllOf(id), &observer);
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &before), 0);
  ASSERT_TRUE(summary.ok()) << summary.status().ToString();
  EXPECT_EQ(summary->failed, 0u);
  EXPECT_TRUE(observer.warnings.empty());
  const uint64_t rss_peak = ReadMemoryUsage()->rss_bytes_peak;
  if (!kSanitized) {
    EXPECT_LT(rss_peak > rss_before ? rss_peak - rss_before : 0, 64ull << 20);
  }
  EXPECT_EQ(observer.last.items_done, observer.last.items_total);
  for (int i = 0; i < 200; ++i) {
    const std::string name = "folder-" + std::to_string(i % 100) + "/file-" + std::to_string(i * 5);
    if (i * 5 >= kFilesEach) break;
    EXPECT_EQ(ReadFileAt(source(name)), ReadFileAt(Restored(source(name))));
  }
  const auto count = [](const std::string& path) {
    return std::distance(std::filesystem::recursive_directory_iterator(path),
                         std::filesystem::recursive_directory_iterator());
  };
  EXPECT_EQ(count(source()), count(Restored(source())));
}

TEST_F(RestoreTest, StopsWhenAskedToAndLeavesNoHalfFile) {
  const std::string content = RandomBytes(64 * kMiB, 5);
  WriteFileAt(source("big"), content);
  const RestoreRequest request = AllOf(Snapshot());
  bool cut_short = false;
  int dropped = 0;
  for (int polls = 1; polls < 60; ++polls) {
    RecordingObserver observer;
    observer.cancel_after = polls;
    const Result<RestoreSummary> summary = Restore(request, &observer);
    if (summary.ok()) break;
    cut_short = true;
    EXPECT_EQ(summary.status().code(), StatusCode::kCancelled) << summary.status().ToString();
    if (std::filesystem::exists(Restored(source("big")))) {
      EXPECT_TRUE(ReadFileAt(Restored(source("big"))) == content) << polls;
      std::filesystem::remove_all(target());
    } else {
      ++dropped;
    }
  }
  EXPECT_TRUE(cut_short);
  EXPECT_GT(dropped, 0);
}

TEST_F(RestoreTest, RefusesATargetThatIsNoDirectory) {
  WriteFileAt(source("file"), "1");
  const std::string id = Snapshot();
  WriteFileAt(target(), "a file");
  EXPECT_FALSE(Restore(AllOf(id)).ok());
  RestoreRequest nowhere = AllOf(id);
  nowhere.target.clear();
  EXPECT_EQ(Restore(nowhere).status().code(), StatusCode::kInvalidArgument);
  EXPECT_EQ(ReadFileAt(target()), "a file");
}

}  // namespace
}  // namespace snapstore
