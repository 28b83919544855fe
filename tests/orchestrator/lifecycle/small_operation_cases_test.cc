// Tags and deletions of single volumes, and what goes on meanwhile.
#include <gtest/gtest.h>

#include <algorithm>

#include "tests/orchestrator/lifecycle/life_cycle_cases.h"

namespace snapstore::spot {
namespace {

class SmallOperationCases : public LifeCycleCases {
 protected:
  static Json Tagged(const Json& tags) {
    Json spec = Spec("onLaunch", {"subnet-a"}, true);
    spec["compute"]["launchSpecification"]["tags"] = tags;
    const Json yes = {{"shouldTag", true}};
    spec["compute"]["launchSpecification"]["resourceTagSpecification"] = {
        {"volumes", yes}, {"snapshots", yes}, {"enis", yes}, {"amis", yes}};
    return spec;
  }
  void Refuse(const std::string& action, const std::string& code) {
    world_.cloud.refuses = [action, code](const std::string& name, const std::string&) {
      return name == action ? code : "";
    };
  }
  std::string Failure(const std::string& node) {
    const auto events = world_.state().ListEvents(Simulation::kAccount, node, 0, 1000);
    std::string newest;
    for (const Event& event : *events) {
      if (event.type == "OPERATION_FAILED") newest = event.message;
    }
    return newest;
  }
  std::string DataVolume(const std::string& node) {
    for (const KeptDevice& device : Record(node).runtime.resources.devices) {
      if (!device.root) return device.volume_id;
    }
    return "";
  }
  bool Idle(const std::string& node) { return !Record(node).operation_id.has_value(); }

