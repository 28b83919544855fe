// Restores that rewrite only what differs, and restores of one file or volume to one place.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>

#include "base/file.h"
#include "base/random.h"
#include "tests/base/run_command.h"
#include "tests/engine/fixture.h"

namespace snapstore {
namespace {

// A loop device over a file; detached when it goes.
class LoopDevice {
 public:
  explicit LoopDevice(const std::string& file) {
    path_ = RunCommand({"losetup", "--find", "--show", file}).output;
    while (!path_.empty() && path_.back() == '\n') path_.pop_back();
  }
  ~LoopDevice() {
    if (path_.empty()) return;
    EXPECT_EQ(RunCommand({"losetup", "--detach", path_}).wait_status, 0) << path_;
  }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

class RestoreInPlaceTest : public EngineFixture {
 protected:
  void WriteAt(const std::string& path, uint64_t offset, const std::string& bytes) {
    const Result<UniqueFd> fd = OpenFile(path, O_WRONLY);
    ASSERT_TRUE(fd.ok()) << fd.status().ToString();
    ASSERT_TRUE(PwriteFull(fd->get(), AsBytes(bytes), offset, path).ok());
  }
  Result<RestoreSummary> RestoreTo(const std::string& id, const std::string& path,
                                   const std::string& to, bool in_place = false) {
    return Restore(
        {.snapshot_id = id, .target = {}, .paths = {path}, .in_place = in_place, .to = to},
        &observer_);
  }

