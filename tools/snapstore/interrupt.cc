#include "tools/snapstore/interrupt.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstdint>

#include "tools/snapstore/exit_code.h"

namespace snapstore::cli {
namespace {

std::atomic<bool> interrupted{false};
std::atomic<int> wake_fd{-1};
static_assert(std::atomic<bool>::is_always_lock_free && std::atomic<int>::is_always_lock_free,
              "used from a signal handler");

extern "C" void OnSignal(int) {
  if (interrupted.exchange(true)) _exit(kExitInterrupted);
  const int saved = errno;
  const uint64_t one = 1;
  // The counter cannot overflow from one write; a handler could do nothing about it either.
  [[maybe_unused]] const ssize_t written = write(wake_fd.load(), &one, sizeof(one));
  errno = saved;
}

}  // namespace

Status CatchInterrupts() {
  const int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  if (fd < 0) return Status::FromErrno(errno, "eventfd");
  wake_fd.store(fd);
  struct sigaction action {};
  action.sa_handler = OnSignal;
  sigemptyset(&action.sa_mask);
  action.sa_flags = SA_RESTART;
  for (const int signal_number : {SIGINT, SIGTERM}) {
    if (sigaction(signal_number, &action, nullptr) != 0) {
      return Status::FromErrno(errno, "sigaction");
    }
  }
  action.sa_handler = SIG_IGN;
  if (sigaction(SIGPIPE, &action, nullptr) != 0) return Status::FromErrno(errno, "sigaction");
  return Status::Ok();
}

bool Interrupted() { return interrupted.load(std::memory_order_relaxed); }

Status WaitReadable(int fd) {
  pollfd fds[2] = {{.fd = fd, .events = POLLIN, .revents = 0},
                   {.fd = wake_fd.load(), .events = POLLIN, .revents = 0}};
  while (true) {
    if (Interrupted()) return Status::Cancelled("interrupted");
    if (poll(fds, 2, -1) < 0) {
      if (errno == EINTR) continue;
      return Status::FromErrno(errno, "poll");
    }
    if (fds[0].revents != 0 && !Interrupted()) return Status::Ok();
  }
}

}  // namespace snapstore::cli
