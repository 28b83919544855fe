#include "orchestrator/localcloud/call.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "base/clock.h"
#include "base/random.h"
#include "base/sha256.h"
#include "base/status_macros.h"

namespace snapstore::localcloud {

const Kind kInstances{"i-",
                      "instanceId",
                      "InstanceId",
                      "InvalidInstanceID.NotFound",
                      "The instance ID '{}' does not exist",
                      "reservationSet",
                      "instance"};
const Kind kVolumes{"vol-",
                    "volumeId",
                    "VolumeId",
                    "InvalidVolume.NotFound",
                    "The volume '{}' does not exist.",
                    "volumeSet",
                    "volume"};
const Kind kSnapshots{"snap-",
                      "snapshotId",
                      "SnapshotId",
                      "InvalidSnapshot.NotFound",
                      "The snapshot '{}' does not exist.",
                      "snapshotSet",
                      "snapshot"};
const Kind kImages{"ami-",
                   "imageId",
                   "ImageId",
                   "InvalidAMIID.NotFound",
                   "The image id '[{}]' does not exist",
                   "imagesSet",
                   "image"};
const Kind kInterfaces{"eni-",
                       "networkInterfaceId",
                       "NetworkInterfaceId",
                       "InvalidNetworkInterfaceID.NotFound",
                       "The networkInterface ID '{}' does not exist",
                       "networkInterfaceSet",
                       "network-interface"};
const Kind kAddresses{"eipalloc-",
                      "allocationId",
                      "AllocationId",
                      "InvalidAllocationID.NotFound",
                      "The allocation ID '{}' does not exist",
                      "addressesSet",
                      "elastic-ip"};
const Kind kSubnets{"subnet-",
                    "subnetId",
                    "SubnetId",
                    "InvalidSubnetID.NotFound",
                    "The subnet ID '{}' does not exist",
                    "subnetSet",
                    "subnet"};
const Kind kVpcs{
    "vpc-",   "vpcId", "VpcId", "InvalidVpcID.NotFound", "The vpc ID '{}' does not exist",
    "vpcSet", "vpc"};
const Kind kGroups{"sg-",
                   "groupId",
                   "GroupId",
                   "InvalidGroup.NotFound",
                   "The security group '{}' does not exist",
                   "securityGroupInfo",
                   "security-group"};
const Kind kSpotRequests{"sir-",
                         "spotInstanceRequestId",
                         "SpotInstanceRequestId",
                         "InvalidSpotInstanceRequestID.NotFound",
                         "The spot instance request ID '{}' does not exist",
                         "spotInstanceRequestSet",
                         "spot-instances-request"};

namespace {

constexpr std::array kKinds = {&kInstances, &kVolumes, &kSnapshots, &kImages, &kInterfaces,
                               &kAddresses, &kSubnets, &kVpcs,      &kGroups, &kSpotRequests};

std::string TokenKey(const Call& call) {
  return fmt::format("!token/{}/{}", call.action, call.p.Text("ClientToken"));
}

std::string FingerprintOf(const Call& call) {
  return Sha256::Of(AsBytes(call.p.Fingerprint("ClientToken"))).ToHex();
}

}  // namespace

std::string NewId(const std::string& prefix) {
  std::array<uint8_t, 9> random{};
  SecureRandom(random);
  return prefix + HexEncode(random).substr(0, 17);
}

std::string TimeText() { return FormatTime(WallNanos()); }

const Kind* KindOfId(const std::string& id) {
  for (const Kind* kind : kKinds) {
    if (id.starts_with(kind->prefix)) return kind;
  }
  return nullptr;
}

ApiResult<const Json*> Lookup(const Records::Transaction& tx, const Kind& kind,
                              const std::string& id) {
  if (!id.starts_with(kind.prefix)) {
    const std::string_view code = kind.not_found.substr(0, kind.not_found.find('.'));
    return ApiError{fmt::format("{}.Malformed", code),
                    fmt::format("Invalid id: \"{}\" (expecting \"{}...\")", id, kind.prefix)};
  }
  const Json* record = tx.Find(id);
  if (record != nullptr) return record;
  return ApiError{std::string(kind.not_found), fmt::format(fmt::runtime(kind.words), id)};
}

ApiResult<Json> TagsFor(const Parameters& p, std::string_view type,
                        std::initializer_list<std::string_view> allowed) {
  Json tags = Json::array();
  for (const Parameters& specification : p.Structures("TagSpecification")) {
    const std::string given = specification.Text("ResourceType");
    if (std::find(allowed.begin(), allowed.end(), given) == allowed.end()) {
      return InvalidValue(
          fmt::format("'{}' is not a valid taggable resource type for this operation.", given));
    }
    if (given != type) continue;
    for (const Parameters& tag : specification.Structures("Tag")) {
      SNAP_ASSIGN_OR_RETURN(const std::string key, tag.Required("Key"));
      tags.push_back({{"key", key}, {"value", tag.Text("Value")}});
    }
  }
  return tags;
}

ApiResult<Json> Describe(Call& call, const Kind& kind, const FilterTable& table,
                         const std::function<Json(const Json&)>& view) {
  std::vector<std::string> ids = call.p.List(std::string(kind.id_parameter));
  if (!ids.empty() && call.p.Has("MaxResults")) {
    return ApiError{"InvalidParameterCombination",
                    fmt::format("The parameter {} cannot be used with the parameter MaxResults",
                                kind.id_parameter)};
  }
  for (const std::string& id : ids) API_RETURN_IF_ERROR(Lookup(call.tx, kind, id).status());
  if (ids.empty()) ids = call.tx.Ids(std::string(kind.prefix));
  Json items = Json::array();
  for (const std::string& id : ids) {
    const Json& record = *call.tx.Find(id);
    Json seen = view == nullptr ? record : view(record);
    SNAP_ASSIGN_OR_RETURN(const bool holds, FiltersHold(call.p, table, seen));
    if (holds) items.push_back(std::move(seen));
  }
  // A filter that does not exist is an error also when there is nothing to filter.
  API_RETURN_IF_ERROR(FiltersHold(call.p, table, Json::object()).status());
  SNAP_ASSIGN_OR_RETURN(const std::string next, CutPage(call.p, &items));
  Json answer = {{std::string(kind.set), std::move(items)}};
  if (!next.empty()) answer["nextToken"] = next;
  return answer;
}

ApiResult<Json> FindByToken(const Call& call) {
  if (call.p.Text("ClientToken").empty()) return Json();
  const Json* known = call.tx.Find(TokenKey(call));
  if (known == nullptr) return Json();
  if (known->value("fingerprint", "") != FingerprintOf(call)) {
    return ApiError{"IdempotentParameterMismatch",
                    "The client token you have provided is associated with a request that has "
                    "different parameters"};
  }
  return known->at("ids");
}

void RememberToken(Call& call, const Json& ids) {
  if (call.p.Text("ClientToken").empty()) return;
  call.tx.Edit(TokenKey(call)) = {{"fingerprint", FingerprintOf(call)}, {"ids", ids}};
}

}  // namespace snapstore::localcloud
