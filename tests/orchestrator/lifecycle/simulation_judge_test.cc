// The judges of a simulation see what they are there for.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/orchestrator/lifecycle/life_cycle_cases.h"

namespace snapstore::spot {
namespace {

using ::testing::HasSubstr;

class SimulationJudge : public LifeCycleCases {
 protected:
  // A deletion that keeps what it does not flag, and flags nothing but snapshots.
  std::string Deleted() {
    std::string node = Active(Spec("reattach", one_zone_, true));
    Do(node, NodeAction::kPause);
    Do(node, NodeAction::kDeallocate, {{"deallocationConfig", {{"shouldDeleteSnapshots", true}}}});
    return node;
  }
  // As if the life-cycle had meant it so.
  void LetGoNow(const std::string& kind) {
    const auto retained = world_.state().ListRetained();
    for (RetainedRecord record : *retained) {
      if (record.kind != kind) continue;
      record.delete_at_ms = world_.clock.now_ms();
      EXPECT_TRUE(world_.state().PutRetained(record).ok());
    }
    Pass(kHourMs);
  }
  void Claim(const std::string& node, const std::function<void(NodeRuntime*)>& change) {
    EXPECT_TRUE(world_.state()
                    .ChangeNode(Simulation::kAccount, node,
                                [&](ControllerState::NodeChange* pending) {
                                  change(&pending->node.runtime);
                                  return Status::Ok();
                                })
                    .ok());
  }
};

TEST_P(SimulationJudge, SeesWhatGoesThoughItIsToStay) {
  Deleted();
  EXPECT_EQ(world_.Problems(), "");
  LetGoNow("volume");
  EXPECT_THAT(world_.Problems(), HasSubstr("is to stay, and goes"));
}

TEST_P(SimulationJudge, SeesWhatGoesBeforeItsTime) {
  const std::string node = Active(Spec("onLaunch", one_zone_, false));
  Change(node, Persisting("persistBlockDevices", false));
  Do(node, NodeAction::kPause);
  EXPECT_EQ(world_.Problems(), "");
  LetGoNow("snapshot");
  LetGoNow("volume");
  EXPECT_THAT(world_.Problems(), HasSubstr("before its time"));
}

TEST_P(SimulationJudge, SeesTwoOwnersOfAVolumeAtOnce) {
  const std::string first = Active(Spec("reattach", one_zone_, true));
  const std::string second = Active(Spec("reattach", one_zone_, true));
  const std::vector<KeptDevice> devices = Record(first).runtime.resources.devices;
  const std::vector<KeptDevice> own = Record(second).runtime.resources.devices;
  Claim(second, [&](NodeRuntime* runtime) { runtime->resources.devices = devices; });
  Claim(second, [&](NodeRuntime* runtime) { runtime->resources.devices = own; });
  EXPECT_THAT(world_.Problems(), HasSubstr("is claimed by"));
}

TEST_P(SimulationJudge, SeesTwoOwnersOfAnAddressAtOnce) {
  const std::string first = Active(Spec("reattach", one_zone_, true));
  const std::string second = Active(Spec("reattach", one_zone_, true));
  const auto own = Record(second).runtime.private_ip;
  const auto other = Record(first).runtime.private_ip;
  Claim(second, [&](NodeRuntime* runtime) { runtime->private_ip = other; });
  Claim(second, [&](NodeRuntime* runtime) { runtime->private_ip = own; });
  EXPECT_THAT(world_.Problems(), HasSubstr("is claimed by"));
}

TEST_P(SimulationJudge, SeesALaunchBesideAnInstanceThatIsNotGoneYet) {
  const std::string node = Active(Spec("reattach", one_zone_, false));
  TakeAway(node);
  RunInstancesRequest request;
  request.image_id = SimulatedCloud::kImage;
  request.instance_type = kTypes.front();
  request.subnet_id = one_zone_.front();
  request.tags["instance"] = {{NodeTag::kNode, node}};
  EXPECT_TRUE(world_.cloud.RunInstances(request).ok());
  EXPECT_THAT(world_.Problems(), HasSubstr("is still shutting down"));
}

TEST_P(SimulationJudge, RemembersWhatWasAskedForLast) {
  const std::string node = Active(Spec("reattach", one_zone_, true));
  EXPECT_EQ(world_.WishFor(node), NodeState::kActive);
  Do(node, NodeAction::kPause);
  EXPECT_EQ(world_.WishFor(node), NodeState::kPaused);
  Do(node, NodeAction::kResume);
  // What the life-cycle does by itself is nobody's wish.
  TakeAway(node);
  EXPECT_TRUE(
      Until(kHourMs, kMinuteMs, [&] { return world_.cloud.InstancesOf(node).size() == 1; }));
  EXPECT_EQ(world_.WishFor(node), NodeState::kActive);
}

INSTANTIATE_TEST_SUITE_P(Seeds, SimulationJudge, ::testing::Values(1));

}  // namespace
}  // namespace snapstore::spot
