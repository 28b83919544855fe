#include "agent/remote_userfaultfd.h"

#if defined(__x86_64__)

#include <dirent.h>
#include <elf.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <linux/userfaultfd.h>
#include <signal.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <chrono>
#include <cstring>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "agent/process_tree.h"
#include "base/file.h"
#include "base/status_macros.h"

namespace snapstore::agent {
namespace {

constexpr size_t kStoppedTextBytesMax = 16 << 20;
// A thread in an uninterruptible wait does not stop; the others must not stand still for its sake.
// One that only lacks a CPU soon will.
constexpr std::chrono::milliseconds kThreadStopLimit{20};
constexpr std::chrono::milliseconds kThreadStopLimitOfBusy{2000};
constexpr size_t kStoppedThreadsMax = 2000;
constexpr int kTraceStop = SIGTRAP | (PTRACE_EVENT_STOP << 8);
constexpr int kSyscallStop = SIGTRAP | 0x80;
// Linux's own; the C library's may be larger.
constexpr size_t kKernelSigsetBytes = 8;

#ifndef PTRACE_GET_RSEQ_CONFIGURATION
constexpr auto PTRACE_GET_RSEQ_CONFIGURATION = static_cast<__ptrace_request>(0x420f);
#endif
struct RseqConfiguration {
  uint64_t address;
  uint32_t size;
  uint32_t signature;
  uint32_t flags;
  uint32_t pad;
};
// Of rseq_cs in struct rseq (linux/rseq.h).
constexpr uint64_t kRseqCriticalSectionOffset = 8;

#ifndef PTRACE_GET_SYSCALL_USER_DISPATCH_CONFIG
constexpr auto PTRACE_GET_SYSCALL_USER_DISPATCH_CONFIG = static_cast<__ptrace_request>(0x4210);
#endif
struct UserDispatchConfiguration {
  uint64_t mode;
  uint64_t selector;
  uint64_t offset;
  uint64_t length;
};

bool ReadRemote(pid_t pid, uint64_t address, void* out, size_t bytes) {
  const iovec local{out, bytes};
  void* const from = reinterpret_cast<void*>(address);  // NOLINT(performance-no-int-to-ptr)
  const iovec remote{from, bytes};
  return process_vm_readv(pid, &local, 1, &remote, 1, 0) == static_cast<ssize_t>(bytes);
}

// Address of a `syscall` instruction in the vdso.
Result<uint64_t> FindSyscallInstruction(pid_t pid) {
  SNAP_ASSIGN_OR_RETURN(const Bytes bytes,
                        ReadWholeFile(fmt::format("/proc/{}/maps", pid), kStoppedTextBytesMax));
  const std::string_view maps = AsText(bytes);
  const size_t name = maps.find("[vdso]");
  if (name == std::string_view::npos) return Status::Unsupported("no vdso");
  const size_t newline = maps.rfind('\n', name);
  std::string_view line = maps.substr(newline == std::string_view::npos ? 0 : newline + 1);
  uint64_t begin = 0;
  uint64_t end = 0;
  const auto first = std::from_chars(line.data(), line.data() + line.size(), begin, 16);
  std::from_chars(first.ptr + 1, line.data() + line.size(), end, 16);
  if (end <= begin || end - begin > (1 << 20)) return Status::Unsupported("no vdso");
  std::string vdso(end - begin, '\0');
  if (!ReadRemote(pid, begin, vdso.data(), vdso.size())) {
    return Status::FromErrno(errno, "read the vdso");
  }
  const size_t at = vdso.find("\x0f\x05");
  if (vdso[EI_CLASS] != ELFCLASS64 || at == std::string::npos) {
    return Status::Unsupported("no 64-bit system call instruction in the vdso");
  }
  return begin + at;
}

std::vector<pid_t> ThreadsOf(pid_t pid) {
  std::vector<pid_t> threads;
  const std::unique_ptr<DIR, int (*)(DIR*)> tasks(
      opendir(fmt::format("/proc/{}/task", pid).c_str()), closedir);
  if (tasks == nullptr) return threads;
  while (const dirent* entry = readdir(tasks.get())) {
    const std::string_view name = entry->d_name;
    pid_t thread = 0;
    const auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), thread);
    if (error == std::errc() && end == name.data() + name.size()) threads.push_back(thread);
  }
  return threads;
}

