// The second half, first part: until an instance runs.
#include <arpa/inet.h>

#include <algorithm>
#include <charconv>

#include "base/log.h"
#include "orchestrator/lifecycle/clean_up.h"
#include "orchestrator/lifecycle/launch_request.h"
#include "orchestrator/lifecycle/node_parts.h"

namespace snapstore::spot {
namespace {

std::optional<uint32_t> AddressOf(const std::string& text) {
  in_addr address{};
  if (inet_pton(AF_INET, text.c_str(), &address) != 1) return std::nullopt;
  return ntohl(address.s_addr);
}

// Whether "10.0.1.7" is in "10.0.1.0/24".
bool InRange(const std::string& address, const std::string& cidr) {
  const size_t slash = cidr.find('/');
  const auto network = AddressOf(cidr.substr(0, slash));
  const auto mine = AddressOf(address);
  int bits = 0;
  if (!network || !mine || slash == std::string::npos ||
      std::from_chars(cidr.data() + slash + 1, cidr.data() + cidr.size(), bits).ec != std::errc()) {
    return false;
  }
  constexpr int kBits = 32;
  const uint32_t mask = bits <= 0 ? 0 : ~uint32_t{0} << (kBits - std::min(bits, kBits));
  return (*network & mask) == (*mine & mask);
}

class Launch {
 public:
  Launch(OperationRun* run, const Beginning& beginning)
      : run_(run), services_(run->services()), beginning_(beginning) {}

  Flow<Launched> Run() {
    if (!run_->spec().persistence.persist_private_ip.value() && !Kept().interface_id.empty()) {
      // Before the plan: it may have the address that is wanted.
      SNAP_FLOW(run_->Observe(
          "launch/let-go", [] { return Flow<Json>(Json()); },
          [this](const Json&, auto* change) { LetGoOfUnkept(services_, run_->spec(), change); }));
    }
    SNAP_FLOW(MakePlan());
    SNAP_FLOW_ASSIGN(const Launched started, Start());
    if (started.lost) return started;
    return EquipInstance(run_, started.instance_id);
  }

 private:
  const KeptResources& Kept() const { return run_->node().runtime.resources; }

  Flow<Done> MakePlan() {
    SNAP_FLOW_ASSIGN(const Json plan, run_->Observe(
                                          "launch/plan", [this]() { return Plan(); },
                                          [this](const Json& output, auto* change) {
                                            LetGoOfUnkept(services_, run_->spec(), change);
                                            KeptResources& kept = change->node.runtime.resources;
                                            kept.interface_id = output.value("interfaceId", "");
                                          }));
    plan_.image_id = plan.value("imageId", "");
    plan_.root_device = plan.value("rootDevice", "");
    plan_.image_devices = plan.at("imageDevices").get<std::vector<std::string>>();
    plan_.interface_id = plan.value("interfaceId", "");
    plan_.private_ip = plan.value("privateIp", "");
    limits_.architecture = plan.value("architecture", "");
    limits_.checkpointed_on = plan.value("checkpointedOn", "");
    limits_.cpu_features = plan.at("cpuFeatures").get<std::vector<std::string>>();
    for (const Json& subnet : plan.at("subnets")) {
      limits_.subnets.push_back({subnet.value("id", ""), subnet.value("zone", "")});
    }
    return Done{};
  }

