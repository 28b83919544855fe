// The controller dies once at each instant of each operation (before a call that changes the cloud,
// after it, before and after a commit), over the cloud that lies: with volumes, snapshots and zones
// that take their time. Also: the answer of each such call is lost, while nobody dies.
#include <gtest/gtest.h>

#include <cstdlib>

#include "base/log.h"
#include "tests/orchestrator/lifecycle/simulation.h"

namespace snapstore::spot {
namespace {

using Kind = CrashPoint::Kind;

constexpr const char* kTargetGroup =
    "arn:aws:elasticloadbalancing:us-east-1:123456789012:targetgroup/sim/0123456789abcdef";

struct Scenario {
  const char* name;
  bool reattach = true;
  bool many_zones = false;
  NodeState from = NodeState::kActive;
  std::function<void(Simulation*, std::string* node)> ask;
  NodeState to = NodeState::kActive;  // kDeallocated: gone
};
void PrintTo(const Scenario& scenario, std::ostream* out) { *out << scenario.name; }

Json Spec(const Scenario& scenario, const std::string& config) {
  Json subnets = {"subnet-a"};
  if (scenario.many_zones) subnets = {"subnet-a", "subnet-b"};
  return {{"name", "n"},
          {"region", SimulatedCloud::kRegion},
          {"strategy", {{"drainingTimeout", 10}}},
          {"persistence",
           {{"persistRootDevice", true},
            {"persistBlockDevices", true},
            {"blockDevicesMode", scenario.reattach ? "reattach" : "onLaunch"},
            {"persistPrivateIp", !scenario.many_zones},
            {"persistApplication", true},
            {"applicationPersistencyConfig", {config}}}},
          {"compute",
           {{"subnetIds", subnets},
            {"vpcId", SimulatedCloud::kVpc},
            {"launchSpecification",
             {{"instanceTypes", {{"types", {"m5.large", "c5.large"}}}},
              {"imageId", "ami-base"},
              {"securityGroupIds", {"sg-sim"}},
              {"shutdownScript", "IyEvYmluL3NoCg=="},
              {"tags", {{{"tagKey", "owner"}, {"tagValue", "me"}}}},
              {"blockDeviceMappings",
               {{{"deviceName", "/dev/sdf"}, {"ebs", {{"volumeSize", 10}}}}}}}}}},
          {"integrations",
           {{"loadBalancersConfig",
             {{"loadBalancers", {{{"type", "TARGET_GROUP"}, {"arn", kTargetGroup}}}}}}}}};
}

class World : public Simulation {
 public:
  explicit World(const Scenario& scenario)
      : Simulation({.seed = 5, .restart_ms_max = 20 * kSecondMs}), scenario_(scenario) {
    cloud.AddTargetGroup(kTargetGroup);
    PersistencyConfig config;
    config.name = "app";
    config.run_cmd = "run";
    config.snapshot_scheduler = "*/5 * * * *";
    config.snapshot_destination = "bucket";
    config_ = state().CreateConfig(kAccount, config)->id;
  }
  std::string Begin() {
    const auto node = Create(Spec(scenario_, config_));
    EXPECT_TRUE(node.ok()) << node.status().ToString();
    return *node;
  }

 private:
  const Scenario& scenario_;
  std::string config_;
};

void Want(Simulation* world, const std::string& node, NodeAction action,
          const Json& input = Json()) {
  ASSERT_TRUE(world->Ask(node, action, input).ok());
}

void Import(Simulation* world, std::string* node, bool terminates) {
  const std::string source = world->cloud.LaunchByHand('a', "m5.large");
  world->RunUntil(world->clock.now_ms() + kMinuteMs);
  MigrationRequest request;
  request.original_instance_id = source;
  request.region = SimulatedCloud::kRegion;
  request.should_keep_private_ip = terminates;
  request.should_terminate_instance = terminates;
  const auto migration = world->Import(request);
  ASSERT_TRUE(migration.ok());
  *node = migration->node_id;
}

std::vector<Scenario> Scenarios() {
  std::vector<Scenario> all;
  const auto asks = [](NodeAction action, const Json& input = Json()) {
    return [action, input](Simulation* world, std::string* node) {
      Want(world, *node, action, input);
    };
  };
  const Json flags = {{"deallocationConfig",
                       {{"shouldDeleteImages", true},
                        {"shouldDeleteSnapshots", true},
                        {"shouldDeleteVolumes", true},
                        {"shouldDeleteNetworkInterfaces", true}}}};
  for (const bool zones : {false, true}) {
    for (const bool reattach : {true, false}) {
      const auto add = [&](const char* name, NodeState from, const auto& ask, NodeState to) {
        all.push_back({name, reattach, zones, from, ask, to});
      };
      add("Pause", NodeState::kActive, asks(NodeAction::kPause), NodeState::kPaused);
      add("Resume", NodeState::kPaused, asks(NodeAction::kResume), NodeState::kActive);
      add("Recycle", NodeState::kActive, asks(NodeAction::kRecycle), NodeState::kActive);
      add(
          "TakenAway", NodeState::kActive,
          [](Simulation* world, std::string* node) {
            for (const std::string& id : world->cloud.InstancesOf(*node)) {
              world->cloud.TakeAway(id, "Server.SpotInstanceTermination", "taken");
            }
            // The watch has to find out first.
            world->RunUntil(world->clock.now_ms() + kSecondMs);
          },
          NodeState::kActive);
      add("Deallocate", NodeState::kActive, asks(NodeAction::kDeallocate, flags),
          NodeState::kDeallocated);
    }
  }
  all.push_back({"DeallocateLater", true, false, NodeState::kPaused, asks(NodeAction::kDeallocate),
                 NodeState::kDeallocated});
  all.push_back(
      {"Launch", true, true, NodeState::kDeallocated,
       [](Simulation* world, std::string* node) { *node = static_cast<World*>(world)->Begin(); },
       NodeState::kActive});
  all.push_back(
      {"ApplyTags", true, false, NodeState::kActive,
       [](Simulation* world, std::string* node) { ASSERT_TRUE(world->ApplyTags(*node).ok()); },
       NodeState::kActive});
  all.push_back({"DeleteVolume", true, false, NodeState::kActive,
                 [](Simulation* world, std::string* node) {
                   const auto record = world->Node(*node);
                   for (const KeptDevice& one : record->runtime.resources.devices) {
                     if (one.root) continue;
                     ASSERT_TRUE(world->DeleteVolume(*node, one.volume_id).ok());
                   }
                 },
                 NodeState::kActive});
  all.push_back({"Import", true, false, NodeState::kDeallocated,
                 [](Simulation* world, std::string* node) { Import(world, node, true); },
                 NodeState::kActive});
  all.push_back({"ImportOfACopy", true, false, NodeState::kDeallocated,
                 [](Simulation* world, std::string* node) { Import(world, node, false); },
                 NodeState::kActive});
  return all;
}

// Every so many of them; SNAPSTORE_EACH_INSTANT=1 takes them all.
uint64_t Stride(uint64_t usual) {
  return std::getenv("SNAPSTORE_EACH_INSTANT") == nullptr ? usual : 1;
}

class StepCrash : public ::testing::TestWithParam<Scenario> {
 protected:
  // What is to go wrong in the operation.
  using Prepare = std::function<void(World*)>;

