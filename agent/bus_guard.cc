#include "agent/bus_guard.h"

#include <signal.h>
#include <sys/mman.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <mutex>

namespace snapstore::agent {
namespace {

// Read by the handler, at any time and in any thread.
struct GuardedRange {
  std::atomic<uint8_t*> begin = nullptr;  // null: free
  std::atomic<uint64_t> bytes = 0;
  std::atomic<bool> failed = false;
};

std::array<GuardedRange, 64> guarded_ranges;
std::mutex guarded_mutex;  // of who takes and frees a range
struct sigaction action_before {};

bool PutZeros(const void* address) {
  for (GuardedRange& range : guarded_ranges) {
    uint8_t* const begin = range.begin.load();
    const uint64_t bytes = range.bytes.load();
    if (begin == nullptr || address < begin || address >= begin + bytes) continue;
    range.failed = true;
    return mmap(begin, bytes, PROT_READ | PROT_WRITE,
                MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0) != MAP_FAILED;
  }
  return false;
}

void OnBusError(int number, siginfo_t* info, void* context) {
  const int saved_errno = errno;
  const bool mended = PutZeros(info->si_addr);
  errno = saved_errno;
  if (mended) return;
  if ((action_before.sa_flags & SA_SIGINFO) != 0) {
    action_before.sa_sigaction(number, info, context);
  } else if (action_before.sa_handler != SIG_DFL && action_before.sa_handler != SIG_IGN) {
    action_before.sa_handler(number);
  } else {
    // The same address is touched again, now without a handler.
    (void)signal(SIGBUS, SIG_DFL);
  }
}

Status HandleBusErrors() {
  static const int error = [] {
    struct sigaction action {};
    action.sa_sigaction = OnBusError;
    action.sa_flags = SA_SIGINFO | SA_NODEFER | SA_ONSTACK;
    sigemptyset(&action.sa_mask);
    return sigaction(SIGBUS, &action, &action_before) == 0 ? 0 : errno;
  }();
  return error == 0 ? Status::Ok() : Status::FromErrno(error, "handle SIGBUS");
}

}  // namespace

Result<std::unique_ptr<BusGuard>> BusGuard::Create(void* address, uint64_t bytes) {
  if (Status handled = HandleBusErrors(); !handled.ok()) return handled;
  const std::lock_guard lock(guarded_mutex);
  for (size_t i = 0; i < guarded_ranges.size(); ++i) {
    GuardedRange& range = guarded_ranges[i];
    if (range.begin != nullptr) continue;
    range.failed = false;
    range.bytes = bytes;
    range.begin = static_cast<uint8_t*>(address);
    return std::unique_ptr<BusGuard>(new BusGuard(i));
  }
  return Status::NoSpace("too many mappings are guarded against bus errors");
}

BusGuard::~BusGuard() {
  const std::lock_guard lock(guarded_mutex);
  guarded_ranges[slot_].begin = nullptr;
}

bool BusGuard::failed() const { return guarded_ranges[slot_].failed; }

void BusGuard::Reset() { guarded_ranges[slot_].failed = false; }

}  // namespace snapstore::agent
