#include "agent/checkpoint_keeper.h"

#include <fmt/format.h>
#include <sys/resource.h>

#include <algorithm>
#include <condition_variable>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

#include "agent/checkpoint_reader.h"
#include "agent/state_files.h"
#include "base/log.h"
#include "base/status_macros.h"
#include "snapstore/inspect.h"
#include "snapstore/maintain.h"
#include "snapstore/repair.h"

namespace snapstore::agent {
namespace {

using Clock = std::chrono::steady_clock;

constexpr int kNice = 10;
// Whoever ends the agent waits for it.
constexpr double kPruneSecondsMax = 15;
// After a round that failed.
constexpr std::chrono::minutes kRetry{5};
// To read and check takes processor time in proportion to all of a checkpoint, not to what is new
// in it; checkpoints that come quickly one after another need not each be looked at before the
// next.
constexpr int kRestPerWork = 20;
constexpr std::chrono::seconds kRestMax{60};

}  // namespace

struct CheckpointKeeper::Impl {
  Impl(Repository* where, KeeperOptions how) : repository(where), options(std::move(how)) {}

  void Run() {
    // Of this thread alone; what it does is in nobody's way.
    (void)setpriority(PRIO_PROCESS, 0, kNice);
    std::unique_lock lock(mutex);
    auto again = Clock::time_point::max();
    auto rested = Clock::time_point::min();
    while (!ending) {
      if (wanted && Clock::now() < rested) {
        wake.wait_until(lock, rested);
        continue;
      }
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
      const auto began = Clock::now();
      const Status done = Round();
      lock.lock();
      const auto work = Clock::now() - began;
      // What was found bad makes others doubtful, which cannot wait.
      if (!doubted && status.damaged.empty()) {
        rested = Clock::now() + std::min<Clock::duration>(kRestPerWork * work, kRestMax);
      }
      again = done.ok() || ending ? Clock::time_point::max() : Clock::now() + kRetry;
      if (done.message() != status.error && !done.ok() && !ending) {
        LogWarning("looking after the checkpoints of {}: {}", options.app, done.message());
      }
      status.error = done.ok() ? "" : done.message();
      ++status.rounds;
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
    std::vector<SnapshotInfo> superseded;
    SNAP_ASSIGN_OR_RETURN(const auto checkpoints,
                          ListCheckpoints(repository, options.app, &superseded));
    DropGone(checkpoints);
    if (TakeDoubt()) packs_read.clear();
    if (packs_read_since + options.reread_interval <= Clock::now()) {
      packs_read.clear();
      packs_read_since = Clock::now();
    }
    std::vector<std::string> outdated;
    bool again = true;
    while (again) {
      again = false;
      SNAP_RETURN_IF_ERROR(VerifyNewest(checkpoints, &outdated, &again));
      if (!MayGoOn()) return Status::Ok();
    }
    // Whoever lost the race may want what it committed last, until there is enough that is newer.
    if (!outdated.empty() || Good() >= std::max<size_t>(options.keep, 1)) {
      for (const SnapshotInfo& one : superseded) outdated.push_back(one.id);
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

  // Newest first. Without a limit the newest one is verified, like any other when its turn comes.
  // `again`: all that were verified are in doubt.
  Status VerifyNewest(const std::vector<SnapshotInfo>& checkpoints,
                      std::vector<std::string>* outdated, bool* again) {
    size_t good = 0;
    const size_t enough = std::max<size_t>(options.keep, 1);
    outdated->clear();
    for (const SnapshotInfo& one : checkpoints) {
      if (good == enough) {
        outdated->push_back(one.id);
        continue;
      }
      if (!MayGoOn()) return Status::Ok();
      SNAP_ASSIGN_OR_RETURN(const bool verified, Verify(one.id, again));
      if (*again) return Status::Ok();
      if (verified) {
        ++good;
        const std::lock_guard lock(mutex);
        if (good == 1) newest_verified = one.id;
      }
    }
    return Status::Ok();
  }

  bool TakeDoubt() {
    const std::lock_guard lock(mutex);
    return std::exchange(doubted, false);
  }

  size_t Good() {
    const std::lock_guard lock(mutex);
    return status.verified.size();
  }

  void DropGone(const std::vector<SnapshotInfo>& checkpoints) {
    std::set<std::string> present;
    for (const SnapshotInfo& one : checkpoints) present.insert(one.id);
    const std::lock_guard lock(mutex);
    std::erase_if(status.verified, [&](const std::string& id) { return !present.contains(id); });
    std::erase_if(status.damaged, [&](const std::string& id) { return !present.contains(id); });
  }

  // Its end does not wait for a long reading, and a checkpoint does not share the machine with one.
  class Pauses final : public Observer {
   public:
    explicit Pauses(Impl* keeper) : keeper_(keeper) {}
    bool Cancelled() override { return !keeper_->MayGoOn(); }

   private:
    Impl* const keeper_;
  };

  Result<bool> Verify(const std::string& id, bool* again) {
    {
      const std::lock_guard lock(mutex);
      if (status.verified.contains(id)) return true;
      if (status.damaged.contains(id)) return false;
    }
    Pauses pauses(this);
    const auto report = CheckRepository(
        *repository, {.read_data = true, .snapshots = {id}, .packs_read = &packs_read}, &pauses);
    // Somebody else forgot it meanwhile.
    if (report.status().Is(StatusCode::kNotFound)) return false;
    if (report.status().Is(StatusCode::kCancelled)) return false;
    if (!report.ok()) return report.status();
    if (!report->problems.empty()) {
      const CheckProblem& first = report->problems.front();
      LogError("checkpoint {} is damaged: {}: {}", id, first.object, first.message);
      SNAP_RETURN_IF_ERROR(AvoidDamagedPacks(*repository, *report).status());
      // Others may have lost the same.
      packs_read.clear();
      *again = true;
    }
    VerifiedFile file;
    {
      const std::lock_guard lock(mutex);
      if (*again) DoubtLocked();
      (*again ? status.damaged : status.verified).insert(id);
      file = {status.verified, status.damaged};
    }
    SNAP_RETURN_IF_ERROR(WriteVerifiedFile(options.state_directory, file));
    LogDebug("checkpoint {} is looked at", id);
    return !*again;
  }

  // REQUIRES: mutex is held.
  void DoubtLocked() {
    status.verified.clear();
    newest_verified.clear();
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
  // Of the thread alone.
  Clock::time_point pruned = Clock::now();
  std::set<std::string> packs_read;  // and found right
  Clock::time_point packs_read_since = Clock::now();

  std::mutex mutex;  // guards what follows
  std::condition_variable wake;
  KeeperStatus status;
  std::string newest_verified;
  bool doubted = false;
  int holds = 0;
  bool wanted = false;
  bool ending = false;
  std::thread thread;
};

CheckpointKeeper::CheckpointKeeper(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}

std::unique_ptr<CheckpointKeeper> CheckpointKeeper::Start(Repository* repository,
                                                          KeeperOptions options) {
  auto impl = std::make_unique<Impl>(repository, std::move(options));
  VerifiedFile file = ReadVerifiedFile(impl->options.state_directory);
  impl->status.verified = std::move(file.verified);
  impl->status.damaged = std::move(file.damaged);
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

std::string CheckpointKeeper::ParentFor(const std::string& id) const {
  const std::lock_guard lock(impl_->mutex);
  return impl_->status.damaged.contains(id) ? impl_->newest_verified : id;
}

void CheckpointKeeper::Doubt() {
  const std::lock_guard lock(impl_->mutex);
  impl_->DoubtLocked();
  impl_->doubted = true;
}

KeeperStatus CheckpointKeeper::status() const {
  const std::lock_guard lock(impl_->mutex);
  return impl_->status;
}

}  // namespace snapstore::agent
