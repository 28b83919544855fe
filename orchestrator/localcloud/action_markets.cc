// Instance types, offerings, prices.
#include <fmt/format.h>

#include <algorithm>

#include "base/clock.h"
#include "base/status_macros.h"
#include "orchestrator/localcloud/action_list.h"
#include "orchestrator/localcloud/resources.h"

namespace snapstore::localcloud {
namespace {

const FilterTable kTypeFilters = {
    {"instance-type", "instanceType"},
    {"current-generation", "currentGeneration"},
    {"supported-usage-class", "supportedUsageClasses.*"},
    {"processor-info.supported-architecture", "processorInfo.supportedArchitectures.*"},
    {"vcpu-info.default-vcpus", "vCpuInfo.defaultVCpus"},
    {"memory-info.size-in-mib", "memoryInfo.sizeInMiB"},
    {"burstable-performance-supported", "burstablePerformanceSupported"}};
const FilterTable kOfferingFilters = {{"instance-type", "instanceType"}, {"location", "location"}};
const FilterTable kPriceFilters = {{"availability-zone", "availabilityZone"},
                                   {"instance-type", "instanceType"},
                                   {"product-description", "productDescription"},
                                   {"spot-price", "spotPrice"},
                                   {"timestamp", "timestamp"}};

std::vector<std::string> Zones(const Call& call) {
  std::vector<std::string> zones;
  for (const std::string& id : call.tx.Ids("subnet-")) {
    zones.push_back(call.tx.Find(id)->at("availabilityZone"));
  }
  std::sort(zones.begin(), zones.end());
  zones.erase(std::unique(zones.begin(), zones.end()), zones.end());
  return zones;
}

Json TypeView(const InstanceType& type) {
  return {
      {"instanceType", type.name},
      {"currentGeneration", !type.previous_generation},
      {"bareMetal", false},
      {"hypervisor", "nitro"},
      {"supportedUsageClasses", {"on-demand", "spot"}},
      {"supportedRootDeviceTypes", Json::array({"ebs"})},
      {"supportedVirtualizationTypes", Json::array({"hvm"})},
      {"processorInfo", {{"supportedArchitectures", Json::array({"x86_64"})}}},
      {"vCpuInfo",
       {{"defaultVCpus", type.vcpus}, {"defaultCores", type.vcpus}, {"defaultThreadsPerCore", 1}}},
      {"memoryInfo", {{"sizeInMiB", type.memory_mib}}},
      {"instanceStorageSupported", false},
      {"burstablePerformanceSupported", type.burstable}};
}

bool Among(const std::vector<std::string>& list, std::string_view value) {
  return list.empty() || std::find(list.begin(), list.end(), value) != list.end();
}

}  // namespace

ApiResult<Json> DescribeInstanceTypes(Call& call) {
  API_RETURN_IF_ERROR(call.p.Check({"InstanceType.N", LOCALCLOUD_DESCRIBE_PARAMETERS}));
  const auto wanted = call.p.List("InstanceType");
  for (const std::string& name : wanted) {
    if (FindInstanceType(name) == nullptr) {
      return ApiError{
          "InvalidInstanceType",
          fmt::format("The following supplied instance types do not exist: [{}]", name)};
    }
  }
  Json set = Json::array();
  for (const InstanceType& type : InstanceTypes()) {
    const Json view = TypeView(type);
    SNAP_ASSIGN_OR_RETURN(const bool holds, FiltersHold(call.p, kTypeFilters, view));
    if (holds && Among(wanted, type.name)) set.push_back(view);
  }
  SNAP_ASSIGN_OR_RETURN(const std::string next, CutPage(call.p, &set));
  Json answer = {{"instanceTypeSet", std::move(set)}};
  if (!next.empty()) answer["nextToken"] = next;
  return answer;
}

ApiResult<Json> DescribeInstanceTypeOfferings(Call& call) {
  API_RETURN_IF_ERROR(call.p.Check({"LocationType", LOCALCLOUD_DESCRIBE_PARAMETERS}));
  const std::string kind =
      call.p.Has("LocationType") ? call.p.Text("LocationType") : std::string("region");
  if (kind != "region" && kind != "availability-zone") {
    return InvalidValue(fmt::format("LocationType {} is not supported here", kind));
  }
  Json set = Json::array();
  for (const InstanceType& type : InstanceTypes()) {
    for (const std::string& place :
         kind == "region" ? std::vector{call.facts.region} : Zones(call)) {
      const Json view = {{"instanceType", type.name}, {"locationType", kind}, {"location", place}};
      SNAP_ASSIGN_OR_RETURN(const bool holds, FiltersHold(call.p, kOfferingFilters, view));
      if (holds) set.push_back(view);
    }
  }
  SNAP_ASSIGN_OR_RETURN(const std::string next, CutPage(call.p, &set));
  Json answer = {{"instanceTypeOfferingSet", std::move(set)}};
  if (!next.empty()) answer["nextToken"] = next;
  return answer;
}

ApiResult<Json> DescribeReservedInstances(Call& call) {
  API_RETURN_IF_ERROR(call.p.Check({"Filter.N.Name", "Filter.N.Value.N"}));
  return Json{{"reservedInstancesSet", Json::array()}};
}

ApiResult<Json> DescribeSpotPriceHistory(Call& call) {
  API_RETURN_IF_ERROR(call.p.Check({"InstanceType.N", "ProductDescription.N", "AvailabilityZone",
                                    "StartTime", "EndTime", LOCALCLOUD_DESCRIBE_PARAMETERS}));
  const auto types = call.p.List("InstanceType");
  if (!Among(call.p.List("ProductDescription"), "Linux/UNIX") &&
      !Among(call.p.List("ProductDescription"), "Linux/UNIX (Amazon VPC)")) {
    return Json{{"spotPriceHistorySet", Json::array()}};
  }
  int64_t start = 0;
  int64_t end = INT64_MAX;
  for (const auto& [name, time] : {std::pair{"StartTime", &start}, std::pair{"EndTime", &end}}) {
    if (!call.p.Has(name)) continue;
    const Result<int64_t> parsed = ParseTime(call.p.Text(name));
    if (!parsed.ok()) {
      return InvalidValue(
          fmt::format("Value ({}) for parameter {} is invalid", call.p.Text(name), name));
    }
    *time = *parsed;
  }
  Json set = Json::array();
  for (const InstanceType& type : InstanceTypes()) {
    if (!Among(types, type.name)) continue;
    for (const std::string& zone : Zones(call)) {
      if (call.p.Has("AvailabilityZone") && call.p.Text("AvailabilityZone") != zone) continue;
      const Json* market = call.tx.Find(MarketKey(std::string(type.name), zone));
      Json history = market == nullptr ? Json::array() : market->value("history", Json::array());
      if (history.empty()) {
        history.push_back(
            {{"time", "2024-01-01T00:00:00.000Z"}, {"price", SpotPrice(call.tx, type, zone)}});
      }
      // Newest first; of those before the start, the one that still held then.
      for (auto at = history.rbegin(); at != history.rend(); ++at) {
        const Result<int64_t> time = ParseTime(at->value("time", ""));
        if (!time.ok() || *time > end) continue;
        const Json entry = {{"instanceType", type.name},
                            {"productDescription", "Linux/UNIX"},
                            {"spotPrice", fmt::format("{:.6f}", at->value("price", 0.0))},
                            {"timestamp", at->value("time", "")},
                            {"availabilityZone", zone}};
        SNAP_ASSIGN_OR_RETURN(const bool holds, FiltersHold(call.p, kPriceFilters, entry));
        if (holds) set.push_back(entry);
        if (*time < start) break;
      }
    }
  }
  SNAP_ASSIGN_OR_RETURN(const std::string next, CutPage(call.p, &set));
  return Json{{"spotPriceHistorySet", std::move(set)}, {"nextToken", next}};
}

}  // namespace snapstore::localcloud
