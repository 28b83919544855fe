#include "agent/cell_init.h"

#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>

namespace snapstore::agent {
namespace {

// What the init knows of the application and of its agent.
struct CellState {
  int control_fd = -1;    // -1: there is no agent
  int32_t root_pid = -1;  // of the application, started or restored
  bool outlives = false;  // its agent
  bool held = false;      // by its agent
  bool exited = false;
  int32_t wait_status = 0;
};

struct Failure {
  int32_t step = 0;
  int32_t error_number = 0;
};

void Send(int fd, const CellReport& report) {
  while (send(fd, &report, sizeof(report), MSG_NOSIGNAL) < 0 && errno == EINTR) {
  }
}

Failure FailureAt(CellStep step) { return {static_cast<int32_t>(step), errno}; }

Failure SetUpMounts() {
  if (mount(nullptr, "/", nullptr, MS_SLAVE | MS_REC, nullptr) != 0) {
    return FailureAt(CellStep::kPrivateMounts);
  }
  if (mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, nullptr) != 0) {
    return FailureAt(CellStep::kMountProc);
  }
  return {};
}

void ResetSignals() {
  for (int number = 1; number < NSIG; ++number) signal(number, SIG_DFL);
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, nullptr);
}

Failure OpenStandardFiles(const CellPlan& plan) {
  // The highest of the three comes last so that none overwrites another on the way.
  const int null_fd = open("/dev/null", O_RDONLY);
  if (null_fd < 0) return FailureAt(CellStep::kStdin);
  umask(022);
  const int log_fd = open(plan.log_path, O_WRONLY | O_CREAT | O_APPEND | O_NOCTTY, 0600);
  if (log_fd < 0) return FailureAt(CellStep::kLog);
  const int high_log = fcntl(log_fd, F_DUPFD, 10);
  const int high_null = fcntl(null_fd, F_DUPFD, 10);
  if (high_log < 0 || high_null < 0 || dup2(high_null, 0) < 0 || dup2(high_log, 1) < 0 ||
      dup2(high_log, 2) < 0) {
    return FailureAt(CellStep::kStdin);
  }
  return {};
}

// Becomes the application, or returns why not.
Failure ExecApplication(const CellPlan& plan, int failure_fd) {
  if (setsid() < 0) return FailureAt(CellStep::kSession);
  // CRIU dumps System V shared memory only when the tasks, but not CRIU, are in a namespace for it.
  if (unshare(CLONE_NEWIPC) != 0) return FailureAt(CellStep::kIpcNamespace);
  if (chdir(plan.directory) != 0) return FailureAt(CellStep::kDirectory);
  const int failure_high = fcntl(failure_fd, F_DUPFD_CLOEXEC, 20);
  if (failure_high < 0) return FailureAt(CellStep::kStdin);
  Failure failure = OpenStandardFiles(plan);
  if (failure.step == 0) {
    if (failure_high > 3) close_range(3, static_cast<unsigned>(failure_high) - 1, 0);
    close_range(static_cast<unsigned>(failure_high) + 1, ~0U, 0);
    ResetSignals();
    execve(plan.program, plan.argv, plan.environment);
    failure = FailureAt(CellStep::kExec);
  }
  dup2(failure_high, failure_fd);
  return failure;
}

void StartApplication(const CellPlan& plan, CellState* state) {
  CellReport report{CellReport::kDone, 0, 0, 0};
  int failure_pipe[2];
  if (pipe2(failure_pipe, O_CLOEXEC) != 0) {
    report.value = errno;
    report.step = static_cast<int32_t>(CellStep::kFork);
    Send(state->control_fd, report);
    return;
  }
  // _Fork runs no atfork handlers, whose locks other threads may have held at the clone.
  const pid_t child = _Fork();
  if (child == 0) {
    const Failure failure = ExecApplication(plan, failure_pipe[1]);
    (void)!write(failure_pipe[1], &failure, sizeof(failure));
    _exit(127);
  }
  const int fork_errno = errno;
  close(failure_pipe[1]);
  if (child < 0) {
    report.value = fork_errno;
    report.step = static_cast<int32_t>(CellStep::kFork);
  } else {
    Failure failure;
    ssize_t got;
    while ((got = read(failure_pipe[0], &failure, sizeof(failure))) < 0 && errno == EINTR) {
    }
    if (got == static_cast<ssize_t>(sizeof(failure))) {
      report.value = failure.error_number;
      report.step = failure.step;
    } else {
      report.pid = child;
      state->root_pid = child;
    }
  }
  close(failure_pipe[0]);
  Send(state->control_fd, report);
}

