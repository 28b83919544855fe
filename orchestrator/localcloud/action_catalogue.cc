// What there is from the start: zones, networks, groups, keys.
#include <fmt/format.h>

#include "base/sha256.h"
#include "base/status_macros.h"
#include "orchestrator/localcloud/action_list.h"
#include "orchestrator/localcloud/resources.h"

namespace snapstore::localcloud {
namespace {

const FilterTable kSubnetFilters = {{"subnet-id", "subnetId"},
                                    {"vpc-id", "vpcId"},
                                    {"availability-zone", "availabilityZone"},
                                    {"availabilityZone", "availabilityZone"},
                                    {"cidr-block", "cidrBlock"},
                                    {"cidr", "cidrBlock"},
                                    {"default-for-az", "defaultForAz"},
                                    {"state", "state"}};
const FilterTable kVpcFilters = {{"vpc-id", "vpcId"},
                                 {"cidr", "cidrBlock"},
                                 {"is-default", "isDefault"},
                                 {"isDefault", "isDefault"},
                                 {"state", "state"}};
const FilterTable kGroupFilters = {{"group-id", "groupId"},
                                   {"group-name", "groupName"},
                                   {"vpc-id", "vpcId"},
                                   {"description", "groupDescription"}};
const FilterTable kKeyFilters = {
    {"key-name", "keyName"}, {"key-pair-id", "keyPairId"}, {"fingerprint", "keyFingerprint"}};
const FilterTable kZoneFilters = {{"zone-name", "zoneName"},     {"zone-id", "zoneId"},
                                  {"region-name", "regionName"}, {"state", "zoneState"},
                                  {"zone-type", "zoneType"},     {"opt-in-status", "optInStatus"}};
const Kind kKeys{"key-name/",
                 "keyName",
                 "KeyName",
                 "InvalidKeyPair.NotFound",
                 "The key pair '{}' does not exist",
                 "keySet",
                 "key-pair"};

}  // namespace

ApiResult<Json> DescribeRegions(Call& call) {
  API_RETURN_IF_ERROR(call.p.Check({"RegionName.N", "AllRegions"}));
  for (const std::string& name : call.p.List("RegionName")) {
    if (name != call.facts.region) {
      return InvalidValue(fmt::format("Invalid region provided: {}", name));
    }
  }
  return Json{{"regionInfo", Json::array({Json{{"regionName", call.facts.region},
                                               {"regionEndpoint", "localhost"},
                                               {"optInStatus", "opt-in-not-required"}}})}};
}

ApiResult<Json> DescribeAvailabilityZones(Call& call) {
  API_RETURN_IF_ERROR(
      call.p.Check({"ZoneName.N", "AllAvailabilityZones", "Filter.N.Name", "Filter.N.Value.N"}));
  const auto wanted = call.p.List("ZoneName");
  std::map<std::string, Json> zones;
  for (const std::string& id : call.tx.Ids("subnet-")) {
    const Json& subnet = *call.tx.Find(id);
    const std::string name = subnet.at("availabilityZone");
    const Json zone = {{"zoneName", name},
                       {"zoneId", subnet.at("availabilityZoneId")},
                       {"zoneState", "available"},
                       {"zoneType", "availability-zone"},
                       {"optInStatus", "opt-in-not-required"},
                       {"regionName", call.facts.region},
                       {"groupName", call.facts.region},
                       {"networkBorderGroup", call.facts.region},
                       {"messageSet", Json::array()}};
    SNAP_ASSIGN_OR_RETURN(const bool holds, FiltersHold(call.p, kZoneFilters, zone));
    if (holds) zones[name] = zone;
  }
  Json set = Json::array();
  for (const std::string& name : wanted) {
    if (!zones.contains(name)) {
      return InvalidValue(fmt::format("Invalid availability zone: [{}]", name));
    }
    set.push_back(zones[name]);
  }
  if (wanted.empty()) {
    for (const auto& [name, zone] : zones) set.push_back(zone);
  }
  return Json{{"availabilityZoneInfo", set}};
}

ApiResult<Json> DescribeSubnets(Call& call) {
  API_RETURN_IF_ERROR(call.p.Check({"SubnetId.N", LOCALCLOUD_DESCRIBE_PARAMETERS}));
  std::map<std::string, int> taken;
  for (const std::string& id : call.tx.Ids("eni-")) {
    ++taken[call.tx.Find(id)->value("subnetId", "")];
  }
  return Describe(call, kSubnets, kSubnetFilters, [&](const Json& record) {
    constexpr int kUsable = 4096 - 5;
    Json view = record;
    view["availableIpAddressCount"] = kUsable - taken[record.at("subnetId")];
    return view;
  });
}

ApiResult<Json> DescribeVpcs(Call& call) {
  API_RETURN_IF_ERROR(call.p.Check({"VpcId.N", LOCALCLOUD_DESCRIBE_PARAMETERS}));
  return Describe(call, kVpcs, kVpcFilters);
}

ApiResult<Json> DescribeSecurityGroups(Call& call) {
  API_RETURN_IF_ERROR(call.p.Check({"GroupId.N", LOCALCLOUD_DESCRIBE_PARAMETERS}));
  return Describe(call, kGroups, kGroupFilters);
}

ApiResult<Json> CreateSecurityGroup(Call& call) {
  API_RETURN_IF_ERROR(
      call.p.Check({"GroupName", "GroupDescription", "VpcId", LOCALCLOUD_TAG_PARAMETERS}));
  SNAP_ASSIGN_OR_RETURN(const std::string name, call.p.Required("GroupName"));
  SNAP_ASSIGN_OR_RETURN(const std::string description, call.p.Required("GroupDescription"));
  if (call.p.Has("VpcId")) {
    API_RETURN_IF_ERROR(Lookup(call.tx, kVpcs, call.p.Text("VpcId")).status());
  }
  for (const std::string& id : call.tx.Ids("sg-")) {
    if (call.tx.Find(id)->value("groupName", "") == name) {
      return ApiError{"InvalidGroup.Duplicate",
                      fmt::format("The security group '{}' already exists", name)};
    }
  }
  SNAP_ASSIGN_OR_RETURN(const Json tags, TagsFor(call.p, "security-group", {"security-group"}));
  const std::string id = NewId("sg-");
  call.tx.Edit(id) = {{"groupId", id},
                      {"groupName", name},
                      {"groupDescription", description},
                      {"ownerId", call.facts.account},
                      {"vpcId", call.facts.vpc_id},
                      {"ipPermissions", Json::array()},
                      {"ipPermissionsEgress", Json::array()},
                      {"tagSet", tags}};
  return Json{{"return", "true"}, {"groupId", id}};
}

ApiResult<Json> DeleteSecurityGroup(Call& call) {
  API_RETURN_IF_ERROR(call.p.Check({"GroupId"}));
  SNAP_ASSIGN_OR_RETURN(const std::string id, call.p.Required("GroupId"));
  API_RETURN_IF_ERROR(Lookup(call.tx, kGroups, id).status());
  if (id == call.facts.group_id) {
    return ApiError{"CannotDelete", "the specified group: \"default\" cannot be deleted by a user"};
  }
  for (const std::string& interface : call.tx.Ids("eni-")) {
    for (const std::string& used : ValuesAt(*call.tx.Find(interface), "groupSet.*.groupId")) {
      if (used == id) {
        return ApiError{"DependencyViolation",
                        fmt::format("resource {} has a dependent object", id)};
      }
    }
  }
  call.tx.Remove(id);
  return Done();
}

ApiResult<Json> DescribeKeyPairs(Call& call) {
  API_RETURN_IF_ERROR(call.p.Check({"KeyName.N", "Filter.N.Name", "Filter.N.Value.N"}));
  Json set = Json::array();
  std::vector<std::string> ids;
  for (const std::string& name : call.p.List("KeyName")) ids.push_back("key-name/" + name);
  for (const std::string& id : ids) {
    if (call.tx.Find(id) == nullptr) {
      return ApiError{std::string(kKeys.not_found),
                      fmt::format("The key pair '{}' does not exist", id.substr(9))};
    }
  }
  if (ids.empty()) ids = call.tx.Ids("key-name/");
  for (const std::string& id : ids) {
    SNAP_ASSIGN_OR_RETURN(const bool holds, FiltersHold(call.p, kKeyFilters, *call.tx.Find(id)));
    if (holds) set.push_back(*call.tx.Find(id));
  }
  return Json{{"keySet", set}};
}

ApiResult<Json> ImportKeyPair(Call& call) {
  API_RETURN_IF_ERROR(call.p.Check({"KeyName", "PublicKeyMaterial", LOCALCLOUD_TAG_PARAMETERS}));
  SNAP_ASSIGN_OR_RETURN(const std::string name, call.p.Required("KeyName"));
  SNAP_ASSIGN_OR_RETURN(const std::string material, call.p.Required("PublicKeyMaterial"));
  if (call.tx.Find("key-name/" + name) != nullptr) {
    return ApiError{"InvalidKeyPair.Duplicate", "The keypair already exists"};
  }
  SNAP_ASSIGN_OR_RETURN(const Json tags, TagsFor(call.p, "key-pair", {"key-pair"}));
  const std::string id = NewId("key-");
  call.tx.Edit("key-name/" + name) = {
      {"keyName", name},
      {"keyPairId", id},
      {"keyFingerprint", Sha256::Of(AsBytes(material)).ToHex().substr(0, 32)},
      {"tagSet", tags},
      {"_material", material}};
  return *call.tx.Find("key-name/" + name);
}

ApiResult<Json> DeleteKeyPair(Call& call) {
  API_RETURN_IF_ERROR(call.p.Check({"KeyName"}));
  SNAP_ASSIGN_OR_RETURN(const std::string name, call.p.Required("KeyName"));
  // As EC2 has it: one that does not exist is deleted all the same.
  if (call.tx.Find("key-name/" + name) != nullptr) call.tx.Remove("key-name/" + name);
  return Done();
}

}  // namespace snapstore::localcloud
