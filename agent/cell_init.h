// What runs inside a cell: its init, and the application's last steps before exec.
//
// The functions here run in a child of a process that may have threads, without exec in between:
// they allocate nothing, take no lock and call nothing but system calls.
#ifndef SNAPSTORE_AGENT_CELL_INIT_H_
#define SNAPSTORE_AGENT_CELL_INIT_H_

#include <cstdint>

namespace snapstore::agent {

// Messages on the control socket (SOCK_SEQPACKET) between the agent and the init.
struct CellCommand {
  enum Kind : int32_t {
    kStart = 1,       // start the application
    kSetLastPid = 2,  // value: the next process gets a higher pid
    kWatch = 3,       // value: report the exit of this pid, too
  };
  int32_t kind = 0;
  int32_t value = 0;
};

struct CellReport {
  enum Kind : int32_t {
    kReady = 1,   // value: 0, or the errno of the step that failed
    kDone = 2,    // answer to a command; value: 0 or errno; pid: of a started application
    kExited = 3,  // value: wait status of pid
  };
  int32_t kind = 0;
  int32_t pid = 0;
  int32_t value = 0;
  int32_t step = 0;  // which step failed, a CellStep
};

enum class CellStep : int32_t {
  kNone = 0,
  kPrivateMounts,
  kMountProc,
  kFork,
  kSession,
  kIpcNamespace,
  kDirectory,
  kStdin,
  kLog,
  kExec,
  kLastPid,
};

// Prepared before the fork; only read afterwards.
struct CellPlan {
  int control_fd = -1;
  const char* program = nullptr;  // resolved path
  char* const* argv = nullptr;
  char* const* environment = nullptr;
  const char* directory = nullptr;
  const char* log_path = nullptr;
};

// Process 1 of the cell. Ends, and all in the cell with it, when the control socket closes.
[[noreturn]] void RunCellInit(const CellPlan& plan);

}  // namespace snapstore::agent

#endif  // SNAPSTORE_AGENT_CELL_INIT_H_
