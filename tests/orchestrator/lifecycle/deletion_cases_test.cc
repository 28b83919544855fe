// Deletions: what goes, when, and what is not ours.
#include <gtest/gtest.h>

#include "tests/orchestrator/lifecycle/life_cycle_cases.h"

namespace snapstore::spot {
namespace {

class DeletionCases : public LifeCycleCases {
 protected:
  SimulatedCloud& Cloud() { return world_.cloud; }
  SimInstance& InstanceOf(const std::string& node) {
    return *Cloud().instances().Find(Cloud().InstancesOf(node).front());
  }
  // What a backup service makes of the node's instance: all has the instance's tags.
  std::string Backup(const std::string& node) {
    const SimInstance& instance = InstanceOf(node);
    const Ec2Tags tags = instance.shown.tags;
    EXPECT_TRUE(tags.contains(NodeTag::kNode) && tags.contains(NodeTag::kToken));
    const auto image = Cloud().CreateImage(instance.shown.id, "backup of " + node, true,
                                           {{"image", tags}, {"snapshot", tags}});
    EXPECT_TRUE(image.ok());
    world_.Disown(*image);
    for (const Ec2BlockDevice& device : Cloud().images().Find(*image)->shown.devices) {
      world_.Disown(device.snapshot_id);
    }
    return *image;
  }
  void ExpectBackup(const std::string& image) {
    const SimImage* const kept = Cloud().images().Find(image);
    ASSERT_NE(kept, nullptr);
    EXPECT_FALSE(kept->shown.tags.contains(NodeTag::kRetained));
    for (const Ec2BlockDevice& device : kept->shown.devices) {
      const SimSnapshot* const snapshot = Cloud().snapshots().Find(device.snapshot_id);
      ASSERT_NE(snapshot, nullptr);
      EXPECT_FALSE(snapshot->shown.tags.contains(NodeTag::kRetained));
    }
  }
  // Of the node by its tag.
  std::set<std::string> ImagesOf(const std::string& node) { return Cloud().images().OfNode(node); }
};

constexpr int64_t kRetentionMs = 96 * kHourMs;

TEST_P(DeletionCases, BackupsOfOthersStay) {
  const std::string node = Active(Spec("onLaunch", one_zone_, true));
  const std::string backup = Backup(node);
  Pass(kHourMs);
  Do(node, NodeAction::kDeallocate, kAllFlags);
  ExpectBackup(backup);
  ExpectAllIsWell();
}

TEST_P(DeletionCases, BackupsOfOthersStayWhenTheNodesOwnGoLater) {
  const std::string node = Active(Spec("onLaunch", one_zone_, true));
  Do(node, NodeAction::kRecycle);
  const std::string backup = Backup(node);
  Pass(kHourMs);
  Do(node, NodeAction::kDeallocate,
     {{"deallocationConfig", {{"shouldDeleteImages", true}, {"shouldDeleteSnapshots", true}}}});
  EXPECT_EQ(ImagesOf(node).size(), 2);
  Pass(kRetentionMs + kHourMs);
  EXPECT_EQ(ImagesOf(node), std::set<std::string>{backup});
  ExpectBackup(backup);
  ExpectAllIsWell();
}

TEST_P(DeletionCases, VolumesThatOthersTaggedStay) {
  const std::string node = Active(Spec("reattach", one_zone_, true));
  // Neither is waited for one that is in use elsewhere.
  const std::string other = Cloud().LaunchByHand('a', "m5.large");
  Pass(2 * kMinuteMs);
  std::vector<std::string> volumes;
  for (int i = 0; i < 2; ++i) {
    const auto made = Cloud().CreateVolume(
        {.availability_zone = "us-east-1a", .size_gib = 1, .tags = {{NodeTag::kNode, node}}});
    ASSERT_TRUE(made.ok());
    volumes.push_back(made->id);
    world_.Disown(made->id);
  }
  Pass(kMinuteMs);
  ASSERT_TRUE(Cloud().AttachVolume(volumes[0], other, "/dev/sdx").ok());
  const auto interface =
      Cloud().CreateNetworkInterface({.subnet_id = "subnet-a", .tags = {{NodeTag::kNode, node}}});
  ASSERT_TRUE(interface.ok());
  world_.Disown(interface->id);
  Do(node, NodeAction::kDeallocate, kAllFlags);
  EXPECT_FALSE(world_.Node(node));
  for (const std::string& id : volumes) EXPECT_NE(Cloud().volumes().Find(id), nullptr);
  EXPECT_NE(Cloud().interfaces().Find(interface->id), nullptr);
  ExpectAllIsWell();
}

TEST_P(DeletionCases, AnInstanceThatOthersMadeOfABackupStays) {
  const std::string node = Active(Spec("reattach", one_zone_, true));
  Ec2Tags tags = InstanceOf(node).shown.tags;
  const std::string restored = Cloud().LaunchByHand('a', "m5.large");
  Pass(2 * kMinuteMs);
  Do(node, NodeAction::kPause);
  Cloud().instances().Tag(restored, tags, false);
  world_.Disown(restored);
  Do(node, NodeAction::kDeallocate, kAllFlags);
  EXPECT_FALSE(world_.Node(node));
  EXPECT_EQ(Cloud().instances().Find(restored)->shown.state, "running");
  ExpectAllIsWell();
}

TEST_P(DeletionCases, TheNodesImageGoesByItsOwnFlagAlone) {
  const std::string node = Active(Spec("onLaunch", one_zone_, true));
  Do(node, NodeAction::kPause);
  const std::string image = Record(node).runtime.resources.image_id;
  ASSERT_NE(image, "");
  Do(node, NodeAction::kDeallocate,
     {{"deallocationConfig", {{"shouldDeleteImages", false}, {"shouldDeleteVolumes", true}}},
      {"amiBackup", {{"shouldDeleteImages", true}}}});
  Pass(kRetentionMs + kHourMs);
  EXPECT_NE(Cloud().images().Find(image), nullptr);
  ExpectAllIsWell();
}

TEST_P(DeletionCases, AnInstanceThatIsToRunOnIsLeftAsItIs) {
  for (const bool flagged : {false, true}) {
    for (const char* mode : {"onLaunch", "reattach"}) {
      const std::string node = Active(Spec(mode, one_zone_, true));
      Pass(7 * kHourMs);  // with snapshots
      const Ec2Instance before = InstanceOf(node).shown;
      Json input = flagged ? kAllFlags : Json{{"deallocationConfig", Json::object()}};
      input["deallocationConfig"]["shouldTerminateInstance"] = false;
      Do(node, NodeAction::kDeallocate, input);
      EXPECT_FALSE(world_.Node(node));
      Pass(kRetentionMs + kHourMs);

      const SimInstance* const instance = Cloud().instances().Find(before.id);
      ASSERT_NE(instance, nullptr);
      EXPECT_EQ(instance->shown.state, "running");
      EXPECT_EQ(instance->shown.tags, before.tags);
      ASSERT_EQ(instance->shown.devices.size(), 2);
      for (size_t i = 0; i < 2; ++i) {
        const std::string& id = before.devices[i].volume_id;
        EXPECT_EQ(instance->shown.devices[i].volume_id, id);
        const SimVolume* const volume = Cloud().volumes().Find(id);
        ASSERT_NE(volume, nullptr);
        EXPECT_EQ(volume->shown.state, "in-use");
        EXPECT_NE(volume->written_since_ms, 0);
        EXPECT_FALSE(volume->shown.tags.contains(NodeTag::kRetained));
      }
      const SimInterface* const interface = Cloud().interfaces().Find(before.interfaces[0].id);
      ASSERT_NE(interface, nullptr);
      EXPECT_EQ(interface->shown.instance_id, before.id);
      EXPECT_EQ(interface->shown.private_ip, before.private_ip);
      EXPECT_FALSE(interface->shown.tags.contains(NodeTag::kRetained));
      // What is no part of it goes by the flags.
      EXPECT_EQ(Cloud().snapshots().OfNode(node).empty(), flagged);
    }
  }
  EXPECT_FALSE(Cloud().happened().contains("call TerminateInstances"));
  ExpectAllIsWell();
}

TEST_P(DeletionCases, AVolumeThatWasKeptOnceIsNotForgotten) {
  for (const bool flagged : {true, false}) {
    const std::string node = Active(Spec("onLaunch", one_zone_, true));
    const std::string made =
        Cloud().AttachByHand(InstanceOf(node).shown.id, "/dev/sdm", {.size_gib = 3});
    Pass(2 * kHourMs);
    Change(node, Persisting("persistBlockDevices", false));
    Do(node, NodeAction::kDeallocate, flagged ? kAllFlags : Json());
    EXPECT_EQ(Cloud().volumes().Find(made) == nullptr, flagged);
    EXPECT_EQ(Retained(made), !flagged);
    ExpectAllIsWell();
  }
}

TEST_P(DeletionCases, WhatWasNoLongerKeptBeforeStaysWithTheRest) {
  const std::string node = Active(Spec("onLaunch", one_zone_, true));
  const std::string made =
      Cloud().AttachByHand(InstanceOf(node).shown.id, "/dev/sdm", {.size_gib = 3});
  Pass(2 * kHourMs);
  Change(node, Persisting("persistBlockDevices", false));
  Do(node, NodeAction::kRecycle);
  EXPECT_TRUE(Retained(made));
  Do(node, NodeAction::kDeallocate, Json());
  Pass(kRetentionMs + kHourMs);
  EXPECT_NE(Cloud().volumes().Find(made), nullptr);
  ExpectAllIsWell();
}

TEST_P(DeletionCases, WhatMayNotBeDeletedDoesNotKeepTheNode) {
  const std::string node = Active(Spec("reattach", one_zone_, true));
  Do(node, NodeAction::kRecycle);
  Pass(kHourMs);
  Deny({"DeleteVolume", "DeleteSnapshot", "DeregisterImage", "DeleteNetworkInterface"});
  Do(node, NodeAction::kDeallocate, kAllFlags);
  EXPECT_FALSE(world_.Node(node));
  EXPECT_TRUE(Reported(node, "CLEAN_UP_REFUSED"));
  std::set<std::string> kinds;
  const auto left = world_.state().ListRetained();
  for (const RetainedRecord& one : *left) {
    kinds.insert(one.kind);
    EXPECT_NE(one.error.value_or(""), "") << one.id;
  }
  EXPECT_EQ(kinds, (std::set<std::string>{"image", "interface", "snapshot", "volume"}));
  ExpectAllIsWell();
  Cloud().refuses = nullptr;
  Pass(kRetentionMs + kHourMs);
  EXPECT_TRUE(world_.state().ListRetained()->empty());
  EXPECT_TRUE(Cloud().volumes().OfNode(node).empty());
  EXPECT_TRUE(ImagesOf(node).empty());
  ExpectAllIsWell();
}

TEST_P(DeletionCases, WhatMayNotBeTaggedIsRetainedAllTheSame) {
  const std::string node = Active(Spec("reattach", one_zone_, true));
  Do(node, NodeAction::kPause);
  Deny({"CreateTags"});
  Do(node, NodeAction::kDeallocate, {{"deallocationConfig", {{"shouldDeleteVolumes", true}}}});
  EXPECT_FALSE(world_.Node(node));
  EXPECT_TRUE(Reported(node, "RETAINED_NOT_TAGGED"));
  EXPECT_FALSE(Cloud().volumes().OfNode(node).empty());
  Pass(kRetentionMs + kHourMs);
  EXPECT_TRUE(Cloud().volumes().OfNode(node).empty());
  ExpectAllIsWell();
}

INSTANTIATE_TEST_SUITE_P(Seeds, DeletionCases, ::testing::Values(1, 2));

}  // namespace
}  // namespace snapstore::spot
