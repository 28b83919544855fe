// Markets: when a node goes back to a better one, and when it stays.
#include <gtest/gtest.h>

#include "base/clock.h"
#include "tests/orchestrator/lifecycle/life_cycle_cases.h"

namespace snapstore::spot {
namespace {

class MarketCases : public LifeCycleCases {
 protected:
  Json Reverting(const char* when = "always") {
    Json spec = Spec("onLaunch", one_zone_, true);
    spec["strategy"] = {{"lifeCycle", "spot"},
                        {"orientation", "balanced"},
                        {"fallbackToOd", true},
                        {"revertToSpot", {{"performAt", when}}}};
    return spec;
  }
  void DrySpot(int64_t ms) {
    for (const std::string& type : kTypes) {
      world_.cloud.SetDrought(type, "us-east-1a", true, world_.clock.now_ms() + ms);
    }
  }
  static Ec2ReservedInstances Reservation(const std::string& zone, const std::string& product) {
    Ec2ReservedInstances reservation;
    reservation.id = "ri-" + zone + product;
    reservation.instance_type = "m5.large";
    reservation.availability_zone = zone;
    reservation.state = "active";
    reservation.product = product;
    reservation.count = 1;
    return reservation;
  }
  bool OnSpot(const std::string& node) {
    return Record(node).runtime.life_cycle == LifeCycle::kSpot;
  }
};

TEST_P(MarketCases, GoesBackToSpotWhenThereIsSome) {
  DrySpot(30 * kMinuteMs);
  const std::string node = Active(Reverting());
  ASSERT_FALSE(OnSpot(node));
  EXPECT_TRUE(Until(90 * kMinuteMs, kMinuteMs, [&] { return OnSpot(node); }));
  ExpectAllIsWell();
  ExpectActive(node);
}

// Each try is an outage.
TEST_P(MarketCases, TriesSeldomWhileSpotHasNothing) {
  DrySpot(4 * kDayMs);
  const std::string node = Active(Reverting());
  const int64_t before = Record(node).operation_sequence;
  Pass(3 * kDayMs);
  const int64_t tries = Record(node).operation_sequence - before;
  EXPECT_GE(tries, 4);
  EXPECT_LE(tries, 8);
  EXPECT_TRUE(Until(3 * kDayMs, kHourMs, [&] { return OnSpot(node); }));
  ExpectAllIsWell();
  EXPECT_EQ(Record(node).runtime.resources.reverts_in_vain, 0);
  ExpectActive(node);
}

TEST_P(MarketCases, StaysWhenThePreferredTypeDoesNotExist) {
  Json spec = Reverting();
  spec["compute"]["launchSpecification"]["instanceTypes"]["types"] = {"m5.large", "m9z.large"};
  spec["compute"]["launchSpecification"]["instanceTypes"]["preferredTypes"] = {"m9z.large"};
  const std::string node = Active(spec);
  ASSERT_TRUE(OnSpot(node));
  const int64_t before = Record(node).operation_sequence;
  Pass(2 * kDayMs);
  EXPECT_EQ(Record(node).operation_sequence, before);
  ExpectAllIsWell();
}

TEST_P(MarketCases, AReservationIsNoFallback) {
  Json spec = Reverting();
  spec["strategy"]["utilizeReservedInstances"] = true;
  world_.cloud.reservations = {Reservation("", "Linux/UNIX (Amazon VPC)")};
  const std::string node = Active(spec);
  EXPECT_FALSE(OnSpot(node));
  EXPECT_FALSE(Record(node).runtime.resources.fallback);
  const int64_t before = Record(node).operation_sequence;
  Pass(2 * kDayMs);
  EXPECT_EQ(Record(node).operation_sequence, before);
  // It covers one instance.
  EXPECT_TRUE(OnSpot(Active(spec)));
  ExpectAllIsWell();
}

TEST_P(MarketCases, AReservationOfAnotherZoneOrProductCoversNothing) {
  Json spec = Reverting();
  spec["strategy"]["utilizeReservedInstances"] = true;
  world_.cloud.reservations = {Reservation("us-east-1b", "Linux/UNIX"), Reservation("", "Windows")};
  EXPECT_TRUE(OnSpot(Active(spec)));
  ExpectAllIsWell();
}

TEST_P(MarketCases, AnInstanceProfileThatWasJustMadeIsWaitedFor) {
  for (int i = 0; i < 3; ++i) {
    world_.cloud.Script("RunInstances", 0,
                        "InvalidParameterValue: Value (p) for parameter iamInstanceProfile.name is "
                        "invalid. Invalid IAM Instance Profile name");
  }
  ExpectActive(Active(Reverting()));
  world_.cloud.Script("RunInstances", 0, "InvalidParameterValue: the value is wrong");
  const std::string refused = Active(Reverting());
  EXPECT_EQ(Record(refused).state, NodeState::kError);
  ExpectAllIsWell();
}

INSTANTIATE_TEST_SUITE_P(Seeds, MarketCases, ::testing::Values(1, 2));

// Tasks, of which several fell due at once.
class TaskCases : public LifeCycleCases {
 protected:
  Json At(const char* type, int64_t from_now_ms) {
    return {{"taskType", type},
            {"startTime", FormatTime((world_.clock.now_ms() + from_now_ms) * kNanosPerMs)}};
  }
  // While they fall due nobody looks.
  NodeState After(const Json& tasks) {
    Json spec = Spec("onLaunch", one_zone_, true);
    const std::string node = Active(spec);
    Change(node, {{"scheduling", {{"tasks", tasks}}}});
    world_.cloud.Script("DescribeInstances", 0, "InternalError");
    Pass(4 * kHourMs);
    EXPECT_TRUE(world_.RunUntilIdle(kHourMs));
    EXPECT_TRUE(Record(node).spec.scheduling.tasks.empty()) << "each was seen to";
    const NodeState state = Record(node).state;
    ExpectAllIsWell();
    return state;
  }
};

TEST_P(TaskCases, TheLastOneDecides) {
  const int64_t soon = 2 * kHourMs + kSecondMs;
  EXPECT_EQ(After({At("pause", soon), At("resume", soon + 4000)}), NodeState::kActive);
}
TEST_P(TaskCases, TheirOrderInTheListDoesNotMatter) {
  const int64_t soon = 2 * kHourMs + kSecondMs;
  EXPECT_EQ(After({At("resume", soon), At("pause", soon + 4000)}), NodeState::kPaused);
  EXPECT_EQ(After({At("pause", soon + 4000), At("resume", soon)}), NodeState::kPaused);
}
TEST_P(TaskCases, TwoAtOneInstantAreBothSeenTo) {
  const int64_t soon = 2 * kHourMs + kSecondMs;
  EXPECT_EQ(After({At("recycle", soon), At("pause", soon)}), NodeState::kPaused);
}

INSTANTIATE_TEST_SUITE_P(Seeds, TaskCases, ::testing::Values(1, 2));

}  // namespace
}  // namespace snapstore::spot
