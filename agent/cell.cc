#include "agent/cell.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/sched.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdlib>
#include <cstring>

#include "agent/process_tree.h"
#include "agent/stream_protocol.h"
#include "base/check.h"
#include "base/status_macros.h"

namespace snapstore::agent {
namespace {

constexpr time_t kAdoptTimeoutSeconds = 5;

// clone(2) as fork(2), without the handlers glibc runs around its own.
pid_t RawFork(uint64_t flags, int* pidfd) {
  clone_args args{};
  args.flags = flags | CLONE_PIDFD;
  args.pidfd = reinterpret_cast<uint64_t>(pidfd);
  args.exit_signal = SIGCHLD;
  return static_cast<pid_t>(syscall(SYS_clone3, &args, sizeof(args)));
}

std::string_view StepName(int32_t step) {
  switch (static_cast<CellStep>(step)) {
    case CellStep::kPrivateMounts:
      return "make the mounts private";
    case CellStep::kMountProc:
      return "mount /proc";
    case CellStep::kFork:
      return "start a process";
    case CellStep::kSession:
      return "make a session";
    case CellStep::kIpcNamespace:
      return "make an IPC namespace";
    case CellStep::kDirectory:
      return "enter the working directory";
    case CellStep::kStdin:
      return "open /dev/null";
    case CellStep::kLog:
      return "open the log file";
    case CellStep::kExec:
      return "execute";
    case CellStep::kLastPid:
      return "write /proc/sys/kernel/ns_last_pid";
    case CellStep::kNone:
      break;
  }
  return "set up the cell";
}

std::vector<char*> Pointers(std::vector<std::string>* strings) {
  std::vector<char*> pointers;
  pointers.reserve(strings->size() + 1);
  for (std::string& s : *strings) pointers.push_back(s.data());
  pointers.push_back(nullptr);
  return pointers;
}

// Enters the cell and runs `argv` there; stays outside itself to hand on the exit code, since a pid
// namespace takes in only children. Runs after RawFork: system calls only.
[[noreturn]] void EnterAndExec(int cell_pidfd, int output_fd, char* const* argv,
                               char* const* environment) {
  constexpr int kNamespaces = CLONE_NEWPID | CLONE_NEWNS | CLONE_NEWNET;
  if (setns(cell_pidfd, kNamespaces) != 0) _exit(126);
  const pid_t child = _Fork();
  if (child == 0) {
    const int null_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    const int high_null = fcntl(null_fd, F_DUPFD_CLOEXEC, 10);
    const int high_output = fcntl(output_fd, F_DUPFD_CLOEXEC, 10);
    dup2(high_null, 0);
    dup2(high_output, 1);
    dup2(high_output, 2);
    close_range(3, ~0U, 0);
    for (int number = 1; number < NSIG; ++number) signal(number, SIG_DFL);
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, nullptr);
    execve(argv[0], argv, environment);
    _exit(127);
  }
  close_range(0, ~0U, 0);
  int status = 0;
  while (child > 0 && waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  if (child < 0) _exit(126);
  _exit(WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status));
}

}  // namespace

std::string CellSocketOf(const std::string& state_directory) {
  return state_directory + "/cell.sock";
}

Status EndLeftCell(const std::string& state_directory) {
  const auto cell = Cell::Adopt(CellSocketOf(state_directory));
  return cell.status().Is(StatusCode::kNotFound) ? Status::Ok() : cell.status();
}

std::string DescribeWaitStatus(int status) {
  if (WIFSIGNALED(status)) {
    return fmt::format("signal {} ({})", WTERMSIG(status), strsignal(WTERMSIG(status)));
  }
  return fmt::format("exit code {}", WEXITSTATUS(status));
}

Result<std::string> FindProgram(const std::string& name) {
  auto usable = [](const std::string& path) {
    struct stat info {};
    return stat(path.c_str(), &info) == 0 && S_ISREG(info.st_mode) &&
           access(path.c_str(), X_OK) == 0;
  };
  if (name.find('/') != std::string::npos) {
    if (usable(name)) return name;
    if (access(name.c_str(), F_OK) != 0) {
      return Status::FromErrno(errno, fmt::format("program {}", name));
    }
    return Status::PermissionDenied(fmt::format("program {}: is not an executable file", name));
  }
  const char* path = getenv("PATH");
  std::string_view rest = path != nullptr ? path : "/usr/local/bin:/usr/bin:/bin";
  while (!rest.empty()) {
    const size_t colon = std::min(rest.find(':'), rest.size());
    const std::string candidate = fmt::format("{}/{}", rest.substr(0, colon), name);
    if (candidate.front() == '/' && usable(candidate)) return candidate;
    rest.remove_prefix(std::min(colon + 1, rest.size()));
  }
  return Status::NotFound(fmt::format("program {}: not found in PATH", name));
}

int CellProcess::Wait() {
  if (pid_ < 0) return exit_code_;
  int status = 0;
  while (waitpid(pid_, &status, 0) < 0 && errno == EINTR) {
  }
  pid_ = -1;
  exit_code_ = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  return exit_code_;
}

