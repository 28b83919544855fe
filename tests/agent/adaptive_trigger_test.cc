#include "agent/adaptive_trigger.h"

#include <gtest/gtest.h>

namespace snapstore::agent {
namespace {

constexpr uint64_t kDirtyMiB = 1 << 20;

AdaptiveTrigger::Options Budget(double seconds) {
  AdaptiveTrigger::Options options;
  options.budget_seconds = seconds;
  options.initial_bytes_per_second = 10 * kDirtyMiB;
  return options;
}

TEST(AdaptiveTriggerTest, IsDueWhenTheBudgetIsNearlyUsedUp) {
  const AdaptiveTrigger trigger(Budget(100));
  EXPECT_FALSE(trigger.IsDue(0, 700 * kDirtyMiB));
  EXPECT_TRUE(trigger.IsDue(0, 810 * kDirtyMiB));
}

TEST(AdaptiveTriggerTest, FollowsTheMeasuredRate) {
  AdaptiveTrigger trigger(Budget(100));
  for (int i = 0; i < 20; ++i) trigger.OnCommit(i, 1000 * kDirtyMiB, 1000);  // 1 MiB/s
  EXPECT_NEAR(trigger.bytes_per_second(), kDirtyMiB, kDirtyMiB / 10.0);
  EXPECT_TRUE(trigger.IsDue(1000, 100 * kDirtyMiB));
  for (int i = 0; i < 20; ++i) trigger.OnCommit(i, 1000 * kDirtyMiB, 1);
  EXPECT_FALSE(trigger.IsDue(1000, 100 * kDirtyMiB));
}

TEST(AdaptiveTriggerTest, SmallCheckpointsSayLittleAboutTheLink) {
  AdaptiveTrigger trigger(Budget(100));
  // A second for a page is the manifest's time.
  for (int i = 0; i < 100; ++i) trigger.OnCommit(i, 4096, 1);
  EXPECT_GT(trigger.bytes_per_second(), 9.0 * kDirtyMiB);
  trigger.OnCommit(200, 0, 5);
  trigger.OnCommit(200, 5, 0);
  EXPECT_GT(trigger.bytes_per_second(), 9.0 * kDirtyMiB);
}

TEST(AdaptiveTriggerTest, GuessesByWhatChangedBefore) {
  AdaptiveTrigger trigger(Budget(100));
  EXPECT_EQ(trigger.EstimateDirty(5), 0u);
  trigger.OnCommit(10, 500 * kDirtyMiB, 1);
  EXPECT_EQ(trigger.EstimateDirty(20), 0u) << "the first one holds everything";
  trigger.OnCommit(20, 100 * kDirtyMiB, 1);
  EXPECT_NEAR(static_cast<double>(trigger.EstimateDirty(50)), 300.0 * kDirtyMiB, kDirtyMiB);
}

TEST(AdaptiveTriggerTest, KeepsItsDistance) {
  AdaptiveTrigger trigger(Budget(1));
  trigger.OnFailure(100);
  EXPECT_FALSE(trigger.IsDue(105, 1000 * kDirtyMiB));
  EXPECT_TRUE(trigger.IsDue(110, 1000 * kDirtyMiB));
}

TEST(AdaptiveTriggerTest, LooksMoreOftenTheNearerItComes) {
  const AdaptiveTrigger trigger(Budget(100));
  EXPECT_GT(trigger.SecondsToNextLook(0), trigger.SecondsToNextLook(790 * kDirtyMiB));
  EXPECT_GT(trigger.SecondsToNextLook(2000 * kDirtyMiB), 0);
}

TEST(AdaptiveTriggerTest, WithoutABudgetItIsNeverDue) {
  const AdaptiveTrigger trigger(Budget(0));
  EXPECT_FALSE(trigger.enabled());
  EXPECT_FALSE(trigger.IsDue(1e9, 1ull << 50));
}

}  // namespace
}  // namespace snapstore::agent
