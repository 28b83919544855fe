#include "base/memory_limit.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <vector>

#include "tests/base/temp_folder.h"

namespace snapstore {
namespace {

constexpr uint64_t kMiB = 1 << 20;

// A /proc and /sys of the test's own making.
class MemoryLimit : public testing::Test {
 protected:
  void Put(const std::string& path, const std::string& text) {
    const std::filesystem::path file(root_.path() + path);
    std::filesystem::create_directories(file.parent_path());
    std::ofstream(file) << text;
  }
  void MountV2(const std::string& mount_root) {
    Put("/proc/self/mountinfo",
        "22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/root rw\n"
        "30 22 0:26 " +
            mount_root + " /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate\n");
  }
  std::optional<uint64_t> Limit() { return CgroupMemoryLimit(root_.path()); }

  TempFolder root_;
};

TEST_F(MemoryLimit, IsAbsentWithoutCgroups) {
  EXPECT_EQ(Limit(), std::nullopt);
  EXPECT_EQ(EffectiveMemoryLimit(512 * kMiB, root_.path()), 512 * kMiB);
}

TEST_F(MemoryLimit, IsThreeQuartersOfTheGroupsOwn) {
  MountV2("/");
  Put("/proc/self/cgroup", "0::/system.slice/app.service\n");
  Put("/sys/fs/cgroup/system.slice/app.service/memory.max", "419430400\n");
  EXPECT_EQ(Limit(), 400 * kMiB);
  EXPECT_EQ(EffectiveMemoryLimit(512 * kMiB, root_.path()), 300 * kMiB);
  EXPECT_EQ(EffectiveMemoryLimit(100 * kMiB, root_.path()), 100 * kMiB);
}

TEST_F(MemoryLimit, TakesTheTightestOnTheWayUp) {
  MountV2("/");
  Put("/proc/self/cgroup", "0::/a/b\n");
  Put("/sys/fs/cgroup/a/b/memory.max", "max\n");
  Put("/sys/fs/cgroup/a/memory.max", "209715200\n");
  EXPECT_EQ(Limit(), 200 * kMiB);
  Put("/sys/fs/cgroup/a/b/memory.high", "104857600\n");
  EXPECT_EQ(Limit(), 100 * kMiB);
}

TEST_F(MemoryLimit, UnderstandsAContainersMount) {
  MountV2("/docker/abc");
  Put("/proc/self/cgroup", "0::/docker/abc/job\n");
  Put("/sys/fs/cgroup/job/memory.max", "104857600\n");
  EXPECT_EQ(Limit(), 100 * kMiB);
}

TEST_F(MemoryLimit, DoesNotMistakeANeighboursNameForAParent) {
  MountV2("/docker/ab");
  Put("/proc/self/cgroup", "0::/docker/abc\n");
  Put("/sys/fs/cgroup/memory.max", "104857600\n");
  EXPECT_EQ(Limit(), 100 * kMiB);
}

TEST_F(MemoryLimit, UsesTheMountWhenTheGroupLiesOutside) {
  MountV2("/");
  Put("/proc/self/cgroup", "0::/../../other\n");
  Put("/sys/fs/cgroup/memory.max", "104857600\n");
  EXPECT_EQ(Limit(), 100 * kMiB);
}

TEST_F(MemoryLimit, ReadsVersionOne) {
  Put("/proc/self/mountinfo",
      "31 22 0:27 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n"
      "32 22 0:28 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"
      "33 22 0:29 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n");
  Put("/proc/self/cgroup", "5:cpu:/x\n4:memory:/jobs/1\n0::/\n");
  Put("/sys/fs/cgroup/memory/jobs/1/memory.limit_in_bytes", "104857600\n");
  Put("/sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n");
  EXPECT_EQ(Limit(), 100 * kMiB);
}

TEST_F(MemoryLimit, SurvivesNonsense) {
  Put("/proc/self/mountinfo", "- - -\n\n30 22 0:26 / \n1 2 3 / /m o - cgroup2\n");
  Put("/proc/self/cgroup", ":\n0:\nx::y\n0::no-slash\n");
  EXPECT_EQ(Limit(), std::nullopt);
  MountV2("/");
  Put("/sys/fs/cgroup/memory.max", "a lot\n");
  EXPECT_EQ(Limit(), std::nullopt);
}

TEST(MemoryUsage, FollowsWhatIsTouched) {
  const Result<MemoryUsage> before = ReadMemoryUsage();
  ASSERT_TRUE(before.ok()) << before.status().ToString();
  {
    std::vector<char> block(64 * kMiB, 1);
    const Result<MemoryUsage> during = ReadMemoryUsage();
    ASSERT_TRUE(during.ok());
    EXPECT_GE(during->rss_bytes, before->rss_bytes + 60 * kMiB);
    EXPECT_EQ(block[kMiB], 1);
  }
  const Result<MemoryUsage> after = ReadMemoryUsage();
  ASSERT_TRUE(after.ok());
  EXPECT_GE(after->rss_bytes_peak, before->rss_bytes + 60 * kMiB);
}

}  // namespace
}  // namespace snapstore
