#include "orchestrator/localcloud/balancers.h"

#include <gtest/gtest.h>

namespace snapstore::localcloud {
namespace {

// The states after each of these results, '+' for a good one.
std::string StatesAfter(std::string_view results) {
  const HealthCheck check{.healthy_count = 3, .unhealthy_count = 2};
  Json target = {{"state", "initial"}};
  std::string states;
  for (const char result : results) {
    CountProbe(check, result == '+', &target);
    states += target.value("state", "?")[0];
  }
  return states;
}

TEST(BalancersTest, AStateChangesAfterAsManyResultsInARow) {
  EXPECT_EQ(StatesAfter("+"), "h");
  EXPECT_EQ(StatesAfter("--"), "iu");
  EXPECT_EQ(StatesAfter("-+"), "ih");
  EXPECT_EQ(StatesAfter("+-+-+--"), "hhhhhhu");
  EXPECT_EQ(StatesAfter("--++-+++"), "iuuuuuuh");
}

TEST(BalancersTest, ACheckIsKeptAsItWas) {
  const HealthCheck check{.http = true, .path = "/x", .port = 7, .interval_seconds = 9};
  const HealthCheck read = HealthCheckOf({{"check", HealthCheckJson(check)}});
  EXPECT_TRUE(read.http);
  EXPECT_EQ(read.path, "/x");
  EXPECT_EQ(read.port, 7U);
  EXPECT_EQ(read.interval_seconds, 9U);
  EXPECT_EQ(read.unhealthy_count, check.unhealthy_count);
}

TEST(BalancersTest, APortThatNobodyListensOnIsNotHealthy) {
  HealthCheck check{.timeout_seconds = 1};
  EXPECT_FALSE(Probe(check, "127.0.0.1", 9));
  check.http = true;
  EXPECT_FALSE(Probe(check, "127.0.0.1", 9));
}

}  // namespace
}  // namespace snapstore::localcloud
