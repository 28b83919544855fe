// Markets: when a node goes back to a better one, and when it stays.
#include <gtest/gtest.h>

#include "tests/orchestrator/lifecycle/life_cycle_cases.h"

namespace snapstore::spot {
namespace {

class MarketCases : public LifeCycleCases {};

INSTANTIATE_TEST_SUITE_P(Seeds, MarketCases, ::testing::Values(1, 2));

}  // namespace
}  // namespace snapstore::spot
