#include "orchestrator/lifecycle/market_memory.h"

#include <gtest/gtest.h>

namespace snapstore::spot {
namespace {

constexpr int64_t kOneHour = 3'600'000;

TEST(MarketMemory, ForgetsRefusalsSoon) {
  MarketMemory memory;
  EXPECT_FALSE(memory.RefusedLately("m5.large/a/spot", 0));
  memory.NoteRefused("m5.large/a/spot", 0);
  EXPECT_TRUE(memory.RefusedLately("m5.large/a/spot", 599'999));
  EXPECT_FALSE(memory.RefusedLately("m5.large/a/spot", 600'000));
  EXPECT_FALSE(memory.RefusedLately("m5.large/b/spot", 1));
}

TEST(MarketMemory, InterruptionsFade) {
  MarketMemory memory;
  memory.NoteInterrupted("m", 0);
  EXPECT_DOUBLE_EQ(memory.Interruptions("m", 0), 1);
  EXPECT_DOUBLE_EQ(memory.Interruptions("m", 6 * kOneHour), 0.5);
  memory.NoteInterrupted("m", 6 * kOneHour);
  EXPECT_DOUBLE_EQ(memory.Interruptions("m", 6 * kOneHour), 1.5);
  EXPECT_DOUBLE_EQ(memory.Interruptions("other", 0), 0);
}

}  // namespace
}  // namespace snapstore::spot
