// The second half, second part: what an instance gets once it runs.
#include <algorithm>

#include "base/log.h"
#include "orchestrator/lifecycle/clean_up.h"
#include "orchestrator/lifecycle/launch_request.h"
#include "orchestrator/lifecycle/node_names.h"
#include "orchestrator/lifecycle/node_parts.h"
#include "orchestrator/lifecycle/volume_facts.h"

namespace snapstore::spot {
namespace {

class Equip {
 public:
  Equip(OperationRun* run, std::string instance_id)
      : run_(run), services_(run->services()), instance_id_(std::move(instance_id)) {}

  Flow<Launched> Run() {
    // An instance that goes meanwhile is replaced as a whole: nothing here waits for it.
    SNAP_FLOW_ASSIGN(const auto instance, FindInstance(services_, instance_id_));
    if (!instance || !IsAlive(*instance)) {
      zone_ = Runtime().availability_zone.value_or("");
      SNAP_FLOW(FinishCopies());
      return Launched{instance_id_, true};
    }
    zone_ = instance->availability_zone;
    SNAP_FLOW(OpenUsage());
    SNAP_FLOW(AttachKept(*instance));
    SNAP_FLOW(AttachForeign());
    SNAP_FLOW(LookAtVolumes(run_, "launch/volume-facts"));
    SNAP_FLOW(MoveAddress(*instance));
    SNAP_FLOW(Register());
    SNAP_FLOW(PublishNames(run_, *instance));
    SNAP_FLOW(StartApplications());
    return Launched{instance_id_, false};
  }

 private:
  const NodeRuntime& Runtime() const { return run_->node().runtime; }

  Flow<Done> OpenUsage() {
    SNAP_FLOW(run_->Observe("launch/usage", [&]() -> Flow<Json> {
      const bool spot = Runtime().life_cycle == LifeCycle::kSpot;
      UsageRecord usage;
      usage.instance_id = instance_id_;
      usage.started_at_ms = Runtime().launched_at_ms.value_or(run_->Now());
      const std::string type = Runtime().instance_type.value_or("");
      if (services_.on_demand_price) usage.on_demand_hourly_price = services_.on_demand_price(type);
      usage.hourly_price = usage.on_demand_hourly_price;
      if (spot) {
        SNAP_FLOW_ASSIGN(usage.hourly_price, SpotPrice(type));
      }
      const Operation& operation = run_->operation();
      const Status put = services_.state->PutUsage(operation.account_id, operation.node_id, usage);
      if (!put.ok()) return RetryLater(put);
      return Json();
    }));
    return Done{};
  }

  Flow<double> SpotPrice(const std::string& type) {
    SpotPriceQuery query;
    query.instance_types = {type};
    query.availability_zone = zone_;
    query.products = {run_->spec().compute.product.value_or("Linux/UNIX")};
    query.start_ns = run_->Now() * kNanosPerMs;  // the price now, and later ones
    const auto prices = services_.ec2->DescribeSpotPriceHistory(query);
    if (!prices.ok()) return RetryLater(prices.status());
    return prices->empty() ? 0.0 : prices->front().usd_per_hour;
  }

  // Kept volumes that the launch itself did not bring, in another zone as copies.
  Flow<Done> AttachKept(const Ec2Instance& instance) {
    const Persistence& persistence = run_->spec().persistence;
    const bool reattach = persistence.persist_block_devices.value() &&
                          persistence.block_devices_mode.value() == BlockDevicesMode::kReattach;
    // The list of the first try: what is attached since must not fall out of it.
    const auto list = [&]() -> Flow<Json> {
      Json volumes = Json::array();
      for (const KeptDevice& device : Runtime().resources.devices) {
        if (device.root || device.foreign || !IsKept(run_->spec(), device)) continue;
        if (Has(instance, device.volume_id)) continue;
        const KeptSnapshot* newest = NewestCompleted(device);
        if (device.volume_id.empty() && (!reattach || newest == nullptr)) continue;
        const bool moves = device.volume_id.empty() || device.zone != zone_;
        if (moves && !device.volume_id.empty() && !device.copied) {
          return Fail(Status::Internal(fmt::format("{} is in {}, and no snapshot holds all of it",
                                                   device.volume_id, device.zone)));
        }
        volumes.push_back({{"device", device.device_name},
                           {"volume", device.volume_id},
                           {"snapshot", moves && newest != nullptr ? newest->id : ""}});
      }
      return Json{{"volumes", std::move(volumes)}};
    };
    const auto update = [](const Json& output, ControllerState::NodeChange* change) {
      for (const Json& one : output.at("volumes")) {
        KeptDevice* device = FindDevice(&change->node.runtime.resources, one.value("device", ""));
        // From now on it may be written to.
        if (device != nullptr && one.value("snapshot", "").empty()) device->copied = false;
      }
    };
    SNAP_FLOW_ASSIGN(const Json plan, run_->Observe("launch/volumes", list, update));
    for (const Json& volume : plan.at("volumes")) {
      std::string id = volume.value("volume", "");
      const std::string device = volume.value("device", "");
      if (!volume.value("snapshot", "").empty()) {
        SNAP_FLOW_ASSIGN(id, CopyHere(device, volume));
      }
      SNAP_FLOW(Attach(id, device));
      if (id != volume.value("volume", "")) SNAP_FLOW(DropOld(device, volume.value("volume", "")));
    }
    return Done{};
  }