  RecordingObserver observer_;
};

TEST_F(RestoreInPlaceTest, RewritesOnlyWhatDiffers) {
  std::string content = RandomBytes(8 * kMiB, 1);
  content += std::string(8 * kMiB, '\0');  // a hole
  content += std::string(4 * kMiB, '\5');  // one chunk, many times
  content += RandomBytes(kMiB + 77, 2);
  WriteFileAt(source("file"), content);
  WriteFileAt(source("same"), RandomBytes(kMiB, 9));
  const std::string id = Snapshot();
  RestoreAll(id);
  EXPECT_EQ(RestoreAll(id, /*in_place=*/true).bytes_written, 0u);

  const std::string file = Restored(source("file"));
  struct stat before;
  ASSERT_EQ(::stat(file.c_str(), &before), 0);
  WriteAt(file, 3 * kMiB, "damage");
  WriteAt(file, 10 * kMiB + 3, "where a hole was");
  WriteAt(file, 17 * kMiB, "in the run");
  WriteAt(file, content.size(), "beyond the end");
  const RestoreSummary summary = RestoreAll(id, /*in_place=*/true);
  struct stat after;
  ASSERT_EQ(::stat(file.c_str(), &after), 0);
  EXPECT_EQ(before.st_ino, after.st_ino);
  EXPECT_EQ(ScanTree(source()), ScanTree(Restored(source())));
  EXPECT_GT(summary.bytes_written, 0u);
  EXPECT_LT(summary.bytes_written, kMiB);
  EXPECT_LE(after.st_blocks, before.st_blocks);
  EXPECT_LT(summary.bytes_fetched, 2 * kMiB);

  ASSERT_EQ(::truncate(file.c_str(), 5), 0);
  RestoreAll(id, /*in_place=*/true);
  EXPECT_EQ(ScanTree(source()), ScanTree(Restored(source())));
}

TEST_F(RestoreInPlaceTest, SurvivesRandomDamageAnywhere) {
  const uint64_t seed = 20260301;
  SCOPED_TRACE(seed);
  SplitMix64 random(seed);
  std::string content;
  for (int i = 0; i < 20; ++i) {
    const size_t size = random.Below(700'000);
    content += random.Below(3) == 0 ? std::string(size, '\0') : RandomBytes(size, random.Next());
  }
  WriteFileAt(source("file"), content);
  const std::string id = Snapshot();
  RestoreAll(id);
  const std::string file = Restored(source("file"));
  for (int round = 0; round < 20; ++round) {
    for (int i = 0; i < 5; ++i) {
      WriteAt(file, random.Below(content.size()), RandomBytes(1 + random.Below(50'000), i));
    }
    RestoreAll(id, /*in_place=*/true);
    ASSERT_EQ(ReadFileAt(file) == content, true) << "round " << round;
  }
}

TEST_F(RestoreInPlaceTest, MakesWhatIsMissingAndReplacesOtherTypes) {
  WriteFileAt(source("missing"), "1");
  WriteFileAt(source("other"), "2");
  ASSERT_EQ(::link(source("missing").c_str(), source("second-name").c_str()), 0);
  const std::string id = Snapshot();
  std::filesystem::create_directories(Restored(source()));
  ASSERT_EQ(::mkfifo(Restored(source("other")).c_str(), 0600), 0);
  RestoreAll(id, /*in_place=*/true);
  EXPECT_EQ(ScanTree(source()), ScanTree(Restored(source())));
  RestoreAll(id, /*in_place=*/true);
  EXPECT_EQ(ScanTree(source()), ScanTree(Restored(source())));
}

TEST_F(RestoreInPlaceTest, WritesOneFileToAnyPlace) {
  std::string content = RandomBytes(2 * kMiB, 1) + std::string(6 * kMiB, '\0') + "end";
  WriteFileAt(source("file"), content);
  WriteFileAt(source("dir/x"), "x");
  WriteFileAt(source("dir/y"), "y");
  const std::string id = Snapshot();
  const std::string to = folder_.File("copy");
  const Result<RestoreSummary> summary = RestoreTo(id, source("file"), to);
  ASSERT_TRUE(summary.ok()) << summary.status().ToString();
  EXPECT_EQ(summary->bytes_total, content.size());
  EXPECT_TRUE(ReadFileAt(to) == content);
  struct stat stat;
  ASSERT_EQ(::stat(to.c_str(), &stat), 0);
  EXPECT_LT(static_cast<uint64_t>(stat.st_blocks) * 512, 3 * kMiB);

  WriteFileAt(to, std::string(20 * kMiB, 'z'));
  ASSERT_TRUE(RestoreTo(id, source("file"), to).ok());
  EXPECT_TRUE(ReadFileAt(to) == content);
  WriteAt(to, kMiB, "damage");
  const Result<RestoreSummary> again = RestoreTo(id, source("file"), to, /*in_place=*/true);
  ASSERT_TRUE(again.ok());
  EXPECT_LT(again->bytes_written, 512u << 10);
  EXPECT_TRUE(ReadFileAt(to) == content);

  EXPECT_EQ(RestoreTo(id, source("dir"), to).status().code(), StatusCode::kInvalidArgument);
  EXPECT_EQ(RestoreTo(id, source("none"), to).status().code(), StatusCode::kNotFound);
  EXPECT_EQ(RestoreTo(id, source("file"), "/dev/null").status().code(),
            StatusCode::kInvalidArgument);
  EXPECT_TRUE(ReadFileAt(to) == content);
}

TEST_F(RestoreInPlaceTest, WritesVolumesToDevicesAndClearsTheirHoles) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root for loop devices";
  const std::string content = std::string(kMiB + 512, '\0') + RandomBytes(kMiB, 1) +
                              std::string(5 * kMiB - 512, '\0') + RandomBytes(kMiB, 2);
  WriteFileAt(source("image"), content);
  const std::string id = Snapshot();
  const std::string backing = folder_.File("backing");
  WriteFileAt(backing, std::string(9 * kMiB, 'j'));
  const std::string small = folder_.File("small");
  WriteFileAt(small, std::string(kMiB, 's'));
  {
    const LoopDevice device(backing);
    const LoopDevice small_device(small);
    if (device.path().empty() || small_device.path().empty()) {
      GTEST_SKIP() << "no loop devices here";
    }
    const Result<RestoreSummary> summary = RestoreTo(id, source("image"), device.path());
    ASSERT_TRUE(summary.ok()) << summary.status().ToString();
    EXPECT_TRUE(ReadFileAt(device.path()) == content + std::string(kMiB, 'j'));
    WriteAt(device.path(), 4 * kMiB, "junk in a hole");
    const Result<RestoreSummary> again = RestoreTo(id, source("image"), device.path(), true);
    ASSERT_TRUE(again.ok()) << again.status().ToString();
    EXPECT_TRUE(ReadFileAt(device.path()) == content + std::string(kMiB, 'j'));
    EXPECT_GT(again->bytes_written, 0u);
    EXPECT_LT(again->bytes_written, kMiB);
    const Result<RestoreSummary> same = RestoreTo(id, source("image"), device.path(), true);
    ASSERT_TRUE(same.ok());
    EXPECT_EQ(same->bytes_written, 0u);

    const Status refused = RestoreTo(id, source("image"), small_device.path()).status();
    EXPECT_EQ(refused.code(), StatusCode::kInvalidArgument) << refused.ToString();
    EXPECT_NE(refused.message().find("too small"), std::string::npos) << refused.message();
  }
  EXPECT_EQ(ReadFileAt(small), std::string(kMiB, 's'));
}

}  // namespace
}  // namespace snapstore
