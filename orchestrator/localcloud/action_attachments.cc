// Network interfaces that come to instances and go from them.
#include <fmt/format.h>

#include "base/status_macros.h"
#include "orchestrator/localcloud/action_list.h"
#include "orchestrator/localcloud/resources.h"

namespace snapstore::localcloud {
namespace {

constexpr uint64_t kIndexMax = 15;

// Whether interfaces can come to it or go from it now.
ApiError CheckInstance(const Json& instance, const std::string& id) {
  const std::string state = StateOf(instance);
  if ((state == "running" || state == "stopped") && !instance.value("_reboot", false)) return {};
  return {"IncorrectState", fmt::format("Instance '{}' is not 'running' or 'stopped'.", id)};
}

}  // namespace

ApiResult<Json> AttachNetworkInterface(Call& call) {
  API_RETURN_IF_ERROR(
      call.p.Check({"NetworkInterfaceId", "InstanceId", "DeviceIndex", "NetworkCardIndex"}));
  SNAP_ASSIGN_OR_RETURN(const std::string id, call.p.Required("NetworkInterfaceId"));
  SNAP_ASSIGN_OR_RETURN(const std::string instance_id, call.p.Required("InstanceId"));
  SNAP_ASSIGN_OR_RETURN(const std::string given, call.p.Required("DeviceIndex"));
  SNAP_ASSIGN_OR_RETURN(const uint64_t index, call.p.Number("DeviceIndex", 0));
  SNAP_ASSIGN_OR_RETURN(const uint64_t card, call.p.Number("NetworkCardIndex", 0));
  SNAP_ASSIGN_OR_RETURN(const Json* interface, Lookup(call.tx, kInterfaces, id));
  SNAP_ASSIGN_OR_RETURN(const Json* instance, Lookup(call.tx, kInstances, instance_id));
  if (card != 0) return InvalidValue("NetworkCardIndex: an instance has card 0 only");
  if (index > kIndexMax) {
    return ApiError{"AttachmentLimitExceeded",
                    fmt::format("Interface count {} exceeds the limit for {}", index + 1,
                                instance->value("instanceType", ""))};
  }
  if (interface->value("status", "") != "available") {
    return ApiError{"InvalidNetworkInterface.InUse", fmt::format("Interface: [{}] in use.", id)};
  }
  API_RETURN_IF_ERROR(CheckInstance(*instance, instance_id));
  if (instance->at("placement").value("availabilityZone", "") !=
      interface->value("availabilityZone", "")) {
    return ApiError{"InvalidParameterCombination",
                    "You may not attach a network interface to an instance if they are not in the "
                    "same availability zone"};
  }
  for (const Json& other : instance->at("_interfaces")) {
    const Json* record = call.tx.Find(other);
    if (record == nullptr || !record->contains("attachment")) continue;
    if (record->at("attachment").value("deviceIndex", uint64_t{0}) == index) {
      return InvalidValue(
          fmt::format("Instance '{}' already has an interface attached at device index '{}'.",
                      instance_id, index));
    }
  }
  const std::string attachment = NewId("eni-attach-");
  Json& changed = call.tx.Edit(id);
  changed["status"] = "in-use";
  changed["attachment"] = {{"attachmentId", attachment},
                           {"instanceId", instance_id},
                           {"instanceOwnerId", call.facts.account},
                           {"deviceIndex", index},
                           {"networkCardIndex", card},
                           // Into one that does not run it comes when that is started.
                           {"status", StateOf(*instance) == "running" ? "attaching" : "attached"},
                           {"attachTime", TimeText()},
                           {"deleteOnTermination", false}};
  const std::string allocation =
      changed.value("association", Json::object()).value("allocationId", "");
  if (!allocation.empty()) call.tx.Edit(allocation)["instanceId"] = instance_id;
  call.tx.Edit(instance_id)["_interfaces"].push_back(id);
  return Json{{"attachmentId", attachment}, {"networkCardIndex", card}};
}

ApiResult<Json> DetachNetworkInterface(Call& call) {
  API_RETURN_IF_ERROR(call.p.Check({"AttachmentId", "Force"}));
  SNAP_ASSIGN_OR_RETURN(const std::string attachment, call.p.Required("AttachmentId"));
  SNAP_ASSIGN_OR_RETURN(const bool force, call.p.Truth("Force", false));
  for (const std::string& id : call.tx.Ids(std::string(kInterfaces.prefix))) {
    const Json* interface = call.tx.Find(id);
    const Json attached = interface->value("attachment", Json::object());
    if (attached.value("attachmentId", "") != attachment) continue;
    if (attached.value("deviceIndex", uint64_t{0}) == 0) {
      return ApiError{"OperationNotPermitted",
                      "The network interface at device index 0 cannot be detached."};
    }
    SNAP_ASSIGN_OR_RETURN(const Json* instance,
                          Lookup(call.tx, kInstances, attached.value("instanceId", "")));
    API_RETURN_IF_ERROR(CheckInstance(*instance, attached.value("instanceId", "")));
    if (attached.value("status", "") == "attaching" && !force) {
      return ApiError{"IncorrectState",
                      fmt::format("Attachment '{}' is not in state 'attached'.", attachment)};
    }
    call.tx.Edit(id)["attachment"]["status"] = "detaching";
    return Done();
  }
  return ApiError{"InvalidAttachmentID.NotFound",
                  fmt::format("The attachment '{}' does not exist.", attachment)};
}

}  // namespace snapstore::localcloud
