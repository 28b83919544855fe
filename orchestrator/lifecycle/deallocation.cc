// A node's end: its instance is terminated, and what was kept goes, stays for a while, or stays.
#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <set>

#include "base/clock.h"
#include "orchestrator/lifecycle/clean_up.h"
#include "orchestrator/lifecycle/node_names.h"
#include "orchestrator/lifecycle/node_parts.h"
#include "orchestrator/lifecycle/operations.h"
#include "orchestrator/model/requests.h"

namespace snapstore::spot {
namespace {

class Deallocate {
 public:
  explicit Deallocate(OperationRun* run) : run_(run), services_(run->services()) {}

  Flow<Ending> Run() {
    SNAP_FLOW_ASSIGN(const Beginning beginning, Begin(run_, NodeState::kDeallocating));
    FieldErrors errors;
    const auto wanted = ParseDeallocation(run_->operation().input, &errors);
    wanted_ = wanted ? *wanted : Deallocation{};
    const bool terminate = wanted_.config.should_terminate_instance.value();
    if (terminate) {
      SNAP_FLOW(TerminateAll(beginning));
    } else {
      SNAP_FLOW(LetRun());
    }
    if (terminate && !beginning.instance_id.empty()) SNAP_FLOW(WithdrawNames(run_, "deallocate"));
    SNAP_FLOW(ReleaseAddress(beginning));
    SNAP_FLOW(CloseUsage(run_, "usage"));
    SNAP_FLOW_ASSIGN(const Json found, FindResources(terminate));
    SNAP_FLOW_ASSIGN(const Json refused, MarkOrDelete(found));
    Ending ending;
    const std::string operation_id = run_->operation().id;
    const std::vector<RetainedRecord> retained = Retained(found);
    ending.change = [operation_id, retained, refused,
                     services = &services_](ControllerState::NodeChange* change) {
      change->SetInstance(std::nullopt);
      change->node.state = NodeState::kDeallocated;
      for (const RetainedRecord& record : retained) change->AddRetained(record);
      LeaveToPurge(*services, refused, change);
      if (refused.contains("unmarked")) {
        change->AddEvent("RETAINED_NOT_TAGGED", Severity::kWarning, refused.value("unmarked", ""),
                         operation_id);
      }
      change->AddEvent("AWS_EC2_MANAGED_INSTANCE_DELETED", Severity::kInfo,
                       retained.empty()
                           ? "the node is deleted"
                           : fmt::format("the node is deleted; {} resources are kept for a while",
                                         retained.size()),
                       operation_id);
    };
    return ending;
  }

 private:
  std::map<std::string, std::vector<std::string>> NodeFilter() const {
    return {{std::string("tag:") + NodeTag::kNode, {run_->operation().node_id}}};
  }

  // The node's instance, and any that a launch that was superseded left.
  Flow<Done> TerminateAll(const Beginning& beginning) {
    if (!beginning.instance_id.empty()) {
      SNAP_FLOW(LeaveBalancers(run_, beginning.instance_id, "deregister"));
    }
    SNAP_FLOW(run_->Observe("terminate", [&]() -> Flow<Json> {
      SNAP_FLOW_ASSIGN(const auto instances, Instances(beginning));
      for (const Ec2Instance& instance : instances) {
        if (instance.state == "shutting-down") continue;
        SNAP_FLOW(Tolerate(services_.ec2->TerminateInstances({instance.id})));
        if (!instance.spot_request_id.empty()) {
          SNAP_FLOW(
              Tolerate(services_.ec2->CancelSpotInstanceRequests({instance.spot_request_id})));
        }
      }
      if (!instances.empty()) return Wait();
      return Json();
    }));
    return Done{};
  }

  Flow<std::vector<Ec2Instance>> Instances(const Beginning& beginning) {
    auto filters = NodeFilter();
    filters["instance-state-name"] = {"pending", "running", "stopping", "stopped", "shutting-down"};
    const auto tagged = services_.ec2->DescribeInstances({.filters = filters});
    if (!tagged.ok()) return RetryLater(tagged.status());
    std::vector<Ec2Instance> instances;
    std::copy_if(tagged->begin(), tagged->end(), std::back_inserter(instances), IsOwnInstance);
    if (beginning.instance_id.empty()) return instances;
    // An import's node has an instance that is not tagged.
    SNAP_FLOW_ASSIGN(const auto own, FindInstance(services_, beginning.instance_id));
    // One that was just launched may not be known everywhere yet.
    const int64_t age =
        run_->Now() - run_->node().runtime.launched_at_ms.value_or(run_->Now() - kConsistencyMs);
    if (!own && age < kConsistencyMs) return Wait();
    const bool listed = std::any_of(instances.begin(), instances.end(), [&](const auto& one) {
      return one.id == beginning.instance_id;
    });
    if (own && own->state != "terminated" && !listed) instances.push_back(*own);
    return instances;
  }