  static bool Has(const Ec2Instance& instance, const std::string& volume_id) {
    return std::any_of(instance.devices.begin(), instance.devices.end(),
                       [&](const Ec2InstanceDevice& one) { return one.volume_id == volume_id; });
  }

  // A copy that was begun is brought into the record before the operation ends without it.
  Flow<Done> FinishCopies() {
    // Each copy changes the record.
    const std::vector<KeptDevice> devices = Runtime().resources.devices;
    for (const KeptDevice& device : devices) {
      const std::string step = CopyStep(device.device_name);
      if (!run_->BegunAt(step) || run_->IsDone(step)) continue;
      SNAP_FLOW(CopyHere(device.device_name, Json()));  // its input is that of the first try
    }
    return Done{};
  }

  static std::string CopyStep(const std::string& device) { return "launch/copy" + device; }

  Flow<std::string> CopyHere(const std::string& device, const Json& volume) {
    SNAP_FLOW_ASSIGN(const Json made,
                     run_->Do(
                         CopyStep(device), volume,
                         [&](const StepRecord& step) -> Flow<Json> {
                           const CreateVolumeRequest request = Copy(device, step);
                           const auto created = services_.ec2->CreateVolume(request);
                           if (!created.ok()) return created.failure();
                           return Json{{"volumeId", created->id}};
                         },
                         [&](const Json& output, ControllerState::NodeChange* change) {
                           KeptDevice* kept = FindDevice(&change->node.runtime.resources, device);
                           if (kept == nullptr) return;
                           kept->old_volume_id = kept->volume_id;
                           kept->volume_id = output.value("volumeId", "");
                           kept->zone = zone_;
                           kept->copied = false;
                         }));
    return made.value("volumeId", "");
  }

  // The same on every try of the step: EC2 compares.
  CreateVolumeRequest Copy(const std::string& device, const StepRecord& step) const {
    const LaunchSpecification& launch = run_->spec().compute.launch_specification;
    Ec2BlockDevice wanted;
    for (const BlockDeviceMapping& mapping : launch.block_device_mappings) {
      if (mapping.device_name == device && mapping.ebs) wanted = MappingOf(mapping);
    }
    CreateVolumeRequest request;
    request.tags = TagsOfNode(run_->node(), step.client_token);
    if (launch.resource_tags.volumes.should_tag.value()) {
      request.tags = WithUserTags(request.tags, launch.tags);
    }
    KeptResources kept = run_->node().runtime.resources;
    if (const KeptDevice* known = FindDevice(&kept, device)) {
      TakeFacts(*known, &wanted);
      if (known->facts) request.tags = WithUserTags(request.tags, known->facts->tags);
    }
    request.availability_zone = zone_;
    request.snapshot_id = step.input.value("snapshot", "");
    request.client_token = step.client_token;
    request.size_gib = wanted.volume_size_gib;
    request.volume_type = wanted.volume_type;
    request.iops = wanted.iops;
    request.throughput = wanted.throughput;
    request.encrypted = wanted.encrypted;
    request.kms_key_id = wanted.kms_key_id;
    return request;
  }

  Flow<Done> Attach(const std::string& volume_id, const std::string& device) {
    SNAP_FLOW(run_->Observe("launch/attach" + device, [&]() -> Flow<Json> {
      const auto found = services_.ec2->DescribeVolumes({.ids = {volume_id}});
      if (!found.ok() && !found.status().Is(StatusCode::kNotFound)) {
        return RetryLater(found.status());
      }
      const int64_t made_ms = run_->BegunAt(CopyStep(device)).value_or(0);
      if ((!found.ok() || found->empty()) && run_->Now() - made_ms < kConsistencyMs) return Wait();
      if (!found.ok() || found->empty()) {
        return Fail(Status::NotFound(fmt::format("{}: there is no volume {}", device, volume_id)));
      }
      const Ec2Volume& volume = found->front();
      for (const Ec2VolumeAttachment& one : volume.attachments) {
        if (one.instance_id == instance_id_) {
          if (one.status != "attached") return Wait();
          return Json{{"volumeId", volume_id}};
        }
        return RetryLater(
            Status::Conflict(fmt::format("{} is attached to {}", volume_id, one.instance_id)));
      }
      if (volume.state == "creating") return Wait();
      if (volume.state != "available") {
        return RetryLater(Status::Conflict(fmt::format("{} is {}", volume_id, volume.state)));
      }
      const auto attached = services_.ec2->AttachVolume(volume_id, instance_id_, device);
      if (!attached.ok()) {
        if (attached.code() == "VolumeInUse" || attached.status().Is(StatusCode::kNotFound)) {
          return RetryLater(attached.status());
        }
        return attached.failure();
      }
      return Wait();
    }));
    return Done{};
  }

