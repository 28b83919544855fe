// Network interfaces and addresses.
#include <fmt/format.h>

#include <set>

#include "base/status_macros.h"
#include "orchestrator/localcloud/action_list.h"
#include "orchestrator/localcloud/resources.h"

namespace snapstore::localcloud {
namespace {

constexpr int kAddressesMax = 250;

const FilterTable kInterfaceFilters = {
    {"network-interface-id", "networkInterfaceId"},
    {"status", "status"},
    {"subnet-id", "subnetId"},
    {"vpc-id", "vpcId"},
    {"availability-zone", "availabilityZone"},
    {"private-ip-address", "privateIpAddress"},
    {"addresses.private-ip-address", "privateIpAddressesSet.*.privateIpAddress"},
    {"mac-address", "macAddress"},
    {"description", "description"},
    {"group-id", "groupSet.*.groupId"},
    {"attachment.attachment-id", "attachment.attachmentId"},
    {"attachment.instance-id", "attachment.instanceId"},
    {"attachment.device-index", "attachment.deviceIndex"},
    {"attachment.status", "attachment.status"},
    {"association.public-ip", "association.publicIp"},
    {"association.allocation-id", "association.allocationId"}};

const FilterTable kAddressFilters = {{"allocation-id", "allocationId"},
                                     {"association-id", "associationId"},
                                     {"public-ip", "publicIp"},
                                     {"instance-id", "instanceId"},
                                     {"network-interface-id", "networkInterfaceId"},
                                     {"private-ip-address", "privateIpAddress"},
                                     {"domain", "domain"}};

// A public address that nobody has.
ApiResult<std::string> FreePublicAddress(const Records::Transaction& tx, const CloudFacts& facts) {
  std::set<std::string> used;
  for (const std::string& id : tx.Ids("eipalloc-")) used.insert(tx.Find(id)->at("publicIp"));
  for (const std::string& id : tx.Ids("eni-")) {
    for (std::string& ip : ValuesAt(*tx.Find(id), "association.publicIp")) used.insert(ip);
  }
  for (int last = 1; last <= kAddressesMax; ++last) {
    std::string address = fmt::format("{}.254.{}", facts.network, last);
    if (!used.contains(address)) return address;
  }
  return ApiError{"AddressLimitExceeded", "The maximum number of addresses has been reached."};
}

void Associate(Records::Transaction& tx, const std::string& interface_id, const Json& association) {
  Json& interface = tx.Edit(interface_id);
  interface["association"] = association;
  interface["privateIpAddressesSet"][0]["association"] = association;
}

}  // namespace

ApiError AssociateOwnAddress(Records::Transaction& tx, const CloudFacts& facts,
                             const std::string& interface_id) {
  SNAP_ASSIGN_OR_RETURN(const std::string address, FreePublicAddress(tx, facts));
  Associate(tx, interface_id,
            {{"publicIp", address}, {"publicDnsName", ""}, {"ipOwnerId", "amazon"}});
  return {};
}

ApiResult<Json> CreateNetworkInterface(Call& call) {
  API_RETURN_IF_ERROR(
      call.p.Check({"SubnetId", "PrivateIpAddress", "Description", "SecurityGroupId.N",
                    "ClientToken", LOCALCLOUD_TAG_PARAMETERS}));
  SNAP_ASSIGN_OR_RETURN(const Json known, FindByToken(call));
  if (!known.is_null() && call.tx.Find(known[0]) != nullptr) {
    return Json{{"networkInterface", *call.tx.Find(known[0])}};
  }
  NewInterface wanted;
  SNAP_ASSIGN_OR_RETURN(wanted.subnet_id, call.p.Required("SubnetId"));
  wanted.private_ip = call.p.Text("PrivateIpAddress");
  wanted.description = call.p.Text("Description");
  wanted.group_ids = call.p.List("SecurityGroupId");
  SNAP_ASSIGN_OR_RETURN(wanted.tags, TagsFor(call.p, "network-interface", {"network-interface"}));
  SNAP_ASSIGN_OR_RETURN(const std::string id, AddInterface(call.tx, call.facts, wanted));
  RememberToken(call, Json::array({id}));
  return Json{{"networkInterface", *call.tx.Find(id)}};
}

ApiResult<Json> DeleteNetworkInterface(Call& call) {
  API_RETURN_IF_ERROR(call.p.Check({"NetworkInterfaceId"}));
  SNAP_ASSIGN_OR_RETURN(const std::string id, call.p.Required("NetworkInterfaceId"));
  SNAP_ASSIGN_OR_RETURN(const Json* interface, Lookup(call.tx, kInterfaces, id));
  if (interface->value("status", "") != "available") {
    return ApiError{"InvalidNetworkInterface.InUse",
                    fmt::format("Network interface '{}' is currently in use.", id)};
  }
  Disassociate(call.tx, id);
  call.tx.Remove(id);
  return Done();
}

ApiResult<Json> DescribeNetworkInterfaces(Call& call) {
  API_RETURN_IF_ERROR(call.p.Check({"NetworkInterfaceId.N", LOCALCLOUD_DESCRIBE_PARAMETERS}));
  return Describe(call, kInterfaces, kInterfaceFilters);
}

ApiResult<Json> ModifyNetworkInterfaceAttribute(Call& call) {
  API_RETURN_IF_ERROR(call.p.Check({"NetworkInterfaceId", "SecurityGroupId.N", "Description.Value",
                                    "Attachment.AttachmentId", "Attachment.DeleteOnTermination"}));
  SNAP_ASSIGN_OR_RETURN(const std::string id, call.p.Required("NetworkInterfaceId"));
  SNAP_ASSIGN_OR_RETURN(const Json* interface, Lookup(call.tx, kInterfaces, id));
  if (call.p.Has("Attachment.AttachmentId")) {
    const std::string attachment = call.p.Text("Attachment.AttachmentId");
    if (interface->value("attachment", Json::object()).value("attachmentId", "") != attachment) {
      return ApiError{"InvalidAttachmentID.NotFound",
                      fmt::format("The attachment '{}' does not exist.", attachment)};
    }
    SNAP_ASSIGN_OR_RETURN(const bool goes, call.p.Truth("Attachment.DeleteOnTermination", false));
    call.tx.Edit(id)["attachment"]["deleteOnTermination"] = goes;
  }
  if (call.p.Has("Description.Value")) {
    call.tx.Edit(id)["description"] = call.p.Text("Description.Value");
  }
  if (const auto groups = call.p.List("SecurityGroupId"); !groups.empty()) {
    SNAP_ASSIGN_OR_RETURN(const Json set, GroupSet(call.tx, call.facts, groups));
    call.tx.Edit(id)["groupSet"] = set;
  }
  return Done();
}

ApiResult<Json> AllocateAddress(Call& call) {
  API_RETURN_IF_ERROR(call.p.Check({"Domain", LOCALCLOUD_TAG_PARAMETERS}));
  SNAP_ASSIGN_OR_RETURN(const std::string address, FreePublicAddress(call.tx, call.facts));
  SNAP_ASSIGN_OR_RETURN(const Json tags, TagsFor(call.p, "elastic-ip", {"elastic-ip"}));
  const std::string id = NewId("eipalloc-");
  call.tx.Edit(id) = {{"publicIp", address},
                      {"allocationId", id},
                      {"domain", "vpc"},
                      {"publicIpv4Pool", "amazon"},
                      {"networkBorderGroup", call.facts.region},
                      {"tagSet", tags}};
  return *call.tx.Find(id);
}

ApiResult<Json> ReleaseAddress(Call& call) {
  API_RETURN_IF_ERROR(call.p.Check({"AllocationId"}));
  SNAP_ASSIGN_OR_RETURN(const std::string id, call.p.Required("AllocationId"));
  SNAP_ASSIGN_OR_RETURN(const Json* address, Lookup(call.tx, kAddresses, id));
  if (address->contains("associationId")) {
    return ApiError{"InvalidIPAddress.InUse",
                    fmt::format("The address with allocation id '{}' is associated", id)};
  }
  call.tx.Remove(id);
  return Done();
}

ApiResult<Json> AssociateAddress(Call& call) {
  API_RETURN_IF_ERROR(
      call.p.Check({"AllocationId", "NetworkInterfaceId", "InstanceId", "AllowReassociation"}));
  SNAP_ASSIGN_OR_RETURN(const std::string id, call.p.Required("AllocationId"));
  SNAP_ASSIGN_OR_RETURN(const Json* address, Lookup(call.tx, kAddresses, id));
  SNAP_ASSIGN_OR_RETURN(const bool again, call.p.Truth("AllowReassociation", true));
  std::string interface_id = call.p.Text("NetworkInterfaceId");
  if (interface_id.empty()) {
    SNAP_ASSIGN_OR_RETURN(const std::string instance_id, call.p.Required("InstanceId"));
    SNAP_ASSIGN_OR_RETURN(const Json* instance, Lookup(call.tx, kInstances, instance_id));
    const std::string state = StateOf(*instance);
    if (state == "shutting-down" || state == "terminated") {
      return ApiError{"InvalidInstanceID",
                      fmt::format("The instance '{}' is not in a valid state for this operation.",
                                  instance_id)};
    }
    interface_id = instance->at("_interfaces")[0];
  }
  SNAP_ASSIGN_OR_RETURN(const Json* interface, Lookup(call.tx, kInterfaces, interface_id));
  const std::string current = address->value("networkInterfaceId", "");
  const bool elsewhere = !current.empty() && current != interface_id;
  if (elsewhere && !again) {
    return ApiError{"Resource.AlreadyAssociated",
                    fmt::format("resource {} is already associated with associate-id {}", id,
                                address->value("associationId", ""))};
  }
  if (!current.empty()) Disassociate(call.tx, current);
  if (interface->contains("association")) Disassociate(call.tx, interface_id);
  const std::string association = NewId("eipassoc-");
  Associate(call.tx, interface_id,
            {{"publicIp", address->at("publicIp")},
             {"publicDnsName", ""},
             {"ipOwnerId", call.facts.account},
             {"allocationId", id},
             {"associationId", association}});
  Json& record = call.tx.Edit(id);
  record["associationId"] = association;
  record["networkInterfaceId"] = interface_id;
  record["networkInterfaceOwnerId"] = call.facts.account;
  record["privateIpAddress"] = interface->at("privateIpAddress");
  if (interface->contains("attachment")) {
    record["instanceId"] = interface->at("attachment").at("instanceId");
  }
  return Json{{"return", "true"}, {"associationId", association}};
}

ApiResult<Json> DisassociateAddress(Call& call) {
  API_RETURN_IF_ERROR(call.p.Check({"AssociationId"}));
  SNAP_ASSIGN_OR_RETURN(const std::string association, call.p.Required("AssociationId"));
  for (const std::string& id : call.tx.Ids("eipalloc-")) {
    const Json& address = *call.tx.Find(id);
    if (address.value("associationId", "") != association) continue;
    Disassociate(call.tx, address.at("networkInterfaceId"));
    return Done();
  }
  return ApiError{"InvalidAssociationID.NotFound",
                  fmt::format("The association ID '{}' does not exist", association)};
}

ApiResult<Json> DescribeAddresses(Call& call) {
  API_RETURN_IF_ERROR(call.p.Check({"AllocationId.N", "Filter.N.Name", "Filter.N.Value.N"}));
  return Describe(call, kAddresses, kAddressFilters);
}

}  // namespace snapstore::localcloud
