// StopInstances, StartInstances, RebootInstances.
#include <fmt/format.h>

#include "base/status_macros.h"
#include "orchestrator/localcloud/action_list.h"
#include "orchestrator/localcloud/resources.h"

namespace snapstore::localcloud {
namespace {

// The instances that the call names; all exist.
ApiResult<std::vector<std::string>> NamedInstances(const Call& call) {
  std::vector<std::string> ids = call.p.List("InstanceId");
  if (ids.empty()) {
    return ApiError{"MissingParameter", "The request must contain the parameter InstanceId"};
  }
  for (const std::string& id : ids) {
    API_RETURN_IF_ERROR(Lookup(call.tx, kInstances, id).status());
  }
  return ids;
}

ApiError NotFrom(const std::string& id, const std::string& state, std::string_view what) {
  return {"IncorrectInstanceState",
          fmt::format("The instance '{}' is not in a state from which it can be {}: {}", id, what,
                      state)};
}

// Its new state, and what EC2 answers about the change.
Json Change(Call& call, const std::string& id, std::string_view state) {
  Json& instance = call.tx.Edit(id);
  const Json before = instance.at("instanceState");
  instance["instanceState"] = InstanceState(state);
  return {{"instanceId", id},
          {"previousState", before},
          {"currentState", instance.at("instanceState")}};
}

Json NoChange(const Call& call, const std::string& id) {
  const Json state = call.tx.Find(id)->at("instanceState");
  return {{"instanceId", id}, {"previousState", state}, {"currentState", state}};
}

ApiError CheckRoom(const Call& call, const Json& instance) {
  const std::string type = instance.at("instanceType");
  const std::string zone = instance.at("placement").at("availabilityZone");
  if (SpotCapacity(call.tx, type, zone, /*spot=*/false) != 0) return {};
  return {"InsufficientInstanceCapacity",
          fmt::format("There is no on-demand capacity available that matches your request ({} in "
                      "{}).",
                      type, zone),
          500};
}

}  // namespace

ApiResult<Json> StopInstances(Call& call) {
  API_RETURN_IF_ERROR(call.p.Check({"InstanceId.N", "Force"}));
  SNAP_ASSIGN_OR_RETURN(const bool force, call.p.Truth("Force", false));
  SNAP_ASSIGN_OR_RETURN(const auto ids, NamedInstances(call));
  Json changes = Json::array();
  for (const std::string& id : ids) {
    const Json& instance = *call.tx.Find(id);
    const std::string state = StateOf(instance);
    if (instance.contains("spotInstanceRequestId")) {
      return ApiError{"UnsupportedOperation",
                      fmt::format("You can't stop the Spot Instance '{}' because it is associated "
                                  "with a one-time Spot Instance request.",
                                  id)};
    }
    if (state == "stopping" || state == "stopped") {
      changes.push_back(NoChange(call, id));
      continue;
    }
    if (state != "running") return NotFrom(id, state, "stopped");
    changes.push_back(Change(call, id, "stopping"));
    Json& record = call.tx.Edit(id);
    record["stateReason"] = {{"code", "Client.UserInitiatedShutdown"},
                             {"message", "Client.UserInitiatedShutdown: User initiated shutdown"}};
    record["reason"] = fmt::format("User initiated ({})", TimeText());
    record["_hard"] = force;
  }
  return Json{{"instancesSet", changes}};
}

ApiResult<Json> StartInstances(Call& call) {
  API_RETURN_IF_ERROR(call.p.Check({"InstanceId.N"}));
  SNAP_ASSIGN_OR_RETURN(const auto ids, NamedInstances(call));
  Json changes = Json::array();
  for (const std::string& id : ids) {
    const Json& instance = *call.tx.Find(id);
    const std::string state = StateOf(instance);
    if (state == "pending" || state == "running") {
      changes.push_back(NoChange(call, id));
      continue;
    }
    if (state != "stopped") return NotFrom(id, state, "started");
    API_RETURN_IF_ERROR(CheckRoom(call, instance));
    changes.push_back(Change(call, id, "pending"));
    Json& record = call.tx.Edit(id);
    record["launchTime"] = TimeText();
    record["reason"] = "";
    for (const char* name : {"stateReason", "_hard", "_status"}) record.erase(name);
  }
  return Json{{"instancesSet", changes}};
}

ApiResult<Json> RebootInstances(Call& call) {
  API_RETURN_IF_ERROR(call.p.Check({"InstanceId.N"}));
  SNAP_ASSIGN_OR_RETURN(const auto ids, NamedInstances(call));
  for (const std::string& id : ids) {
    const std::string state = StateOf(*call.tx.Find(id));
    if (state != "running") return NotFrom(id, state, "rebooted");
    call.tx.Edit(id)["_reboot"] = true;
  }
  return Done();
}

}  // namespace snapstore::localcloud
