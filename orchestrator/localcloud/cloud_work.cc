// Scanning and workers: which records are on their way somewhere, and who takes them on.
#include <fmt/format.h>

#include "base/clock.h"
#include "base/log.h"
#include "orchestrator/localcloud/cloud.h"
#include "orchestrator/localcloud/launch_request.h"
#include "orchestrator/localcloud/resources.h"

namespace snapstore::localcloud {
namespace {

constexpr std::chrono::milliseconds kScanInterval{200};
constexpr int64_t kRetryNs = kNanosPerSecond / 2;
// As long as EC2 shows instances that have ended.
constexpr int64_t kShowTerminatedNs = 3600 * kNanosPerSecond;

}  // namespace

void Cloud::Scan() {
  std::unique_lock lock(mutex_);
  while (!stopping_) {
    FindTasks();
    wake_scan_.wait_for(lock, kScanInterval);
  }
}

void Cloud::Work() {
  std::unique_lock lock(mutex_);
  while (true) {
    wake_work_.wait(lock, [this] { return stopping_ || !tasks_.empty(); });
    if (stopping_) return;
    const Task task = std::move(tasks_.front());
    tasks_.pop_front();
    lock.unlock();
    task.run();
    lock.lock();
    busy_.erase(task.id);
    // Taken on again only after a while if it is not done: what failed now fails at once too.
    retry_ns_[task.id] = WallNanos() + kRetryNs;
    wake_scan_.notify_all();
  }
}

void Cloud::Enqueue(const std::string& id, std::function<void()> run) {
  const auto wait = retry_ns_.find(id);
  if (wait != retry_ns_.end()) {
    if (wait->second > WallNanos() && wait->second < WallNanos() + 2 * kRetryNs) return;
    retry_ns_.erase(wait);
  }
  if (!busy_.insert(id).second) return;
  tasks_.push_back({id, std::move(run)});
  wake_work_.notify_one();
}

bool Cloud::Commit(Records::Transaction* tx) {
  const Status committed = tx->Commit();
  if (!committed.ok()) LogError("{}", committed.message());
  return committed.ok();
}

std::optional<Json> Cloud::Read(const std::string& id) {
  const std::lock_guard lock(mutex_);
  const Json* record = records_->Find(id);
  return record == nullptr ? std::nullopt : std::optional<Json>(*record);
}

void Cloud::FindTasks() {
  std::erase_if(retry_ns_, [now = WallNanos()](const auto& wait) { return wait.second < now; });
  for (const std::string& id : records_->Ids("i-")) FindInstanceTask(id);
  for (const std::string& id : records_->Ids("vol-")) FindVolumeTask(id);
  for (const std::string& id : records_->Ids("eni-")) {
    FindAttachmentTask(id);
    FindAddressTask(id);
  }
  FindHealthTasks();
  for (const std::string& id : records_->Ids(std::string(kSpotRequests.prefix))) {
    if (records_->Find(id)->value("state", "") != "open") continue;
    Records::Transaction tx(records_.get());
    if (EvaluateSpotRequest(tx, facts_, id)) Commit(&tx);
  }
  for (const std::string& id : records_->Ids("snap-")) {
    if (records_->Find(id)->value("status", "") == "pending") {
      Enqueue(id, [this, id] { StoreSnapshot(id); });
    }
  }
  for (const std::string& id : records_->Ids("!forget/")) {
    Enqueue(id, [this, id] { ForgetStored(id); });
  }
}

void Cloud::FindInstanceTask(const std::string& id) {
  const Json& instance = *records_->Find(id);
  const std::string state = StateOf(instance);
  if (busy_.contains(id)) return;
  Records::Transaction tx(records_.get());
  if (state == "running") {
    const InstanceProcess process{.pid = instance.value("_pid", -1),
                                  .start_ticks = instance.value("_start", uint64_t{0})};
    const int64_t end = instance.value("_interruptNs", int64_t{0});
    if (instance.value("_reboot", false)) {
      return Enqueue(id, [this, id] { RebootInstanceWork(id); });
    }
    if (!IsAlive(process)) {
      const bool failed = instance.value("_status", "ok") != "ok";
      BeginTermination(tx, id, failed ? "Server.InternalError" : "Client.InstanceInitiatedShutdown",
                       failed ? "Server.InternalError: Internal error on launch"
                              : "Client.InstanceInitiatedShutdown: Instance initiated shutdown");
    } else if (end != 0 && end <= WallNanos()) {
      BeginTermination(tx, id, "Server.SpotInstanceTermination",
                       "Server.SpotInstanceTermination: Spot instance termination");
    } else {
      return;
    }
    Commit(&tx);
  } else if (state == "pending") {
    for (const Json& volume : instance.value("_volumes", Json::array())) {
      const Json* record = records_->Find(volume);
      if (record != nullptr && record->value("status", "") == "creating") return;
    }
    Enqueue(id, [this, id] { LaunchInstance(id); });
  } else if (state == "stopping") {
    Enqueue(id, [this, id] { StopInstanceWork(id); });
  } else if (state == "terminated") {
    if (instance.value("_terminatedNs", int64_t{0}) + kShowTerminatedNs > WallNanos()) return;
    tx.Remove(id);
    Commit(&tx);
  }
  if (const Json* now = records_->Find(id); now != nullptr && StateOf(*now) == "shutting-down") {
    Enqueue(id, [this, id] { EndInstanceWork(id); });
  }
}

void Cloud::FindVolumeTask(const std::string& id) {
  const Json& volume = *records_->Find(id);
  const std::string status = volume.value("status", "");
  if (status == "creating") return Enqueue(id, [this, id] { MakeVolume(id); });
  if (status == "deleting") return Enqueue(id, [this, id] { DeleteVolumeWork(id); });
  const Json& attachments = volume.at("attachmentSet");
  if (attachments.empty()) return;
  const std::string attached = attachments[0].value("status", "");
  const Json* instance = records_->Find(attachments[0].value("instanceId", ""));
  // Those of an instance that comes or goes are its own workers' affair.
  const std::string state = instance == nullptr ? "" : StateOf(*instance);
  if (state != "running" && state != "stopped") return;
  if (attached == "attaching") Enqueue(id, [this, id] { AttachVolumeWork(id); });
  if (attached == "detaching") Enqueue(id, [this, id] { DetachVolumeWork(id); });
}

void Cloud::FindAddressTask(const std::string& id) {
  const Json& interface = *records_->Find(id);
  const std::string wanted = interface.value("association", Json::object()).value("publicIp", "");
  if (interface.value("_routed", "") == wanted) return;
  if (!interface.contains("attachment")) return;
  if (interface.at("attachment").value("status", "") != "attached") return;
  const Json* instance = records_->Find(interface.at("attachment").value("instanceId", ""));
  if (instance == nullptr || StateOf(*instance) != "running") return;
  Enqueue(id, [this, id] { ApplyAddress(id); });
}

}  // namespace snapstore::localcloud
