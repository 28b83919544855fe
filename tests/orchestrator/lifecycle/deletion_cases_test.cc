// Deletions: what goes, when, and what is not ours.
#include <gtest/gtest.h>

#include "tests/orchestrator/lifecycle/life_cycle_cases.h"

namespace snapstore::spot {
namespace {

class DeletionCases : public LifeCycleCases {};

INSTANTIATE_TEST_SUITE_P(Seeds, DeletionCases, ::testing::Values(1, 2));

}  // namespace
}  // namespace snapstore::spot