  Flow<Done> LetRun() {
    return run_->Report("let-run", "AWS_EC2_MANAGED_INSTANCE_RELEASED", Severity::kInfo,
                        "the instance is left running");
  }

  Flow<Done> ReleaseAddress(const Beginning& beginning) {
    std::vector<std::string> allocations = run_->node().former.elastic_ips;
    if (run_->spec().compute.elastic_ip) allocations.push_back(*run_->spec().compute.elastic_ip);
    if (allocations.empty() || !wanted_.config.should_terminate_instance.value()) return Done{};
    SNAP_FLOW(run_->Observe("address", [&]() -> Flow<Json> {
      const std::string mine = run_->node().runtime.resources.interface_id;
      for (const std::string& id : allocations) {
        SNAP_FLOW_ASSIGN(const auto found, FindAssociated(services_, id));
        if (!found) continue;
        const Ec2Address& address = *found;
        // A paused node's address is on the interface that it keeps.
        const bool on_mine = !mine.empty() && address.network_interface_id == mine;
        if (on_mine ||
            (!address.instance_id.empty() && address.instance_id == beginning.instance_id)) {
          SNAP_FLOW(Tolerate(services_.ec2->DisassociateAddress(address.association_id)));
        }
      }
      return Json();
    }));
    return Done{};
  }

  // What its record names, and what else the life-cycle made for it, by kind. The tags alone do not
  // say so: what others made of the node's things may carry them.
  Flow<Json> FindResources(bool terminated) {
    return run_->Observe("resources", [&]() -> Flow<Json> {
      const KeptResources& kept = run_->node().runtime.resources;
      std::set<std::string> images;
      std::set<std::string> held;  // snapshots that images are made of
      std::set<std::string> snapshots;
      std::set<std::string> volumes;
      std::set<std::string> once_kept;  // volumes that may be there still
      std::set<std::string> interfaces;
      if (!kept.image_id.empty()) images.insert(kept.image_id);
      if (!kept.image_snapshot_id.empty()) held.insert(kept.image_snapshot_id);
      if (terminated && !kept.interface_id.empty()) interfaces.insert(kept.interface_id);
      for (const KeptDevice& device : kept.devices) {
        for (const KeptSnapshot& one : device.snapshots) snapshots.insert(one.id);
        if (terminated && !device.foreign && !device.volume_id.empty()) {
          (IsKept(run_->spec(), device) ? volumes : once_kept).insert(device.volume_id);
        }
        if (terminated && !device.old_volume_id.empty()) volumes.insert(device.old_volume_id);
      }
      // What it no longer kept goes, or stays, by what is said now.
      const auto retained = services_.state->ListRetained();
      if (!retained.ok()) return RetryLater(retained.status());
      for (const RetainedRecord& one : *retained) {
        if (one.node_id == run_->operation().node_id) once_kept.insert(one.id);
      }
      // Periodic snapshots whose answer was lost may not be listed yet.
      const int64_t since = run_->Now() - kept.snapshot_asked_ms;
      if (since < kConsistencyMs) return Wait(kConsistencyMs - since);
      const Ec2Query query{.filters = NodeFilter()};
      const auto tagged_images = services_.ec2->DescribeImages(query);
      if (!tagged_images.ok()) return RetryLater(tagged_images.status());
      for (const Ec2Image& one : *tagged_images) {
        if (!IsOwnImage(one, run_->operation().node_id) && !images.contains(one.id)) continue;
        images.insert(one.id);
        for (const Ec2BlockDevice& device : one.devices) {
          if (!device.snapshot_id.empty()) held.insert(device.snapshot_id);
        }
      }
      const auto tagged_snapshots = services_.ec2->DescribeSnapshots(query);
      if (!tagged_snapshots.ok()) return RetryLater(tagged_snapshots.status());
      for (const Ec2Snapshot& one : *tagged_snapshots) {
        if (IsOwnSnapshot(one, run_->operation().node_id)) snapshots.insert(one.id);
      }
      if (terminated) {
        const auto tagged_volumes = services_.ec2->DescribeVolumes(query);
        if (!tagged_volumes.ok()) return RetryLater(tagged_volumes.status());
        for (const Ec2Volume& one : *tagged_volumes) {
          if (!HasToken(one.tags) && !volumes.contains(one.id) && !once_kept.contains(one.id)) {
            continue;
          }
          if (one.state == "in-use") return Wait();
          if (one.state != "deleting" && one.state != "deleted") volumes.insert(one.id);
        }
        const auto tagged_interfaces = services_.ec2->DescribeNetworkInterfaces(query);
        if (!tagged_interfaces.ok()) return RetryLater(tagged_interfaces.status());
        for (const Ec2NetworkInterface& one : *tagged_interfaces) {
          if (!HasToken(one.tags) && !interfaces.contains(one.id)) continue;
          if (one.status != "available") return Wait();
          interfaces.insert(one.id);
        }
      }
      snapshots.insert(held.begin(), held.end());
      return Json{{"image", images},         {"held", held},
                  {"snapshot", snapshots},   {"volume", volumes},
                  {"interface", interfaces}, {"at", run_->Now()}};
    });
  }

