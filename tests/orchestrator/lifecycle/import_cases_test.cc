// Imports, and what the source of one must never suffer.
#include <gtest/gtest.h>

#include "tests/orchestrator/lifecycle/life_cycle_cases.h"

namespace snapstore::spot {
namespace {

class ImportCases : public LifeCycleCases {};

INSTANTIATE_TEST_SUITE_P(Seeds, ImportCases, ::testing::Values(1, 2));

}  // namespace
}  // namespace snapstore::spot
