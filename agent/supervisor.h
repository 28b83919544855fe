// Supervisor: starts one application, from its newest checkpoint if there is one, and checkpoints
// it on schedule and on request until it ends or is stopped.
//
// Start. The newest checkpoint of this application in the repository is restored: external files
// first, then the processes. If that fails the one before is tried, then the application starts
// afresh; why is logged and kept in the status. A hook that fails ends the start. A repository that
// cannot be read is an error: the application is not started afresh only because its checkpoints
// could not be seen.
//
// One agent. The application is claimed (agent/fence.h). When another agent has claimed it since,
// wherever that is, no more checkpoints are taken and the application is ended, unless told
// otherwise: it runs there.
//
// Stop. SIGTERM, SIGINT and RequestStop take a final checkpoint after which the application
// executes nothing any more, then end it. If that checkpoint fails, RequestStop leaves the
// application running and says why; after a signal one more attempt is made and the application is
// ended all the same. SIGQUIT ends it at once. While a machine shuts down, which tells every
// process to end, no checkpoint is kept: restored, the application would go on ending.
//
// An application that dies of a dump that failed is started again, from its newest checkpoint.
//
// If the agent itself is killed, or let go of the application (SIGUSR1, RequestDetach), the
// application runs on, and the next agent with this state directory takes it over as it is.
//
// Thread safety: Run belongs to one thread; the other calls may come from any thread.
#ifndef SNAPSTORE_AGENT_SUPERVISOR_H_
#define SNAPSTORE_AGENT_SUPERVISOR_H_

#include <deque>
#include <future>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "agent/adaptive_trigger.h"
#include "agent/app_config.h"
#include "agent/checkpoint_keeper.h"
#include "agent/checkpointer.h"
#include "agent/fence.h"
#include "agent/hooks.h"
#include "agent/platform.h"
#include "agent/restore_attempt.h"
#include "agent/ticker.h"
#include "base/clock.h"

namespace snapstore::agent {

struct SupervisorOptions {
  AppConfig config;
  std::string state_directory;  // absolute, short; made when missing, used by one agent at a time
  uint64_t arena_limit = 0;     // memory for one checkpoint at most; 0: half of this machine's
  bool restore = true;          // false: start afresh whatever checkpoints there are
  SpoolOptions spool = {};      // for what exceeds it; no directory: STATE/spool
  size_t keep = 3;              // verified checkpoints that stay; 0: all
  bool outlive = true;          // the application runs on when the agent dies
  // The application goes on, without checkpoints, when another agent has taken over.
  bool run_on_when_superseded = false;
  RestoreChoices choices = {};             // how to restore
  AdaptiveTrigger::Options adaptive = {};  // beside the schedule
  HookOptions hooks = {};
  BackgroundPriority background = {};
  std::vector<std::string> volumes = {};  // absolute; their files go along without being listed
  bool track_pages = true;                // as Checkpointer::Options
};

enum class AppState { kStarting, kRunning, kCheckpointing, kStopping, kEnded, kDetached };
std::string_view AppStateName(AppState state);

// The newest checkpoint in the repository, as far as it is known.
struct NewestCheckpoint {
  std::string id;
  int64_t time_ns = 0;
  std::vector<std::string> cpu_features;  // that the CPU must have to resume it
};

struct SupervisorStatus {
  AppState state = AppState::kStarting;
  std::string app;
  std::string run_cmd;
  std::string repository;
  int pid = 0;                                 // of the cell's init, as the node sees it
  int64_t started_ns = 0;                      // when the application was started or restored
  std::string restored_from;                   // snapshot id; empty: started afresh
  std::string start_reason;                    // one line
  double restore_seconds = 0;                  // until it ran
  std::optional<LazyProgress> lazy;            // restored lazily: what of its memory has arrived
  TcpOutcome connections = TcpOutcome::kNone;  // of the restore
  int64_t next_checkpoint_ns = 0;
  // As last looked at: what changed since the newest checkpoint, and how long it would take to
  // store. Nothing: not known.
  std::optional<uint64_t> dirty_bytes;
  double store_seconds = 0;
  uint64_t taken = 0;                            // checkpoints committed since the agent started
  uint64_t failed = 0;                           // attempts that failed
  uint64_t skipped = 0;                          // ticks that came while a checkpoint was running
  std::optional<CheckpointRecord> last;          // newest attempt
  std::optional<CheckpointRecord> last_success;  // newest commit
  std::optional<NewestCheckpoint> newest_checkpoint;
  KeeperStatus kept;
  bool taken_over = false;       // the application ran when this agent came
  uint64_t epoch = 0;            // of this agent's claim on the application
  std::string superseded;        // by whom; empty: by nobody
  std::string ended;             // how the application ended
  bool ended_by_itself = false;  // nobody stopped it
};

class Supervisor {
 public:
  // `repository` and `criu` must outlive it. Conflict: another agent uses the state directory.
  static Result<std::unique_ptr<Supervisor>> Create(SupervisorOptions options,
                                                    Repository* repository, const CriuDriver* criu);
  ~Supervisor();

