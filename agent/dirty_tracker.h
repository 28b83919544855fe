// DirtyTracker: which pages of an application changed since its newest committed checkpoint, so
// that the others are neither copied while it is frozen nor hashed afterwards.
//
// Per checkpoint: Attach while the application runs; have CRIU pass over Known() pages
// (CriuFilter), or else let the pages images of LetGo() pass by unread; Complete while it is
// frozen; Committed once the checkpoint exists. Forget whenever the next checkpoint will have
// another parent than the last one that was Committed. Processes with little memory are not worth
// stopping for and are not tracked; what is not tracked is read and compared.
//
// Thread safety: all calls may come from any thread.
#ifndef SNAPSTORE_AGENT_DIRTY_TRACKER_H_
#define SNAPSTORE_AGENT_DIRTY_TRACKER_H_

#include <sys/types.h>

#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "agent/arena.h"
#include "agent/checkpoint_image.h"
#include "agent/criu_filter.h"
#include "agent/tracked_process.h"
#include "snapstore/status.h"

namespace snapstore::agent {

struct LetGoPlan {
  std::set<std::string> pagemaps;
  uint64_t bytes_spared = 0;  // of memory that need not be ready, with some reserve
};

class DirtyTracker {
 public:
  // From here on a process's memory is worth being stored before its first freeze.
  static constexpr uint64_t kWatchedBytesMin = 96 << 20;

  // Unsupported when this machine cannot. `watched_bytes_min`: for WatchedAnew.
  static Result<std::unique_ptr<DirtyTracker>> Create(
      uint64_t watched_bytes_min = kWatchedBytesMin);

  // Begins to track those of `pids`, the whole application, that are new; each stands still for a
  // moment. What cannot be tracked is not.
  void Attach(const std::vector<pid_t>& pids);

  // Memory of processes with much of it that the parent holds nothing of but that can be read
  // beforehand, while its process runs: stored, it may be Committed, and what is written meanwhile
  // will be known.
  struct Watched {
    pid_t pid = 0;
    std::string pagemap;
    AddressSet pages;
  };
  std::vector<Watched> WatchedAnew() const;

  // Page maps of processes so little of which changed that reading it from the process is quicker
  // than having all of it from CRIU.
  LetGoPlan LetGo() const;

  // Pages that the parent holds, whether or not they were written since the last Complete. A page
  // of these that is watched and was not written then is in Unchanged() after the next Complete.
  PagesByProcess Known() const;

  // The images of a dump have arrived and the application is still frozen: notes what changed, and
  // reads what changed of the pages images that were let go (ArenaFile::only_changed). An error
  // fails the dump: the next one had better let nothing go.
  Status Complete(std::vector<ArenaFile>* files, Arena* arena);

  // As of the last Complete: pages that are what the parent holds.
  PagesByMap Unchanged() const;

  // The checkpoint of the last Complete is committed and holds `pages`.
  void Committed(const PagesByMap& pages);

  // Nothing is known to be unchanged until the next commit.
  void Forget();

  // Private memory of `pids`, the whole application, written since the last commit; the memory of
  // untracked processes counts as written, shared memory and files do not count. Takes about 1 ms
  // per GiB. Nothing when no checkpoint was committed.
  std::optional<uint64_t> DirtyBytes(const std::vector<pid_t>& pids) const;

 private:
  explicit DirtyTracker(uint64_t watched_bytes_min) : watched_bytes_min_(watched_bytes_min) {}
  Status ReadChanged(const std::vector<ArenaFile>& files, const TrackedProcess& process,
                     ArenaFile* pages, Arena* arena) const;

  const uint64_t watched_bytes_min_;
  mutable std::mutex mutex_;  // guards what follows
  std::map<pid_t, std::unique_ptr<TrackedProcess>> processes_;
  std::map<pid_t, int> refusals_;
  int complaints_ = 0;  // that were told
  bool committed_ = false;
};

}  // namespace snapstore::agent

#endif  // SNAPSTORE_AGENT_DIRTY_TRACKER_H_