  Flow<Done> DropOld(const std::string& device, const std::string& old_volume) {
    if (old_volume.empty()) return Done{};
    SNAP_FLOW(run_->Observe(
        "launch/drop-old" + device,
        [&]() -> Flow<Json> {
          CleanUp clean_up(services_);
          SNAP_FLOW(clean_up.Delete("volume", old_volume));
          return Json{{"left", clean_up.left()}};
        },
        [&](const Json& output, ControllerState::NodeChange* change) {
          LeaveToPurge(services_, output, change);
          KeptDevice* kept = FindDevice(&change->node.runtime.resources, device);
          if (kept != nullptr) kept->old_volume_id.clear();
        }));
    return Done{};
  }

  // compute.volumeAttachments: the user's own volumes.
  Flow<Done> AttachForeign() {
    for (const VolumeAttachment& one : run_->spec().compute.volume_attachments.volumes) {
      SNAP_FLOW(Attach(one.volume_id, one.device_name));
    }
    if (run_->IsDone("launch/devices")) return Done{};
    SNAP_FLOW_ASSIGN(const auto instance, FindInstance(services_, instance_id_));
    SNAP_FLOW(run_->Observe(
        "launch/devices", [] { return Flow<Json>(Json()); },
        [&](const Json&, ControllerState::NodeChange* change) {
          NodeRuntime& runtime = change->node.runtime;
          if (instance) MergeDevices(*instance, run_->spec(), &runtime.resources);
          runtime.devices = ShownDevices(runtime.resources);
        }));
    return Done{};
  }

  // Addresses that the specification has no more. They stay allocated: they are the user's.
  Flow<Done> LeaveAddresses(const Ec2Instance& instance) {
    const auto& wanted = run_->spec().compute.elastic_ip;
    std::vector<std::string> former = run_->node().former.elastic_ips;
    if (wanted) std::erase(former, *wanted);  // added meanwhile, for the next replacement
    if (former.empty()) return Done{};
    const auto leave = [&]() -> Flow<Json> {
      Json left = Json::array();
      for (const std::string& id : former) {
        SNAP_FLOW_ASSIGN(const auto found, FindAssociated(services_, id));
        if (!found) continue;
        const Ec2Address& address = *found;
        const auto& mine = instance.interfaces;
        if (std::none_of(mine.begin(), mine.end(), [&](const Ec2InstanceInterface& one) {
              return one.id == address.network_interface_id;
            })) {
          continue;
        }
        SNAP_FLOW(Tolerate(services_.ec2->DisassociateAddress(address.association_id)));
        left.push_back(fmt::format("{} ({})", address.public_ip, id));
      }
      return Json{{"left", std::move(left)}};
    };
    SNAP_FLOW(run_->Observe("launch/leave-addresses", leave,
                            [&](const Json& output, ControllerState::NodeChange* change) {
                              for (const std::string& id : former)
                                std::erase(change->node.former.elastic_ips, id);
                              for (const Json& one : output.at("left")) {
                                change->node.runtime.public_ip.reset();
                                change->AddEvent(
                                    "ELASTIC_IP_LEFT", Severity::kInfo,
                                    fmt::format("{} is no longer the node's; it stays allocated",
                                                one.get<std::string>()),
                                    run_->operation().id);
                              }
                            }));
    return Done{};
  }

