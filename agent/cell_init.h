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
    kOutlive = 4,     // value: whether the cell lives on when the agent is gone
    kHeld = 5,        // value: whether the agent has stopped the application's processes
  };
  int32_t kind = 0;
  int32_t value = 0;
};

struct CellReport {
  enum Kind : int32_t {
    kReady = 1,   // value: 0, or the errno of the step that failed; pid: of the application, if any
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
  int listen_fd = -1;             // where the next agent comes; -1: there is none
  const char* program = nullptr;  // resolved path
  char* const* argv = nullptr;
  char* const* environment = nullptr;
  const char* directory = nullptr;
  const char* log_path = nullptr;
};

// Process 1 of the cell. When the control socket closes it ends, and all in the cell with it,
// unless it was told to outlive its agent: then it lets the application run on and waits for the
// next one, which gets kReady and, if the application has ended meanwhile, kExited.
[[noreturn]] void RunCellInit(const CellPlan& plan);

}  // namespace snapstore::agent

#endif  // SNAPSTORE_AGENT_CELL_INIT_H_