  bool IsFlagged(const std::string& kind) const {
    const DeallocationConfig& config = wanted_.config;
    // amiBackup is about images of a backup service, of which none are made here.
    if (kind == "image") return config.should_delete_images.value();
    if (kind == "snapshot") return config.should_delete_snapshots.value();
    if (kind == "volume") return config.should_delete_volumes.value();
    return config.should_delete_network_interfaces.value();
  }
  bool ImagesGo() const { return IsFlagged("image") || services_.options.purge_unflagged; }
  bool AllFlagged() const {
    const DeallocationConfig& config = wanted_.config;
    return config.should_delete_images.value() && config.should_delete_snapshots.value() &&
           config.should_delete_volumes.value() && config.should_delete_network_interfaces.value();
  }

  // Images before snapshots: an image's snapshot cannot be deleted.
  static constexpr const char* kKinds[] = {"image", "snapshot", "volume", "interface"};

  // What was refused: "left" could not be deleted, "unmarked" tells why something has no tag.
  Flow<Json> MarkOrDelete(const Json& found) {
    const bool now = AllFlagged();
    Json refused = {{"left", Json::array()}};
    for (const char* kind : kKinds) {
      const Json& ids = found.at(kind);
      if (ids.empty()) continue;
      SNAP_FLOW_ASSIGN(const Json done,
                       run_->Observe(fmt::format("{}/{}", now ? "delete" : "mark", kind), [&] {
                         return now ? Delete(kind, ids) : Mark(ids, found.at("at"));
                       }));
      // An empty output comes back as null.
      if (!done.is_object()) continue;
      for (const Json& one : done.value("left", Json::array())) refused["left"].push_back(one);
      if (done.contains("unmarked")) refused["unmarked"] = done.at("unmarked");
    }
    return refused;
  }

  Flow<Json> Delete(const std::string& kind, const Json& ids) {
    CleanUp clean_up(services_);
    for (const Json& id : ids) SNAP_FLOW(clean_up.Delete(kind, id));
    return Json{{"left", clean_up.left()}};
  }

  Flow<Json> Mark(const Json& ids, int64_t at_ms) {
    Json done = Json::object();
    for (const Json& id : ids) {
      const auto marked = services_.ec2->CreateTags(
          {id}, {{NodeTag::kNode, run_->operation().node_id},
                 {NodeTag::kRetained, FormatTime(at_ms * kNanosPerMs, 0)}});
      // The record alone decides how long it is kept.
      if (marked.status().Is(StatusCode::kPermissionDenied)) {
        done["unmarked"] = fmt::format("{}: {}", id.get<std::string>(), marked.status().message());
        continue;
      }
      SNAP_FLOW(Tolerate(marked));
    }
    return done;
  }

  std::vector<RetainedRecord> Retained(const Json& found) const {
    std::vector<RetainedRecord> records;
    if (AllFlagged()) return records;
    const auto& held = found.at("held");
    for (const char* kind : kKinds) {
      const bool goes = IsFlagged(kind) || services_.options.purge_unflagged;
      for (const Json& id : found.at(kind)) {
        // A snapshot cannot go before the image that is made of it.
        const bool stays = kind == std::string("snapshot") && !ImagesGo() &&
                           std::find(held.begin(), held.end(), id) != held.end();
        RetainedRecord record;
        record.kind = kind;
        record.id = id;
        record.account_id = run_->operation().account_id;
        record.node_id = run_->operation().node_id;
        record.created_at_ms = found.value("at", int64_t{0});
        if (goes && !stays)
          record.delete_at_ms = record.created_at_ms + services_.options.retention_ms;
        records.push_back(std::move(record));
      }
    }
    return records;
  }

  OperationRun* const run_;
  const Services& services_;
  Deallocation wanted_;
};

}  // namespace

Flow<Done> DeleteResource(const Services& services, const std::string& kind,
                          const std::string& id) {
  if (kind == "image") return Tolerate(services.ec2->DeregisterImage(id));
  if (kind == "snapshot") return Tolerate(services.ec2->DeleteSnapshot(id));
  if (kind == "volume") return Tolerate(services.ec2->DeleteVolume(id));
  return Tolerate(services.ec2->DeleteNetworkInterface(id));
}

Flow<Ending> RunDeallocation(OperationRun* run) { return Deallocate(run).Run(); }

}  // namespace snapstore::spot