void SetLastPid(int control_fd, int32_t last_pid) {
  CellReport report{CellReport::kDone, 0, 0, static_cast<int32_t>(CellStep::kLastPid)};
  char text[16];
  size_t at = sizeof(text);
  uint32_t rest = static_cast<uint32_t>(last_pid);
  do {
    text[--at] = static_cast<char>('0' + rest % 10);
    rest /= 10;
  } while (rest != 0);
  const int fd = open("/proc/sys/kernel/ns_last_pid", O_WRONLY | O_CLOEXEC);
  if (fd < 0 || write(fd, text + at, sizeof(text) - at) < 0) report.value = errno;
  if (fd >= 0) close(fd);
  Send(control_fd, report);
}

void ReapChildren(CellState* state) {
  int status = 0;
  for (pid_t pid; (pid = waitpid(-1, &status, WNOHANG)) > 0;) {
    if (pid != state->root_pid) continue;
    state->exited = true;
    state->wait_status = status;
    if (state->control_fd >= 0) Send(state->control_fd, {CellReport::kExited, pid, status, 0});
  }
}

// False when the agent is gone.
bool HandleCommand(const CellPlan& plan, CellState* state) {
  CellCommand command;
  const ssize_t got = recv(state->control_fd, &command, sizeof(command), 0);
  if (got < 0) return errno == EINTR || errno == EAGAIN;
  if (got != static_cast<ssize_t>(sizeof(command))) return false;
  switch (command.kind) {
    case CellCommand::kStart:
      StartApplication(plan, state);
      return true;
    case CellCommand::kSetLastPid:
      SetLastPid(state->control_fd, command.value);
      return true;
    case CellCommand::kWatch:
      state->root_pid = command.value;
      break;
    case CellCommand::kOutlive:
      state->outlives = command.value != 0;
      break;
    case CellCommand::kHeld:
      state->held = command.value != 0;
      break;
    default:
      return false;
  }
  Send(state->control_fd, {CellReport::kDone, command.value, 0, 0});
  return true;
}

// What the agent held still would stand for ever.
void LoseAgent(CellState* state) {
  if (!state->outlives) _exit(0);
  close(state->control_fd);
  state->control_fd = -1;
  if (state->held) kill(-1, SIGCONT);
  state->held = false;
}

// The lock on the state directory lets one agent live at a time: the one before is gone, whether
// or not its end of the socket has been closed yet.
void MeetAgent(int listen_fd, CellState* state) {
  const int fd = accept4(listen_fd, nullptr, nullptr, SOCK_CLOEXEC);
  if (fd < 0) return;
  ucred peer{};
  socklen_t size = sizeof(peer);
  if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) != 0 || peer.uid != 0) {
    close(fd);
    return;
  }
  if (state->control_fd >= 0) LoseAgent(state);
  state->control_fd = fd;
  Send(fd, {CellReport::kReady, state->root_pid, 0, 0});
  if (state->exited) Send(fd, {CellReport::kExited, state->root_pid, state->wait_status, 0});
}

void CloseAllBut(int a, int b) {
  const auto low = static_cast<unsigned>(a < b ? a : b);
  const auto high = static_cast<unsigned>(a < b ? b : a);
  if (low > 0) close_range(0, low - 1, 0);
  if (high - low > 1) close_range(low + 1, high - 1, 0);
  close_range(high + 1, ~0U, 0);
}

}  // namespace

void RunCellInit(const CellPlan& plan) {
  // Inherited descriptors would keep the agent's sockets, locks and other cells' sockets open.
  CloseAllBut(plan.control_fd, plan.listen_fd >= 0 ? plan.listen_fd : plan.control_fd);
  prctl(PR_SET_NAME, "snapstore-cell", 0, 0, 0);
  setsid();

  sigset_t all;
  sigfillset(&all);
  sigprocmask(SIG_SETMASK, &all, nullptr);
  sigset_t child_only;
  sigemptyset(&child_only);
  sigaddset(&child_only, SIGCHLD);
  const int signal_fd = signalfd(-1, &child_only, SFD_CLOEXEC | SFD_NONBLOCK);

  const Failure failure = SetUpMounts();
  Send(plan.control_fd, {CellReport::kReady, 0, failure.error_number, failure.step});
  if (failure.step != 0 || signal_fd < 0) _exit(1);

  CellState state;
  state.control_fd = plan.control_fd;
  while (true) {
    // Negative descriptors are passed over.
    pollfd fds[3] = {
        {signal_fd, POLLIN, 0}, {state.control_fd, POLLIN, 0}, {plan.listen_fd, POLLIN, 0}};
    if (poll(fds, 3, -1) < 0 && errno != EINTR) _exit(1);
    if (fds[0].revents != 0) {
      signalfd_siginfo drained[4];
      while (read(signal_fd, drained, sizeof(drained)) > 0) {
      }
      ReapChildren(&state);
    }
    // The kernel kills everything in a pid namespace whose first process ends.
    if (fds[1].revents != 0 && !HandleCommand(plan, &state)) LoseAgent(&state);
    if (fds[2].revents != 0) MeetAgent(plan.listen_fd, &state);
  }
}

}  // namespace snapstore::agent
