#include "orchestrator/lifecycle/node_names.h"

#include <fmt/format.h>

#include <algorithm>

namespace snapstore::spot {
namespace {

constexpr int64_t kTtlSeconds = 60;

bool IsDefinite(const Status& status) {
  return status.Is(StatusCode::kNotFound) || status.Is(StatusCode::kInvalidArgument) ||
         status.Is(StatusCode::kPermissionDenied);
}

// What the specification asks for, for this instance; a value that it does not have is left out.
std::vector<KeptName> NamesOf(const NodeSpec& spec, const NodeRuntime& runtime,
                              const Ec2Instance& instance) {
  std::vector<KeptName> names;
  for (const Domain& domain : spec.integrations.route53.domains) {
    const bool is_address = domain.record_set_type.value() == RecordSetType::kA;
    for (const RecordSet& set : domain.record_sets) {
      const std::string value =
          is_address
              ? (set.use_public_ip.value() ? runtime.public_ip.value_or("") : instance.private_ip)
              : (set.use_public_dns.value() ? instance.public_dns_name : instance.private_dns_name);
      names.push_back({domain.hosted_zone_id, set.name, is_address ? "A" : "CNAME", value});
    }
  }
  return names;
}

}  // namespace

Flow<Done> PublishNames(OperationRun* run, const Ec2Instance& instance) {
  Route53Api* route53 = run->services().route53;
  if (route53 == nullptr || run->spec().integrations.route53.domains.empty()) return Done{};
  const std::vector<KeptName> names = NamesOf(run->spec(), run->node().runtime, instance);
  std::vector<KeptName> set;
  SNAP_FLOW_ASSIGN(
      const Json published,
      run->Observe(
          "launch/names",
          [&]() -> Flow<Json> {
            std::string refused;
            set.clear();
            for (const KeptName& one : names) {
              if (one.value.empty()) {
                refused = fmt::format("{}: the instance has no such address", one.name);
                continue;
              }
              const auto done = route53->ChangeRecord(one.zone_id, Route53Change::kUpsert, one.name,
                                                      one.type, one.value, kTtlSeconds);
              if (done.ok()) {
                set.push_back(one);
              } else if (IsDefinite(done.status())) {
                refused = fmt::format("{}: {}", one.name, done.status().message());
              } else {
                return RetryLater(done.status());
              }
            }
            return Json{{"refused", refused}};
          },
          [&](const Json&, ControllerState::NodeChange* change) {
            change->node.runtime.resources.names = set;
          }));
  const std::string refused = published.value("refused", "");
  if (refused.empty()) return Done{};
  return run->Report("launch/names/event", "ROUTE53_REFUSED", Severity::kWarning,
                     fmt::format("a name was not set: {}", refused));
}

Flow<Done> WithdrawNames(OperationRun* run, const std::string& prefix) {
  Route53Api* route53 = run->services().route53;
  if (route53 == nullptr) return Done{};
  if (!run->IsDone(prefix + "/names") && run->node().runtime.resources.names.empty()) {
    return Done{};
  }
  SNAP_FLOW(run->Observe(
      prefix + "/names",
      [&]() -> Flow<Json> {
        for (const KeptName& one : run->node().runtime.resources.names) {
          const auto done = route53->ChangeRecord(one.zone_id, Route53Change::kDelete, one.name,
                                                  one.type, one.value, kTtlSeconds);
          // Conflict: somebody else has given the name another value.
          if (done.ok() || IsDefinite(done.status()) || done.status().Is(StatusCode::kConflict)) {
            continue;
          }
          return RetryLater(done.status());
        }
        return Json();
      },
      [](const Json&, ControllerState::NodeChange* change) {
        change->node.runtime.resources.names.clear();
      }));
  return Done{};
}

}  // namespace snapstore::spot
