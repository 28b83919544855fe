// A short piece of the campaign that docs/testing.md describes.
#include <gtest/gtest.h>

#include "base/log.h"
#include "tests/orchestrator/lifecycle/campaign.h"

namespace snapstore::spot {
namespace {

void Live(const CampaignOptions& options) {
  SetLogLevel(LogLevel::kError);
  const CampaignResult result = RunCampaign(options);
  EXPECT_EQ(result.problems, "") << "seed " << options.seed;
  EXPECT_GT(result.happened.at("operations"), 0);
}

TEST(Year, OfNodesThatNobodyDisturbsIsQuiet) {
  Live({.seed = 1, .nodes = 8, .days = 3, .crash_chance = 0, .troubles = 0, .faults = 0});
}

TEST(Year, OfInterruptionsAndDroughtsLosesNothing) {
  Live({.seed = 2, .nodes = 8, .days = 4, .crash_chance = 0, .troubles = 2, .faults = 0});
}

TEST(Year, OfFailingCallsAndDyingControllersLosesNothing) {
  Live({.seed = 3, .nodes = 8, .days = 4, .crash_chance = 0.002, .troubles = 2, .faults = 2});
}

}  // namespace
}  // namespace snapstore::spot
