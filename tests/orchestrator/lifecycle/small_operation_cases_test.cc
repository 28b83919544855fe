// Tags and deletions of single volumes, and what goes on meanwhile.
#include <gtest/gtest.h>

#include "tests/orchestrator/lifecycle/life_cycle_cases.h"

namespace snapstore::spot {
namespace {

class SmallOperationCases : public LifeCycleCases {};

INSTANTIATE_TEST_SUITE_P(Seeds, SmallOperationCases, ::testing::Values(1, 2));

}  // namespace
}  // namespace snapstore::spot