  const Json env_ = {{{"tagKey", "env"}, {"tagValue", "test"}}};
};

TEST_P(SmallOperationCases, NobodyMayClaimAnothersResources) {
  for (const char* key : {"snapstore:node", "snapstore:token", "snapstore:x"}) {
    const auto node = world_.Create(Tagged({{{"tagKey", key}, {"tagValue", "smi-1"}}}));
    ASSERT_FALSE(node.ok());
    EXPECT_NE(node.status().message().find("tags[0].tagKey"), std::string::npos)
        << node.status().message();
  }
}

// Records of before may have such tags.
TEST_P(SmallOperationCases, TagsOfOthersClaimNothing) {
  const std::string victim = Active(Tagged(env_));
  const std::string node = Active(Tagged(env_));
  const auto claim = [&](ControllerState::NodeChange* change) {
    auto& tags = change->node.spec.compute.launch_specification.tags;
    tags.push_back({NodeTag::kNode, victim});
    tags.push_back({NodeTag::kToken, "mine"});
    return Status::Ok();
  };
  ASSERT_TRUE(world_.state().ChangeNode(Simulation::kAccount, node, claim).ok());
  ASSERT_TRUE(world_.ApplyTags(node).ok());
  ASSERT_TRUE(world_.RunUntilIdle(kHourMs));
  Pass(kDayMs);
  Do(node, NodeAction::kRecycle);
  const auto look = [&](const auto& shelf) {
    for (const auto& [id, thing] : shelf.all()) {
      EXPECT_NE(
          thing.shown.tags.contains(NodeTag::kToken) ? thing.shown.tags.at(NodeTag::kToken) : "",
          "mine")
          << id;
    }
  };
  look(world_.cloud.instances());
  look(world_.cloud.volumes());
  look(world_.cloud.snapshots());
  look(world_.cloud.images());
  look(world_.cloud.interfaces());
  Do(victim, NodeAction::kDeallocate, kAllFlags);
  ExpectActive(node);
  ExpectAllIsWell();
  ExpectActive(node);
}

TEST_P(SmallOperationCases, TagsThatAreRefusedKeepNothingFromGoingOn) {
  const std::string node = Active(Tagged(env_));
  const std::string instance = *Record(node).runtime.instance_id;
  Refuse("CreateTags", "UnauthorizedOperation");
  ASSERT_TRUE(world_.ApplyTags(node).ok());
  EXPECT_TRUE(Until(5 * kMinuteMs, kSecondMs, [&] { return Idle(node); }));
  EXPECT_NE(Failure(node).find("UnauthorizedOperation"), std::string::npos) << Failure(node);
  EXPECT_EQ(Record(node).state, NodeState::kActive);
  world_.cloud.refuses = nullptr;
  TakeAway(node);
  ExpectAllIsWell();
  ExpectActive(node);
  EXPECT_NE(Record(node).runtime.instance_id, instance);
}

TEST_P(SmallOperationCases, TagsThatFailAreGivenUp) {
  const std::string node = Active(Tagged(env_));
  Refuse("CreateTags", "InternalError");
  ASSERT_TRUE(world_.ApplyTags(node).ok());
  Pass(10 * kMinuteMs);
  EXPECT_FALSE(Idle(node));
  EXPECT_TRUE(Until(10 * kMinuteMs, kSecondMs, [&] { return Idle(node); }));
  EXPECT_NE(Failure(node).find("given up"), std::string::npos) << Failure(node);
  world_.cloud.refuses = nullptr;
  ExpectAllIsWell();
  ExpectActive(node);
}

TEST_P(SmallOperationCases, AnInstanceThatIsGoneIsNotWaitedFor) {
  const std::string node = Active(Tagged(env_));
  const std::string instance = *Record(node).runtime.instance_id;
  Pass(2 * kMinuteMs);
  Refuse("CreateTags", "InternalError");
  ASSERT_TRUE(world_.ApplyTags(node).ok());
  Pass(kMinuteMs);
  TakeAway(node);
  EXPECT_TRUE(Until(3 * kMinuteMs, kSecondMs, [&] { return Idle(node); }));
  EXPECT_NE(Failure(node).find("is gone"), std::string::npos) << Failure(node);
  world_.cloud.refuses = nullptr;
  ExpectAllIsWell();
  ExpectActive(node);
  EXPECT_NE(Record(node).runtime.instance_id, instance);
}

TEST_P(SmallOperationCases, AVolumeThatMayNotBeDeletedStaysTheNodes) {
  const std::string node = Active(Spec("reattach", one_zone_, true));
  const std::string volume = DataVolume(node);
  for (const std::string action : {"DetachVolume", "DeleteVolume"}) {
    Refuse(action, "UnauthorizedOperation");
    ASSERT_TRUE(world_.DeleteVolume(node, volume).ok());
    EXPECT_TRUE(Until(5 * kMinuteMs, kSecondMs, [&] { return Idle(node); }));
    EXPECT_EQ(Failure(node).find(action == "DetachVolume" ? "deleteVolume: detach: Unauth"
                                                          : "deleteVolume: delete: Unauth"),
              0)
        << Failure(node);
    EXPECT_EQ(Record(node).state, NodeState::kActive);
    EXPECT_EQ(DataVolume(node), volume);
  }
  world_.cloud.refuses = nullptr;
  TakeAway(node);
  ExpectAllIsWell();
  ExpectActive(node);
  EXPECT_EQ(DataVolume(node), volume);
}

TEST_P(SmallOperationCases, AVolumeThatIsNotKeptAndMayNotBeDeletedIsRetained) {
  Json spec = Spec("onLaunch", one_zone_, true);
  spec["persistence"]["persistBlockDevices"] = false;
  const std::string node = Active(spec);
  const std::string volume = DataVolume(node);
  Refuse("DeleteVolume", "UnauthorizedOperation");
  ASSERT_TRUE(world_.DeleteVolume(node, volume).ok());
  EXPECT_TRUE(Until(5 * kMinuteMs, kSecondMs, [&] { return Idle(node); }));
  EXPECT_EQ(DataVolume(node), "");
  ExpectAllIsWell();
  world_.cloud.refuses = nullptr;
  Pass(5 * kDayMs);
  EXPECT_EQ(world_.cloud.volumes().Find(volume), nullptr);
  ExpectAllIsWell();
}

TEST_P(SmallOperationCases, SnapshotsThatMayNotBeDeletedDoNotKeepTheirVolume) {
  const std::string node = Active(Spec("onLaunch", one_zone_, true));
  Pass(kDayMs);
  const std::string volume = DataVolume(node);
  Refuse("DeleteSnapshot", "UnauthorizedOperation");
  ASSERT_TRUE(world_.DeleteVolume(node, volume).ok());
  EXPECT_TRUE(Until(10 * kMinuteMs, kSecondMs, [&] { return Idle(node); }));
  EXPECT_EQ(Failure(node), "");
  EXPECT_EQ(world_.cloud.volumes().Find(volume), nullptr);
  ExpectAllIsWell();
  world_.cloud.refuses = nullptr;
  Pass(5 * kDayMs);
  ExpectAllIsWell();
}

INSTANTIATE_TEST_SUITE_P(Seeds, SmallOperationCases, ::testing::Values(1, 2));

}  // namespace
}  // namespace snapstore::spot
