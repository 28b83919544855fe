// Checkpointer: one checkpoint of a running application, from the freeze to the commit.
//
// The application is frozen while CRIU's images and the external files go into memory, and runs on
// before anything of it is hashed, compressed or written. The checkpoint exists when its snapshot's
// manifest does; whatever fails before leaves the application running and earlier checkpoints
// whole.
//
// Thread safety: none; one checkpoint at a time.
#ifndef SNAPSTORE_AGENT_CHECKPOINTER_H_
#define SNAPSTORE_AGENT_CHECKPOINTER_H_

#include <functional>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "agent/app_config.h"
#include "agent/arena.h"
#include "agent/background.h"
#include "agent/cell.h"
#include "agent/criu_driver.h"
#include "agent/criu_filter.h"
#include "agent/dirty_tracker.h"
#include "agent/external_capture.h"
#include "agent/fence.h"
#include "agent/hooks.h"
#include "agent/platform.h"
#include "agent/pre_copy.h"
#include "agent/quiet_connections.h"
#include "snapstore/repository.h"
#include "snapstore/snapshot.h"

namespace snapstore::agent {

// What one attempt came to.
struct CheckpointRecord {
  uint64_t number = 0;      // counts attempts since the agent started, from 1
  std::string trigger;      // "schedule", "request" or "final"
  int64_t time_ns = 0;      // wall clock when it began
  Status status;            // OK: it is committed
  std::string snapshot_id;  // of the commit
  std::string parent_id;    // the checkpoint it was compared with, empty: none
  double frozen_ms = 0;
  double seconds = 0;           // from the beginning to the commit
  uint64_t bytes_captured = 0;  // images and external files
  uint64_t bytes_external = 0;  // external files alone
  uint64_t bytes_read = 0;      // as in SnapshotInfo
  uint64_t bytes_new = 0;
  uint64_t bytes_stored = 0;
  uint64_t bytes_grown_frozen = 0;  // memory that had to be got while frozen; 0 is as it should be
  std::vector<std::string> unlisted_files;  // written by the application, and not in the checkpoint
};

class Checkpointer {
 public:
  struct Options {
    AppConfig config;
    std::string directory;     // short, private: CRIU's working directory
    std::string log_path;      // of the application
    uint64_t arena_limit = 0;  // bytes of captured memory at most
    // TCP connections of an application that is left stopped are to go on elsewhere: their peers
    // are told nothing.
    bool keep_connections = false;
    const Hooks* hooks = nullptr;  // must outlive it; null: there are none
    // Whether the application is to be stopped: a pre-freeze hook of a checkpoint that is not for
    // this is then cut short. Null: never.
    std::function<bool()> stop_waits = {};
    BackgroundPriority background = {};  // of the work after the freeze, but of a final checkpoint
    std::vector<std::string> volumes = {};  // folders whose files go along without being listed
    // Copy and compare only pages that changed, where the machine can tell.
    bool track_pages = true;
    // A process's memory from here on is stored before its first freeze, if pages are tracked.
    uint64_t store_beforehand_min = DirtyTracker::kWatchedBytesMin;
    // Has CRIU pass over what did not change; empty: CRIU passes it on, unread.
    std::string filter_library = CriuFilter::FindLibrary();
    SpoolOptions spool = {};  // for what exceeds arena_limit; no directory: `spool` beside the log
  };

  // `repository` and `criu` must outlive it.
  static Result<std::unique_ptr<Checkpointer>> Create(Options options, Repository* repository,
                                                      const CriuDriver* criu);

  // Never fails as a call: the record says how it went. With `leave_stopped` the application does
  // not run on after a success: it stands still (SIGSTOP) so that nothing it would do is lost.
  CheckpointRecord Take(Cell* cell, const std::string& trigger, bool leave_stopped);

  // The checkpoint the next one is compared with; empty: none.
  void set_parent(std::string id);
  const std::string& parent() const { return parent_id_; }
  // Asked before and after each commit; must outlive the checkpointer. Null: nobody is.
  void set_fence(Fence* fence) { fence_ = fence; }

  // See DirtyTracker::DirtyBytes; nothing either when pages are not tracked.
  std::optional<uint64_t> DirtyBytes(const Cell& cell) const;

 private:
  Checkpointer(Options options, Repository* repository, const CriuDriver* criu)
      : options_(std::move(options)),
        repository_(repository),
        criu_(criu),
        external_(options_.config.external_files, options_.directory) {}

  struct Captured {
    DumpedImages images;
    std::vector<CapturedFile> files;
    std::vector<pid_t> stopped;
    std::unique_ptr<QuietConnections> quiet;
    PagesByMap hidden;          // pages that CRIU passed over
    bool hides = false;         // it was to
    uint64_t frozen_us = 0;     // in all attempts
    bool lacks_pages = false;   // what was let go or hidden is not to be had
    bool files_differ = false;  // an external file is not what it was taken for
    bool takes_over = false;    // what is unchanged is only in the parent
  };
  struct Attempt {
    bool let_go;       // what did not change need not come from CRIU
    bool exact_files;  // external files are compared in the freeze
  };
  Status Capture(Cell* cell, bool leave_stopped, Attempt attempt, Captured* captured,
                 CheckpointRecord* record);
  Status CaptureWithRetries(Cell* cell, bool leave_stopped, Captured* captured,
                            CheckpointRecord* record);
  // What of the memory of `pids` need not come from CRIU; `expected` bytes become fewer by it.
  void Plan(const std::vector<pid_t>& pids, Attempt attempt, Captured* captured, CapturePlan* plan,
            uint64_t* expected);
  Status AddHidden(Captured* captured, std::vector<ArenaFile>* files);
  void NoteUnlisted(const std::vector<pid_t>& pids, CheckpointRecord* record);
  void StoreBeforehand(const Cell& cell, CheckpointRecord* record);
  void DropPreCopy(const Status& checkpoint);
  // What the next one's unchanged pages are in; empty: none are anywhere.
  const std::string& base_id() const { return pre_copy_ ? *pre_copy_ : parent_id_; }
  Result<SnapshotSummary> Store(SnapshotRequest* request);
  Status Commit(int root_pid, Captured* captured, CheckpointRecord* record);
  Status CommitCaptured(int root_pid, Captured* captured, CheckpointRecord* record);
  Status TakeOnce(Cell* cell, bool leave_stopped, Captured* captured, CheckpointRecord* record);
  void LetRunOn(Cell* cell, bool leave_stopped, bool taken, Captured* captured);
  Status RunHooks(HookEvent event, const Cell& cell, const CheckpointRecord& record,
                  bool leave_stopped) const;

  const Options options_;
  Repository* const repository_;
  const CriuDriver* const criu_;
  const Platform platform_ = Platform::OfThisMachine();
  std::unique_ptr<Arena> arena_;
  uint64_t arena_wanted_ = 0;  // by the newest checkpoints, large ones before them fading
  std::unique_ptr<DirtyTracker> tracker_;  // null: none
  std::unique_ptr<CriuFilter> filter_;     // null: none
  bool filter_works_ = false;              // as the last dump has shown, or is hoped before it
  Fence* fence_ = nullptr;
  ExternalCapture external_;
  std::string parent_id_;
  std::optional<std::string> pre_copy_;      // during a checkpoint: the snapshot it builds upon
  std::unique_ptr<QuietConnections> quiet_;  // of an application that was left stopped
  std::set<std::string> told_unlisted_;
  uint64_t count_ = 0;
};

}  // namespace snapstore::agent

#endif  // SNAPSTORE_AGENT_CHECKPOINTER_H_
