// What workers do when instances are switched off and on again.
#include <fmt/format.h>

#include <filesystem>

#include "base/log.h"
#include "orchestrator/localcloud/cloud.h"
#include "orchestrator/localcloud/machine/loop_device.h"
#include "orchestrator/localcloud/resources.h"

namespace snapstore::localcloud {
namespace {

constexpr double kShutdownSeconds = 6;  // a second more than the instance gives its processes
constexpr int kDetachAttempts = 250;
constexpr std::chrono::milliseconds kDetachWait{20};

// Once the mount namespace has gone, which takes a moment, nothing holds the device any more.
Status DetachGone(const LoopDevice& loop) {
  for (int attempt = 0; attempt < kDetachAttempts; ++attempt) {
    const Status detached = DetachLoop(loop, /*force=*/false);
    if (!detached.Is(StatusCode::kConflict)) return detached;
    std::this_thread::sleep_for(kDetachWait);
  }
  return DetachLoop(loop, /*force=*/true);
}

}  // namespace

bool Cloud::PowerOff(const Json& instance) {
  const std::string id = instance.at("instanceId");
  const InstanceProcess process{.pid = instance.value("_pid", -1),
                                .start_ticks = instance.value("_start", uint64_t{0})};
  Status ended = EndInstance(process, instance.value("_hard", false) ? 0 : kShutdownSeconds);
  if (ended.ok()) ended = groups_->Remove(id);
  if (!ended.ok()) {
    LogError("{}: {}", id, ended.message());
    return false;
  }
  std::unique_ptr<ImdsServer> metadata;
  {
    const std::lock_guard lock(imds_mutex_);
    const auto found = imds_.find(id);
    if (found != imds_.end()) metadata = std::move(found->second);
    imds_.erase(id);
  }
  metadata.reset();
  for (const Json& volume : instance.value("_volumes", Json::array())) {
    const auto loops = LoopsOf(volumes_->Path(volume));
    for (const LoopDevice& loop : loops.ok() ? *loops : std::vector<LoopDevice>()) {
      const Status detached = DetachGone(loop);
      if (!detached.ok()) LogWarning("{}: {}", volume.get<std::string>(), detached.message());
    }
  }
  std::error_code ignored;
  std::filesystem::remove(options_.folder + "/run/" + id, ignored);
  return true;
}

void Cloud::ForgetRoutes(Records::Transaction* tx, const Json& instance, bool own_addresses_go) {
  for (const Json& id : instance.value("_interfaces", Json::array())) {
    const Json* record = tx->Find(id);
    if (record == nullptr) continue;
    const std::string routed = record->value("_routed", "");
    if (!routed.empty()) (void)fabric_->UnroutePublic(routed);
    const Json association = record->value("association", Json::object());
    if (own_addresses_go && association.value("allocationId", "").empty()) Disassociate(*tx, id);
    tx->Edit(id).erase("_routed");
  }
}

void Cloud::StopInstanceWork(const std::string& id) {
  const std::optional<Json> instance = Read(id);
  if (!instance || StateOf(*instance) != "stopping" || !PowerOff(*instance)) return;
  const std::lock_guard lock(mutex_);
  Records::Transaction tx(records_.get());
  // It may have been terminated meanwhile: another worker's affair.
  if (tx.Find(id) == nullptr || StateOf(*tx.Find(id)) != "stopping") return;
  ForgetRoutes(&tx, *instance, /*own_addresses_go=*/true);
  Json& record = tx.Edit(id);
  record["instanceState"] = InstanceState("stopped");
  for (const char* name : {"_pid", "_start", "_hard", "_reboot"}) record.erase(name);
  Commit(&tx);
  LogInfo("{} is stopped", id);
}

void Cloud::RebootInstanceWork(const std::string& id) {
  const std::optional<Json> instance = Read(id);
  if (!instance || StateOf(*instance) != "running" || !PowerOff(*instance)) return;
  {
    const std::lock_guard lock(mutex_);
    Records::Transaction tx(records_.get());
    ForgetRoutes(&tx, *instance, /*own_addresses_go=*/false);
    if (!Commit(&tx)) return;
  }
  LaunchInstance(id);
}

}  // namespace snapstore::localcloud