  Flow<Json> Plan() {
    SNAP_FLOW_ASSIGN(Json plan, PlanImage());
    SNAP_FLOW_ASSIGN(const Json address, PlanAddress());
    plan.update(address);
    // Places: where the address, and the volumes that cannot move, are.
    std::vector<size_t> places;
    const std::string subnet = address.value("subnetId", "");
    const std::string ip = address.value("privateIp", "");
    SNAP_FLOW_ASSIGN(const std::string zone, ZoneOfVolumes());
    for (size_t i = 0; i < beginning_.subnets.size(); ++i) {
      if (!subnet.empty() && beginning_.subnets[i].subnet_id != subnet) continue;
      if (subnet.empty() && !ip.empty() && !InRange(ip, beginning_.cidrs[i])) continue;
      if (!zone.empty() && beginning_.subnets[i].zone != zone) continue;
      places.push_back(i);
    }
    Json subnets = Json::array();
    for (const size_t i : places) {
      subnets.push_back(
          {{"id", beginning_.subnets[i].subnet_id}, {"zone", beginning_.subnets[i].zone}});
    }
    if (places.empty() && !subnet.empty()) {
      // The specification lost the subnet that the address is in: the address decides.
      subnets.push_back({{"id", subnet}, {"zone", address.value("zone", "")}});
    }
    if (subnets.empty()) {
      return Fail(Status::InvalidArgument(
          zone.empty() ? fmt::format("no subnet of the node has the address {}", ip)
                       : fmt::format("the node's volumes are in {}, where it has no {}", zone,
                                     ip.empty() ? "subnet" : "subnet with its address")));
    }
    plan["subnets"] = std::move(subnets);
    SNAP_FLOW_ASSIGN(plan["cpuFeatures"], CpuFeatures());
    plan["checkpointedOn"] = Kept().checkpointed_on;
    return plan;
  }

  Flow<Json> PlanImage() {
    const std::string& wanted = run_->spec().compute.launch_specification.image_id;
    const bool use_kept =
        run_->spec().persistence.persist_root_device.value() && !Kept().image_id.empty();
    const std::string id = use_kept ? Kept().image_id : wanted;
    const auto images = services_.ec2->DescribeImages({.ids = {id}});
    if (!images.ok() && !images.status().Is(StatusCode::kNotFound)) {
      return RetryLater(images.status());
    }
    if (!images.ok() || images->empty()) {
      return Fail(Status::NotFound(fmt::format("there is no image {}", id)));
    }
    const Ec2Image& image = images->front();
    Json devices = Json::array();
    for (const Ec2BlockDevice& device : image.devices) {
      if (device.virtual_name.empty()) devices.push_back(device.device_name);
    }
    return Json{{"imageId", id},
                {"rootDevice", image.root_device_name},
                {"imageDevices", std::move(devices)},
                {"architecture", image.architecture}};
  }

  // The interface to take up, or the address that a new one is to have.
  Flow<Json> PlanAddress() {
    const Compute& compute = run_->spec().compute;
    const bool persists = run_->spec().persistence.persist_private_ip.value();
    if (persists && !Kept().interface_id.empty()) {
      const auto found = services_.ec2->DescribeNetworkInterfaces({.ids = {Kept().interface_id}});
      if (!found.ok() && !found.status().Is(StatusCode::kNotFound)) {
        return RetryLater(found.status());
      }
      if (found.ok() && !found->empty()) {
        const Ec2NetworkInterface& interface = found->front();
        if (interface.status != "available") {
          return Fail(Status::InvalidArgument(
              fmt::format("the node's interface {} is {}{}", interface.id, interface.status,
                          interface.instance_id.empty() ? "" : " by " + interface.instance_id)));
        }
        SNAP_FLOW(SyncGroups(interface));
        return Json{{"interfaceId", interface.id},
                    {"subnetId", interface.subnet_id},
                    {"zone", interface.availability_zone}};
      }
      // It was deleted: a new one with its address takes its place.
      return Json{{"subnetId", Kept().subnet_id}, {"privateIp", Kept().private_ip}};
    }
    if (persists && !Kept().private_ip.empty()) return Json{{"privateIp", Kept().private_ip}};
    if (compute.private_ip) {
      SNAP_FLOW_ASSIGN(const auto holders, HoldersOf({*compute.private_ip}));
      SNAP_FLOW(DropOldInterface(holders));
      return Json{{"privateIp", *compute.private_ip}};
    }
    if (!compute.private_ips.empty()) return FirstFree(compute.private_ips);
    return Json::object();
  }

  Flow<std::vector<Ec2NetworkInterface>> HoldersOf(const std::vector<std::string>& addresses) {
    auto found = services_.ec2->DescribeNetworkInterfaces(
        {.filters = {{"addresses.private-ip-address", addresses},
                     {"vpc-id", {run_->spec().compute.vpc_id}}}});
    if (!found.ok()) return RetryLater(found.status());
    return *std::move(found);
  }

