#include "tests/orchestrator/lifecycle/simulated_scenarios.h"

#include "base/status_macros.h"

namespace snapstore::spot {
namespace {

constexpr const char* kTargetGroup =
    "arn:aws:elasticloadbalancing:us-east-1:123456789012:targetgroup/sim/0123456789abcdef";
constexpr const char* kBalancer = "classic";
constexpr const char* kZone = "Z1";
constexpr int64_t kRetentionMs = 96 * kHourMs;
constexpr const char* kTypes[] = {"m5.large", "c5.large"};

SimulationOptions WithTimes(SimulationOptions options) {
  options.seed = 5;
  options.restart_ms_max = 20 * kSecondMs;
  return options;
}

void Pass(ScenarioWorld* world, int64_t ms) { world->RunUntil(world->clock.now_ms() + ms); }

std::function<Status(ScenarioWorld*)> Asks(NodeAction action, const Json& input = Json()) {
  return [action, input](ScenarioWorld* world) { return world->Ask(world->node, action, input); };
}

Json Flags(bool images, bool snapshots, bool volumes, bool interfaces) {
  return {{"deallocationConfig",
           {{"shouldDeleteImages", images},
            {"shouldDeleteSnapshots", snapshots},
            {"shouldDeleteVolumes", volumes},
            {"shouldDeleteNetworkInterfaces", interfaces}}}};
}

Status Import(ScenarioWorld* world, bool terminates) {
  MigrationRequest request;
  request.original_instance_id = world->cloud.LaunchByHand('a', kTypes[0]);
  request.region = SimulatedCloud::kRegion;
  request.should_keep_private_ip = terminates;
  request.should_terminate_instance = terminates;
  Pass(world, kMinuteMs);
  SNAP_ASSIGN_OR_RETURN(const MigrationRecord migration, world->Import(request));
  world->node = migration.node_id;
  return {};
}

Status TakeAway(ScenarioWorld* world) {
  for (const std::string& id : world->cloud.InstancesOf(world->node)) {
    world->cloud.TakeAway(id, "Server.SpotInstanceTermination", "taken");
  }
  // The watch has to find out first.
  Pass(world, kSecondMs);
  return {};
}

Status RecommendRebalance(ScenarioWorld* world) {
  for (const std::string& id : world->cloud.InstancesOf(world->node)) {
    world->cloud.RecommendRebalance(id);
  }
  return {};
}

// On demand, because spot has nothing; then it has.
Status BeginOnDemand(ScenarioWorld* world) {
  for (const char* type : kTypes) {
    world->cloud.SetDrought(type, "us-east-1a", true, world->clock.now_ms() + kHourMs / 2);
  }
  Json body = world->Body();
  body["strategy"]["revertToSpot"] = {{"performAt", "always"}};
  SNAP_RETURN_IF_ERROR(world->MakeNode(body));
  if (!world->RunUntilIdle(kHourMs)) return Status::Timeout("it does not become active");
  const auto record = world->Node(world->node);
  if (record->runtime.life_cycle != LifeCycle::kOnDemand) return Status::Internal("not on demand");
  world->RunUntil(*record->runtime.launched_at_ms + kHourMs - kMinuteMs);
  return {};
}

// It is deleted, and all but its interface goes before long.
Status BeginPurge(ScenarioWorld* world) {
  SNAP_RETURN_IF_ERROR(
      world->Ask(world->node, NodeAction::kDeallocate, Flags(true, true, true, false)));
  const int64_t asked_ms = world->clock.now_ms();
  if (!world->RunUntilIdle(kHourMs)) return Status::Timeout("it is not deleted");
  world->RunUntil(asked_ms + kRetentionMs - kMinuteMs);
  return {};
}

Status DeleteDataVolume(ScenarioWorld* world) {
  const auto record = world->Node(world->node);
  for (const KeptDevice& one : record->runtime.resources.devices) {
    if (one.root) continue;
    SNAP_RETURN_IF_ERROR(world->DeleteVolume(world->node, one.volume_id));
  }
  return {};
}

void AddUsual(bool reattach, bool many_zones, bool connected, std::vector<Scenario>* all) {
  const auto add = [&](const char* name, NodeState from, const auto& ask, NodeState to) {
    all->push_back({.name = name,
                    .reattach = reattach,
                    .many_zones = many_zones,
                    .connected = connected,
                    .from = from,
                    .ask = ask,
                    .to = to,
                    .instances = to == NodeState::kActive ? 1U : 0U});
  };
  add("Pause", NodeState::kActive, Asks(NodeAction::kPause), NodeState::kPaused);
  add("Resume", NodeState::kPaused, Asks(NodeAction::kResume), NodeState::kActive);
  add("Recycle", NodeState::kActive, Asks(NodeAction::kRecycle), NodeState::kActive);
  add("TakenAway", NodeState::kActive, TakeAway, NodeState::kActive);
  add("Deallocate", NodeState::kActive,
      Asks(NodeAction::kDeallocate, Flags(true, true, true, true)), NodeState::kDeallocated);
}

}  // namespace

void PrintTo(const Scenario& scenario, std::ostream* out) { *out << NameOf(scenario); }

std::string NameOf(const Scenario& scenario) {
  return fmt::format("{}{}{}{}", scenario.name, scenario.reattach ? "Reattach" : "OnLaunch",
                     scenario.many_zones ? "InZones" : "", scenario.connected ? "Connected" : "");
}

std::vector<Scenario> Scenarios() {
  std::vector<Scenario> all;
  for (const bool zones : {false, true}) {
    for (const bool reattach : {true, false}) AddUsual(reattach, zones, false, &all);
  }
  AddUsual(true, false, true, &all);
  constexpr NodeState kNone = NodeState::kDeallocated;
  const auto launch = [](ScenarioWorld* world) { return world->MakeNode(world->Body()); };
  for (const bool connected : {false, true}) {
    all.push_back({.name = "DeallocateLater",
                   .connected = connected,
                   .from = NodeState::kPaused,
                   .ask = Asks(NodeAction::kDeallocate),
                   .to = kNone,
                   .instances = 0});
  }
  Json lets_run = Flags(true, true, true, true);
  lets_run["deallocationConfig"]["shouldTerminateInstance"] = false;
  all.push_back({.name = "DeallocateAndLetRun",
                 .connected = true,
                 .ask = Asks(NodeAction::kDeallocate, lets_run),
                 .to = kNone});
  all.push_back({.name = "Purge",
                 .from = NodeState::kPaused,
                 .ask = BeginPurge,
                 .to = kNone,
                 .instances = 0,
                 .lasts_ms = kHourMs});
  all.push_back({.name = "Launch", .many_zones = true, .from = kNone, .ask = launch});
  all.push_back({.name = "Launch", .connected = true, .from = kNone, .ask = launch});
  all.push_back({.name = "Rebalance", .ask = RecommendRebalance, .lasts_ms = 5 * kMinuteMs});
  all.push_back({.name = "Revert", .from = kNone, .ask = BeginOnDemand, .lasts_ms = kHourMs / 2});
  all.push_back({.name = "PeriodicSnapshots",
                 .reattach = false,
                 .ask = [](ScenarioWorld*) { return Status::Ok(); },
                 .lasts_ms = 6 * kHourMs});
  all.push_back({.name = "ApplyTags",
                 .ask = [](ScenarioWorld* world) { return world->ApplyTags(world->node); }});
  all.push_back({.name = "DeleteVolume", .ask = DeleteDataVolume});
  all.push_back({.name = "Import", .from = kNone, .ask = [](ScenarioWorld* world) {
                   return Import(world, true);
                 }});
  all.push_back({.name = "ImportOfACopy", .from = kNone, .ask = [](ScenarioWorld* world) {
                   return Import(world, false);
                 }});
  return all;
}

ScenarioWorld::ScenarioWorld(const Scenario& scenario, SimulationOptions options)
    : Simulation(WithTimes(std::move(options))), scenario_(scenario) {
  cloud.AddTargetGroup(kTargetGroup);
  cloud.AddBalancer(kBalancer);
  cloud.AddZone(kZone);
  PersistencyConfig config;
  config.name = "app";
  config.run_cmd = "run";
  config.snapshot_scheduler = "*/5 * * * *";
  config.snapshot_destination = "bucket";
  config_ = state().CreateConfig(kAccount, config)->id;
  if (!scenario.connected) return;
  address_ = cloud.AllocateAddress({})->allocation_id;
  volume_ = cloud.MakeVolumeByHand('a');
}

Json ScenarioWorld::Body() const {
  Json subnets = {"subnet-a"};
  if (scenario_.many_zones) subnets = {"subnet-a", "subnet-b"};
  Json body = {{"name", "n"},
               {"region", SimulatedCloud::kRegion},
               {"strategy", {{"drainingTimeout", 10}}},
               {"persistence",
                {{"persistRootDevice", true},
                 {"persistBlockDevices", true},
                 {"blockDevicesMode", scenario_.reattach ? "reattach" : "onLaunch"},
                 {"persistPrivateIp", !scenario_.many_zones},
                 {"persistApplication", true},
                 {"applicationPersistencyConfig", {config_}}}},
               {"compute",
                {{"subnetIds", subnets},
                 {"vpcId", SimulatedCloud::kVpc},
                 {"launchSpecification",
                  {{"instanceTypes", {{"types", kTypes}}},
                   {"imageId", SimulatedCloud::kImage},
                   {"securityGroupIds", {"sg-sim"}},
                   {"shutdownScript", "IyEvYmluL3NoCg=="},
                   {"tags", {{{"tagKey", "owner"}, {"tagValue", "me"}}}},
                   {"blockDeviceMappings",
                    {{{"deviceName", "/dev/sdf"}, {"ebs", {{"volumeSize", 10}}}}}}}}}},
               {"integrations",
                {{"loadBalancersConfig",
                  {{"loadBalancers", {{{"type", "TARGET_GROUP"}, {"arn", kTargetGroup}}}}}}}}};
  if (!scenario_.connected) return body;
  body["compute"]["elasticIp"] = address_;
  body["compute"]["volumeAttachments"] = {
      {"volumes", {{{"volumeId", volume_}, {"deviceName", "/dev/sdx"}}}}};
  body["integrations"]["loadBalancersConfig"]["loadBalancers"].push_back(
      {{"type", "CLASSIC"}, {"name", kBalancer}});
  body["integrations"]["route53"] = {
      {"domains",
       {{{"hostedZoneId", kZone},
         {"recordSetType", "a"},
         {"recordSets",
          {{{"name", "private.example.com"}, {"usePublicIp", false}},
           {{"name", "public.example.com"}, {"usePublicIp", true}}}}}}}};
  return body;
}

Status ScenarioWorld::MakeNode(const Json& body) {
  SNAP_ASSIGN_OR_RETURN(node, Create(body));
  return {};
}

std::string ScenarioWorld::Begin() {
  if (scenario_.from != NodeState::kDeallocated) {
    const Status made = MakeNode(Body());
    if (!made.ok()) return made.ToString();
    if (!RunUntilIdle(kHourMs)) return "it does not become active\n" + cloud.Account(node);
    if (scenario_.from == NodeState::kPaused) {
      RunUntil(clock.now_ms() + kHourMs);
      const Status paused = Ask(node, NodeAction::kPause);
      if (!paused.ok()) return paused.ToString();
      if (!RunUntilIdle(kHourMs)) return "it does not pause\n" + cloud.Account(node);
    }
    RunUntil(clock.now_ms() + kHourMs);
  }
  const Status asked = scenario_.ask(this);
  return asked.ok() ? "" : asked.ToString();
}

std::string ScenarioWorld::End() {
  std::string problems;
  if (scenario_.lasts_ms > 0) RunUntil(clock.now_ms() + scenario_.lasts_ms);
  if (!RunUntilIdle(2 * kHourMs)) problems += "the operation does not end\n";
  calls_ = counted_calls();
  commits_ = counted_commits();
  // Snapshots that nobody recorded are adopted, periodic ones end.
  RunUntil(clock.now_ms() + 2 * kHourMs);
  problems += Problems() + Leaks() + Missing(node);
  const auto record = Node(node);
  const bool gone = scenario_.to == NodeState::kDeallocated;
  if (gone ? record.has_value() : !record || record->state != scenario_.to) {
    problems += fmt::format("the node is {}\n", record ? NodeStateName(record->state) : "gone");
  }
  const size_t alive = cloud.InstancesOf(node).size();
  if (alive != scenario_.instances) problems += fmt::format("{} instances\n", alive);
  if (!volume_.empty() && cloud.volumes().Find(volume_) == nullptr) {
    problems += "the user's volume is gone\n";
  }
  return problems.empty() ? "" : problems + cloud.Account(node);
}

}  // namespace snapstore::spot
