#include "agent/lazy_guard.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>

namespace snapstore::agent {
namespace {

constexpr char kHold = 'h';
constexpr char kRelease = 'r';

// One message, with a descriptor unless `fd` is negative.
bool SendMessage(int socket, char kind, int fd) {
  iovec vector{&kind, 1};
  alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(int))> control{};
  msghdr message{};
  message.msg_iov = &vector;
  message.msg_iovlen = 1;
  if (fd >= 0) {
    message.msg_control = control.data();
    message.msg_controllen = control.size();
    cmsghdr* const header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(sizeof(int));
    std::memcpy(CMSG_DATA(header), &fd, sizeof(fd));
  }
  ssize_t sent;
  do {
    sent = sendmsg(socket, &message, MSG_NOSIGNAL);
  } while (sent < 0 && errno == EINTR);
  return sent == 1;
}

// The next message's kind, 0 when the agent is gone. A descriptor that comes with it stays open.
char NextMessage(int socket) {
  char kind = 0;
  iovec vector{&kind, 1};
  alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(int))> control{};
  msghdr message{};
  message.msg_iov = &vector;
  message.msg_iovlen = 1;
  message.msg_control = control.data();
  message.msg_controllen = control.size();
  ssize_t got;
  do {
    got = recvmsg(socket, &message, MSG_CMSG_CLOEXEC);
  } while (got < 0 && errno == EINTR);
  return got == 1 ? kind : '\0';
}

// Runs in a child of a process with threads: system calls only.
[[noreturn]] void GuardMain(int socket, int cell_pidfd) {
  if (dup2(socket, 3) < 0 || dup2(cell_pidfd, 4) < 0) _exit(1);
  close_range(5, ~0U, 0);
  close_range(0, 2, 0);
  prctl(PR_SET_NAME, "snapstore-lazy", 0, 0, 0);
  setsid();
  sigset_t all;
  sigfillset(&all);
  sigprocmask(SIG_SETMASK, &all, nullptr);
  while (true) {
    const char kind = NextMessage(3);
    if (kind == kRelease) _exit(0);
    if (kind == kHold) continue;
    syscall(SYS_pidfd_send_signal, 4, SIGKILL, nullptr, 0);
    pollfd ended{4, POLLIN, 0};
    while (poll(&ended, 1, -1) < 0 && errno == EINTR) {
    }
    _exit(0);
  }
}

}  // namespace

Result<std::unique_ptr<LazyGuard>> LazyGuard::Start(pid_t cell_init) {
  const UniqueFd cell(static_cast<int>(syscall(SYS_pidfd_open, cell_init, 0)));
  if (!cell.valid()) return Status::FromErrno(errno, "open the cell's first process");
  int sockets[2];
  if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sockets) != 0) {
    return Status::FromErrno(errno, "make a socket");
  }
  std::unique_ptr<LazyGuard> guard(new LazyGuard());
  guard->socket_.Reset(sockets[0]);
  const UniqueFd inner(sockets[1]);
  // Above the numbers that the child puts them to.
  const UniqueFd high_inner(fcntl(inner.get(), F_DUPFD_CLOEXEC, 10));
  const UniqueFd high_cell(fcntl(cell.get(), F_DUPFD_CLOEXEC, 10));
  if (!high_inner.valid() || !high_cell.valid()) {
    return Status::FromErrno(errno, "copy descriptors");
  }
  // _Fork runs no handlers, whose locks other threads may hold.
  guard->pid_ = _Fork();
  if (guard->pid_ == 0) GuardMain(high_inner.get(), high_cell.get());
  if (guard->pid_ < 0) return Status::FromErrno(errno, "start the guard of lazy memory");
  return guard;
}

void LazyGuard::Await() {
  socket_.Reset();
  while (pid_ > 0 && waitpid(pid_, nullptr, 0) < 0 && errno == EINTR) {
  }
  pid_ = -1;
}

LazyGuard::~LazyGuard() { Await(); }

Status LazyGuard::Hold(int userfaultfd) {
  if (SendMessage(socket_.get(), kHold, userfaultfd)) return Status::Ok();
  return Status::FromErrno(errno, "hand a userfaultfd to the guard of lazy memory");
}

void LazyGuard::EndCell() { (void)shutdown(socket_.get(), SHUT_RDWR); }

void LazyGuard::Release() {
  (void)SendMessage(socket_.get(), kRelease, -1);
  Await();
}

}  // namespace snapstore::agent
