// Volumes: what they were they stay, whatever happens to the node; and what may not be deleted
// stands in nobody's way.
#include <gtest/gtest.h>

#include <utility>

#include "tests/orchestrator/lifecycle/life_cycle_cases.h"

namespace snapstore::spot {
namespace {

class VolumeCases : public LifeCycleCases {
 protected:
  const Ec2Volume* VolumeAt(const std::string& node, const std::string& device) {
    for (const KeptDevice& one : Record(node).runtime.resources.devices) {
      if (one.device_name != device) continue;
      const SimVolume* const volume = world_.cloud.volumes().Find(one.volume_id);
      return volume == nullptr ? nullptr : &volume->shown;
    }
    return nullptr;
  }
  std::string InstanceOf(const std::string& node) {
    return Record(node).runtime.instance_id.value_or("");
  }
  std::string Attach(const std::string& node, const Ec2Volume& like) {
    return world_.cloud.AttachByHand(InstanceOf(node), kByHand, like);
  }
  // As the documented policy has it.
  void AllowOnlyOwnVolumes() {
    world_.cloud.refuses = [this](const std::string& action, const std::string& about) {
      if (action != "DeleteVolume") return "";
      const SimVolume* const volume = world_.cloud.volumes().Find(about);
      const bool own = volume == nullptr || !NodeOfTags(volume->shown.tags).empty();
      return own ? "" : "UnauthorizedOperation";
    };
  }
  // The image has a further device, whose snapshot is another account's.
  void GiveImageADevice(bool foreign) {
    SimSnapshot snapshot;
    snapshot.shown.id = "snap-more";
    snapshot.shown.state = "completed";
    snapshot.shown.volume_size_gib = 5;
    snapshot.lineage = "more";
    snapshot.is_foreign = foreign;
    snapshot.images.insert(SimulatedCloud::kImage);
    world_.cloud.snapshots().Add(snapshot);
    world_.cloud.images()
        .Find(SimulatedCloud::kImage)
        ->shown.devices.push_back({.device_name = "/dev/sdh",
                                   .snapshot_id = "snap-more",
                                   .volume_type = "gp3",
                                   .volume_size_gib = 6,
                                   .throughput = 250});
  }

