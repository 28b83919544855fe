#include "agent/checkpoint_keeper.h"

#include <fmt/format.h>
#include <sys/resource.h>

#include <algorithm>
#include <condition_variable>
#include <mutex>
#include <thread>
#include <vector>

#include "agent/checkpoint_reader.h"
#include "agent/state_files.h"
#include "base/log.h"
#include "base/status_macros.h"
#include "snapstore/inspect.h"
#include "snapstore/maintain.h"

namespace snapstore::agent {
namespace {

using Clock = std::chrono::steady_clock;

constexpr int kNice = 10;
// Whoever ends the agent waits for it.
constexpr double kPruneSecondsMax = 15;
// After a round that failed.
constexpr std::chrono::minutes kRetry{5};

}  // namespace

struct CheckpointKeeper::Impl {
  Impl(Repository* where, KeeperOptions how) : repository(where), options(std::move(how)) {}

  void Run() {
    // Of this thread alone; what it does is in nobody's way.
    (void)setpriority(PRIO_PROCESS, 0, kNice);
    std::unique_lock lock(mutex);
    auto again = Clock::time_point::max();
    while (!ending) {
      if (!wanted && Clock::now() < again) {
        if (again == Clock::time_point::max()) {
          wake.wait(lock);
        } else {
          wake.wait_until(lock, again);
        }
        continue;
      }
      wanted = false;
      lock.unlock();
      const Status done = Round();
      lock.lock();
      again = done.ok() || ending ? Clock::time_point::max() : Clock::now() + kRetry;
      if (done.message() != status.error && !done.ok() && !ending) {
        LogWarning("looking after the checkpoints of {}: {}", options.app, done.message());
      }
      status.error = done.ok() ? "" : done.message();
    }
  }

  // Waits as long as a checkpoint is being taken. False: it is over.
  bool MayGoOn() {
    std::unique_lock lock(mutex);
    wake.wait(lock, [this] { return holds == 0 || ending; });
    return !ending;
  }

  Status Round() {
    if (!MayGoOn()) return Status::Ok();
    SNAP_ASSIGN_OR_RETURN(const auto checkpoints, ListCheckpoints(repository, options.app));
    DropGone(checkpoints);
    // Newest first. Without a limit the newest one is verified, like any other when its turn comes.
    size_t good = 0;
    const size_t enough = std::max<size_t>(options.keep, 1);
    std::vector<std::string> outdated;
    for (const SnapshotInfo& one : checkpoints) {
      if (good == enough) {
        outdated.push_back(one.id);
        continue;
      }
      if (!MayGoOn()) return Status::Ok();
      SNAP_ASSIGN_OR_RETURN(const bool verified, Verify(one.id));
      if (verified) ++good;
    }
    if (options.keep == 0 || outdated.empty()) return Status::Ok();
    if (!MayGoOn()) return Status::Ok();
    SNAP_ASSIGN_OR_RETURN(const uint64_t gone, ForgetSnapshots(*repository, outdated, nullptr));
    {
      const std::lock_guard lock(mutex);
      status.forgotten += gone;
      for (const std::string& id : outdated) {
        status.verified.erase(id);
        status.damaged.erase(id);
      }
    }
    LogInfo("{} older checkpoints of {} are forgotten", gone, options.app);
    return Prune();
  }

  void DropGone(const std::vector<SnapshotInfo>& checkpoints) {
    std::set<std::string> present;
    for (const SnapshotInfo& one : checkpoints) present.insert(one.id);
    const std::lock_guard lock(mutex);
    std::erase_if(status.verified, [&](const std::string& id) { return !present.contains(id); });
    std::erase_if(status.damaged, [&](const std::string& id) { return !present.contains(id); });
  }

  Result<bool> Verify(const std::string& id) {
    {
      const std::lock_guard lock(mutex);
      if (status.verified.contains(id)) return true;
      if (status.damaged.contains(id)) return false;
    }
    const auto report = CheckRepository(*repository, {.snapshots = {id}}, nullptr);
    // Somebody else forgot it meanwhile.
    if (report.status().Is(StatusCode::kNotFound)) return false;
    if (!report.ok()) return report.status();
    std::set<std::string> verified;
    {
      const std::lock_guard lock(mutex);
      (report->problems.empty() ? status.verified : status.damaged).insert(id);
      verified = status.verified;
    }
    if (report->problems.empty()) {
      LogDebug("checkpoint {} is verified", id);
      SNAP_RETURN_IF_ERROR(WriteVerifiedFile(options.state_directory, verified));
      return true;
    }
    const CheckProblem& first = report->problems.front();
    LogError("checkpoint {} is damaged: {}: {}", id, first.object, first.message);
    return false;
  }

  Status Prune() {
    if (pruned + options.prune_interval > Clock::now()) return Status::Ok();
    PruneOptions prune;
    prune.max_seconds = kPruneSecondsMax;
    const auto done = PruneRepository(*repository, prune, nullptr);
    // Somebody else does it.
    if (done.status().Is(StatusCode::kConflict)) return Status::Ok();
    SNAP_RETURN_IF_ERROR(done.status());
    if (done->finished) pruned = Clock::now();
    LogInfo("pruned: {} bytes deleted", done->bytes_deleted);
    const std::lock_guard lock(mutex);
    ++status.prunes;
    return Status::Ok();
  }

  Repository* const repository;
  const KeeperOptions options;
  Clock::time_point pruned = Clock::now();  // of the thread alone

  std::mutex mutex;  // guards what follows
  std::condition_variable wake;
  KeeperStatus status;
  int holds = 0;
  bool wanted = false;
  bool ending = false;
  std::thread thread;
};

CheckpointKeeper::CheckpointKeeper(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}

std::unique_ptr<CheckpointKeeper> CheckpointKeeper::Start(Repository* repository,
                                                          KeeperOptions options) {
  auto impl = std::make_unique<Impl>(repository, std::move(options));
  impl->status.verified = ReadVerifiedFile(impl->options.state_directory);
  Impl* const self = impl.get();
  self->thread = std::thread([self] { self->Run(); });
  return std::unique_ptr<CheckpointKeeper>(new CheckpointKeeper(std::move(impl)));
}

CheckpointKeeper::~CheckpointKeeper() {
  {
    const std::lock_guard lock(impl_->mutex);
    impl_->ending = true;
  }
  impl_->wake.notify_all();
  impl_->thread.join();
}

void CheckpointKeeper::Look() {
  {
    const std::lock_guard lock(impl_->mutex);
    impl_->wanted = true;
  }
  impl_->wake.notify_all();
}

CheckpointKeeper::Hold::Hold(CheckpointKeeper* keeper) : keeper_(keeper) {
  const std::lock_guard lock(keeper_->impl_->mutex);
  ++keeper_->impl_->holds;
}

CheckpointKeeper::Hold::~Hold() {
  {
    const std::lock_guard lock(keeper_->impl_->mutex);
    --keeper_->impl_->holds;
  }
  keeper_->impl_->wake.notify_all();
}

KeeperStatus CheckpointKeeper::status() const {
  const std::lock_guard lock(impl_->mutex);
  return impl_->status;
}

}  // namespace snapstore::agent
