// What happens seldom: settings that change while a node lives, things that the cloud tells late or
// not at all, resources that somebody took away. Each time nothing may leak and nothing may be
// lost.
#include <gtest/gtest.h>

#include "orchestrator/model/usage.h"
#include "tests/orchestrator/lifecycle/life_cycle_cases.h"

namespace snapstore::spot {
namespace {

class UnusualCases : public LifeCycleCases {};

// Settings that change.

TEST_P(UnusualCases, DataThatIsNoLongerKeptGoes) {
  const std::string node = Active(Spec("onLaunch", one_zone_, true));
  Pass(kDayMs);
  Change(node, Persisting("persistBlockDevices", false));
  Do(node, NodeAction::kRecycle);
  ExpectAllIsWell();
  ExpectActive(node);
}

TEST_P(UnusualCases, ARootThatIsNoLongerKeptGoes) {
  const std::string node = Active(Spec("onLaunch", one_zone_, true));
  Pass(kDayMs);
  Do(node, NodeAction::kRecycle);
  Change(node, Persisting("persistRootDevice", false));
  Do(node, NodeAction::kRecycle);
  ExpectAllIsWell();
  ExpectActive(node);
}

TEST_P(UnusualCases, WhatIsNoLongerKeptGoesFromAPausedNodeToo) {
  const std::string node = Active(Spec("reattach", one_zone_, true));
  Do(node, NodeAction::kPause);
  Change(node, Persisting("persistBlockDevices", false));
  Change(node, Persisting("persistRootDevice", false));
  Do(node, NodeAction::kResume);
  ExpectAllIsWell();
  Do(node, NodeAction::kDeallocate, kAllFlags);
  ExpectAllIsWell();
}

TEST_P(UnusualCases, ARootThatIsKeptAgainBeginsAnew) {
  const std::string node = Active(Spec("reattach", one_zone_, true));
  Pass(kDayMs);
  Change(node, Persisting("persistRootDevice", false));
  Do(node, NodeAction::kPause);
  Change(node, Persisting("persistRootDevice", true));
  // What was let go goes in its time.
  Pass(5 * kDayMs);
  Do(node, NodeAction::kResume);
  ExpectAllIsWell();
  ExpectActive(node);
}

TEST_P(UnusualCases, AnAddressThatIsNoLongerKeptGoes) {
  const std::string node = Active(Spec("onLaunch", one_zone_, true));
  Change(node, Persisting("persistPrivateIp", false));
  Do(node, NodeAction::kRecycle);
  ExpectAllIsWell();
  ExpectActive(node);
}

TEST_P(UnusualCases, AnAddressIsKeptFromWhenItIsAskedFor) {
  const std::string node = Active(Spec("onLaunch", one_zone_, false));
  const auto address = Record(node).runtime.private_ip;
  Change(node, Persisting("persistPrivateIp", true));
  Do(node, NodeAction::kRecycle);
  ExpectAllIsWell();
  EXPECT_EQ(Record(node).runtime.private_ip, address);
}

TEST_P(UnusualCases, TheModeMayChange) {
  const std::string node = Active(Spec("reattach", one_zone_, true));
  for (const char* mode : {"onLaunch", "reattach", "onLaunch"}) {
    Pass(kDayMs);
    Change(node, Persisting("blockDevicesMode", mode));
    Do(node, NodeAction::kRecycle);
    ExpectAllIsWell();
    ExpectActive(node);
  }
}

TEST_P(UnusualCases, TheModeMayChangeWhilePaused) {
  const std::string node = Active(Spec("reattach", one_zone_, true));
  for (const char* mode : {"onLaunch", "reattach", "onLaunch"}) {
    Pass(kDayMs);
    Do(node, NodeAction::kPause);
    Change(node, Persisting("blockDevicesMode", mode));
    Do(node, NodeAction::kResume);
    ExpectAllIsWell();
    ExpectActive(node);
  }
}

TEST_P(UnusualCases, ZonesMayBecomeFewerAndMore) {
  const std::string node = Active(Spec("reattach", two_zones_, false));
  Pass(kDayMs + kHourMs);
  const std::string zone = *Record(node).runtime.availability_zone;
  Change(node, {{"compute", {{"subnetIds", {world_.cloud.SubnetOf(zone.back())}}}}});
  Do(node, NodeAction::kPause);
  Change(node, {{"compute", {{"subnetIds", two_zones_}}}});
  // Its newest data is on the volume, which has no snapshot that may be copied: it waits.
  Dry(node);
  EXPECT_TRUE(world_.Ask(node, NodeAction::kResume).ok());
  EXPECT_FALSE(world_.RunUntilIdle(kHourMs));
  EXPECT_TRUE(world_.RunUntilIdle(2 * kHourMs));
  ExpectAllIsWell();
  ExpectActive(node);
  EXPECT_EQ(Record(node).runtime.availability_zone, zone);
}

TEST_P(UnusualCases, DevicesMayBeAddedAndTakenFromTheSpecification) {
  const std::string node = Active(Spec("reattach", one_zone_, true));
  const auto devices = [](const std::vector<std::string>& names) {
    Json list = Json::array();
    for (const std::string& name : names) {
      list.push_back({{"deviceName", name}, {"ebs", {{"volumeSize", 10}}}});
    }
    return Json{{"compute", {{"launchSpecification", {{"blockDeviceMappings", list}}}}}};
  };
  Change(node, devices({"/dev/sdf", "/dev/sdg"}));
  Do(node, NodeAction::kRecycle);
  ExpectAllIsWell();
  EXPECT_EQ(Record(node).runtime.devices.size(), 3);
  Change(node, devices({"/dev/sdg"}));
  Do(node, NodeAction::kRecycle);
  ExpectAllIsWell();
  EXPECT_EQ(Record(node).runtime.devices.size(), 3) << "what is kept stays";
}

// What the cloud tells late.

TEST_P(UnusualCases, ADeletionFindsAnInstanceThatIsNotListedYet) {
  world_.cloud.faults.late = 1;
  const auto node = world_.Create(Spec("onLaunch", one_zone_, true));
  ASSERT_TRUE(node.ok());
  ASSERT_TRUE(Until(kHourMs, 10, [&] { return Record(*node).runtime.instance_id.has_value(); }));
  Do(*node, NodeAction::kDeallocate, kAllFlags);
  ExpectAllIsWell();
  EXPECT_FALSE(world_.Node(*node));
}

TEST_P(UnusualCases, ADeletionFindsSnapshotsThatAreNotListedYet) {
  const std::string node = Active(Spec("onLaunch", one_zone_, true));
  world_.cloud.faults.late = 1;
  world_.cloud.faults.late_ms_max = kMinuteMs;
  bool made = false;
  After("CreateSnapshots", [&] { made = true; });
  world_.cloud.Script("CreateSnapshots", 0, "lose");
  ASSERT_TRUE(Until(kDayMs, kSecondMs, [&] { return made; }));
  Do(node, NodeAction::kDeallocate, kAllFlags);
  ExpectAllIsWell();
}

TEST_P(UnusualCases, ASnapshotThatIsNotListedYetIsNotMadeTwice) {
  const std::string node = Active(Spec("onLaunch", one_zone_, true));
  world_.cloud.faults.late = 1;
  world_.cloud.Script("CreateSnapshot", 0, "lose");
  Do(node, NodeAction::kPause);
  ExpectAllIsWell();
}

TEST_P(UnusualCases, AVolumeThatIsNotListedYetIsWaitedFor) {
  world_.cloud.faults.late = 1;
  const std::string node = Active(Spec("reattach", two_zones_, false));
  ExpectActive(node);
  Do(node, NodeAction::kPause);
  Dry(node);
  Do(node, NodeAction::kResume);
  ExpectActive(node);
  ExpectAllIsWell();
}

// What goes wrong in between.

TEST_P(UnusualCases, AnInstanceThatGoesWhileItsVolumesFollowIt) {
  for (const bool lost : {false, true}) {
    const std::string node = Active(Spec("reattach", two_zones_, false));
    Do(node, NodeAction::kPause);
    Dry(node);
    if (lost) world_.cloud.Script("CreateVolume", 0, "lose");
    const auto before = world_.cloud.on_call;
    After("CreateVolume", [&] { TakeAway(node); });
    EXPECT_TRUE(world_.Ask(node, NodeAction::kResume).ok());
    ASSERT_TRUE(
        Until(kHourMs, kSecondMs, [&] { return Record(node).state == NodeState::kActive; }));
    world_.cloud.on_call = before;
    ExpectAllIsWell();
    ExpectActive(node);
  }
}

TEST_P(UnusualCases, ALaunchThatIsRefusedAfterAVolumeFollowed) {
  const std::string node = Active(Spec("reattach", two_zones_, false));
  Do(node, NodeAction::kPause);
  Dry(node);
  world_.cloud.Script("AttachVolume", 0, "InvalidParameterValue");
  Do(node, NodeAction::kResume);
  ExpectAllIsWell();
  EXPECT_EQ(Record(node).state, NodeState::kPaused);
  Do(node, NodeAction::kResume);
  ExpectAllIsWell();
  ExpectActive(node);
}

TEST_P(UnusualCases, AnInstanceThatRanBeforeAnybodyLooked) {
  const std::string node = Active(Spec("onLaunch", one_zone_, true));
  Do(node, NodeAction::kPause);
  EXPECT_TRUE(world_.Ask(node, NodeAction::kResume).ok());
  const auto runs = [&] {
    const auto ids = world_.cloud.InstancesOf(node);
    return !ids.empty() && world_.cloud.instances().all().at(ids.front()).shown.state == "running";
  };
  ASSERT_TRUE(Until(kHourMs, 10, runs));
  // The controller is away.
  world_.cloud.Advance(world_.clock.now_ms() + 50 * kSecondMs);
  TakeAway(node);
  ExpectAllIsWell();
  ExpectActive(node);
}

TEST_P(UnusualCases, SnapshotsThatCouldNotBeDeletedAreDeletedLater) {
  const std::string node = Active(Spec("onLaunch", one_zone_, true));
  world_.cloud.Script("DeleteSnapshot", 0, "InternalError");
  bool failed = false;
  const auto before = world_.cloud.on_call;
  world_.cloud.on_call = [&, before](const char* name, bool changes, bool after) {
    before(name, changes, after);
    if (!after && name == std::string("DeleteSnapshot")) failed = true;
  };
  ASSERT_TRUE(Until(3 * kDayMs, kMinuteMs, [&] { return failed; }));
  Do(node, NodeAction::kRecycle);
  ExpectAllIsWell();
}

TEST_P(UnusualCases, ARoundOfSnapshotsWhoseAnswerIsLostIsFound) {
  const std::string node = Active(Spec("onLaunch", one_zone_, true));
  bool made = false;
  After("CreateSnapshots", [&] { made = true; });
  world_.cloud.Script("CreateSnapshots", 0, "lose");
  ASSERT_TRUE(Until(kDayMs, kSecondMs, [&] { return made; }));
  Do(node, NodeAction::kRecycle);
  ExpectAllIsWell();
}

TEST_P(UnusualCases, APauseDuringWhichTheInstanceGoes) {
  for (int i = 0; i < 12; ++i) {
    const std::string node = Active(Spec(i % 3 == 0 ? "reattach" : "onLaunch", one_zone_, i % 2));
    Pass(kHourMs);
    EXPECT_TRUE(world_.Ask(node, NodeAction::kPause).ok());
    Pass(int64_t{i} * 150);
    TakeAway(node);
    EXPECT_TRUE(world_.RunUntilIdle(kHourMs));
    EXPECT_EQ(Record(node).state, NodeState::kPaused);
  }
  ExpectAllIsWell();
}

// What somebody took away.

TEST_P(UnusualCases, AnInterfaceThatSomebodyDeletedComesBackWithItsAddress) {
  const std::string node = Active(Spec("onLaunch", one_zone_, true));
  const auto address = Record(node).runtime.private_ip;
  Do(node, NodeAction::kPause);
  EXPECT_TRUE(
      world_.cloud.DeleteNetworkInterface(Record(node).runtime.resources.interface_id).ok());
  Do(node, NodeAction::kResume);
  ExpectAllIsWell();
  EXPECT_EQ(Record(node).runtime.private_ip, address);
}

TEST_P(UnusualCases, WhatIsMissingIsSaidInTheReason) {
  for (const char* what : {"image", "volume"}) {
    const std::string node = Active(Spec("reattach", one_zone_, true));
    Do(node, NodeAction::kPause);
    world_.ExcuseLoss(node);
    const KeptResources kept = Record(node).runtime.resources;
    std::string missing = kept.image_id;
    if (what == std::string("image")) {
      EXPECT_TRUE(world_.cloud.DeregisterImage(missing).ok());
    } else {
      for (const KeptDevice& device : kept.devices) {
        if (!device.root) missing = device.volume_id;
      }
      world_.cloud.DeleteByHand(missing);
    }
    Do(node, NodeAction::kResume);
    EXPECT_EQ(Record(node).state, NodeState::kPaused);
    EXPECT_NE(Record(node).state_reason.value_or("").find(missing), std::string::npos)
        << Record(node).state_reason.value_or("");
  }
  ExpectAllIsWell();
}

// Not unusual: what a spot instance costs moves with its market.
TEST_P(UnusualCases, ASpotInstanceCostsWhatItsMarketAsks) {
  Json spec = Spec("onLaunch", one_zone_, true);
  spec["strategy"] = {{"lifeCycle", "spot"}};
  const std::string node = Active(spec);
  const NodeRuntime runtime = Record(node).runtime;
  Pass(20 * kHourMs);  // less than what the simulated cloud remembers of prices
  ASSERT_EQ(Record(node).runtime.instance_id, runtime.instance_id) << "nothing took it away";
  const auto usage = world_.state().ListUsage(Simulation::kAccount, node);
  ASSERT_EQ(usage->size(), 1);
  const auto market =
      world_.cloud.DescribeSpotPriceHistory({.instance_types = {*runtime.instance_type},
                                             .products = {"Linux/UNIX"},
                                             .availability_zone = *runtime.availability_zone,
                                             .start_ns = *runtime.launched_at_ms * kNanosPerMs});
  ASSERT_TRUE(market.ok());
  EXPECT_GT(market->size(), 2) << "it moved";
  const int64_t hours = (world_.clock.now_ms() - *runtime.launched_at_ms) / kHourMs;
  double expected = 0;
  for (int64_t hour = 0; hour < hours; ++hour) {
    const int64_t begins_ns = (*runtime.launched_at_ms + hour * kHourMs) * kNanosPerMs;
    const Ec2SpotPrice* asked = nullptr;
    for (const Ec2SpotPrice& price : *market) {
      const bool newer = asked == nullptr || price.time_ns > asked->time_ns;
      if (price.time_ns <= begins_ns && newer) asked = &price;
    }
    ASSERT_NE(asked, nullptr);
    expected += asked->usd_per_hour;
  }
  const int64_t until = *runtime.launched_at_ms + hours * kHourMs;
  EXPECT_NEAR(CostBetween(usage->front(), 0, until, world_.clock.now_ms()), expected, 1e-6);
}

TEST_P(UnusualCases, ADeletionDoesNotWaitForCapacity) {
  for (const std::string& type : kTypes) {
    for (const bool spot : {true, false}) {
      world_.cloud.SetDrought(type, "us-east-1a", spot, world_.clock.now_ms() + 30 * kDayMs);
    }
  }
  const auto node = world_.Create(Spec("onLaunch", one_zone_, true));
  ASSERT_TRUE(node.ok());
  Pass(2 * kHourMs + kSecondMs);
  EXPECT_TRUE(world_.Ask(*node, NodeAction::kDeallocate, kAllFlags).ok());
  EXPECT_TRUE(Until(10 * kSecondMs, kSecondMs, [&] { return !world_.Node(*node); }));
  ExpectAllIsWell();
}

TEST_P(UnusualCases, ThePoolsOnlyAddressIsFreeAgainWhenItsInterfaceIsNoLongerKept) {
  Json spec = Spec("onLaunch", one_zone_, true);
  spec["compute"]["privateIps"] = {"10.1.240.10"};
  const std::string node = Active(spec);
  ASSERT_EQ(Record(node).runtime.private_ip, "10.1.240.10");
  Do(node, NodeAction::kPause);
  Change(node, Persisting("persistPrivateIp", false));
  Do(node, NodeAction::kResume);
  Do(node, NodeAction::kRecycle);
  EXPECT_EQ(Record(node).runtime.private_ip, "10.1.240.10");
  Change(node, Persisting("persistPrivateIp", true));
  Do(node, NodeAction::kRecycle);
  Change(node, Persisting("persistPrivateIp", false));
  Do(node, NodeAction::kRecycle);
  EXPECT_EQ(Record(node).runtime.private_ip, "10.1.240.10");
  ExpectAllIsWell();
  ExpectActive(node);
}

INSTANTIATE_TEST_SUITE_P(Seeds, UnusualCases, ::testing::Values(1, 2, 3));

}  // namespace
}  // namespace snapstore::spot
