#include "orchestrator/localcloud/machine/instance_process.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>

#include "base/file.h"
#include "base/status_macros.h"

namespace snapstore::localcloud {
namespace {

constexpr size_t kLineMax = 4096;
constexpr int kKillWaitMs = 10'000;

// Field 22 of /proc/PID/stat (proc(5)); 0 when there is no such process, or it is a zombie.
uint64_t StartTicks(pid_t pid) {
  const Result<Bytes> text = ReadWholeFile(fmt::format("/proc/{}/stat", pid), kLineMax);
  if (!text.ok()) return 0;
  std::string_view rest = AsText(*text);
  // The name, in brackets, may hold anything.
  const size_t bracket = rest.rfind(')');
  if (bracket == rest.npos || bracket + 2 >= rest.size()) return 0;
  rest.remove_prefix(bracket + 2);
  if (rest.front() == 'Z' || rest.front() == 'X') return 0;
  constexpr int kFieldsBefore = 19;
  for (int field = 0; field < kFieldsBefore; ++field) {
    const size_t space = rest.find(' ');
    if (space == rest.npos) return 0;
    rest.remove_prefix(space + 1);
  }
  uint64_t ticks = 0;
  std::from_chars(rest.data(), rest.data() + rest.size(), ticks);
  return ticks;
}

Result<std::string> ReadLine(int fd) {
  std::string line;
  char byte = 0;
  while (true) {
    const ssize_t got = read(fd, &byte, 1);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return Status::FromErrno(errno, "read from the instance");
    if (got == 0) return Status::Io("the instance ended while it was being set up");
    if (byte == '\n') return line;
    line += byte;
    if (line.size() > kLineMax) return Status::Io("the instance says too much");
  }
}

struct Pipe {
  UniqueFd read;
  UniqueFd write;
};

Result<Pipe> MakePipe() {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) return Status::FromErrno(errno, "make a pipe");
  // Out of the way of the numbers the child gets.
  Pipe pipe{UniqueFd(fcntl(ends[0], F_DUPFD_CLOEXEC, 10)),
            UniqueFd(fcntl(ends[1], F_DUPFD_CLOEXEC, 10))};
  close(ends[0]);
  close(ends[1]);
  if (!pipe.read.valid() || !pipe.write.valid()) return Status::FromErrno(errno, "make a pipe");
  return pipe;
}

Result<pid_t> Spawn(const std::string& program, const std::string& plan_path,
                    const std::string& console_path, int go_fd, int report_fd) {
  posix_spawn_file_actions_t files;
  posix_spawn_file_actions_init(&files);
  posix_spawn_file_actions_addopen(&files, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
  posix_spawn_file_actions_addopen(&files, STDOUT_FILENO, console_path.c_str(),
                                   O_WRONLY | O_CREAT | O_APPEND, 0600);
  posix_spawn_file_actions_adddup2(&files, STDOUT_FILENO, STDERR_FILENO);
  posix_spawn_file_actions_adddup2(&files, go_fd, kInstanceGoFd);
  posix_spawn_file_actions_adddup2(&files, report_fd, kInstanceReportFd);
  // Sockets of the server, which others did not open for themselves alone, are not for instances.
  posix_spawn_file_actions_addclosefrom_np(&files, kInstanceReportFd + 1);
  posix_spawnattr_t attributes;
  posix_spawnattr_init(&attributes);
  sigset_t none;
  sigemptyset(&none);
  posix_spawnattr_setsigmask(&attributes, &none);
  sigset_t all;
  sigfillset(&all);
  posix_spawnattr_setsigdefault(&attributes, &all);
  posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
  std::string words[] = {"snapstore-localcloud", "instance-init", plan_path};
  char* argv[] = {words[0].data(), words[1].data(), words[2].data(), nullptr};
  std::string path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
  char* environment[] = {path.data(), nullptr};
  pid_t pid = -1;
  const int error = posix_spawn(&pid, program.c_str(), &files, &attributes, argv, environment);
  posix_spawnattr_destroy(&attributes);
  posix_spawn_file_actions_destroy(&files);
  if (error != 0) return Status::FromErrno(error, "run " + program);
  return pid;
}

// Waits for "pid N", has `connect` do its part, then for "ready".
Status Follow(int report_fd, int go_fd, const std::function<Status(pid_t)>& connect,
              InstanceProcess* process) {
  SNAP_ASSIGN_OR_RETURN(const std::string first, ReadLine(report_fd));
  if (!first.starts_with("pid ")) return Status::Io("instance: " + first);
  std::from_chars(first.data() + 4, first.data() + first.size(), process->pid);
  process->start_ticks = StartTicks(process->pid);
  SNAP_RETURN_IF_ERROR(connect(process->pid));
  SNAP_RETURN_IF_ERROR(WriteFull(go_fd, AsBytes("g"), "the instance's pipe"));
  SNAP_ASSIGN_OR_RETURN(const std::string second, ReadLine(report_fd));
  if (second != "ready") return Status::Io("instance: " + second);
  return {};
}

}  // namespace

Result<InstanceProcess> StartInstance(const std::string& program, const InstancePlan& plan,
                                      const std::string& plan_path, const std::string& console_path,
                                      const std::function<Status(pid_t)>& connect) {
  SNAP_RETURN_IF_ERROR(ReplaceFile(
      plan_path,
      AsBytes(plan.ToJson().dump(-1, ' ', false, nlohmann::json::error_handler_t::replace)), 0600));
  SNAP_ASSIGN_OR_RETURN(Pipe go, MakePipe());
  SNAP_ASSIGN_OR_RETURN(Pipe report, MakePipe());
  SNAP_ASSIGN_OR_RETURN(const pid_t outer,
                        Spawn(program, plan_path, console_path, go.read.get(), report.write.get()));
  go.read.Reset();
  report.write.Reset();
  InstanceProcess process;
  const Status followed = Follow(report.read.get(), go.write.get(), connect, &process);
  while (waitpid(outer, nullptr, 0) < 0 && errno == EINTR) {
  }
  if (followed.ok()) return process;
  if (process.pid > 0) (void)EndInstance(process, 0);
  return followed;
}

bool IsAlive(const InstanceProcess& process) {
  return process.pid > 0 && StartTicks(process.pid) == process.start_ticks &&
         process.start_ticks != 0;
}

Status EndInstance(const InstanceProcess& process, double seconds) {
  if (process.pid <= 0) return {};  // it never ran; waiting for -1 would reap others
  const UniqueFd pidfd(static_cast<int>(syscall(SYS_pidfd_open, process.pid, 0)));
  if (!pidfd.valid() || !IsAlive(process)) {
    // Ours to reap, if this server started it.
    waitpid(process.pid, nullptr, WNOHANG);
    return {};
  }
  const auto send = [&pidfd](int number) {
    syscall(SYS_pidfd_send_signal, pidfd.get(), number, nullptr, 0);
  };
  const auto wait = [&pidfd](int milliseconds) {
    pollfd fd{pidfd.get(), POLLIN, 0};
    int ready = 0;
    while ((ready = poll(&fd, 1, milliseconds)) < 0 && errno == EINTR) {
    }
    return ready > 0;
  };
  bool gone = false;
  if (seconds > 0) {
    send(SIGTERM);
    gone = wait(static_cast<int>(seconds * 1000));
  }
  if (!gone) {
    send(SIGKILL);
    gone = wait(kKillWaitMs);
  }
  waitpid(process.pid, nullptr, WNOHANG);
  if (gone) return {};
  return Status::Timeout(fmt::format("process {} does not end", process.pid));
}

}  // namespace snapstore::localcloud
