// LifeCycleCases: the fixture of tests that put one or a few nodes through something and then see
// that nothing leaked and nothing was lost. The parameter is the seed of the simulated cloud.
//
// Thread safety: belongs to one thread.
#ifndef SNAPSTORE_TESTS_ORCHESTRATOR_LIFECYCLE_LIFE_CYCLE_CASES_H_
#define SNAPSTORE_TESTS_ORCHESTRATOR_LIFECYCLE_LIFE_CYCLE_CASES_H_

#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <string>
#include <vector>

#include "base/log.h"
#include "tests/orchestrator/lifecycle/simulation.h"

namespace snapstore::spot {

inline const std::vector<std::string> kTypes = {"m5.large", "c5.large"};

// Root and data are kept; the mode is "onLaunch" or "reattach".
inline Json Spec(const char* mode, const std::vector<std::string>& subnets, bool keeps_address) {
  return {{"name", "n"},
          {"region", SimulatedCloud::kRegion},
          {"persistence",
           {{"persistRootDevice", true},
            {"persistBlockDevices", true},
            {"persistPrivateIp", keeps_address},
            {"blockDevicesMode", mode}}},
          {"compute",
           {{"subnetIds", subnets},
            {"vpcId", SimulatedCloud::kVpc},
            {"launchSpecification",
             {{"imageId", SimulatedCloud::kImage},
              {"instanceTypes", {{"types", kTypes}}},
              {"blockDeviceMappings",
               {{{"deviceName", "/dev/sdf"}, {"ebs", {{"volumeSize", 10}}}}}}}}}}};
}

inline Json Persisting(const char* what, const Json& value) {
  return {{"persistence", {{what, value}}}};
}

inline const Json kAllFlags = {{"deallocationConfig",
                                {{"shouldDeleteImages", true},
                                 {"shouldDeleteSnapshots", true},
                                 {"shouldDeleteVolumes", true},
                                 {"shouldDeleteNetworkInterfaces", true}}}};

class LifeCycleCases : public ::testing::TestWithParam<uint64_t> {
 protected:
  LifeCycleCases() : world_({.seed = GetParam(), .restart_ms_max = kSecondMs}) {
    SetLogLevel(LogLevel::kError);
  }

  std::string Active(const Json& spec) {
    const auto node = world_.Create(spec);
    EXPECT_TRUE(node.ok()) << node.status().ToString();
    EXPECT_TRUE(world_.RunUntilIdle(2 * kHourMs));
    return *node;
  }
  void Pass(int64_t ms) { world_.RunUntil(world_.clock.now_ms() + ms); }
  void Do(const std::string& node, NodeAction action, const Json& input = Json()) {
    const Status asked = world_.Ask(node, action, input);
    EXPECT_TRUE(asked.ok()) << asked.ToString();
    EXPECT_TRUE(world_.RunUntilIdle(kHourMs)) << world_.cloud.Account(node);
  }
  void Change(const std::string& node, const Json& change) {
    const Status changed = world_.Change(node, change);
    EXPECT_TRUE(changed.ok()) << changed.ToString();
  }
  bool Until(int64_t limit_ms, int64_t step_ms, const std::function<bool()>& holds) {
    const int64_t limit = world_.clock.now_ms() + limit_ms;
    while (world_.clock.now_ms() < limit && !holds()) Pass(step_ms);
    return holds();
  }
  // Calls `heed` after each call of that name.
  void After(const std::string& action, const std::function<void()>& heed) {
    const auto before = world_.cloud.on_call;
    world_.cloud.on_call = [before, action, heed](const char* name, bool changes, bool after) {
      before(name, changes, after);
      if (after && action == name) heed();
    };
  }
  void TakeAway(const std::string& node) {
    for (const std::string& id : world_.cloud.InstancesOf(node)) {
      world_.cloud.TakeAway(id, "Server.SpotInstanceTermination", "taken");
    }
  }
  // The zone of the data volume has no capacity for two hours.
  void Dry(const std::string& node) {
    for (const KeptDevice& device : Record(node).runtime.resources.devices) {
      if (device.root) continue;
      for (const std::string& type : kTypes) {
        for (const bool spot : {true, false}) {
          world_.cloud.SetDrought(type, device.zone, spot, world_.clock.now_ms() + 2 * kHourMs);
        }
      }
    }
  }
  NodeRecord Record(const std::string& node) {
    const auto record = world_.Node(node);
    EXPECT_TRUE(record);
    return record.value_or(NodeRecord());
  }
  // Calls of these names are refused.
  void Deny(const std::vector<std::string>& actions) {
    world_.cloud.refuses = [actions](const std::string& action, const std::string&) {
      return std::find(actions.begin(), actions.end(), action) == actions.end()
                 ? ""
                 : "UnauthorizedOperation";
    };
  }
  bool Reported(const std::string& node, const std::string& type) {
    const auto events = world_.state().ListEvents(Simulation::kAccount, node, 0, 1000);
    return events.ok() && std::any_of(events->begin(), events->end(),
                                      [&](const Event& event) { return event.type == type; });
  }
  bool Retained(const std::string& id) {
    const auto records = world_.state().ListRetained();
    return records.ok() && std::any_of(records->begin(), records->end(),
                                       [&](const RetainedRecord& one) { return one.id == id; });
  }
  // In peace, for long enough that whatever is done once an hour was done.
  void ExpectAllIsWell() {
    world_.cloud.faults = {};
    EXPECT_TRUE(world_.RunUntilIdle(6 * kHourMs));
    Pass(3 * kHourMs);
    EXPECT_TRUE(world_.RunUntilIdle(6 * kHourMs));
    EXPECT_EQ(world_.Problems(), "");
    EXPECT_EQ(world_.Leaks(), "");
  }
  void ExpectActive(const std::string& node) {
    EXPECT_EQ(Record(node).state, NodeState::kActive) << Record(node).state_reason.value_or("");
    EXPECT_EQ(world_.cloud.InstancesOf(node).size(), 1);
  }

  Simulation world_;
  const std::vector<std::string> one_zone_ = {"subnet-a"};
  const std::vector<std::string> two_zones_ = {"subnet-a", "subnet-b"};
};

}  // namespace snapstore::spot

#endif  // SNAPSTORE_TESTS_ORCHESTRATOR_LIFECYCLE_LIFE_CYCLE_CASES_H_
