#include "agent/background.h"

#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <thread>

namespace snapstore::agent {
namespace {

int IoPriorityOfThisThread() { return static_cast<int>(syscall(SYS_ioprio_get, 1, 0)); }

TEST(BackgroundTest, LowersItsThreadAndThoseItStartsAndNoOther) {
  const int before = getpriority(PRIO_PROCESS, 0);
  if (before > 10) GTEST_SKIP() << "as low as it gets";
  int inside = -1;
  int below = -1;
  int io = -1;
  RunInBackground({.nice = 5, .io_class = IoClass::kBestEffort, .io_level = 6}, [&] {
    inside = getpriority(PRIO_PROCESS, 0);
    std::thread([&] {
      below = getpriority(PRIO_PROCESS, 0);
      io = IoPriorityOfThisThread();
    }).join();
  });
  EXPECT_EQ(inside, before + 5);
  EXPECT_EQ(below, before + 5);
  EXPECT_EQ(io, 2 << 13 | 6);
  EXPECT_EQ(getpriority(PRIO_PROCESS, 0), before) << "who waits for it is as high as before";
}

TEST(BackgroundTest, NothingChangesUnlessAskedFor) {
  const int before = getpriority(PRIO_PROCESS, 0);
  int inside = -1;
  RunInBackground({}, [&] { inside = getpriority(PRIO_PROCESS, 0); });
  EXPECT_EQ(inside, before);
}

TEST(BackgroundTest, TheClassesOfIonice) {
  BackgroundPriority priority;
  EXPECT_TRUE(ParseIoPriority("idle", &priority).ok());
  EXPECT_EQ(priority.io_class, IoClass::kIdle);
  EXPECT_TRUE(ParseIoPriority("best-effort:3", &priority).ok());
  EXPECT_EQ(priority.io_class, IoClass::kBestEffort);
  EXPECT_EQ(priority.io_level, 3);
  EXPECT_TRUE(ParseIoPriority("none", &priority).ok());
  EXPECT_EQ(priority.io_class, IoClass::kUnchanged);
  for (const char* text : {"", "realtime", "best-effort:", "best-effort:8", "best-effort:10"}) {
    EXPECT_FALSE(ParseIoPriority(text, &priority).ok()) << text;
  }
}

}  // namespace
}  // namespace snapstore::agent