void CellProcess::Kill() {
  if (pid_ < 0) return;
  // The process itself is only the way into the cell; it hands on how its child has ended.
  const auto inside = DescendantsOf(pid_);
  if (!inside.ok()) return;
  for (const pid_t pid : *inside) kill(pid, SIGKILL);
}

Result<std::unique_ptr<Cell>> Cell::Create(const CellOptions& options) {
  SNAP_CHECK(!options.argv.empty());
  std::unique_ptr<Cell> cell(new Cell());
  cell->options_ = options;
  SNAP_ASSIGN_OR_RETURN(cell->program_, FindProgram(options.argv.front()));
  cell->argv_ = Pointers(&cell->options_.argv);
  cell->environment_ = Pointers(&cell->options_.environment);
  SNAP_RETURN_IF_ERROR(cell->Launch());
  return cell;
}

Status Cell::Launch() {
  int sockets[2];
  if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sockets) != 0) {
    return Status::FromErrno(errno, "make the cell's control socket");
  }
  control_.Reset(sockets[0]);
  UniqueFd inner(sockets[1]);
  UniqueFd listening;
  if (!options_.socket_path.empty()) {
    SNAP_ASSIGN_OR_RETURN(listening, ListenUnix(options_.socket_path, SOCK_SEQPACKET));
  }
  CellPlan plan;
  plan.control_fd = inner.get();
  plan.listen_fd = listening.get();
  plan.program = program_.c_str();
  plan.argv = argv_.data();
  plan.environment = environment_.data();
  plan.directory = options_.directory.c_str();
  plan.log_path = options_.log_path.c_str();
  int pidfd = -1;
  const pid_t pid = RawFork(CLONE_NEWPID | CLONE_NEWNS, &pidfd);
  if (pid == 0) RunCellInit(plan);
  if (pid < 0) return Status::FromErrno(errno, "make PID and mount namespaces (needs root)");
  init_pid_ = pid;
  init_pidfd_.Reset(pidfd);
  inner.Reset();
  CellReport report;
  SNAP_RETURN_IF_ERROR(ReceiveReport(&report));
  if (report.value != 0) {
    return Status::FromErrno(report.value, fmt::format("cell: {}", StepName(report.step)));
  }
  return Status::Ok();
}

Result<std::unique_ptr<Cell>> Cell::Adopt(const std::string& socket_path) {
  SNAP_ASSIGN_OR_RETURN(const sockaddr_un address, UnixAddress(socket_path));
  std::unique_ptr<Cell> cell(new Cell());
  cell->options_.socket_path = socket_path;
  cell->is_adopted_ = true;
  cell->control_.Reset(socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0));
  const int on = 1;
  const timeval timeout{kAdoptTimeoutSeconds, 0};
  if (!cell->control_.valid() ||
      setsockopt(cell->control_.get(), SOL_SOCKET, SO_PASSCRED, &on, sizeof(on)) != 0 ||
      setsockopt(cell->control_.get(), SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout)) != 0) {
    return Status::FromErrno(errno, "make a socket");
  }
  if (connect(cell->control_.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) !=
      0) {
    if (errno == ECONNREFUSED || errno == ENOENT) {
      return Status::NotFound(fmt::format("{}: no cell is left there", socket_path));
    }
    return Status::FromErrno(errno, fmt::format("connect to the cell at {}", socket_path));
  }
  if (const Status met = cell->Greet(); !met.ok()) {
    cell->init_pid_ = -1;  // whoever that is, it is not ours to kill
    return met.WithContext(fmt::format("take over the cell at {}", socket_path));
  }
  return cell;
}

// The kernel tells the init's process id as it is here; inside it is 1.
Status Cell::Greet() {
  CellReport report;
  iovec part{&report, sizeof(report)};
  alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(ucred))> ancillary{};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = ancillary.data();
  message.msg_controllen = ancillary.size();
  ssize_t got;
  while ((got = recvmsg(control_.get(), &message, MSG_CMSG_CLOEXEC)) < 0 && errno == EINTR) {
  }
  if (got < 0) return Status::FromErrno(errno, "read from the cell");
  const cmsghdr* header = CMSG_FIRSTHDR(&message);
  if (got != static_cast<ssize_t>(sizeof(report)) || report.kind != CellReport::kReady ||
      header == nullptr || header->cmsg_type != SCM_CREDENTIALS) {
    return Status::Corruption("it does not answer as a cell does");
  }
  ucred sender{};
  std::memcpy(&sender, CMSG_DATA(header), sizeof(sender));
  init_pidfd_.Reset(static_cast<int>(syscall(SYS_pidfd_open, sender.pid, 0)));
  if (!init_pidfd_.valid()) return Status::FromErrno(errno, "open the cell's init");
  init_pid_ = sender.pid;
  root_pid_ = report.pid;
  // Its answer shows that it was alive, with that process id, when the descriptor was opened.
  return Outlive();
}

