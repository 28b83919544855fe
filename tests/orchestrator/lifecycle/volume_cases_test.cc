// Volumes: what they were they stay, whatever happens to the node.
#include <gtest/gtest.h>

#include "tests/orchestrator/lifecycle/life_cycle_cases.h"

namespace snapstore::spot {
namespace {

class VolumeCases : public LifeCycleCases {};

INSTANTIATE_TEST_SUITE_P(Seeds, VolumeCases, ::testing::Values(1, 2));

}  // namespace
}  // namespace snapstore::spot
