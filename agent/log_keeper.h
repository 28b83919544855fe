// LogKeeper: keeps log files from growing without end.
//
// The application's log is held open by the application, for appending, and CRIU opens it by its
// path at a restore: it is neither renamed nor replaced. What is old is copied to PATH.1, then
// taken away from the beginning of the file in one step of the kernel's (fallocate(2),
// FALLOC_FL_COLLAPSE_RANGE), which no write of the application can come between: no byte is lost,
// and PATH.1 followed by PATH is what was written. File systems take away whole blocks, so the cut
// may be within a line. Where that is not known (tmpfs, btrfs) the beginning becomes a hole
// (FALLOC_FL_PUNCH_HOLE): its space is given back, readers see zeros there. If the machine fails
// between copy and removal, lines are in both files.
//
// The agent's own log is renamed, and opened anew; also at SIGHUP, for whoever else renames it.
//
// Thread safety: a thread of its own does it all.
#ifndef SNAPSTORE_AGENT_LOG_KEEPER_H_
#define SNAPSTORE_AGENT_LOG_KEEPER_H_

#include <cstdint>
#include <memory>
#include <string>
#include <thread>

#include "base/unique_fd.h"
#include "snapstore/status.h"

namespace snapstore::agent {

struct LogOptions {
  std::string own_log;            // of the agent; empty: its messages stay where they are
  std::string application_log;    // empty: there is none
  uint64_t bytes_max = 64 << 20;  // of a log, before it is cut; 0: never
  size_t keep = 3;                // older parts: PATH.1 (newest) to PATH.<keep>
};

class LogKeeper {
 public:
  // Standard error is the agent's own log from now on. REQUIRES: SIGHUP is blocked in every thread.
  // Io, PermissionDenied, …: that log cannot be opened.
  static Result<std::unique_ptr<LogKeeper>> Start(LogOptions options);
  ~LogKeeper();
  LogKeeper(const LogKeeper&) = delete;
  LogKeeper& operator=(const LogKeeper&) = delete;

 private:
  explicit LogKeeper(LogOptions options) : options_(std::move(options)) {}
  Status OpenOwn();
  void Run();
  void LookAtOwn();
  void LookAtApplications();

  const LogOptions options_;
  UniqueFd hangup_;  // signalfd
  UniqueFd end_;     // eventfd
  bool application_failed_ = false;
  std::thread thread_;
};

// Cuts a log that others hold open if `bytes_max` bytes or more are in it. Whether it did.
// Unsupported: the file system can neither take away a beginning nor make a hole.
Result<bool> CutHeldLog(const std::string& path, uint64_t bytes_max, size_t keep);

// PATH.1 becomes PATH.2 and so on; what was PATH.<keep> is gone.
Status ShiftOldLogs(const std::string& path, size_t keep);

}  // namespace snapstore::agent

#endif  // SNAPSTORE_AGENT_LOG_KEEPER_H_
