#include "orchestrator/api/rate_limit.h"

#include <gtest/gtest.h>

namespace snapstore::spot {
namespace {

using std::chrono::seconds;

TEST(RateLimit, AllowsSoManyInAnyWindow) {
  RateLimit limit(3, seconds(60));
  const auto start = RateLimit::Clock::now();
  EXPECT_EQ(limit.Count("a", start).remaining, 2);
  EXPECT_TRUE(limit.Count("a", start + seconds(10)).allowed);
  EXPECT_EQ(limit.Count("a", start + seconds(20)).remaining, 0);
  const auto refused = limit.Count("a", start + seconds(30));
  EXPECT_FALSE(refused.allowed);
  EXPECT_EQ(refused.limit, 3);
  EXPECT_EQ(refused.reset_seconds, 40);
  EXPECT_TRUE(limit.Count("b", start + seconds(30)).allowed);
  EXPECT_TRUE(limit.Count("a", start + seconds(71)).allowed);
}

TEST(RateLimit, ABlockedCallerThatKeepsCallingStaysBlocked) {
  RateLimit limit(2, seconds(60));
  const auto start = RateLimit::Clock::now();
  EXPECT_TRUE(limit.Count("a", start).allowed);
  EXPECT_TRUE(limit.Count("a", start).allowed);
  for (int i = 1; i < 30; ++i) EXPECT_FALSE(limit.Count("a", start + seconds(10 * i)).allowed) << i;
  EXPECT_TRUE(limit.Count("a", start + seconds(290 + 61)).allowed);
}

TEST(RateLimit, ZeroIsNoLimit) {
  RateLimit limit(0, seconds(60));
  for (int i = 0; i < 1000; ++i) EXPECT_TRUE(limit.Count("a", RateLimit::Clock::now()).allowed);
}

}  // namespace
}  // namespace snapstore::spot