Cell::~Cell() { Kill(); }

Status Cell::Tell(int32_t kind, int32_t value) {
  SNAP_ASSIGN_OR_RETURN(const CellReport report, Ask({kind, value}));
  if (report.value == 0) return Status::Ok();
  return Status::FromErrno(report.value, fmt::format("cell: {}", StepName(report.step)));
}

Status Cell::Outlive() {
  SNAP_CHECK(!options_.socket_path.empty());
  return Tell(CellCommand::kOutlive, 1);
}

void Cell::Detach() {
  control_.Reset();
  init_pid_ = -1;
}

Status Cell::SetHeld(bool held) { return Tell(CellCommand::kHeld, held ? 1 : 0); }

Status Cell::ReceiveReport(CellReport* report) {
  while (true) {
    const ssize_t got = recv(control_.get(), report, sizeof(*report), 0);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return Status::FromErrno(errno, "read from the cell");
    if (got != static_cast<ssize_t>(sizeof(*report))) {
      return Status::Io("the cell's init has ended");
    }
    if (report->kind != CellReport::kExited) return Status::Ok();
    if (report->pid == root_pid_) exit_status_ = report->value;
  }
}

Result<CellReport> Cell::Ask(const CellCommand& command) {
  if (send(control_.get(), &command, sizeof(command), MSG_NOSIGNAL) < 0) {
    return Status::FromErrno(errno, "write to the cell");
  }
  CellReport report;
  SNAP_RETURN_IF_ERROR(ReceiveReport(&report));
  return report;
}

Status Cell::StartApplication() {
  SNAP_ASSIGN_OR_RETURN(const CellReport report, Ask({CellCommand::kStart, 0}));
  if (report.value != 0) {
    std::string what = fmt::format("start {}: {}", program_, StepName(report.step));
    if (report.step == static_cast<int32_t>(CellStep::kLog)) what += " " + options_.log_path;
    if (report.step == static_cast<int32_t>(CellStep::kDirectory)) what += " " + options_.directory;
    return Status::FromErrno(report.value, what);
  }
  root_pid_ = report.pid;
  return Status::Ok();
}

Status Cell::PrepareRestore(int last_pid, int root_pid) {
  SNAP_RETURN_IF_ERROR(Tell(CellCommand::kSetLastPid, last_pid));
  root_pid_ = root_pid;
  return Tell(CellCommand::kWatch, root_pid);
}

Result<CellProcess> Cell::Spawn(const std::vector<std::string>& argv, int output_fd,
                                const std::vector<std::string>& more_environment) {
  std::vector<std::string> words = argv;
  std::vector<char*> pointers = Pointers(&words);
  std::vector<std::string> environment{
      "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C"};
  environment.insert(environment.end(), more_environment.begin(), more_environment.end());
  std::vector<char*> environment_pointers = Pointers(&environment);
  int pidfd = -1;
  const pid_t pid = RawFork(0, &pidfd);
  if (pid == 0) {
    EnterAndExec(init_pidfd_.get(), output_fd, pointers.data(), environment_pointers.data());
  }
  if (pid < 0) return Status::FromErrno(errno, fmt::format("start {}", argv.front()));
  return CellProcess(pid, UniqueFd(pidfd));
}

std::optional<int> Cell::WaitForExit(std::chrono::milliseconds timeout) {
  const auto deadline = std::chrono::steady_clock::now() + timeout;
  while (!exit_status_) {
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(
        deadline - std::chrono::steady_clock::now());
    pollfd fd{control_.get(), POLLIN, 0};
    const int ready = poll(&fd, 1, static_cast<int>(std::max<int64_t>(left.count(), 0)));
    if (ready < 0 && errno == EINTR) continue;
    if (ready <= 0) return std::nullopt;
    CellReport report;
    const ssize_t got = recv(control_.get(), &report, sizeof(report), MSG_DONTWAIT);
    if (got < 0 && (errno == EINTR || errno == EAGAIN)) continue;
    if (got != static_cast<ssize_t>(sizeof(report))) {
      exit_status_ = SIGKILL;  // the init was killed, and with it everything else
    } else if (report.kind == CellReport::kExited && report.pid == root_pid_) {
      exit_status_ = report.value;
    }
  }
  return exit_status_;
}

bool Cell::WasToldToEnd() const { return init_pid_ > 0 && IsPending(init_pid_, SIGTERM); }

void Cell::Kill() {
  if (init_pid_ < 0) return;
  syscall(SYS_pidfd_send_signal, init_pidfd_.get(), SIGKILL, nullptr, 0);
  pollfd ended{init_pidfd_.get(), POLLIN, 0};
  while (poll(&ended, 1, -1) < 0 && errno == EINTR) {
  }
  if (!is_adopted_) {
    while (waitpid(init_pid_, nullptr, 0) < 0 && errno == EINTR) {
    }
  }
  init_pid_ = -1;
  if (!options_.socket_path.empty()) (void)unlink(options_.socket_path.c_str());
}

}  // namespace snapstore::agent