  // The calls and the commits of the operation.
  std::pair<uint64_t, uint64_t> Run(const std::string& what, const Prepare& prepare) {
    SCOPED_TRACE(what);
    const Scenario& scenario = GetParam();
    World world(scenario);
    std::string node;
    if (scenario.from != NodeState::kDeallocated) {
      node = world.Begin();
      EXPECT_TRUE(world.RunUntilIdle(kHourMs));
      if (scenario.from == NodeState::kPaused) {
        world.RunUntil(world.clock.now_ms() + kHourMs);
        Want(&world, node, NodeAction::kPause);
        EXPECT_TRUE(world.RunUntilIdle(kHourMs));
      }
      world.RunUntil(world.clock.now_ms() + kHourMs);
    }
    scenario.ask(&world, &node);
    prepare(&world);
    EXPECT_TRUE(world.RunUntilIdle(2 * kHourMs)) << world.cloud.Account(node);
    const std::pair<uint64_t, uint64_t> counted = {world.counted_calls(), world.counted_commits()};
    // Snapshots that nobody recorded are adopted, periodic ones end.
    world.RunUntil(world.clock.now_ms() + 2 * kHourMs);
    EXPECT_EQ(world.Problems(), "");
    EXPECT_EQ(world.Leaks(), "");
    const auto record = world.Node(node);
    if (scenario.to == NodeState::kDeallocated) {
      EXPECT_FALSE(record) << world.cloud.Account(node);
    } else {
      EXPECT_TRUE(record && record->state == scenario.to) << world.cloud.Account(node);
    }
    const size_t alive = scenario.to == NodeState::kActive ? 1 : 0;
    EXPECT_EQ(world.cloud.InstancesOf(node).size(), alive) << world.cloud.Account(node);
    return counted;
  }
};

TEST_P(StepCrash, IsSurvivedAtEachInstant) {
  SetLogLevel(LogLevel::kError);
  const auto [calls, commits] = Run("undisturbed", [](World* world) { world->Arm({}); });
  ASSERT_FALSE(HasFailure());
  EXPECT_GT(commits, 1);
  const auto at = [&](const char* name, Kind kind, uint64_t count) {
    constexpr uint64_t kUsualInZones = 7;
    const uint64_t stride = Stride(GetParam().many_zones ? kUsualInZones : 1);
    for (uint64_t i = commits % stride; i < count && !HasFailure(); i += stride) {
      Run(fmt::format("{} {}", name, i), [&](World* world) { world->Arm(CrashPoint{kind, i}); });
    }
  };
  at("before call", Kind::kBeforeCall, calls);
  at("after call", Kind::kAfterCall, calls);
  at("before commit", Kind::kBeforeCommit, commits);
  at("after commit", Kind::kAfterCommit, commits);
}

TEST_P(StepCrash, LostAnswersAreSurvived) {
  SetLogLevel(LogLevel::kError);
  // Of each action the first two.
  uint64_t turn = GetParam().reattach ? 0 : 5;
  constexpr uint64_t kUsual = 17;
  const uint64_t stride = Stride(kUsual);
  for (const char* action :
       {"RunInstances", "TerminateInstances", "CreateSnapshot", "RegisterImage", "CreateVolume",
        "AttachVolume", "DetachVolume", "DeleteVolume", "DeleteSnapshot", "DeregisterImage",
        "CreateImage", "CreateTags", "RegisterTarget", "DeregisterTarget",
        "ModifyDeleteOnTermination", "CancelSpotInstanceRequests", "DeleteNetworkInterface"}) {
    for (const char* fault : {"lose", "throttle", "InternalError"}) {
      for (int skip = 0; skip < 2 && !HasFailure(); ++skip) {
        if (turn++ % stride != 0) continue;
        Run(fmt::format("{} {} {}", action, fault, skip),
            [&](World* world) { world->cloud.Script(action, skip, fault); });
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(All, StepCrash, ::testing::ValuesIn(Scenarios()), [](const auto& test) {
  return fmt::format("{}{}{}", test.param.name, test.param.reattach ? "Reattach" : "OnLaunch",
                     test.param.many_zones ? "InZones" : "");
});

}  // namespace
}  // namespace snapstore::spot