  static constexpr const char* kByHand = "/dev/sdm";
};

// What they were.

TEST_P(VolumeCases, AVolumeAttachedByHandComesBackAsItWas) {
  const std::string node = Active(Spec("onLaunch", one_zone_, true));
  const std::string made =
      Attach(node, {.volume_type = "io2", .size_gib = 20, .iops = 200, .tags = {{"Owner", "ada"}}});
  for (int i = 0; i < 2; ++i) {
    Pass(kHourMs);
    Do(node, NodeAction::kRecycle);
    ExpectActive(node);
    const Ec2Volume* const volume = VolumeAt(node, kByHand);
    ASSERT_NE(volume, nullptr);
    EXPECT_NE(volume->id, made);
    EXPECT_EQ(volume->volume_type, "io2");
    EXPECT_EQ(volume->iops, 200);
    EXPECT_EQ(volume->size_gib, 20);
    EXPECT_EQ(volume->tags.at("Owner"), "ada");
    EXPECT_EQ(NodeOfTags(volume->tags), node);
  }
  ExpectAllIsWell();
}

TEST_P(VolumeCases, AVolumeThatMovesToAnotherZoneIsAsItWas) {
  Json spec = Spec("reattach", two_zones_, false);
  spec["compute"]["launchSpecification"]["tags"] = {{{"tagKey", "env"}, {"tagValue", "test"}}};
  spec["compute"]["launchSpecification"]["resourceTagSpecification"] = {
      {"volumes", {{"shouldTag", true}}}};
  spec["compute"]["launchSpecification"]["blockDeviceMappings"][0]["ebs"] = {
      {"volumeSize", 10}, {"volumeType", "gp3"}, {"throughput", 500}};
  const std::string node = Active(spec);
  Attach(node, {.volume_type = "gp3", .size_gib = 20, .throughput = 400, .tags = {{"Owner", "a"}}});
  Pass(kHourMs);
  Do(node, NodeAction::kPause);
  Dry(node);
  const std::string zone = VolumeAt(node, kByHand)->availability_zone;
  Do(node, NodeAction::kResume);
  ExpectActive(node);
  const Ec2Volume* const volume = VolumeAt(node, kByHand);
  ASSERT_NE(volume, nullptr);
  EXPECT_NE(volume->availability_zone, zone);
  EXPECT_EQ(volume->throughput, 400);
  EXPECT_EQ(volume->tags.at("Owner"), "a");
  EXPECT_EQ(volume->tags.at("env"), "test");
  const Ec2Volume* const listed = VolumeAt(node, "/dev/sdf");
  ASSERT_NE(listed, nullptr);
  EXPECT_NE(listed->availability_zone, zone);
  EXPECT_EQ(listed->throughput, 500);
  EXPECT_EQ(listed->tags.at("env"), "test");
  ExpectAllIsWell();
}

// With the next launch they are gone.
TEST_P(VolumeCases, TagsOfTheSpecificationAreNotTheVolumes) {
  Json spec = Spec("onLaunch", one_zone_, true);
  const Json former = {{"tagKey", "env"}, {"tagValue", "test"}};
  spec["compute"]["launchSpecification"]["tags"] = {former};
  spec["compute"]["launchSpecification"]["resourceTagSpecification"] = {
      {"volumes", {{"shouldTag", true}}}};
  const std::string node = Active(spec);
  ASSERT_EQ(VolumeAt(node, "/dev/sdf")->tags.at("env"), "test");
  Change(node, {{"compute", {{"launchSpecification", {{"tags", Json::array()}}}}}});
  const auto forget = [](ControllerState::NodeChange* change) {
    change->node.former.tags = {{"env", "test"}};
    return Status::Ok();
  };
  ASSERT_TRUE(world_.state().ChangeNode(Simulation::kAccount, node, forget).ok());
  Do(node, NodeAction::kRecycle);
  EXPECT_FALSE(VolumeAt(node, "/dev/sdf")->tags.contains("env"));
  ExpectAllIsWell();
}

TEST_P(VolumeCases, WhatTheSpecificationNamesWins) {
  const std::string node = Active(Spec("onLaunch", one_zone_, true));
  ASSERT_EQ(VolumeAt(node, "/dev/sdf")->volume_type, "gp2");
  const Json ebs = {{"volumeType", "gp3"}, {"volumeSize", 30}, {"iops", 4000}};
  Change(node, {{"compute",
                 {{"launchSpecification",
                   {{"blockDeviceMappings", {{{"deviceName", "/dev/sdf"}, {"ebs", ebs}}}}}}}}});
  Do(node, NodeAction::kRecycle);
  ExpectActive(node);
  EXPECT_EQ(VolumeAt(node, "/dev/sdf")->volume_type, "gp3");
  EXPECT_EQ(VolumeAt(node, "/dev/sdf")->iops, 4000);
  EXPECT_EQ(VolumeAt(node, "/dev/sdf")->size_gib, 30);
  ExpectAllIsWell();
}

TEST_P(VolumeCases, ARootStaysAsFastAsItWas) {
  const std::string node = Active(Spec("onLaunch", one_zone_, true));
  Ec2Volume* const root = &world_.cloud.volumes().Find(VolumeAt(node, "/dev/xvda")->id)->shown;
  root->volume_type = "gp3";
  root->iops = 5000;
  root->throughput = 300;
  root->size_gib = 40;
  for (int i = 0; i < 2; ++i) {
    Do(node, NodeAction::kRecycle);
    ExpectActive(node);
    EXPECT_EQ(VolumeAt(node, "/dev/xvda")->volume_type, "gp3");
    EXPECT_EQ(VolumeAt(node, "/dev/xvda")->iops, 5000);
    EXPECT_EQ(VolumeAt(node, "/dev/xvda")->throughput, 300);
    EXPECT_EQ(VolumeAt(node, "/dev/xvda")->size_gib, 40);
  }
  ExpectAllIsWell();
}

TEST_P(VolumeCases, AVolumeMayBeLargerThanTheSpecificationSays) {
  for (const char* mode : {"onLaunch", "reattach"}) {
    const bool moves = mode == std::string("reattach");
    Json spec = Spec(mode, moves ? two_zones_ : one_zone_, !moves);
    spec["compute"]["launchSpecification"]["blockDeviceMappings"] = {
        {{"deviceName", "/dev/xvda"}, {"ebs", {{"volumeSize", 8}}}},
        {{"deviceName", "/dev/sdf"}, {"ebs", {{"volumeSize", 1}}}}};
    const std::string node = Active(spec);
    for (const char* device : {"/dev/xvda", "/dev/sdf"}) {
      world_.cloud.volumes().Find(VolumeAt(node, device)->id)->shown.size_gib = 100;
    }
    Do(node, NodeAction::kPause);
    if (moves) Dry(node);
    Do(node, NodeAction::kResume);
    ExpectActive(node);
    for (const char* device : {"/dev/xvda", "/dev/sdf"}) {
      ASSERT_NE(VolumeAt(node, device), nullptr);
      EXPECT_EQ(VolumeAt(node, device)->size_gib, 100);
    }
  }
  ExpectAllIsWell();
}

TEST_P(VolumeCases, WhatElseTheImageBringsComesWithEachLaunch) {
  GiveImageADevice(false);
  Json spec = Spec("onLaunch", one_zone_, true);
  spec["persistence"]["persistBlockDevices"] = false;
  const std::string node = Active(spec);
  for (int i = 0; i < 3; ++i) {
    const Ec2Volume* const volume = VolumeAt(node, "/dev/sdh");
    ASSERT_NE(volume, nullptr) << "after " << i << " recycles";
    EXPECT_EQ(volume->snapshot_id, "snap-more");
    EXPECT_EQ(volume->volume_type, "gp3");
    EXPECT_EQ(volume->size_gib, 6);
    EXPECT_EQ(volume->throughput, 250);
    Do(node, NodeAction::kRecycle);
    ExpectActive(node);
  }
  ExpectAllIsWell();
}

TEST_P(VolumeCases, AnImageWhoseSnapshotsAreNotSharedLosesThem) {
  GiveImageADevice(true);
  Json spec = Spec("onLaunch", one_zone_, true);
  spec["persistence"]["persistBlockDevices"] = false;
  const std::string node = Active(spec);
  Do(node, NodeAction::kRecycle);
  ExpectActive(node);
  EXPECT_EQ(VolumeAt(node, "/dev/sdh"), nullptr);
  EXPECT_TRUE(Reported(node, "IMAGE_DEVICES_LEFT_OUT"));
  ExpectAllIsWell();
}

// What may not be deleted.

TEST_P(VolumeCases, AVolumeAttachedByHandBecomesTheNodesOwn) {
  AllowOnlyOwnVolumes();
  for (const int64_t wait : {kMinuteMs, 2 * kHourMs}) {
    const std::string node = Active(Spec("onLaunch", one_zone_, true));
    const std::string made = Attach(node, {.size_gib = 3});
    Pass(wait);
    if (wait > kHourMs) {
      EXPECT_EQ(NodeOfTags(VolumeAt(node, kByHand)->tags), node);
    }
    Do(node, NodeAction::kRecycle);
    ExpectActive(node);
    EXPECT_EQ(world_.cloud.volumes().Find(made), nullptr) << "its copy took its place";
    EXPECT_FALSE(Reported(node, "CLEAN_UP_REFUSED"));
  }
  ExpectAllIsWell();
}

TEST_P(VolumeCases, AVolumeThatMayNotBeTaggedIsLeft) {
  const std::string node = Active(Spec("onLaunch", one_zone_, true));
  const std::string made = Attach(node, {.size_gib = 3});
  world_.cloud.refuses = [made](const std::string& action, const std::string& about) {
    const bool denied = action == "CreateTags" || action == "DeleteVolume";
    return denied && about == made ? "UnauthorizedOperation" : "";
  };
  Do(node, NodeAction::kRecycle);
  ExpectActive(node);
  EXPECT_TRUE(Reported(node, "VOLUME_NOT_TAGGED"));
  EXPECT_TRUE(Retained(made));
  ExpectAllIsWell();
}

TEST_P(VolumeCases, WhatALaunchInVainBroughtAndMayNotBeDeletedIsRetained) {
  Deny({"DeleteVolume", "DeleteNetworkInterface"});
  bool taken = false;
  const auto before = world_.cloud.on_call;
  After("RunInstances", [&] {
    if (std::exchange(taken, true)) return;
    const auto instances = world_.cloud.instances().all();
    for (const auto& [id, one] : instances) {
      world_.cloud.TakeAway(id, "Server.SpotInstanceTermination", "taken");
    }
  });
  const std::string node = Active(Spec("reattach", one_zone_, true));
  world_.cloud.on_call = before;
  EXPECT_TRUE(taken);
  ExpectActive(node);
  EXPECT_TRUE(Reported(node, "CLEAN_UP_REFUSED"));
  EXPECT_FALSE(world_.state().ListRetained()->empty());
  ExpectAllIsWell();
  world_.cloud.refuses = nullptr;
  Pass(5 * kDayMs);
  EXPECT_TRUE(world_.state().ListRetained()->empty());
  ExpectAllIsWell();
}

TEST_P(VolumeCases, WhatMayNotBeDeletedStandsInNobodysWay) {
  for (const char* mode : {"onLaunch", "reattach"}) {
    const std::string node = Active(Spec(mode, two_zones_, false));
    Pass(kDayMs);
    Do(node, NodeAction::kRecycle);
    const std::string image = Record(node).runtime.resources.image_id;
    const std::string root = VolumeAt(node, "/dev/xvda")->id;
    Deny({"DeleteVolume", "DeleteSnapshot", "DeregisterImage"});
    Do(node, NodeAction::kPause);
    Dry(node);
    Do(node, NodeAction::kResume);
    ExpectActive(node);
    EXPECT_TRUE(Reported(node, "CLEAN_UP_REFUSED"));
    EXPECT_TRUE(Retained(image));
    EXPECT_TRUE(Retained(root));
    ExpectAllIsWell();
    world_.cloud.refuses = nullptr;
    Pass(5 * kDayMs);
    EXPECT_FALSE(Retained(image));
    EXPECT_FALSE(Retained(root));
    EXPECT_EQ(world_.cloud.volumes().Find(root), nullptr);
  }
  ExpectAllIsWell();
}

INSTANTIATE_TEST_SUITE_P(Seeds, VolumeCases, ::testing::Values(1, 2));

}  // namespace
}  // namespace snapstore::spot
