// The controller dies once at each instant of each operation (before a call that changes the cloud,
// after it, before and after a commit), over the cloud that lies: with volumes, snapshots and zones
// that take their time. Also: the answer of each such call is lost, while nobody dies.
#include <gtest/gtest.h>

#include <cstdlib>

#include "base/log.h"
#include "tests/orchestrator/lifecycle/simulated_scenarios.h"

namespace snapstore::spot {
namespace {

using Kind = CrashPoint::Kind;

// Every so many of them; SNAPSTORE_EACH_INSTANT=1 takes them all.
uint64_t Stride(uint64_t usual) {
  return std::getenv("SNAPSTORE_EACH_INSTANT") == nullptr ? usual : 1;
}

struct Counted {
  uint64_t calls = 0;
  uint64_t commits = 0;
  std::set<std::string> actions = {};  // that change the cloud
};

class StepCrash : public ::testing::TestWithParam<Scenario> {
 protected:
  // What is to go wrong in the operation.
  using Prepare = std::function<void(ScenarioWorld*)>;

  Counted Run(const std::string& what, const Prepare& prepare) {
    SCOPED_TRACE(what);
    SetLogLevel(LogLevel::kError);
    ScenarioWorld world(GetParam(), {});
    EXPECT_EQ(world.Begin(), "");
    Counted counted;
    const auto before = world.cloud.on_call;
    world.cloud.on_call = [&](const char* action, bool changes, bool after) {
      if (changes) counted.actions.insert(action);
      before(action, changes, after);
    };
    prepare(&world);
    EXPECT_EQ(world.End(), "");
    counted.calls = world.calls();
    counted.commits = world.commits();
    return counted;
  }
};

TEST_P(StepCrash, IsSurvivedAtEachInstant) {
  const Counted all = Run("undisturbed", [](ScenarioWorld* world) { world->Arm({}); });
  ASSERT_FALSE(HasFailure());
  EXPECT_GT(all.commits, 1);
  const auto at = [&](const char* name, Kind kind, uint64_t count) {
    constexpr uint64_t kUsualOfVariants = 7;
    const bool variant = GetParam().many_zones || GetParam().connected || GetParam().lasts_ms > 0;
    const uint64_t stride = Stride(variant ? kUsualOfVariants : 1);
    for (uint64_t i = all.commits % stride; i < count && !HasFailure(); i += stride) {
      Run(fmt::format("{} {}", name, i), [&](ScenarioWorld* world) {
        world->Arm(CrashPoint{kind, i});
      });
    }
  };
  at("before call", Kind::kBeforeCall, all.calls);
  at("after call", Kind::kAfterCall, all.calls);
  at("before commit", Kind::kBeforeCommit, all.commits);
  at("after commit", Kind::kAfterCommit, all.commits);
}

TEST_P(StepCrash, LostAnswersAreSurvived) {
  const Counted all = Run("undisturbed", [](ScenarioWorld* world) { world->Arm({}); });
  uint64_t turn = GetParam().reattach ? 0 : 2;
  constexpr uint64_t kUsual = 7;
  const uint64_t stride = Stride(kUsual);
  for (const std::string& action : all.actions) {
    for (const char* fault : {"lose", "throttle", "InternalError"}) {
      // Of each action the first two.
      for (int skip = 0; skip < 2 && !HasFailure(); ++skip) {
        if (turn++ % stride != 0) continue;
        Run(fmt::format("{} {} {}", action, fault, skip),
            [&](ScenarioWorld* world) { world->cloud.Script(action, skip, fault); });
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(All, StepCrash, ::testing::ValuesIn(Scenarios()),
                         [](const auto& test) { return NameOf(test.param); });

}  // namespace
}  // namespace snapstore::spot