  Flow<Json> FirstFree(const std::vector<std::string>& pool) {
    SNAP_FLOW_ASSIGN(const auto holders, HoldersOf(pool));
    for (const std::string& address : pool) {
      const bool taken = std::any_of(holders.begin(), holders.end(), [&](const auto& interface) {
        const auto& more = interface.secondary_private_ips;
        return interface.private_ip == address ||
               std::find(more.begin(), more.end(), address) != more.end();
      });
      if (!taken) return Json{{"privateIp", address}};
    }
    SNAP_FLOW(DropOldInterface(holders));
    return Fail(Status::InvalidArgument("all addresses of compute.privateIps are in use"));
  }

  // One of the node's own that is to go, and was not yet deleted, must not hold up its address.
  Flow<Done> DropOldInterface(const std::vector<Ec2NetworkInterface>& holders) {
    const auto retained = services_.state->ListRetained();
    if (!retained.ok()) return RetryLater(retained.status());
    for (const RetainedRecord& record : *retained) {
      const bool held =
          std::any_of(holders.begin(), holders.end(), [&](const Ec2NetworkInterface& one) {
            return one.id == record.id && one.status == "available";
          });
      const bool due = record.delete_at_ms && *record.delete_at_ms <= run_->Now();
      if (!held || !due || record.node_id != run_->operation().node_id) continue;
      SNAP_FLOW(Tolerate(services_.ec2->DeleteNetworkInterface(record.id)));
      return Wait();
    }
    return Done{};
  }

  Flow<Done> SyncGroups(const Ec2NetworkInterface& interface) {
    std::vector<std::string> wanted = run_->spec().compute.launch_specification.security_group_ids;
    if (wanted.empty()) return Done{};
    std::vector<std::string> has;
    has.reserve(interface.groups.size());
    for (const Ec2GroupId& group : interface.groups) has.push_back(group.id);
    std::sort(wanted.begin(), wanted.end());
    std::sort(has.begin(), has.end());
    if (wanted == has) return Done{};
    const auto done = services_.ec2->ModifyInterfaceGroups(interface.id, wanted);
    if (!done.ok()) return done.failure();
    return Done{};
  }

  // Of volumes that can only be attached where they are; empty: the node may go anywhere.
  Flow<std::string> ZoneOfVolumes() {
    std::vector<std::string> ids;
    for (const VolumeAttachment& one : run_->spec().compute.volume_attachments.volumes) {
      ids.push_back(one.volume_id);
    }
    for (const KeptDevice& device : Kept().devices) {
      // Only what a snapshot holds all of can follow the node into another zone.
      if (!device.root && !device.foreign && IsKept(run_->spec(), device) &&
          !device.volume_id.empty() && !device.copied) {
        ids.push_back(device.volume_id);
      }
    }
    std::string zone;
    for (const std::string& id : ids) {
      const auto found = services_.ec2->DescribeVolumes({.ids = {id}});
      if (!found.ok() && !found.status().Is(StatusCode::kNotFound)) {
        return RetryLater(found.status());
      }
      if (!found.ok() || found->empty()) continue;  // attaching it says so
      if (!zone.empty() && zone != found->front().availability_zone) {
        return Fail(
            Status::InvalidArgument(fmt::format("the node's volumes are in two zones, {} and {}",
                                                zone, found->front().availability_zone)));
      }
      zone = found->front().availability_zone;
    }
    return zone;
  }

  // Of the newest checkpoints, as far as an agent told.
  Flow<Json> CpuFeatures() {
    Json features = Json::array();
    if (!run_->spec().persistence.persist_application.value()) return features;
    const auto agent =
        services_.state->GetAgent(run_->operation().account_id, run_->operation().node_id);
    if (!agent.ok()) {
      if (!agent.status().Is(StatusCode::kNotFound)) return RetryLater(agent.status());
      return features;
    }
    for (const ReportedApplication& application : agent->applications) {
      for (const std::string& feature : application.cpu_features) features.push_back(feature);
    }
    return features;
  }