  // Starts the application, or takes over one that an agent before has left running, and returns
  // when it has ended: OK when it ended with exit code 0 or was stopped with a final checkpoint; or
  // when it was let go. Conflict: superseded, as the status says. Handles SIGTERM, SIGINT, SIGQUIT
  // and SIGUSR1, which REQUIRES that they are blocked in every thread.
  Status Run();

  SupervisorStatus status() const;
  // The newest thousand attempts of this run, oldest first.
  std::vector<CheckpointRecord> records() const;
  // Checkpoints in the repository, newest first.
  Result<std::vector<SnapshotInfo>> StoredCheckpoints() const;

  // Takes a checkpoint that begins after this call and waits for it. `trigger` says why; of several
  // that wait for the same one, the first's.
  CheckpointRecord RequestCheckpoint(const std::string& trigger = "request");
  // Ends the application, with a final checkpoint unless told otherwise, and waits for that.
  Status RequestStop(bool checkpoint);
  // Lets the application run on without an agent, and waits for that: Run returns.
  Status RequestDetach();

 private:
  struct CheckpointRequest {
    std::string trigger;
    std::promise<CheckpointRecord> done;
  };
  enum class StopKind { kCheckpoint, kAtOnce, kDetach };
  struct StopRequest {
    StopKind kind;
    std::promise<Status> done;
  };

  Supervisor(SupervisorOptions options, Repository* repository, const CriuDriver* criu);
  Status SetUp();
  Status StartApplication();
  Result<bool> TakeOver();
  Status NoteRunning();
  Status Stop(StopKind kind);
  Status RequestStop(StopKind kind);
  Status StartFresh(const std::string& reason);
  Status TryRestore(const SnapshotInfo& checkpoint);
  Status HoldPeers(const CheckpointReader& reader) const;
  void NoteNewest(const SnapshotInfo& checkpoint, const std::vector<std::string>& cpu_features);
  Result<std::unique_ptr<Cell>> NewCell() const;
  Status Loop();
  // Whether memory still arrives; checkpoints wait for it. An error: it cannot, and the application
  // could not be started in another way either.
  Status HandleMemory();
  Status RestartWithoutMemory(const Status& why);
  void ForgetMemory();
  bool WaitForEvent();
  Status FinishEnded(int wait_status);
  Status StartAgain(int wait_status);
  Status StartOver(const std::string& why);
  std::optional<Status> HandleSignals();
  bool StopWaits() const;  // for HandleSignals or HandleStops
  std::optional<Status> HandleStops();
  void HandleCheckpointRequests();
  void HandleSchedule();
  void HandleAdaptive();
  void NoteForAdaptive(const CheckpointRecord& record);
  std::optional<Status> HandleSuperseded();
  Status StopOnSignal();
  void DetachApplication();
  CheckpointRecord TakeCheckpoint(const std::string& trigger, bool leave_stopped);
  void EndApplication(const std::string& how);
  void RefuseWaiting(const Status& status);
  void SetState(AppState state);
  void Wake();

  const SupervisorOptions options_;
  Repository* const repository_;
  const CriuDriver* const criu_;
  const Hooks hooks_;
  // Of this machine: what is checkpointed here may have come to depend on them.
  const std::vector<std::string> cpu_features_ = Platform::OfThisMachine().cpu_features;
  std::string log_path_;
  std::string criu_directory_;
  UniqueFd lock_;
  UniqueFd wake_;     // eventfd
  UniqueFd signals_;  // signalfd
  std::unique_ptr<Checkpointer> checkpointer_;
  std::unique_ptr<CheckpointKeeper> keeper_;
  // While memory arrives. Declared before the cell, to go after it. Changed under mutex_ only.
  std::unique_ptr<LazyRestore> lazy_;
  std::optional<CheckpointKeeper::Hold> lazy_hold_;
  bool lazy_allowed_ = true;
  int signalled_ = 0;  // the first signal that waits to be obeyed
  std::unique_ptr<Cell> cell_;
  bool lost_in_dump_ = false;  // the application died while a dump of it failed
  std::optional<Ticker> ticker_;
  AdaptiveTrigger adaptive_;
  const Stopwatch clock_;  // the adaptive trigger's
  double next_look_ = 0;   // by that clock

  mutable std::mutex mutex_;  // guards what follows
  SupervisorStatus status_;
  std::deque<CheckpointRecord> records_;
  std::vector<CheckpointRequest> checkpoint_requests_;
  std::vector<StopRequest> stop_requests_;
  bool accepting_ = true;

  std::unique_ptr<Fence> fence_;  // wakes the supervisor: ends before what it wakes
};

}  // namespace snapstore::agent

#endif  // SNAPSTORE_AGENT_SUPERVISOR_H_
