// Requests for spot instances: asked for now, fulfilled when the market has room.
// Source: "Spot Instance request status", Amazon EC2 User Guide.
#include <fmt/format.h>

#include "base/clock.h"
#include "base/status_macros.h"
#include "orchestrator/localcloud/action_list.h"
#include "orchestrator/localcloud/launch_request.h"

namespace snapstore::localcloud {
namespace {

constexpr uint64_t kRequestCountMax = 20;
constexpr std::string_view kSpecification = "LaunchSpecification.";
constexpr const char* kLaunchAction = "RunInstances";

const FilterTable kRequestFilters = {{"spot-instance-request-id", "spotInstanceRequestId"},
                                     {"state", "state"},
                                     {"status-code", "status.code"},
                                     {"instance-id", "instanceId"},
                                     {"type", "type"},
                                     {"launch.instance-type", "launchSpecification.instanceType"},
                                     {"launched-availability-zone", "launchedAvailabilityZone"}};

void SetStatus(Json* request, const char* code, const std::string& message) {
  (*request)["status"] = {{"code", code}, {"message", message}, {"updateTime", TimeText()}};
}

// What the request would say to RunInstances.
Json LaunchParameters(const Call& call) {
  Json launch = call.p.Members(std::string(kSpecification));
  launch["InstanceMarketOptions.MarketType"] = "spot";
  if (call.p.Has("SpotPrice")) {
    launch["InstanceMarketOptions.SpotOptions.MaxPrice"] = call.p.Text("SpotPrice");
  }
  return launch;
}

ApiError CheckRequestOffered(const Parameters& p) {
  for (const auto& [name, value] :
       {std::pair{"Type", "one-time"}, std::pair{"InstanceInterruptionBehavior", "terminate"}}) {
    if (!p.Has(name) || p.Text(name) == value) continue;
    return {"UnsupportedOperation",
            fmt::format("{}={} is not supported here, only {}", name, p.Text(name), value)};
  }
  for (const char* name : {"ValidFrom", "ValidUntil"}) {
    if (p.Has(name) && !ParseTime(p.Text(name)).ok()) {
      return InvalidValue(
          fmt::format("Value ({}) for parameter {} is invalid", p.Text(name), name));
    }
  }
  return {};
}

Json RequestRecord(const Call& call, const Json& parameters, const Launch& launch,
                   const Json& tags) {
  const std::string id = "sir-" + NewId("").substr(0, 8);
  Json specification = {{"imageId", launch.image->at("imageId")},
                        {"instanceType", launch.type->name},
                        {"subnetId", launch.subnet_id},
                        {"placement", {{"availabilityZone", launch.zone}}}};
  if (parameters.contains("KeyName")) specification["keyName"] = parameters.at("KeyName");
  Json record = {
      {"spotInstanceRequestId", id},
      {"spotPrice", launch.max_price.empty() ? fmt::format("{:.6f}", launch.type->usd_per_hour)
                                             : launch.max_price},
      {"type", "one-time"},
      {"state", "open"},
      {"createTime", TimeText()},
      {"productDescription", "Linux/UNIX"},
      {"instanceInterruptionBehavior", "terminate"},
      {"launchSpecification", specification},
      {"tagSet", tags},
      {"_launch", parameters}};
  for (const auto& [name, member] :
       {std::pair{"ValidFrom", "validFrom"}, std::pair{"ValidUntil", "validUntil"}}) {
    if (call.p.Has(name)) record[member] = call.p.Text(name);
  }
  SetStatus(&record, "pending-evaluation",
            "Your Spot request has been submitted for review, and is pending evaluation.");
  return record;
}

Json AnswerOf(const Call& call, const Json& ids) {
  Json set = Json::array();
  for (const Json& id : ids) {
    if (const Json* record = call.tx.Find(id)) set.push_back(*record);
  }
  return {{"spotInstanceRequestSet", set}};
}

// True: it is not the time for it. Says so in the record.
bool IsOutOfTime(const Json& request, Json* changed) {
  const auto time = [&request](const char* name) {
    const Result<int64_t> parsed = ParseTime(request.value(name, ""));
    return parsed.ok() ? *parsed : int64_t{0};
  };
  if (time("validFrom") > WallNanos()) {
    SetStatus(changed, "not-scheduled-yet",
              "Your Spot request will not be evaluated until the date that you specified.");
    return true;
  }
  if (time("validUntil") == 0 || time("validUntil") > WallNanos()) return false;
  (*changed)["state"] = "closed";
  SetStatus(changed, "schedule-expired",
            "Your Spot request has expired because it was not fulfilled before the date that you "
            "specified.");
  return true;
}

// Writes to `changed` why it cannot be fulfilled; unless that may pass, it has failed.
void Refuse(const ApiError& error, Json* changed) {
  if (error.code == "InsufficientInstanceCapacity") {
    return SetStatus(changed, "capacity-not-available", error.message);
  }
  if (error.code == "SpotMaxPriceTooLow") return SetStatus(changed, "price-too-low", error.message);
  (*changed)["state"] = "failed";
  (*changed)["fault"] = {{"code", error.code}, {"message", error.message}};
  SetStatus(changed, "bad-parameters", error.message);
}

ApiError Fulfil(Records::Transaction& tx, const CloudFacts& facts, const Json& request) {
  const std::string action = kLaunchAction;
  const Parameters parameters(request.at("_launch").get<std::map<std::string, std::string>>());
  std::vector<std::string> capture;
  Call call{action, parameters, tx, facts, &capture};
  SNAP_ASSIGN_OR_RETURN(const Launch launch, ReadLaunch(call, 1));
  API_RETURN_IF_ERROR(CheckMarket(tx, launch, 1));
  return AddInstance(call, launch, NewId("r-"), 0, request.at("spotInstanceRequestId")).status();
}

}  // namespace

ApiResult<Json> RequestSpotInstances(Call& call) {
  API_RETURN_IF_ERROR(call.p.Check({"SpotPrice", "InstanceCount", "Type", "ClientToken",
                                    "ValidFrom", "ValidUntil", "InstanceInterruptionBehavior",
                                    "LaunchSpecification.*", LOCALCLOUD_TAG_PARAMETERS}));
  API_RETURN_IF_ERROR(CheckRequestOffered(call.p));
  SNAP_ASSIGN_OR_RETURN(const Json known, FindByToken(call));
  if (!known.is_null()) return AnswerOf(call, known);
  SNAP_ASSIGN_OR_RETURN(const uint64_t count, call.p.Number("InstanceCount", 1));
  if (count == 0 || count > kRequestCountMax) {
    return InvalidValue(fmt::format("InstanceCount must be from 1 to {}", kRequestCountMax));
  }
  const Json parameters = LaunchParameters(call);
  const std::string action = kLaunchAction;
  const Parameters wanted(parameters.get<std::map<std::string, std::string>>());
  API_RETURN_IF_ERROR(CheckLaunchParameters(wanted));
  const Call as_launch{action, wanted, call.tx, call.facts, call.capture};
  SNAP_ASSIGN_OR_RETURN(const Launch launch, ReadLaunch(as_launch, count));
  SNAP_ASSIGN_OR_RETURN(const Json tags,
                        TagsFor(call.p, "spot-instances-request", {"spot-instances-request"}));
  Json ids = Json::array();
  for (uint64_t i = 0; i < count; ++i) {
    const Json record = RequestRecord(call, parameters, launch, tags);
    ids.push_back(record.at("spotInstanceRequestId"));
    call.tx.Edit(ids.back()) = record;
  }
  RememberToken(call, ids);
  return AnswerOf(call, ids);
}

bool EvaluateSpotRequest(Records::Transaction& tx, const CloudFacts& facts, const std::string& id) {
  const Json request = *tx.Find(id);
  Json changed = request;
  if (!IsOutOfTime(request, &changed)) {
    const ApiError refused = Fulfil(tx, facts, request);
    if (refused.ok()) return true;
    tx.Undo();  // an instance is made whole or not at all
    Refuse(refused, &changed);
  }
  // Told once: the time of the status is when it began.
  if (changed.at("status").at("code") == request.at("status").at("code")) return false;
  tx.Edit(id) = changed;
  return true;
}

ApiResult<Json> DescribeSpotInstanceRequests(Call& call) {
  API_RETURN_IF_ERROR(call.p.Check({"SpotInstanceRequestId.N", LOCALCLOUD_DESCRIBE_PARAMETERS}));
  return Describe(call, kSpotRequests, kRequestFilters);
}

ApiResult<Json> CancelSpotInstanceRequests(Call& call) {
  API_RETURN_IF_ERROR(call.p.Check({"SpotInstanceRequestId.N"}));
  const auto ids = call.p.List("SpotInstanceRequestId");
  for (const std::string& id : ids) {
    API_RETURN_IF_ERROR(Lookup(call.tx, kSpotRequests, id).status());
  }
  Json set = Json::array();
  for (const std::string& id : ids) {
    Json& request = call.tx.Edit(id);
    const std::string state = request.value("state", "");
    if (state == "active") {
      // The instance goes on: cancelling does not end it.
      SetStatus(&request, "request-canceled-and-instance-running",
                "Your request is cancelled; the instance is running.");
    } else if (state == "open") {
      SetStatus(&request, "canceled-before-fulfillment",
                "Your Spot request is canceled before it was fulfilled.");
    }
    if (state == "active" || state == "open") request["state"] = "cancelled";
    set.push_back({{"spotInstanceRequestId", id}, {"state", request.at("state")}});
  }
  return Json{{"spotInstanceRequestSet", set}};
}

}  // namespace snapstore::localcloud