  // Tries markets until an instance runs.
  Flow<Launched> Start() {
    SNAP_FLOW_ASSIGN(const Json listed, run_->Observe("launch/try/markets", [this]() -> Flow<Json> {
      SNAP_FLOW_ASSIGN(const auto markets, ChooseMarkets(services_, run_->spec(), limits_));
      Json list = Json::array();
      for (const Market& market : markets) list.push_back(MarketJson(market));
      return Json{{"markets", std::move(list)}};
    }));
    const Json& markets = listed.at("markets");
    std::string refusals;
    for (size_t i = 0; i < markets.size(); ++i) {
      const std::string step = fmt::format("launch/try/{}", i);
      SNAP_FLOW_ASSIGN(const Json tried, TryMarket(step, markets[i]));
      const std::string instance_id = tried.value("instanceId", "");
      if (!instance_id.empty()) return AwaitRunning(instance_id, tried.value("token", ""));
      if (refusals.empty()) refusals = tried.value("refused", "");
    }
    return WaitForCapacity(markets.empty() ? "no market offers the node's instance types"
                                           : refusals);
  }

  Flow<Launched> WaitForCapacity(const std::string& why) {
    const std::string& type = run_->spec().strategy.life_cycle.value() == LifeCycle::kOnDemand ||
                                      run_->spec().strategy.fallback_to_on_demand.value()
                                  ? "AWS_EC2_CANT_SPIN_OD"
                                  : "AWS_EC2_CANT_SPIN_SPOT";
    SNAP_FLOW(run_->Report("launch/no-capacity", type, Severity::kWarning,
                           fmt::format("no capacity, trying on: {}", why)));
    // Longer the longer it lasts.
    const LifecycleOptions& options = services_.options;
    SNAP_FLOW(run_->Linger("launch/try/wait", [&](const StepRecord& step) -> Flow<Json> {
      const int64_t lasted = step.started_at_ms - run_->operation().created_at_ms;
      const int64_t wait =
          std::clamp(lasted / 4, options.capacity_retry_ms, options.capacity_retry_max_ms);
      const int64_t left = step.started_at_ms + wait - run_->Now();
      if (left > 0) return Wait(left);
      return Json();
    }));
    SNAP_FLOW(run_->Forget("launch/try/"));
    return Wait(1);
  }

  Flow<Json> TryMarket(const std::string& step, const Json& market_json) {
    const Market market = MarketOf(market_json);
    const auto launch = [&](const StepRecord& record) -> Flow<Json> {
      const RunInstancesRequest request =
          MakeLaunchRequest(run_->node(), run_->spec(), plan_, market, record.client_token);
      const auto instances = services_.ec2->RunInstances(request);
      if (instances.ok()) {
        if (instances->empty()) return RetryLater(Status::Io("RunInstances gave no instance"));
        return Json{{"instanceId", instances->front().id}, {"token", record.client_token}};
      }
      if (IsLackOfCapacity(instances.code())) {
        services_.markets->NoteRefused(market.Name(), run_->Now());
        return Json{{"refused", instances.status().message()}};
      }
      if (!Settles(instances.failure())) return instances.failure();
      if (run_->Now() - record.started_at_ms > kConsistencyMs) return Fail(instances.status());
      return RetryLater(instances.status());
    };
    return run_->Do(step, market_json, launch,
                    [&](const Json& output, ControllerState::NodeChange* change) {
                      const std::string id = output.value("instanceId", "");
                      if (!id.empty()) Adopt(market, id, change);
                    });
  }

  // An image, an interface or an instance profile that was just made may not be known everywhere
  // yet; an address that was just given back may not be free yet.
  static bool Settles(const AwsFailure& failure) {
    return failure.status.Is(StatusCode::kNotFound) || failure.code == "InvalidIPAddress.InUse" ||
           (failure.code == "InvalidParameterValue" &&
            failure.message.find("IAM Instance Profile") != std::string::npos);
  }