// All threads of one process, held by ptrace. They belong to the calling process: when it ends they
// run on, whatever state this was in.
class HeldProcess {
 public:
  HeldProcess(pid_t pid, int pidfd) : pid_(pid), pidfd_(pidfd) {}
  ~HeldProcess() { Release(); }
  HeldProcess(const HeldProcess&) = delete;
  HeldProcess& operator=(const HeldProcess&) = delete;

  Status Hold();
  Result<UniqueFd> MakeUserfaultfd();

 private:
  Status HoldThread(pid_t thread);
  Status WaitForStop(pid_t thread, int wanted);
  Status CheckCanStep(const user_regs_struct& registers) const;
  Result<int64_t> Call(const user_regs_struct& base, int64_t number, uint64_t argument);
  Status Step();
  Status PutBack(const user_regs_struct& registers, uint64_t mask);
  Status Failed(std::string_view what) const {
    // ESRCH: killed under our hands.
    if (errno == ESRCH) return Status::NotFound(fmt::format("process {}: has ended", pid_));
    return Status::FromErrno(errno, fmt::format("process {}: {}", pid_, what));
  }
  void Release();

  const pid_t pid_;
  const int pidfd_;
  std::map<pid_t, bool> threads_;  // whether it has stopped
  std::vector<std::pair<pid_t, int>> held_signals_;
  pid_t worker_ = 0;
  uint64_t instruction_ = 0;
  std::chrono::steady_clock::time_point deadline_;  // for who could stop and does not
};

Status HeldProcess::HoldThread(pid_t thread) {
  if (ptrace(PTRACE_SEIZE, thread, nullptr, PTRACE_O_TRACESYSGOOD) != 0) {
    if (errno == ESRCH) return Status::Ok();  // it ended just now
    if (errno == EPERM) {
      return Status::Conflict(fmt::format("process {}: is being traced or must not be", pid_));
    }
    return Failed("trace it");
  }
  threads_[thread] = false;
  if (ptrace(PTRACE_INTERRUPT, thread, nullptr, nullptr) != 0 && errno != ESRCH) {
    return Failed("stop it");
  }
  return Status::Ok();
}

// Until `thread` is in the stop with that status. Signals on their way are let through.
Status HeldProcess::WaitForStop(pid_t thread, int wanted) {
  while (true) {
    int status = 0;
    const pid_t got = waitpid(thread, &status, WNOHANG | __WALL);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0 || (got == thread && !WIFSTOPPED(status))) {
      threads_.erase(thread);
      errno = ESRCH;
      return Failed("stop it");
    }
    if (got == 0) {
      const auto now = std::chrono::steady_clock::now();
      if (now > deadline_ + (kThreadStopLimitOfBusy - kThreadStopLimit) ||
          (now > deadline_ && IsUninterruptible(thread))) {
        return Status::Timeout(fmt::format("process {}: does not stop", pid_));
      }
      constexpr timespec kPause{0, 20'000};
      nanosleep(&kPause, nullptr);
      continue;
    }
    const int stop = status >> 8;
    if (stop == wanted) {
      threads_[thread] = true;
      return Status::Ok();
    }
    if (stop >> 8 == PTRACE_EVENT_STOP) {
      threads_[thread] = true;
      return Status::Conflict(fmt::format("process {}: is stopped by a signal", pid_));
    }
    // A signal that is about to be delivered. While a thread works for us they are blocked, but for
    // SIGSTOP, which comes again afterwards.
    const int number = WSTOPSIG(status) & 0x7f;
    const bool working = wanted == kSyscallStop || thread == worker_;
    if (working) held_signals_.emplace_back(thread, number);
    const auto resume = wanted == kSyscallStop ? PTRACE_SYSCALL : PTRACE_CONT;
    if (ptrace(resume, thread, nullptr, working ? 0 : number) != 0) return Failed("resume it");
  }
}

