// A controller that is killed at every instant of every operation: before and after each call that
// changes the cloud, before and after each write of its state.
#include <ostream>

#include "tests/orchestrator/lifecycle/lifecycle_fixture.h"

namespace snapstore::spot {
namespace {

struct Scenario {
  const char* name;
  BlockDevicesMode mode;
  // Brings the world to where the operation is asked for; nothing: the operation is the creation.
  std::function<void(World*, const std::string& node)> ask;
  NodeState ends;  // or gone, for kDeallocated
  bool starts_paused = false;
  // Makes the node in place of a create call; its id.
  std::function<std::string(World*)> begin = nullptr;
};
void PrintTo(const Scenario& scenario, std::ostream* out) { *out << scenario.name; }

void Ask(World* world, const std::string& node, NodeAction action, const Json& input = Json()) {
  ControllerState asking(&world->store, nullptr,
                         {.now_ms = [world] { return world->cloud.now_ms; }});
  ASSERT_TRUE(asking.Ask(World::kAccount, node, action, "api", input).ok());
}

const Json kAllFlags = {{"deallocationConfig",
                         {{"shouldDeleteImages", true},
                          {"shouldDeleteSnapshots", true},
                          {"shouldDeleteVolumes", true},
                          {"shouldDeleteNetworkInterfaces", true},
                          {"shouldTerminateInstance", true}}}};

// Of an instance that nobody owns; it ends with that.
std::string Import(World* world) {
  RunInstancesRequest run;
  run.image_id = MemoryCloud::kImage;
  run.instance_type = "m5.large";
  run.client_token = "source";
  run.interfaces.push_back({.subnet_id = "subnet-a"});
  const auto source = world->cloud.RunInstances(run);
  EXPECT_TRUE(source.ok());
  world->cloud.Advance(10'000);
  MigrationRequest request;
  request.original_instance_id = source->front().id;
  request.region = "us-east-1";
  request.should_keep_private_ip = true;
  request.should_terminate_instance = true;
  const auto migration = world->state->CreateMigration(World::kAccount, request, false);
  EXPECT_TRUE(migration.ok());
  return migration->node_id;
}

std::vector<Scenario> Scenarios() {
  std::vector<Scenario> all;
  for (const auto mode : {BlockDevicesMode::kReattach, BlockDevicesMode::kOnLaunch}) {
    all.push_back({"Create", mode, nullptr, NodeState::kActive});
    all.push_back(
        {"Pause", mode,
         [](World* world, const std::string& node) { Ask(world, node, NodeAction::kPause); },
         NodeState::kPaused});
    all.push_back(
        {"Resume", mode,
         [](World* world, const std::string& node) { Ask(world, node, NodeAction::kResume); },
         NodeState::kActive, true});
    all.push_back(
        {"Recycle", mode,
         [](World* world, const std::string& node) { Ask(world, node, NodeAction::kRecycle); },
         NodeState::kActive});
    all.push_back({"TakenAway", mode,
                   [](World* world, const std::string& node) {
                     world->cloud.TakeAway(*world->Node(node)->runtime.instance_id);
                   },
                   NodeState::kActive});
    all.push_back({"Delete", mode,
                   [](World* world, const std::string& node) {
                     Ask(world, node, NodeAction::kDeallocate, kAllFlags);
                   },
                   NodeState::kDeallocated});
    all.push_back({"DeleteSome", mode,
                   [](World* world, const std::string& node) {
                     Ask(world, node, NodeAction::kDeallocate,
                         {{"deallocationConfig", {{"shouldDeleteVolumes", true}}}});
                   },
                   NodeState::kDeallocated});
  }
  all.push_back({"DeleteVolume", BlockDevicesMode::kReattach,
                 [](World* world, const std::string& node) {
                   ControllerState asking(&world->store);
                   const auto devices = world->Node(node)->runtime.devices;
                   for (const Device& device : devices) {
                     if (device.device_name != "/dev/sdf") continue;
                     ASSERT_TRUE(
                         asking.AskVolumeDeletion(World::kAccount, node, device.volume_id).ok());
                   }
                 },
                 NodeState::kPaused, true});
  all.push_back(
      {"Import", BlockDevicesMode::kOnLaunch, nullptr, NodeState::kActive, false, Import});
  return all;
}

class CrashTest : public ::testing::TestWithParam<Scenario> {
 protected:
  // Runs the operation; the controller is killed at instant `kill_at` of it (none if negative). The
  // number of instants there were.
  int Run(int kill_at) {
    const Scenario& scenario = GetParam();
    World world;
    int instants = 0;
    bool counts = false;
    const auto instant = [&] {
      if (!counts) return;
      if (instants++ == kill_at) throw Killed();
    };
    world.store.before_commit = [&](const Transaction&) { instant(); };
    world.store.after_commit = [&](const Transaction&) { instant(); };
    world.cloud.around = [&](const std::string&, bool) -> std::optional<AwsFailure> {
      instant();
      return std::nullopt;
    };
    node_ = scenario.begin ? scenario.begin(&world) : Create(&world);
    if (scenario.ask) {
      EXPECT_TRUE(world.Until([&] { return world.Rests(node_, NodeState::kActive); }));
      if (scenario.starts_paused) {
        Ask(&world, node_, NodeAction::kPause);
        EXPECT_TRUE(world.Until([&] { return world.Rests(node_, NodeState::kPaused); }));
      }
      before_ = world.Node(node_);
      scenario.ask(&world, node_);
    }
    const int64_t asked_ms = world.cloud.now_ms;
    counts = true;
    const bool reached = world.Until([&] {
      if (scenario.ends == NodeState::kDeallocated) return !world.Node(node_);
      const auto node = world.Node(node_);
      // The watch has to find out first that an instance is gone.
      const bool moved = scenario.name != std::string("TakenAway") ||
                         (node && node->runtime.instance_id != before_->runtime.instance_id);
      return moved && world.Rests(node_, scenario.ends);
    });
    counts = false;
    EXPECT_TRUE(reached) << Account(&world, kill_at);
    // Periodic snapshots and purges settle.
    world.Until([] { return false; }, 120'000);
    Check(&world, kill_at);
    EXPECT_LT(world.cloud.now_ms - asked_ms, 600'000) << "it took too long";
    return instants;
  }

  static std::string Create(World* world) {
    const auto created =
        world->state->CreateNode(World::kAccount, TestSpec(GetParam().mode), nullptr);
    EXPECT_TRUE(created.ok());
    return created->id;
  }

  void Check(World* world, int kill_at) {
    const Scenario& scenario = GetParam();
    EXPECT_THAT(world->cloud.violations, ::testing::IsEmpty()) << Account(world, kill_at);
    EXPECT_EQ(world->Leaks(node_), "") << Account(world, kill_at);
    const auto node = world->Node(node_);
    const size_t living = scenario.ends == NodeState::kActive ? 1 : 0;
    EXPECT_EQ(world->cloud.LivingOf(node_).size(), living) << Account(world, kill_at);
    if (scenario.ends == NodeState::kDeallocated) {
      EXPECT_FALSE(node);
      if (scenario.name == std::string("Delete")) {
        EXPECT_TRUE(ControllerState(&world->store).ListRetained()->empty());
      }
      return;
    }
    ASSERT_TRUE(node);
    if (before_ && scenario.name != std::string("DeleteVolume")) {
      EXPECT_EQ(node->runtime.resources.private_ip, before_->runtime.resources.private_ip);
    }
    ExpectNothingLost(world, *node, kill_at);
  }

  // Every write to the kept disks until their instance ended is on the disks that there are now.
  void ExpectNothingLost(World* world, const NodeRecord& node, int kill_at) {
    for (const KeptDevice& device : node.runtime.resources.devices) {
      int64_t newest = 0;
      if (!device.volume_id.empty()) newest = world->cloud.writes[device.volume_id];
      for (const KeptSnapshot& one : device.snapshots) {
        newest = std::max(newest, world->cloud.writes[one.id]);
      }
      lost_[device.device_name] = newest;
      if (kill_at < 0) {
        expected_[device.device_name] = newest > 0;
      } else {
        EXPECT_EQ(newest > 0, expected_[device.device_name])
            << device.device_name << Account(world, kill_at);
      }
    }
  }

  std::string Account(World* world, int kill_at) const {
    std::string text = fmt::format(" killed at {}\n", kill_at);
    const auto node = world->Node(node_);
    if (!node) return text + "no node";
    text += EncodeRecord(*node) + "\n";
    const auto events = ControllerState(&world->store).ListEvents(World::kAccount, node_, 0, 1000);
    for (const Event& event : *events) text += event.type + ": " + event.message + "\n";
    const auto active = world->journal->Active();
    for (const Operation& operation : *active) text += EncodeRecord(operation) + "\n";
    return text;
  }

  std::string node_;
  std::optional<NodeRecord> before_;
  std::map<std::string, int64_t> lost_;
  std::map<std::string, bool> expected_;
};

TEST_P(CrashTest, IsFinishedByTheNextController) {
  const int instants = Run(-1);
  ASSERT_FALSE(HasFailure());
  EXPECT_GT(instants, 5);
  for (int kill_at = 0; kill_at < instants && !HasFailure(); ++kill_at) Run(kill_at);
}

INSTANTIATE_TEST_SUITE_P(All, CrashTest, ::testing::ValuesIn(Scenarios()), [](const auto& test) {
  return fmt::format("{}{}", test.param.name,
                     test.param.mode == BlockDevicesMode::kReattach ? "Reattach" : "OnLaunch");
});

}  // namespace
}  // namespace snapstore::spot
