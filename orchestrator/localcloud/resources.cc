#include "orchestrator/localcloud/resources.h"

#include <arpa/inet.h>
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <set>

#include "base/bytes.h"
#include "base/clock.h"
#include "base/random.h"
#include "base/status_macros.h"

namespace snapstore::localcloud {
namespace {

struct VolumeType {
  std::string_view name;
  uint64_t size_min, size_max;  // GiB
  uint64_t iops_default, iops_max;
  uint64_t throughput_default, throughput_max;
};
// Source: "Amazon EBS volume types", Amazon EBS User Guide.
constexpr std::array<VolumeType, 7> kVolumeTypes = {{
    {"gp2", 1, 16384, 100, 0, 0, 0},
    {"gp3", 1, 16384, 3000, 16000, 125, 1000},
    {"io1", 4, 16384, 100, 64000, 0, 0},
    {"io2", 4, 16384, 100, 64000, 0, 0},
    {"st1", 125, 16384, 0, 0, 0, 0},
    {"sc1", 125, 16384, 0, 0, 0, 0},
    {"standard", 1, 1024, 0, 0, 0, 0},
}};

ApiError CheckVolume(const NewVolume& volume) {
  const auto type =
      std::find_if(kVolumeTypes.begin(), kVolumeTypes.end(),
                   [&](const VolumeType& known) { return known.name == volume.type; });
  if (type == kVolumeTypes.end()) {
    return InvalidValue(fmt::format("Value ({}) for parameter volumeType is invalid", volume.type));
  }
  if (volume.size_gib < type->size_min || volume.size_gib > type->size_max) {
    return InvalidValue(
        fmt::format("Volume of {}GiB is {} for volume type {}; {} is {}GiB", volume.size_gib,
                    volume.size_gib < type->size_min ? "too small" : "too large", type->name,
                    volume.size_gib < type->size_min ? "minimum" : "maximum",
                    volume.size_gib < type->size_min ? type->size_min : type->size_max));
  }
  if (volume.iops > type->iops_max) {
    return InvalidValue(fmt::format("The parameter iops ({}) is not supported for {} volumes",
                                    volume.iops, type->name));
  }
  if (volume.throughput > type->throughput_max) {
    return InvalidValue(fmt::format("The parameter throughput ({}) is not supported for {} volumes",
                                    volume.throughput, type->name));
  }
  return {};
}

// Whether `address` is one that `subnet` hands out.
bool IsInSubnet(const Json& subnet, const std::string& address) {
  const std::string cidr = subnet.value("cidrBlock", "");
  const size_t slash = cidr.find('/');
  in_addr base{};
  in_addr given{};
  if (inet_pton(AF_INET, cidr.substr(0, slash).c_str(), &base) != 1 ||
      inet_pton(AF_INET, address.c_str(), &given) != 1) {
    return false;
  }
  const uint32_t offset = ntohl(given.s_addr) - ntohl(base.s_addr);
  const uint32_t size = 1U << (32 - std::stoul(cidr.substr(slash + 1)));
  // The first four and the last are EC2's own.
  return offset >= 4 && offset < size - 1;
}

std::set<std::string> UsedAddresses(const Records::Transaction& tx) {
  std::set<std::string> used;
  for (const std::string& id : tx.Ids("eni-")) {
    for (std::string& ip : ValuesAt(*tx.Find(id), "privateIpAddressesSet.*.privateIpAddress")) {
      used.insert(std::move(ip));
    }
  }
  return used;
}

ApiResult<std::string> ChooseAddress(const Records::Transaction& tx, const Json& subnet,
                                     const std::string& wanted) {
  const std::set<std::string> used = UsedAddresses(tx);
  if (!wanted.empty()) {
    if (!IsInSubnet(subnet, wanted)) {
      return InvalidValue(
          fmt::format("Address {} does not fall within the subnet's address range", wanted));
    }
    if (used.contains(wanted)) {
      return ApiError{"InvalidIPAddress.InUse", fmt::format("Address {} is in use.", wanted)};
    }
    return wanted;
  }
  const std::string cidr = subnet.value("cidrBlock", "");
  in_addr base{};
  inet_pton(AF_INET, cidr.substr(0, cidr.find('/')).c_str(), &base);
  for (uint32_t offset = 4; offset < 4000; ++offset) {
    const in_addr candidate{htonl(ntohl(base.s_addr) + offset)};
    std::array<char, INET_ADDRSTRLEN> text{};
    inet_ntop(AF_INET, &candidate, text.data(), text.size());
    if (!used.contains(text.data())) return std::string(text.data());
  }
  return ApiError{"InsufficientFreeAddressesInSubnet",
                  fmt::format("There are not enough free addresses in subnet '{}'",
                              subnet.value("subnetId", ""))};
}

std::string DnsName(std::string address, const std::string& region) {
  std::replace(address.begin(), address.end(), '.', '-');
  return fmt::format("ip-{}.{}.compute.internal", address, region);
}

}  // namespace

Json InstanceState(std::string_view name) {
  constexpr std::array<std::pair<std::string_view, int>, 6> kCodes = {{{"pending", 0},
                                                                       {"running", 16},
                                                                       {"shutting-down", 32},
                                                                       {"terminated", 48},
                                                                       {"stopping", 64},
                                                                       {"stopped", 80}}};
  const auto found = std::find_if(kCodes.begin(), kCodes.end(),
                                  [&](const auto& code) { return code.first == name; });
  return {{"code", found->second}, {"name", name}};
}

std::string StateOf(const Json& instance) { return instance.at("instanceState").at("name"); }

void BeginTermination(Records::Transaction& tx, const std::string& instance_id,
                      const std::string& reason_code, const std::string& message) {
  Json& instance = tx.Edit(instance_id);
  const std::string state = StateOf(instance);
  if (state == "shutting-down" || state == "terminated") return;
  instance["instanceState"] = InstanceState("shutting-down");
  instance["stateReason"] = {{"code", reason_code}, {"message", message}};
  instance["reason"] = reason_code == "Client.UserInitiatedShutdown"
                           ? fmt::format("User initiated ({})", TimeText())
                           : reason_code;
  const std::string request = instance.value("spotInstanceRequestId", "");
  if (request.empty() || tx.Find(request) == nullptr) return;
  Json& spot = tx.Edit(request);
  const bool by_user = reason_code == "Client.UserInitiatedShutdown";
  if (spot.value("state", "") == "active") spot["state"] = "closed";
  spot["status"] = {
      {"code", by_user ? "instance-terminated-by-user" : "instance-terminated-no-capacity"},
      {"message", message},
      {"updateTime", TimeText()}};
}

ApiResult<std::string> AddVolume(Records::Transaction& tx, NewVolume volume) {
  if (!volume.snapshot_id.empty()) {
    SNAP_ASSIGN_OR_RETURN(const Json* snapshot, Lookup(tx, kSnapshots, volume.snapshot_id));
    if (snapshot->value("status", "") != "completed") {
      return ApiError{"IncorrectState", fmt::format("Snapshot is in invalid state - {}",
                                                    snapshot->value("status", ""))};
    }
    const uint64_t least = snapshot->value("volumeSize", uint64_t{0});
    if (volume.size_gib == 0) volume.size_gib = least;
    if (volume.size_gib < least) {
      return ApiError{"InvalidBlockDeviceMapping",
                      fmt::format("Volume of size {}GB is smaller than snapshot '{}', expect size "
                                  ">= {}GB",
                                  volume.size_gib, volume.snapshot_id, least)};
    }
  } else if (volume.size_gib == 0) {
    return ApiError{"MissingParameter", "The request must contain the parameter size/snapshot"};
  }
  API_RETURN_IF_ERROR(CheckVolume(volume));
  std::string id = NewId("vol-");
  Json& record = tx.Edit(id);
  record = {{"volumeId", id},
            {"size", volume.size_gib},
            {"snapshotId", volume.snapshot_id},
            {"availabilityZone", volume.zone},
            {"status", "creating"},
            {"createTime", TimeText()},
            {"attachmentSet", Json::array()},
            {"tagSet", volume.tags},
            {"volumeType", volume.type},
            {"encrypted", false},
            {"multiAttachEnabled", false}};
  for (const VolumeType& type : kVolumeTypes) {
    if (type.name != volume.type) continue;
    const uint64_t iops = volume.iops != 0 ? volume.iops : type.iops_default;
    if (iops != 0) record["iops"] = iops;
    const uint64_t throughput =
        volume.throughput != 0 ? volume.throughput : type.throughput_default;
    if (throughput != 0) record["throughput"] = throughput;
  }
  return id;
}

ApiResult<Json> GroupSet(const Records::Transaction& tx, const CloudFacts& facts,
                         const std::vector<std::string>& ids) {
  Json set = Json::array();
  for (const std::string& id : ids.empty() ? std::vector{facts.group_id} : ids) {
    SNAP_ASSIGN_OR_RETURN(const Json* group, Lookup(tx, kGroups, id));
    set.push_back({{"groupId", id}, {"groupName", group->value("groupName", "")}});
  }
  return set;
}

ApiResult<std::string> AddInterface(Records::Transaction& tx, const CloudFacts& facts,
                                    const NewInterface& interface) {
  SNAP_ASSIGN_OR_RETURN(const Json* subnet, Lookup(tx, kSubnets, interface.subnet_id));
  SNAP_ASSIGN_OR_RETURN(const std::string address,
                        ChooseAddress(tx, *subnet, interface.private_ip));
  SNAP_ASSIGN_OR_RETURN(const Json groups, GroupSet(tx, facts, interface.group_ids));
  std::array<uint8_t, 5> random{};
  SecureRandom(random);
  const std::string zone = subnet->value("availabilityZone", "");
  std::string id = NewId("eni-");
  const std::string dns = DnsName(address, facts.region);
  tx.Edit(id) = {
      {"networkInterfaceId", id},
      {"subnetId", interface.subnet_id},
      {"vpcId", facts.vpc_id},
      {"availabilityZone", zone},
      {"description", interface.description},
      {"ownerId", facts.account},
      {"requesterManaged", false},
      {"status", "available"},
      // 02: administered locally, as EC2's are.
      {"macAddress", fmt::format("02:{:02x}:{:02x}:{:02x}:{:02x}:{:02x}", random[0], random[1],
                                 random[2], random[3], random[4])},
      {"privateIpAddress", address},
      {"privateDnsName", dns},
      {"sourceDestCheck", true},
      {"interfaceType", "interface"},
      {"groupSet", groups},
      {"tagSet", interface.tags},
      {"privateIpAddressesSet",
       Json::array(
           {Json{{"privateIpAddress", address}, {"privateDnsName", dns}, {"primary", true}}})}};
  return id;
}

void Disassociate(Records::Transaction& tx, const std::string& interface_id) {
  Json& interface = tx.Edit(interface_id);
  const auto found = interface.find("association");
  if (found == interface.end()) return;
  const std::string allocation = found->value("allocationId", "");
  interface.erase("association");
  interface["privateIpAddressesSet"][0].erase("association");
  if (allocation.empty() || tx.Find(allocation) == nullptr) return;
  Json& address = tx.Edit(allocation);
  for (const char* name : {"associationId", "instanceId", "networkInterfaceId", "privateIpAddress",
                           "networkInterfaceOwnerId"}) {
    address.erase(name);
  }
}

Json InstanceView(const Records::Transaction& tx, const Json& instance) {
  Json view = instance;
  view["networkInterfaceSet"] = Json::array();
  for (const Json& id : instance.value("_interfaces", Json::array())) {
    const Json* interface = tx.Find(id);
    if (interface == nullptr || !interface->contains("attachment")) continue;
    Json seen = *interface;
    for (const char* name : {"availabilityZone", "requesterManaged", "tagSet"}) seen.erase(name);
    if (seen["attachment"].value("deviceIndex", 0) == 0 && seen.contains("association")) {
      view["ipAddress"] = seen["association"].value("publicIp", "");
    }
    view["networkInterfaceSet"].push_back(std::move(seen));
  }
  view["blockDeviceMapping"] = Json::array();
  for (const Json& id : instance.value("_volumes", Json::array())) {
    const Json* volume = tx.Find(id);
    if (volume == nullptr || volume->at("attachmentSet").empty()) continue;
    const Json& attachment = volume->at("attachmentSet")[0];
    view["blockDeviceMapping"].push_back(
        {{"deviceName", attachment.at("device")},
         {"ebs",
          {{"volumeId", id},
           {"status", attachment.at("status")},
           {"attachTime", attachment.at("attachTime")},
           {"deleteOnTermination", attachment.at("deleteOnTermination")}}}});
  }
  return view;
}

std::string AddSnapshot(Call& call, const std::string& volume_id, const std::string& description,
                        Json tags) {
  std::string id = NewId("snap-");
  const Json& volume = *call.tx.Find(volume_id);
  call.tx.Edit(id) = {{"snapshotId", id},
                      {"volumeId", volume_id},
                      {"status", "pending"},
                      {"startTime", TimeText()},
                      {"progress", "0%"},
                      {"ownerId", call.facts.account},
                      {"volumeSize", volume.at("size")},
                      {"description", description},
                      {"encrypted", false},
                      {"storageTier", "standard"},
                      {"tagSet", std::move(tags)}};
  call.capture->push_back(id);
  return id;
}

}  // namespace snapstore::localcloud