Status HeldProcess::Hold() {
  auto instruction = FindSyscallInstruction(pid_);
  if (!instruction.ok()) return instruction.status().WithContext(fmt::format("process {}", pid_));
  instruction_ = *instruction;
  deadline_ = std::chrono::steady_clock::now() + kThreadStopLimit;
  // A thread that was not yet seen may make others until it stands still as well.
  for (bool found = true; found;) {
    found = false;
    for (const pid_t thread : ThreadsOf(pid_)) {
      if (threads_.contains(thread)) continue;
      if (threads_.size() >= kStoppedThreadsMax) {
        return Status::Unsupported(fmt::format("process {}: has too many threads", pid_));
      }
      SNAP_RETURN_IF_ERROR(HoldThread(thread));
      found = found || threads_.contains(thread);
    }
    std::vector<pid_t> running;
    for (const auto& [thread, stopped] : threads_) {
      if (!stopped) running.push_back(thread);
    }
    for (const pid_t thread : running) {
      Status stopped = WaitForStop(thread, kTraceStop);
      // A thread may end; without the first one there is nothing to work with.
      if (!stopped.ok() && (!stopped.Is(StatusCode::kNotFound) || thread == pid_)) return stopped;
    }
  }
  return threads_.contains(pid_)
             ? Status::Ok()
             : Status::Conflict(fmt::format("process {}: its first thread has ended", pid_));
}

Status HeldProcess::CheckCanStep(const user_regs_struct& registers) const {
  constexpr uint64_t kCode64 = 0x33;
  if (registers.cs != kCode64) {
    return Status::Unsupported(fmt::format("process {}: is not in 64-bit mode", pid_));
  }
  RseqConfiguration rseq{};
  if (ptrace(PTRACE_GET_RSEQ_CONFIGURATION, pid_, sizeof(rseq), &rseq) > 0 && rseq.address != 0) {
    // Moved away from a restartable sequence, the kernel would forget that it is in one.
    uint64_t section = 0;
    if (!ReadRemote(pid_, rseq.address + kRseqCriticalSectionOffset, &section, sizeof(section)) ||
        section != 0) {
      return Status::Conflict(fmt::format("process {}: is in a restartable sequence", pid_));
    }
  }
  UserDispatchConfiguration dispatch{};
  if (ptrace(PTRACE_GET_SYSCALL_USER_DISPATCH_CONFIG, pid_, sizeof(dispatch), &dispatch) == 0 &&
      dispatch.mode != 0) {
    return Status::Unsupported(fmt::format("process {}: catches its own system calls", pid_));
  }
  return Status::Ok();
}

Status HeldProcess::Step() {
  threads_[worker_] = false;
  if (ptrace(PTRACE_SYSCALL, worker_, nullptr, nullptr) != 0) return Failed("let it work");
  return WaitForStop(worker_, kSyscallStop);
}

Result<int64_t> HeldProcess::Call(const user_regs_struct& base, int64_t number, uint64_t argument) {
  user_regs_struct registers = base;
  registers.rip = instruction_;
  registers.rax = static_cast<uint64_t>(number);
  registers.rdi = argument;
  registers.orig_rax = ~uint64_t{0};  // no system call to restart
  if (ptrace(PTRACE_SETREGS, worker_, nullptr, &registers) != 0) return Failed("set registers");
  SNAP_RETURN_IF_ERROR(Step());
  SNAP_RETURN_IF_ERROR(Step());
  if (ptrace(PTRACE_GETREGS, worker_, nullptr, &registers) != 0) return Failed("get registers");
  return static_cast<int64_t>(registers.rax);
}