  void Adopt(const Market& market, const std::string& instance_id,
             ControllerState::NodeChange* change) const {
    NodeRuntime& runtime = change->node.runtime;
    change->SetInstance(instance_id);
    runtime.instance_type = market.instance_type;
    runtime.availability_zone = market.zone;
    runtime.image_id = plan_.image_id;
    runtime.life_cycle = market.spot ? LifeCycle::kSpot : LifeCycle::kOnDemand;
    runtime.launched_at_ms = run_->Now();
    runtime.applications_wanted = false;
    KeptResources& kept = runtime.resources;
    kept.healthy_once = false;
    kept.unhealthy_since_ms.reset();
    kept.stop_reported = false;
    const bool was_fallback = kept.fallback;
    const bool was_preferred = kept.preferred;
    kept.fallback = !market.spot && !market.reserved &&
                    run_->spec().strategy.life_cycle.value() == LifeCycle::kSpot;
    kept.preferred = market.preferred;
    kept.snapshot_after_ms = run_->Now() + services_.options.snapshot_interval_ms;
    change->AddEvent(
        "AWS_EC2_INSTANCE_LAUNCH", Severity::kInfo,
        fmt::format("{} is launched: {} in {}, {}{}", instance_id, market.instance_type,
                    market.zone, market.spot ? "spot" : "on demand",
                    kept.fallback ? " because spot had no capacity" : ""),
        run_->operation().id);
    const bool gained = !kept.fallback && (was_fallback || (!was_preferred && kept.preferred));
    PlanRevert(!gained && run_->operation().trigger == "revert", change);
  }