  Flow<Done> MoveAddress(const Ec2Instance& instance) {
    SNAP_FLOW(LeaveAddresses(instance));
    const auto& allocation = run_->spec().compute.elastic_ip;
    if (!allocation) return Done{};
    std::string interface_id;
    for (const Ec2InstanceInterface& one : instance.interfaces) {
      if (one.device_index == 0) interface_id = one.id;
    }
    std::string public_ip;
    SNAP_FLOW(run_->Observe(
        "launch/address",
        [&]() -> Flow<Json> {
          const auto found = services_.ec2->DescribeAddresses({.ids = {*allocation}});
          if (!found.ok() && !found.status().Is(StatusCode::kNotFound)) {
            return RetryLater(found.status());
          }
          if (!found.ok() || found->empty()) {
            return Fail(
                Status::NotFound(fmt::format("there is no elastic address {}", *allocation)));
          }
          public_ip = found->front().public_ip;
          if (found->front().network_interface_id == interface_id) return Json();
          AssociateAddressRequest request;
          request.allocation_id = *allocation;
          request.network_interface_id = interface_id;
          const auto done = services_.ec2->AssociateAddress(request);
          if (!done.ok()) return done.failure();
          return Json();
        },
        [&](const Json&, ControllerState::NodeChange* change) {
          change->node.runtime.public_ip = public_ip;
        }));
    return Done{};
  }

  Flow<Done> Register() {
    const auto& balancers = run_->spec().integrations.load_balancers_config.load_balancers;
    if (balancers.empty()) return Done{};
    SNAP_FLOW_ASSIGN(const Json registered, run_->Observe("launch/register", [&]() -> Flow<Json> {
      std::string refused;
      for (const LoadBalancer& balancer : balancers) {
        const auto done =
            balancer.type == LoadBalancerType::kClassic
                ? services_.elb->RegisterInstance(balancer.name.value_or(""), instance_id_)
                : services_.elb->RegisterTarget(balancer.arn.value_or(""), instance_id_);
        if (done.ok()) continue;
        const bool definite = done.status().Is(StatusCode::kNotFound) ||
                              done.status().Is(StatusCode::kInvalidArgument);
        if (!definite) return RetryLater(done.status());
        refused = done.status().message();
      }
      return Json{{"refused", refused}};
    }));
    const std::string refused = registered.value("refused", "");
    if (refused.empty()) return Done{};
    return run_->Report("launch/register/event", "LOAD_BALANCER_REFUSED", Severity::kWarning,
                        fmt::format("the node runs without a load balancer: {}", refused));
  }

  // The volumes are there: the agent may begin. Then it is waited for.
  Flow<Done> StartApplications() {
    if (!run_->spec().persistence.persist_application.value()) return Done{};
    SNAP_FLOW_ASSIGN(const Json started,
                     run_->Linger("launch/applications", [&](const StepRecord& step) -> Flow<Json> {
                       if (!Runtime().applications_wanted.value()) {
                         SNAP_FLOW(run_->ChangeNode([](ControllerState::NodeChange* change) {
                           change->node.runtime.applications_wanted = true;
                         }));
                       }
                       SNAP_FLOW_ASSIGN(const Json reported, Reported());
                       if (reported.is_object()) return reported;
                       if (run_->Now() - step.started_at_ms < services_.options.agent_wait_ms)
                         return Wait();
                       return Json{{"missing", true}};
                     }));
    if (started.contains("missing")) {
      return run_->Report("launch/applications/event", "APPLICATION_NOT_STARTED",
                          Severity::kWarning,
                          "the agent has not reported that the applications run: is it started "
                          "from the user data?");
    }
    const bool failed = started.value("failed", false);
    return run_->Report("launch/applications/event",
                        failed ? "APPLICATION_FAILED" : "APPLICATION_STARTED",
                        failed ? Severity::kError : Severity::kInfo, started.value("text", ""));
  }

  // Null: not all applications have been started yet.
  Flow<Json> Reported() {
    const Operation& operation = run_->operation();
    const auto agent = services_.state->GetAgent(operation.account_id, operation.node_id);
    if (!agent.ok()) {
      if (!agent.status().Is(StatusCode::kNotFound)) return RetryLater(agent.status());
      return Json();
    }
    if (agent->instance_id != instance_id_) return Json();
    std::string text;
    bool failed = false;
    for (const std::string& id : run_->spec().persistence.application_persistency_configs) {
      const auto found =
          std::find_if(agent->applications.begin(), agent->applications.end(),
                       [&](const ReportedApplication& one) { return one.config_id == id; });
      if (found == agent->applications.end() || found->state == "starting") return Json();
      failed = failed || found->state == "failed";
      if (!text.empty()) text += "; ";
      text += found->restored_from
                  ? fmt::format("{} goes on from checkpoint {}", id, *found->restored_from)
                  : fmt::format("{} was started afresh", id);
      if (!found->restored_from && found->reason) text += ": " + *found->reason;
      if (found->error) text += ": " + *found->error;
    }
    return Json{{"text", text}, {"failed", failed}};
  }

  OperationRun* const run_;
  const Services& services_;
  const std::string instance_id_;
  std::string zone_;
};

}  // namespace

Flow<Launched> EquipInstance(OperationRun* run, const std::string& instance_id) {
  return Equip(run, instance_id).Run();
}

}  // namespace snapstore::spot