Status HeldProcess::PutBack(const user_regs_struct& registers, uint64_t mask) {
  // Into the kind of stop it came from: only there the kernel looks whether the interrupted system
  // call is to be restarted.
  if (ptrace(PTRACE_INTERRUPT, worker_, nullptr, nullptr) != 0) return Failed("stop it");
  threads_[worker_] = false;
  if (ptrace(PTRACE_CONT, worker_, nullptr, nullptr) != 0) return Failed("resume it");
  SNAP_RETURN_IF_ERROR(WaitForStop(worker_, kTraceStop));
  if (ptrace(PTRACE_SETREGS, worker_, nullptr, &registers) != 0)
    return Failed("put registers back");
  if (ptrace(PTRACE_SETSIGMASK, worker_, kKernelSigsetBytes, &mask) != 0) {
    return Failed("put the signal mask back");
  }
  return Status::Ok();
}

Result<UniqueFd> HeldProcess::MakeUserfaultfd() {
  user_regs_struct registers{};
  uint64_t mask = 0;
  if (ptrace(PTRACE_GETREGS, pid_, nullptr, &registers) != 0) return Failed("get registers");
  SNAP_RETURN_IF_ERROR(CheckCanStep(registers));
  if (ptrace(PTRACE_GETSIGMASK, pid_, kKernelSigsetBytes, &mask) != 0) {
    return Failed("get the signal mask");
  }
  const uint64_t all = ~uint64_t{0};
  if (ptrace(PTRACE_SETSIGMASK, pid_, kKernelSigsetBytes, &all) != 0) {
    return Failed("set the signal mask");
  }
  worker_ = pid_;
  // From here on it must not be left before it is put back; only its death ends that early.
  deadline_ = std::chrono::steady_clock::time_point::max() - kThreadStopLimitOfBusy;
  constexpr uint64_t kFlags = O_CLOEXEC | O_NONBLOCK | UFFD_USER_MODE_ONLY;
  Result<int64_t> made = Call(registers, SYS_userfaultfd, kFlags);
  UniqueFd taken;
  int take_error = 0;
  if (made.ok() && *made >= 0) {
    taken.Reset(static_cast<int>(syscall(SYS_pidfd_getfd, pidfd_, static_cast<int>(*made), 0)));
    take_error = taken.valid() ? 0 : errno;
    const Result<int64_t> closed = Call(registers, SYS_close, static_cast<uint64_t>(*made));
    if (!closed.ok()) made = closed.status();
  }
  SNAP_RETURN_IF_ERROR(PutBack(registers, mask));
  if (!made.ok()) return made.status();
  if (*made < 0) {
    return Status::FromErrno(static_cast<int>(-*made),
                             fmt::format("process {}: make a userfaultfd", pid_));
  }
  if (!taken.valid()) {
    return Status::FromErrno(take_error, fmt::format("process {}: take its userfaultfd", pid_));
  }
  return taken;
}

void HeldProcess::Release() {
  for (const auto& [thread, stopped] : threads_) {
    if (stopped) ptrace(PTRACE_DETACH, thread, nullptr, nullptr);
  }
  threads_.clear();
  for (const auto& [thread, number] : held_signals_) {
    (void)syscall(SYS_tgkill, pid_, thread, number);
  }
}

// What the helper answers, with the descriptor if there is one.
struct HelperAnswer {
  int32_t code = 0;  // StatusCode
  char message[200] = {};
};

void SendTaken(const Result<UniqueFd>& taken, int socket_fd) {
  HelperAnswer answer;
  answer.code = static_cast<int32_t>(taken.status().code());
  const std::string_view message = taken.status().message();
  message.copy(answer.message, sizeof(answer.message) - 1);
  iovec bytes{&answer, sizeof(answer)};
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
  msghdr header{};
  header.msg_iov = &bytes;
  header.msg_iovlen = 1;
  if (taken.ok()) {
    header.msg_control = control;
    header.msg_controllen = sizeof(control);
    cmsghdr* const rights = CMSG_FIRSTHDR(&header);
    rights->cmsg_level = SOL_SOCKET;
    rights->cmsg_type = SCM_RIGHTS;
    rights->cmsg_len = CMSG_LEN(sizeof(int));
    const int fd = taken->get();
    std::memcpy(CMSG_DATA(rights), &fd, sizeof(fd));
  }
  (void)sendmsg(socket_fd, &header, MSG_NOSIGNAL);
}

