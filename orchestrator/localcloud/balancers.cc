#include "orchestrator/localcloud/balancers.h"

#include <fmt/format.h>
#include <httplib.h>

#include <algorithm>

#include "base/status_macros.h"
#include "orchestrator/localcloud/resources.h"

namespace snapstore::localcloud {

namespace {
constexpr std::chrono::milliseconds kPortAnswer{100};
}

Json HealthCheckJson(const HealthCheck& check) {
  return {{"http", check.http},
          {"path", check.path},
          {"port", check.port},
          {"interval", check.interval_seconds},
          {"timeout", check.timeout_seconds},
          {"healthy", check.healthy_count},
          {"unhealthy", check.unhealthy_count}};
}

HealthCheck HealthCheckOf(const Json& balancer) {
  const Json& check = balancer.at("check");
  return {.http = check.at("http"),
          .path = check.at("path"),
          .port = check.at("port"),
          .interval_seconds = check.at("interval"),
          .timeout_seconds = check.at("timeout"),
          .healthy_count = check.at("healthy"),
          .unhealthy_count = check.at("unhealthy")};
}

bool Probe(const HealthCheck& check, const std::string& address, uint64_t port) {
  httplib::Client client(address, static_cast<int>(port));
  const auto timeout = std::chrono::seconds(check.timeout_seconds);
  client.set_connection_timeout(timeout);
  // Nothing is expected of a port that takes connections.
  client.set_read_timeout(check.http ? std::chrono::milliseconds(timeout) : kPortAnswer);
  const auto answer = client.Get(check.http ? check.path : "/");
  if (answer) return !check.http || (answer->status >= 200 && answer->status < 400);
  // Whatever came after the connection is no affair of a check of the port.
  return !check.http && answer.error() != httplib::Error::Connection &&
         answer.error() != httplib::Error::ConnectionTimeout;
}

void CountProbe(const HealthCheck& check, bool good, Json* target) {
  const std::string state = target->value("state", "initial");
  const std::string wanted = good ? "healthy" : "unhealthy";
  if (state == wanted) {
    (*target)["streak"] = 0;
    return;
  }
  const uint64_t streak = target->value("good", good) == good ? target->value("streak", 0U) + 1 : 1;
  // The first good one is enough for a target that is new.
  const uint64_t needed = !good                ? check.unhealthy_count
                          : state == "initial" ? 1
                                               : check.healthy_count;
  (*target)["good"] = good;
  (*target)["streak"] = streak >= needed ? 0 : streak;
  if (streak >= needed) (*target)["state"] = wanted;
}

ApiError InRange(const char* name, uint64_t value, uint64_t least, uint64_t most) {
  if (value >= least && value <= most) return {};
  return {"ValidationError",
          fmt::format("{} '{}' must be from {} to {}", name, value, least, most)};
}

ApiResult<std::string> CheckedName(const Parameters& p, const char* parameter) {
  SNAP_ASSIGN_OR_RETURN(const std::string name, p.Required(parameter));
  const bool fits = name.size() <= 32 && std::all_of(name.begin(), name.end(), [](char c) {
                      return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
                             (c >= '0' && c <= '9') || c == '-';
                    });
  if (fits) return name;
  return ApiError{
      "ValidationError",
      fmt::format("{} '{}' must be letters, digits and '-', at most 32", parameter, name)};
}

ApiError CheckTargets(const Call& call, const std::vector<std::string>& ids, const char* code) {
  if (ids.empty()) return {"ValidationError", "at least one instance must be named"};
  for (const std::string& id : ids) {
    const Json* instance = id.starts_with("i-") ? call.tx.Find(id) : nullptr;
    if (instance == nullptr || StateOf(*instance) == "terminated") {
      return {code, fmt::format("The instance ID '{}' does not exist", id)};
    }
  }
  return {};
}

std::vector<std::string> AskedTargets(std::vector<std::string> named, const Json& balancer) {
  if (!named.empty()) return named;
  for (const auto& [id, target] : balancer.at("targets").items()) named.push_back(id);
  return named;
}

}  // namespace snapstore::localcloud
