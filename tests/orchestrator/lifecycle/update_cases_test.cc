// Changes of a node's specification that reach what it has in the cloud: its tags, its addresses.
#include <gtest/gtest.h>

#include "tests/orchestrator/lifecycle/life_cycle_cases.h"

namespace snapstore::spot {
namespace {

class UpdateCases : public LifeCycleCases {
 protected:
  static Json Tagged(const Ec2Tags& tags) {
    Json list = Json::array();
    for (const auto& [key, value] : tags) list.push_back({{"tagKey", key}, {"tagValue", value}});
    return {{"compute", {{"launchSpecification", {{"tags", list}}}}}};
  }
  // As the API does it with autoApplyTags.
  void Apply(const std::string& node, const Ec2Tags& tags) {
    Change(node, Tagged(tags));
    EXPECT_TRUE(world_.ApplyTags(node).ok());
  }
  void Settle() {
    Pass(2 * kMinuteMs);
    EXPECT_TRUE(world_.RunUntilIdle(kHourMs));
  }
  // Without our own.
  static Ec2Tags Users(Ec2Tags tags) {
    std::erase_if(tags, [](const auto& tag) { return tag.first.starts_with("snapstore:"); });
    return tags;
  }
  Ec2Tags OfInstance(const std::string& node) {
    const std::string id = Record(node).runtime.instance_id.value_or("");
    return Users(world_.cloud.instances().all().at(id).shown.tags);
  }
  std::string HolderOf(const std::string& allocation) {
    const auto found = world_.cloud.DescribeAddresses({.ids = {allocation}});
    return found.ok() ? found->front().network_interface_id : "it is gone";
  }
  std::vector<std::string> EventsOf(const std::string& node, const std::string& type) {
    std::vector<std::string> messages;
    const auto events = world_.state().ListEvents(Simulation::kAccount, node, 0, 1000);
    for (const Event& event : *events) {
      if (event.type == type) messages.push_back(event.message);
    }
    return messages;
  }
};

TEST_P(UpdateCases, TheLastOfSeveralChangesOfTagsIsWhatThereIs) {
  const std::string node = Active(Spec("onLaunch", one_zone_, true));
  Apply(node, {{"A", "3"}});
  After("CreateTags", [&, again = true]() mutable {
    if (std::exchange(again, false)) Apply(node, {{"A", "4"}, {"B", "1"}});
  });
  Settle();
  EXPECT_EQ(OfInstance(node), (Ec2Tags{{"A", "4"}, {"B", "1"}}));
  EXPECT_FALSE(Record(node).tags_wanted.value());
  ExpectAllIsWell();
}

TEST_P(UpdateCases, TagsAreSetWhenWhatIsUnderWayIsOver) {
  const std::string node = Active(Spec("onLaunch", one_zone_, true));
  ASSERT_TRUE(world_.Ask(node, NodeAction::kRecycle).ok());
  ASSERT_TRUE(Until(kHourMs, 100, [&] { return Record(node).state == NodeState::kRecycling; }));
  Apply(node, {{"A", "1"}});
  EXPECT_TRUE(world_.RunUntilIdle(kHourMs));
  Settle();
  EXPECT_EQ(OfInstance(node), (Ec2Tags{{"A", "1"}}));
  ExpectAllIsWell();
}

TEST_P(UpdateCases, TagsThatAreNoLongerThereGoUnlessSomebodyElseSetThem) {
  Json spec = Spec("onLaunch", one_zone_, true);
  spec["compute"]["launchSpecification"]["tags"] =
      Tagged({{"A", "1"}, {"B", "1"}, {"C", "1"}})["compute"]["launchSpecification"]["tags"];
  const std::string node = Active(spec);
  const std::string instance = *Record(node).runtime.instance_id;
  EXPECT_TRUE(world_.cloud.CreateTags({instance}, {{"hand", "made"}, {"C", "by hand"}}).ok());
  // Of a change that was not applied the tags of before are still there.
  Change(node, Tagged({{"A", "2"}, {"B", "1"}, {"C", "1"}}));
  Apply(node, {{"B", "2"}});
  Settle();
  EXPECT_EQ(OfInstance(node), (Ec2Tags{{"B", "2"}, {"C", "by hand"}, {"hand", "made"}}));
  EXPECT_TRUE(Record(node).former.tags.empty());
  // The last one too.
  Apply(node, {});
  Settle();
  EXPECT_EQ(OfInstance(node), (Ec2Tags{{"C", "by hand"}, {"hand", "made"}}));
  ExpectAllIsWell();
}

TEST_P(UpdateCases, APausedNodesResourcesGetTheirTags) {
  Json spec = Spec("onLaunch", one_zone_, true);
  spec["compute"]["launchSpecification"]["tags"] =
      Tagged({{"A", "1"}})["compute"]["launchSpecification"]["tags"];
  const std::string node = Active(spec);
  Do(node, NodeAction::kPause);
  Apply(node, {{"B", "1"}});
  Settle();
  const KeptResources kept = Record(node).runtime.resources;
  EXPECT_EQ(Users(world_.cloud.images().all().at(kept.image_id).shown.tags), (Ec2Tags{{"B", "1"}}));
  size_t snapshots = 0;
  for (const KeptDevice& device : kept.devices) {
    for (const KeptSnapshot& one : device.snapshots) {
      ++snapshots;
      EXPECT_EQ(Users(world_.cloud.snapshots().all().at(one.id).shown.tags), (Ec2Tags{{"B", "1"}}));
    }
  }
  EXPECT_GT(snapshots, 0);
  EXPECT_EQ(Record(node).state, NodeState::kPaused);
  ExpectAllIsWell();
}

TEST_P(UpdateCases, AnElasticAddressThatIsTakenFromTheNodeStaysAllocated) {
  const std::string address = world_.cloud.AllocateAddress({})->allocation_id;
  const std::string other = world_.cloud.AllocateAddress({})->allocation_id;
  Json spec = Spec("onLaunch", one_zone_, true);
  spec["compute"]["elasticIp"] = address;
  const std::string node = Active(spec);
  const std::string interface = Record(node).runtime.resources.interface_id;
  EXPECT_EQ(HolderOf(address), interface);
  Change(node, {{"compute", {{"elasticIp", nullptr}}}});
  EXPECT_EQ(HolderOf(address), interface) << "until the next replacement";
  Do(node, NodeAction::kRecycle);
  EXPECT_EQ(HolderOf(address), "");
  EXPECT_FALSE(Record(node).runtime.public_ip);
  ASSERT_EQ(EventsOf(node, "ELASTIC_IP_LEFT").size(), 1);
  EXPECT_NE(EventsOf(node, "ELASTIC_IP_LEFT")[0].find(address), std::string::npos);
  // One that the user moved to the node's interface is the user's affair.
  EXPECT_TRUE(world_.cloud.AssociateAddress({other, interface, "", true}).ok());
  Do(node, NodeAction::kRecycle);
  EXPECT_EQ(HolderOf(other), interface);
  ExpectAllIsWell();
}

TEST_P(UpdateCases, AnElasticAddressThatSomebodyElseHasByNowIsLeftAlone) {
  const std::string address = world_.cloud.AllocateAddress({})->allocation_id;
  Json spec = Spec("onLaunch", one_zone_, true);
  spec["compute"]["elasticIp"] = address;
  const std::string first = Active(spec);
  const std::string second = Active(Spec("onLaunch", one_zone_, true));
  Change(first, {{"compute", {{"elasticIp", nullptr}}}});
  const std::string holder = Record(second).runtime.resources.interface_id;
  EXPECT_TRUE(world_.cloud.AssociateAddress({address, holder, "", true}).ok());
  Settle();
  Do(first, NodeAction::kRecycle);
  EXPECT_EQ(HolderOf(address), holder);
  EXPECT_TRUE(EventsOf(first, "ELASTIC_IP_LEFT").empty());
  EXPECT_TRUE(Record(first).former.elastic_ips.empty());
  ExpectAllIsWell();
}

TEST_P(UpdateCases, AnotherPrivateAddressIsRefusedAsLongAsOneIsKept) {
  const std::string node = Active(Spec("onLaunch", one_zone_, true));
  const std::string has = *Record(node).runtime.private_ip;
  const auto wants = [](const std::string& address) {
    return Json{{"compute", {{"privateIp", address}}}};
  };
  const Status refused = world_.Change(node, wants("10.1.240.250"));
  EXPECT_NE(refused.message().find("compute.privateIp"), std::string::npos) << refused.message();
  EXPECT_NE(refused.message().find(has), std::string::npos) << refused.message();
  Change(node, wants(has));
  Do(node, NodeAction::kRecycle);
  EXPECT_EQ(Record(node).runtime.private_ip, has);
  ExpectAllIsWell();
}

TEST_P(UpdateCases, WithoutAKeptAddressAnotherOneComesWithTheNextLaunch) {
  for (const bool paused : {false, true}) {
    const std::string node = Active(Spec("onLaunch", one_zone_, true));
    const std::string has = *Record(node).runtime.private_ip;
    const std::string wanted = paused ? "10.1.240.251" : "10.1.240.250";
    if (paused) Do(node, NodeAction::kPause);
    Json change = Persisting("persistPrivateIp", false);
    change["compute"] = {{"privateIp", wanted}};
    Change(node, change);
    Do(node, paused ? NodeAction::kResume : NodeAction::kRecycle);
    ExpectActive(node);
    EXPECT_EQ(Record(node).runtime.private_ip, wanted);
    ExpectAllIsWell();
  }
}

TEST_P(UpdateCases, AnAddressThatIsAskedForStaysWhenItsInterfaceNoLongerDoes) {
  Json spec = Spec("onLaunch", one_zone_, true);
  spec["compute"]["privateIp"] = "10.1.1.7";
  const std::string node = Active(spec);
  Change(node, Persisting("persistPrivateIp", false));
  for (int i = 0; i < 2; ++i) {
    Do(node, NodeAction::kRecycle);
    ExpectActive(node);
    EXPECT_EQ(Record(node).runtime.private_ip, "10.1.1.7");
  }
  ExpectAllIsWell();
}

INSTANTIATE_TEST_SUITE_P(Seeds, UpdateCases, ::testing::Values(1, 2));

}  // namespace
}  // namespace snapstore::spot