Result<UniqueFd> ReceiveTaken(pid_t pid, int socket_fd) {
  HelperAnswer answer;
  iovec bytes{&answer, sizeof(answer)};
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
  msghdr header{};
  header.msg_iov = &bytes;
  header.msg_iovlen = 1;
  header.msg_control = control;
  header.msg_controllen = sizeof(control);
  ssize_t got = 0;
  while ((got = recvmsg(socket_fd, &header, MSG_CMSG_CLOEXEC)) < 0 && errno == EINTR) {
  }
  if (got != static_cast<ssize_t>(sizeof(answer))) {
    return Status::Io(fmt::format("process {}: the process that stops it has ended", pid));
  }
  answer.message[sizeof(answer.message) - 1] = '\0';
  const auto code = static_cast<StatusCode>(answer.code);
  if (code != StatusCode::kOk) return Status(code, answer.message);
  const cmsghdr* const rights = CMSG_FIRSTHDR(&header);
  if (rights == nullptr || rights->cmsg_type != SCM_RIGHTS) {
    return Status::Internal(fmt::format("process {}: no userfaultfd came", pid));
  }
  int fd = -1;
  std::memcpy(&fd, CMSG_DATA(rights), sizeof(fd));
  return UniqueFd(fd);
}

[[noreturn]] void RunHelper(pid_t pid, int socket_fd) {
  // Nothing of the agent's must outlive it here, locks least of all; nor must a signal to its group
  // end this.
  (void)setsid();
  constexpr int kSocket = 3;
  if (socket_fd != kSocket) (void)dup2(socket_fd, kSocket);
  (void)syscall(SYS_close_range, kSocket + 1, ~0U, 0);
  {
    const UniqueFd pidfd(static_cast<int>(syscall(SYS_pidfd_open, pid, 0)));
    HeldProcess process(pid, pidfd.get());
    const Status held = process.Hold();
    SendTaken(held.ok() ? process.MakeUserfaultfd() : Result<UniqueFd>(held), kSocket);
    // Until the other side closes its end, or is gone.
    char byte = 0;
    while (recv(kSocket, &byte, sizeof(byte), 0) < 0 && errno == EINTR) {
    }
  }
  _exit(0);
}

}  // namespace

Status MakeRemoteUserfaultfd(pid_t pid, const std::function<void(UniqueFd)>& while_held) {
  // A filter may kill whoever makes a system call that it does not know.
  if (HasSeccompFilter(pid)) {
    return Status::Unsupported(fmt::format("process {}: has a seccomp filter", pid));
  }
  // In a process of its own: should this one be killed meanwhile, the other puts back all the same.
  // With its end every tracee is free, also one that did not stop in time.
  int sockets[2];
  if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sockets) != 0) {
    return Status::FromErrno(errno, "make a socket pair");
  }
  UniqueFd outer(sockets[0]);
  UniqueFd inner(sockets[1]);
  const pid_t helper = fork();
  if (helper < 0) return Status::FromErrno(errno, "start a process");
  if (helper == 0) RunHelper(pid, inner.get());
  inner.Reset();
  Result<UniqueFd> taken = ReceiveTaken(pid, outer.get());
  if (taken.ok()) while_held(std::move(*taken));
  outer.Reset();
  while (waitpid(helper, nullptr, 0) < 0 && errno == EINTR) {
  }
  return taken.status();
}

}  // namespace snapstore::agent

#else

#include <fmt/format.h>

namespace snapstore::agent {

Status MakeRemoteUserfaultfd(pid_t pid, const std::function<void(UniqueFd)>&) {
  return Status::Unsupported(fmt::format("process {}: not on this architecture", pid));
}

}  // namespace snapstore::agent

#endif
