// What workers do for network interfaces of instances that run.
#include <fmt/format.h>

#include <algorithm>

#include "base/log.h"
#include "base/status_macros.h"
#include "orchestrator/localcloud/cloud.h"
#include "orchestrator/localcloud/machine/program.h"
#include "orchestrator/localcloud/resources.h"

namespace snapstore::localcloud {
namespace {

Status RunInside(const Json& instance, std::vector<std::string> command) {
  command.insert(command.begin(),
                 {"nsenter", fmt::format("--net=/proc/{}/ns/net", instance.value("_pid", -1))});
  return RunProgram(command).status();
}

std::string DeviceOf(const Json& interface) {
  return fmt::format("eth{}", interface.at("attachment").value("deviceIndex", 0));
}

// Of no instance any more.
void SetFree(Records::Transaction& tx, const std::string& id) {
  Json& interface = tx.Edit(id);
  interface.erase("attachment");
  interface.erase("_routed");
  interface["status"] = "available";
  const std::string allocation =
      interface.value("association", Json::object()).value("allocationId", "");
  if (!allocation.empty()) tx.Edit(allocation).erase("instanceId");
}

}  // namespace

void Cloud::FindAttachmentTask(const std::string& id) {
  const Json& interface = *records_->Find(id);
  if (!interface.contains("attachment")) return;
  const std::string status = interface.at("attachment").value("status", "");
  if (status != "attaching" && status != "detaching") return;
  const std::string instance_id = interface.at("attachment").value("instanceId", "");
  const Json* instance = records_->Find(instance_id);
  const std::string state = instance == nullptr ? "" : StateOf(*instance);
  // Those of an instance that comes or goes are its own workers' affair; so are those of one that
  // is stopped and to be started with them.
  const bool now = state == "running" || (state == "stopped" && status == "detaching");
  if (!now || instance->value("_reboot", false)) return;
  // In the instance's name: nothing else happens to it meanwhile.
  Enqueue(instance_id, [this, id] { ChangeAttachmentWork(id); });
}

void Cloud::ChangeAttachmentWork(const std::string& interface_id) {
  const std::optional<Json> interface = Read(interface_id);
  if (!interface || !interface->contains("attachment")) return;
  const std::string instance_id = interface->at("attachment").value("instanceId", "");
  const std::optional<Json> instance = Read(instance_id);
  if (!instance) return;
  const bool comes = interface->at("attachment").value("status", "") == "attaching";
  const Status changed = comes ? Plug(*instance, *interface) : fabric_->Disconnect(interface_id);
  if (!changed.ok()) {
    LogWarning("{} of {}: {}", interface_id, instance_id, changed.message());
    return;
  }
  const std::string routed = interface->value("_routed", "");
  if (!comes && !routed.empty()) (void)fabric_->UnroutePublic(routed);
  const std::lock_guard lock(mutex_);
  Records::Transaction tx(records_.get());
  if (tx.Find(interface_id) == nullptr || tx.Find(instance_id) == nullptr) return;
  if (comes) {
    // Unless it is to go already.
    Json& attachment = tx.Edit(interface_id)["attachment"];
    if (attachment.value("status", "") == "attaching") attachment["status"] = "attached";
  } else {
    SetFree(tx, interface_id);
    Json& list = tx.Edit(instance_id)["_interfaces"];
    list.erase(std::remove(list.begin(), list.end(), Json(interface_id)), list.end());
  }
  Commit(&tx);
}

Status Cloud::Plug(const Json& instance, const Json& interface) {
  const std::string address = interface.at("privateIpAddress");
  const std::string device = DeviceOf(interface);
  SNAP_RETURN_IF_ERROR(
      fabric_->Connect(interface.at("networkInterfaceId"), Fabric::SubnetOfAddress(address),
                       instance.value("_pid", -1), device, interface.at("macAddress")));
  SNAP_RETURN_IF_ERROR(
      RunInside(instance, {"ip", "addr", "replace", address + "/20", "dev", device}));
  return RunInside(instance, {"ip", "link", "set", device, "up"});
}

void Cloud::ReleaseInterfaces(const Json& instance) {
  const std::lock_guard lock(mutex_);
  Records::Transaction tx(records_.get());
  for (const Json& id : instance.value("_interfaces", Json::array())) {
    const Json* record = tx.Find(id);
    if (record == nullptr || !record->contains("attachment")) continue;
    const bool goes = record->at("attachment").value("deleteOnTermination", false);
    const bool own = record->value("association", Json::object()).value("allocationId", "").empty();
    if (own || goes) Disassociate(tx, id);
    if (goes) {
      tx.Remove(id);
      continue;
    }
    SetFree(tx, id);
  }
  Commit(&tx);
}

void Cloud::ApplyAddress(const std::string& interface_id) {
  const std::optional<Json> interface = Read(interface_id);
  if (!interface || !interface->contains("attachment")) return;
  const std::optional<Json> instance = Read(interface->at("attachment").value("instanceId", ""));
  if (!instance) return;
  const std::string before = interface->value("_routed", "");
  const std::string now = interface->value("association", Json::object()).value("publicIp", "");
  const int subnet = Fabric::SubnetOfAddress(interface->at("privateIpAddress"));
  const std::string device = DeviceOf(*interface);
  const auto inside = [&](const std::string& verb, const std::string& address) {
    return RunInside(*instance, {"ip", "addr", verb, address + "/32", "dev", device});
  };
  Status applied;
  if (!before.empty()) {
    (void)inside("del", before);
    (void)fabric_->UnroutePublic(before);
  }
  if (!now.empty()) {
    applied = inside("replace", now);
    if (applied.ok()) applied = fabric_->RoutePublic(now, subnet);
  }
  if (!applied.ok()) {
    LogWarning("{}: {}", interface_id, applied.message());
    return;
  }
  const std::lock_guard lock(mutex_);
  if (records_->Find(interface_id) == nullptr) return;
  Records::Transaction tx(records_.get());
  tx.Edit(interface_id)["_routed"] = now;
  Commit(&tx);
}

}  // namespace snapstore::localcloud