  // Each try to go back is an outage: the more were in vain, the longer until the next.
  void PlanRevert(bool in_vain, ControllerState::NodeChange* change) const {
    const LifecycleOptions& options = services_.options;
    KeptResources& kept = change->node.runtime.resources;
    if (!kept.fallback && kept.preferred) kept.reverts_in_vain = 0;
    if (in_vain) ++kept.reverts_in_vain;
    int64_t wait = options.revert_interval_ms;
    for (int64_t i = 0; i < kept.reverts_in_vain && wait < options.revert_interval_max_ms; ++i) {
      wait = std::min(2 * wait, options.revert_interval_max_ms);
    }
    kept.revert_after_ms = run_->Now() + wait;
    if (!in_vain) return;
    change->AddEvent(
        "REVERT_IN_VAIN", Severity::kWarning,
        fmt::format("no better market had room; the next try is in {} minutes or later",
                    std::max<int64_t>(1, wait / 60'000)),
        run_->operation().id);
  }

  Flow<Launched> AwaitRunning(const std::string& instance_id, const std::string& token) {
    SNAP_FLOW_ASSIGN(
        const Json seen,
        run_->Observe(
            "launch/try/running",
            [&]() -> Flow<Json> {
              SNAP_FLOW_ASSIGN(const auto instance, FindInstance(services_, instance_id));
              const int64_t age =
                  run_->Now() - run_->node().runtime.launched_at_ms.value_or(run_->Now());
              if (!instance) {
                if (age < kConsistencyMs) return Wait();
                return Json{{"lost", "EC2 does not know it"}};
              }
              if (instance->state == "pending") return Wait();
              if (!IsAlive(*instance)) {
                return Json{{"lost", instance->state_reason_message.empty()
                                         ? instance->state
                                         : instance->state_reason_message}};
              }
              running_ = *instance;
              return Json{{"state", instance->state}};
            },
            [this](const Json&, ControllerState::NodeChange* change) {
              if (running_) TakeOver(*running_, change);
            }));
    if (!seen.contains("lost")) return Launched{instance_id, false};
    return StartAnew(instance_id, token, seen.value("lost", ""));
  }

  // What the instance has is the node's from now on.
  void TakeOver(const Ec2Instance& instance, ControllerState::NodeChange* change) const {
    NodeRuntime& runtime = change->node.runtime;
    KeptResources& kept = runtime.resources;
    runtime.private_ip = instance.private_ip;
    if (!instance.public_ip.empty()) runtime.public_ip = instance.public_ip;
    if (!instance.ipv6_address.empty()) runtime.ipv6_address = instance.ipv6_address;
    MergeDevices(instance, run_->spec(), &kept);
    runtime.devices = ShownDevices(kept);
    MergeInterface(instance, run_->spec(), &kept);
  }

  // The device that a volume of the new instance stands for, by what it was made from.
  std::string DeviceOf(const Ec2Volume& volume) const {
    if (volume.snapshot_id.empty()) return {};
    for (const KeptDevice& device : Kept().devices) {
      if (device.foreign || !IsKept(run_->spec(), device)) continue;
      for (const KeptSnapshot& one : device.snapshots) {
        if (one.id == volume.snapshot_id) return device.device_name;
      }
    }
    return {};
  }

  // It is gone before anybody saw it run. Whether it ran is not known: volumes that go on what was
  // kept are taken over, and the node is replaced as after any loss. Otherwise what it brought
  // along goes too, and the search starts again.
  Flow<Launched> StartAnew(const std::string& instance_id, const std::string& token,
                           const std::string& why) {
    const auto clean = [&]() -> Flow<Json> {
      Json taken = Json::object();
      CleanUp clean_up(services_);
      const auto volumes = services_.ec2->DescribeVolumes(
          {.filters = {{std::string("tag:") + NodeTag::kToken, {token}}}});
      if (!volumes.ok()) return RetryLater(volumes.status());
      for (const Ec2Volume& volume : *volumes) {
        if (volume.state == "in-use") return Wait();
        if (volume.state == "deleting" || volume.state == "deleted") continue;
        if (const std::string device = DeviceOf(volume); !device.empty()) {
          taken[device] = {{"volumeId", volume.id}, {"zone", volume.availability_zone}};
          continue;
        }
        SNAP_FLOW(clean_up.Delete("volume", volume.id));
      }
      const auto interfaces = services_.ec2->DescribeNetworkInterfaces(
          {.filters = {{std::string("tag:") + NodeTag::kToken, {token}}}});
      if (!interfaces.ok()) return RetryLater(interfaces.status());
      for (const Ec2NetworkInterface& interface : *interfaces) {
        if (interface.status != "available") return Wait();
        SNAP_FLOW(clean_up.Delete("interface", interface.id));
      }
      return Json{{"taken", taken}, {"left", clean_up.left()}};
    };
    const auto take_over = [this](const Json& cleaned, ControllerState::NodeChange* change) {
      LeaveToPurge(services_, cleaned, change);
      for (const auto& [name, volume] : cleaned.at("taken").items()) {
        KeptDevice* device = FindDevice(&change->node.runtime.resources, name);
        if (device == nullptr) continue;
        device->volume_id = volume.value("volumeId", "");
        device->zone = volume.value("zone", "");
        device->copied = false;
      }
    };
    SNAP_FLOW_ASSIGN(const Json cleaned, run_->Observe("launch/try/clean", clean, take_over));
    if (!cleaned.at("taken").empty()) return Launched{instance_id, true};
    SNAP_FLOW(run_->ChangeNode([&](ControllerState::NodeChange* change) {
      if (change->node.runtime.instance_id != instance_id) return;
      services_.markets->NoteInterrupted(
          fmt::format("{}/{}/spot", change->node.runtime.instance_type.value_or(""),
                      change->node.runtime.availability_zone.value_or("")),
          run_->Now());
      change->SetInstance(std::nullopt);
      change->AddEvent("AWS_EC2_INSTANCE_TERMINATED", Severity::kWarning,
                       fmt::format("{} went before it ran: {}", instance_id, why),
                       run_->operation().id);
    }));
    SNAP_FLOW(run_->Forget("launch/try/"));
    return Wait(1);
  }

  OperationRun* const run_;
  const Services& services_;
  const Beginning& beginning_;
  LaunchPlan plan_;
  MarketLimits limits_;
  std::optional<Ec2Instance> running_;
};

}  // namespace

Flow<Launched> LaunchInstance(OperationRun* run, const Beginning& beginning) {
  return Launch(run, beginning).Run();
}

}  // namespace snapstore::spot
