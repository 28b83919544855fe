// Cell: the namespaces one application lives in, so that CRIU can dump it and put it back.
//
//  - a PID namespace of its own, under a tiny init that only reaps: the application gets the same
//    pids again in every new cell;
//  - a mount namespace of its own with a fresh /proc, receiving the node's later mounts;
//  - for the application alone an IPC namespace (System V shared memory);
//  - the node's network.
// The application starts as a session leader with no descriptors but stdin (/dev/null) and
// stdout/stderr (the log file, opened for appending inside the cell).
//
// Life time: a cell ends, with everything in it, by Kill(), by the destructor, and when the process
// that made it ends in any way, SIGKILL included: its init notices the closed control socket. Once
// told to Outlive, it lives on when that process is gone or has let go of it with Detach(), and is
// taken over by Adopt().
//
// Thread safety: none, except Kill() and the const accessors.
#ifndef SNAPSTORE_AGENT_CELL_H_
#define SNAPSTORE_AGENT_CELL_H_

#include <sys/types.h>

#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "agent/cell_init.h"
#include "base/unique_fd.h"
#include "snapstore/status.h"

namespace snapstore::agent {

struct CellOptions {
  std::vector<std::string> argv;         // of the application; argv[0] is looked up in PATH
  std::vector<std::string> environment;  // "NAME=value"
  std::string directory = "/";           // working directory
  std::string log_path;                  // absolute; made with mode 0600 when missing
  std::string socket_path = {};          // for Adopt, in a private directory; empty: no adoption
};

// A program running inside a cell (CRIU). Waiting is the owner's duty; nothing is killed unasked.
class CellProcess {
 public:
  CellProcess(pid_t pid, UniqueFd pidfd) : pid_(pid), pidfd_(std::move(pidfd)) {}
  CellProcess(CellProcess&& other) noexcept
      : pid_(std::exchange(other.pid_, -1)), pidfd_(std::move(other.pidfd_)) {}
  CellProcess& operator=(CellProcess&&) = delete;
  ~CellProcess() { (void)Wait(); }

  int pidfd() const { return pidfd_.get(); }  // becomes readable when it has ended
  // Blocks; its exit code, or 128 + signal.
  int Wait();
  // Sends SIGKILL to it and to what it has started.
  void Kill();

 private:
  pid_t pid_;
  UniqueFd pidfd_;
  int exit_code_ = -1;
};

class Cell {
 public:
  // Makes the namespaces and the init; starts nothing in them. Needs root.
  // NotFound: no such program; PermissionDenied; Io.
  static Result<std::unique_ptr<Cell>> Create(const CellOptions& options);

  // The cell that listens there and has outlived its agent. NotFound: there is none.
  static Result<std::unique_ptr<Cell>> Adopt(const std::string& socket_path);

  ~Cell();
  Cell(const Cell&) = delete;
  Cell& operator=(const Cell&) = delete;

  // Starts the application. An exec that fails is reported here.
  Status StartApplication();

  // Before a restore: pids up to `last_pid` are left to the images, and the exit of `root_pid`
  // will be reported.
  Status PrepareRestore(int last_pid, int root_pid);

  // Starts `argv` (argv[0] a path) inside the cell's pid, mount and network namespaces, with stdin
  // /dev/null and stdout and stderr to `output_fd`. `environment`: NAME=value, besides PATH and
  // LC_ALL.
  Result<CellProcess> Spawn(const std::vector<std::string>& argv, int output_fd,
                            const std::vector<std::string>& environment = {});

  // The wait status of the application once it has ended; waits up to `timeout`.
  std::optional<int> WaitForExit(std::chrono::milliseconds timeout);
  // Readable when WaitForExit may have something new.
  int event_fd() const { return control_.get(); }

  // From now on the cell lives on when this process is gone; REQUIRES a socket_path.
  Status Outlive();
  // Lets go of a cell that was told to outlive this process: nothing more can be done with it.
  void Detach();

  // To be told before the application's processes are stopped with SIGSTOP and after they were
  // continued: should the agent be lost in between, the init continues them.
  Status SetHeld(bool held);

  // Kills all in the cell and waits until it is gone. Idempotent.
  void Kill();

  // Whether SIGTERM came to the cell's init. Nobody sends it one alone: whoever shuts a machine or
  // a unit down sends it to every process, so the application was told to end too.
  bool WasToldToEnd() const;

  // Process id of the application as seen inside; 0 before it was started.
  int root_pid() const { return root_pid_; }
  // Process id of the init as seen by the node.
  pid_t init_pid() const { return init_pid_; }

 private:
  Cell() = default;
  Status Launch();
  Status Greet();
  Status Tell(int32_t kind, int32_t value);
  Result<CellReport> Ask(const CellCommand& command);
  Status ReceiveReport(CellReport* report);

  CellOptions options_;
  std::string program_;
  std::vector<char*> argv_;
  std::vector<char*> environment_;
  UniqueFd control_;
  UniqueFd init_pidfd_;
  pid_t init_pid_ = -1;
  bool is_adopted_ = false;  // the init is no child of this process
  int root_pid_ = 0;
  std::optional<int> exit_status_;
};

// Where the cell of an agent with this state directory listens.
std::string CellSocketOf(const std::string& state_directory);

// Ends the application that an agent has left running there, if any.
Status EndLeftCell(const std::string& state_directory);

// "exit code 3", "signal 9 (Killed)".
std::string DescribeWaitStatus(int status);

// Where execvp would find `name`; NotFound or PermissionDenied.
Result<std::string> FindProgram(const std::string& name);

}  // namespace snapstore::agent

#endif  // SNAPSTORE_AGENT_CELL_H_
