// What an administrator does to a cloud: markets, interruptions, failures.
#include <fmt/format.h>

#include <charconv>

#include "base/clock.h"
#include "base/log.h"
#include "base/status_macros.h"
#include "orchestrator/localcloud/balancers.h"
#include "orchestrator/localcloud/cloud.h"
#include "orchestrator/localcloud/resources.h"

namespace snapstore::localcloud {
namespace {

constexpr double kNoticeSeconds = 120;
constexpr double kDelayMax = 600;
constexpr const char* kFaultsKey = "!faults";

Result<std::string> TextOf(const Json& arguments, const char* name) {
  const auto found = arguments.find(name);
  if (found == arguments.end() || !found->is_string() || found->get<std::string>().empty()) {
    return Status::InvalidArgument(fmt::format("{} is missing", name));
  }
  return found->get<std::string>();
}

void Interrupt(Records::Transaction& tx, const std::string& id, double seconds, bool notice) {
  Json& instance = tx.Edit(id);
  const int64_t end = WallNanos() + static_cast<int64_t>(seconds * 1e9);
  instance["_interruptNs"] = end;
  if (notice) instance["_noticeNs"] = end;
  const std::string request = instance.value("spotInstanceRequestId", "");
  if (request.empty() || tx.Find(request) == nullptr) return;
  tx.Edit(request)["status"] = {{"code", "marked-for-termination"},
                                {"message", "Your instance is marked for termination."},
                                {"updateTime", TimeText()}};
}

// A running instance.
Result<std::string> RunningOf(const Records::Transaction& tx, const Json& arguments) {
  SNAP_ASSIGN_OR_RETURN(const std::string id, TextOf(arguments, "instance"));
  const Json* instance = id.starts_with("i-") ? tx.Find(id) : nullptr;
  if (instance == nullptr) return Status::NotFound(fmt::format("there is no instance {}", id));
  if (StateOf(*instance) != "running") {
    return Status::InvalidArgument(fmt::format("{} is {}, not running", id, StateOf(*instance)));
  }
  return id;
}

Result<std::string> KnownAction(const Json& arguments) {
  SNAP_ASSIGN_OR_RETURN(std::string action, TextOf(arguments, "action"));
  if (action != "*" && FindAction(action) == nullptr && FindTargetGroupAction(action) == nullptr &&
      FindClassicBalancerAction(action) == nullptr && !IsHostedZoneAction(action)) {
    return Status::InvalidArgument(fmt::format("there is no action {}", action));
  }
  return action;
}

void AddFault(Records::Transaction& tx, Json fault) {
  Json& faults = tx.Edit(kFaultsKey)["list"];
  if (!faults.is_array()) faults = Json::array();
  faults.push_back(std::move(fault));
}

// The first that is for this action, one call less from now on; one that delays, or one that fails.
std::optional<Json> TakeOne(Json* list, const std::string& action, bool delays) {
  for (size_t i = 0; i < list->size(); ++i) {
    Json& fault = (*list)[i];
    const std::string wanted = fault.value("action", "");
    if ((wanted != action && wanted != "*") || fault.contains("delay") != delays) continue;
    Json taken = fault;
    const int left = fault.value("count", 1) - 1;
    fault["count"] = left;
    if (left <= 0) list->erase(i);
    return taken;
  }
  return std::nullopt;
}

}  // namespace

Result<Json> Cloud::Admin(const std::string& verb, const Json& arguments) {
  const std::lock_guard lock(mutex_);
  Result<Json> done = Json();
  if (verb == "capacity" || verb == "price") {
    done = AdminMarket(verb, arguments);
  } else if (verb == "interrupt") {
    done = AdminInterrupt(arguments);
  } else if (verb == "rebalance") {
    done = AdminRebalance(arguments);
  } else if (verb == "fail") {
    done = AdminFail(arguments);
  } else if (verb == "delay") {
    done = AdminDelay(arguments);
  } else {
    return Status::InvalidArgument(fmt::format("there is no admin verb '{}'", verb));
  }
  wake_scan_.notify_all();
  return done;
}

Result<Json> Cloud::AdminMarket(const std::string& verb, const Json& arguments) {
  SNAP_ASSIGN_OR_RETURN(const std::string type, TextOf(arguments, "type"));
  SNAP_ASSIGN_OR_RETURN(const std::string zone, TextOf(arguments, "zone"));
  if (FindInstanceType(type) == nullptr) {
    return Status::InvalidArgument(fmt::format("there is no instance type {}", type));
  }
  Records::Transaction tx(records_.get());
  bool known = false;
  for (const std::string& id : tx.Ids("subnet-")) {
    known = known || tx.Find(id)->value("availabilityZone", "") == zone;
  }
  if (!known) return Status::InvalidArgument(fmt::format("there is no zone {}", zone));
  Json& market = tx.Edit(MarketKey(type, zone));
  if (verb == "capacity") {
    const int64_t count = arguments.value("count", int64_t{-1});
    market[arguments.value("on_demand", false) ? "on_demand_capacity" : "capacity"] = count;
  } else {
    const double price = arguments.value("usd", -1.0);
    if (price <= 0) return Status::InvalidArgument("usd must be more than 0");
    if (!market.contains("history")) {
      market["history"] =
          Json::array({Json{{"time", "2024-01-01T00:00:00.000Z"},
                            {"price", SpotPrice(tx, *FindInstanceType(type), zone)}}});
    }
    market["price"] = price;
    market["history"].push_back({{"time", TimeText()}, {"price", price}});
    for (const std::string& id : tx.Ids("i-")) {
      const Json& instance = *tx.Find(id);
      const std::string request = instance.value("spotInstanceRequestId", "");
      if (request.empty() || StateOf(instance) != "running" || tx.Find(request) == nullptr ||
          instance.value("instanceType", "") != type ||
          instance.at("placement").value("availabilityZone", "") != zone) {
        continue;
      }
      const std::string text = tx.Find(request)->value("spotPrice", "");
      double most = price;
      std::from_chars(text.data(), text.data() + text.size(), most);
      if (most < price) Interrupt(tx, id, kNoticeSeconds, true);
    }
  }
  SNAP_RETURN_IF_ERROR(tx.Commit());
  return *records_->Find(MarketKey(type, zone));
}

Result<Json> Cloud::AdminInterrupt(const Json& arguments) {
  Records::Transaction tx(records_.get());
  SNAP_ASSIGN_OR_RETURN(const std::string id, RunningOf(tx, arguments));
  if (!tx.Find(id)->contains("spotInstanceRequestId")) {
    return Status::InvalidArgument(fmt::format("{} is no spot instance", id));
  }
  const bool notice = arguments.value("notice", true);
  const double seconds = arguments.value("seconds", notice ? kNoticeSeconds : 0.0);
  if (seconds < 0) return Status::InvalidArgument("seconds must not be negative");
  Interrupt(tx, id, seconds, notice);
  SNAP_RETURN_IF_ERROR(tx.Commit());
  return Json{{"instance", id}, {"notice", notice}, {"seconds", seconds}};
}

Result<Json> Cloud::AdminRebalance(const Json& arguments) {
  Records::Transaction tx(records_.get());
  SNAP_ASSIGN_OR_RETURN(const std::string id, RunningOf(tx, arguments));
  tx.Edit(id)["_rebalanceNs"] = WallNanos();
  SNAP_RETURN_IF_ERROR(tx.Commit());
  return Json{{"instance", id}};
}

Result<Json> Cloud::AdminFail(const Json& arguments) {
  SNAP_ASSIGN_OR_RETURN(const std::string what, TextOf(arguments, "what"));
  Records::Transaction tx(records_.get());
  if (what == "api") {
    SNAP_ASSIGN_OR_RETURN(const std::string action, KnownAction(arguments));
    const bool lost = arguments.value("lost", false);
    std::string code;
    if (!lost) {
      SNAP_ASSIGN_OR_RETURN(code, TextOf(arguments, "code"));
    }
    AddFault(tx, {{"action", action},
                  {"lost", lost},
                  {"code", code},
                  {"message", arguments.value("message", "asked for by the administrator")},
                  {"http", arguments.value("http", 500)},
                  {"count", arguments.value("count", 1)}});
  } else if (what == "instance" || what == "status") {
    SNAP_ASSIGN_OR_RETURN(const std::string id, RunningOf(tx, arguments));
    Json& instance = tx.Edit(id);
    instance["_status"] = arguments.value("ok", false) ? "ok" : "impaired";
    if (what == "instance") {
      // As when a machine loses power: nothing is written back by anybody.
      instance["_hard"] = true;
      const InstanceProcess process{.pid = instance.value("_pid", -1),
                                    .start_ticks = instance.value("_start", uint64_t{0})};
      SNAP_RETURN_IF_ERROR(EndInstance(process, 0));
    }
  } else {
    return Status::InvalidArgument(fmt::format("what: '{}' is not instance, status or api", what));
  }
  SNAP_RETURN_IF_ERROR(tx.Commit());
  return Json{{"what", what}};
}

Result<Json> Cloud::AdminDelay(const Json& arguments) {
  SNAP_ASSIGN_OR_RETURN(const std::string action, KnownAction(arguments));
  const double seconds = arguments.value("seconds", 0.0);
  if (seconds <= 0 || seconds > kDelayMax) {
    return Status::InvalidArgument(fmt::format("seconds must be from 0 to {}", kDelayMax));
  }
  Records::Transaction tx(records_.get());
  AddFault(tx, {{"action", action}, {"delay", seconds}, {"count", arguments.value("count", 1)}});
  SNAP_RETURN_IF_ERROR(tx.Commit());
  return Json{{"action", action}, {"seconds", seconds}};
}

Cloud::Fault Cloud::TakeFault(const std::string& action) {
  std::unique_lock lock(mutex_);
  if (records_->Find(kFaultsKey) == nullptr) return {};
  Fault fault;
  std::chrono::duration<double> delay{0};
  {
    Records::Transaction tx(records_.get());
    Json& list = tx.Edit(kFaultsKey)["list"];
    if (const auto slow = TakeOne(&list, action, /*delays=*/true)) {
      delay = std::chrono::duration<double>(slow->value("delay", 0.0));
    }
    const auto failure = TakeOne(&list, action, /*delays=*/false);
    if (failure) {
      fault.answer_lost = failure->value("lost", false);
      if (!fault.answer_lost) {
        fault.error = {failure->value("code", ""), failure->value("message", ""),
                       failure->value("http", 500)};
      }
    }
    if (failure || delay.count() > 0) Commit(&tx);
  }
  wake_delayed_.wait_for(lock, delay, [this] { return stopping_; });
  return fault;
}

}  // namespace snapstore::localcloud
