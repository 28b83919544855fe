// Health checks of what is registered with load balancers.
#include <fmt/format.h>

#include "base/clock.h"
#include "base/log.h"
#include "orchestrator/localcloud/balancers.h"
#include "orchestrator/localcloud/cloud.h"
#include "orchestrator/localcloud/resources.h"

namespace snapstore::localcloud {

void Cloud::FindHealthTasks() {
  const int64_t now = WallNanos();
  for (const std::string& key : records_->Ids(kBalancerKeys)) {
    // A copy: what is gone is taken out of the record.
    const Json balancer = *records_->Find(key);
    const auto interval = static_cast<int64_t>(HealthCheckOf(balancer).interval_seconds);
    Records::Transaction tx(records_.get());
    for (const auto& [id, target] : balancer.at("targets").items()) {
      const Json* instance = records_->Find(id);
      if (instance == nullptr || StateOf(*instance) == "terminated") {
        tx.Edit(key)["targets"].erase(id);
        continue;
      }
      if (StateOf(*instance) != "running") {
        // Begins anew when it runs again.
        if (target.value("state", "") != "initial")
          tx.Edit(key)["targets"][id]["state"] = "initial";
        continue;
      }
      const std::string task = fmt::format("{}/{}", key, id);
      int64_t& next = next_check_ns_[task];
      if (next > now) continue;
      next = now + interval * kNanosPerSecond;
      Enqueue(task, [this, key, target_id = id] { CheckHealth(key, target_id); });
    }
    Commit(&tx);
  }
}

void Cloud::CheckHealth(const std::string& key, const std::string& id) {
  const std::optional<Json> balancer = Read(key);
  const std::optional<Json> instance = Read(id);
  if (!balancer || !instance) return;
  const HealthCheck check = HealthCheckOf(*balancer);
  const Json target = balancer->at("targets").value(id, Json());
  if (target.is_null()) return;
  const uint64_t port = check.port != 0 ? check.port : target.value("port", uint64_t{0});
  const bool good = Probe(check, instance->value("privateIpAddress", ""), port);
  const std::lock_guard lock(mutex_);
  // It may have been deregistered meanwhile.
  if (records_->Find(key) == nullptr || !records_->Find(key)->at("targets").contains(id)) return;
  Records::Transaction tx(records_.get());
  Json& kept = tx.Edit(key)["targets"][id];
  const std::string before = kept.value("state", "");
  CountProbe(check, good, &kept);
  if (kept.value("state", "") != before) {
    LogInfo("{}: {} is {}", key, id, kept.value("state", ""));
  }
  Commit(&tx);
}

}  // namespace snapstore::localcloud
