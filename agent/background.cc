#include "agent/background.h"

#include <fmt/format.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <thread>

namespace snapstore::agent {
namespace {

constexpr int kNiceMax = 19;
constexpr int kWhoProcess = 1;  // IOPRIO_WHO_PROCESS; 0 with it is the calling thread
constexpr int kIoClassShift = 13;

// A matter of politeness only: what cannot be set stays.
void LowerThisThread(const BackgroundPriority& priority) {
  if (priority.nice > 0) {
    errno = 0;
    const int now = getpriority(PRIO_PROCESS, 0);
    if (errno == 0) (void)setpriority(PRIO_PROCESS, 0, std::min(now + priority.nice, kNiceMax));
  }
  if (priority.io_class != IoClass::kUnchanged) {
    const int level = priority.io_class == IoClass::kIdle ? 0 : priority.io_level;
    (void)syscall(SYS_ioprio_set, kWhoProcess, 0,
                  static_cast<int>(priority.io_class) << kIoClassShift | level);
  }
}

}  // namespace

Status ParseIoPriority(const std::string& text, BackgroundPriority* priority) {
  constexpr std::string_view kLeveled = "best-effort:";
  if (text == "none") {
    priority->io_class = IoClass::kUnchanged;
  } else if (text == "idle") {
    priority->io_class = IoClass::kIdle;
  } else if (text == "best-effort") {
    priority->io_class = IoClass::kBestEffort;
    priority->io_level = 7;
  } else if (text.starts_with(kLeveled) && text.size() == kLeveled.size() + 1 &&
             text.back() >= '0' && text.back() <= '7') {
    priority->io_class = IoClass::kBestEffort;
    priority->io_level = text.back() - '0';
  } else {
    return Status::InvalidArgument(fmt::format(
        "I/O priority '{}': must be none, idle, best-effort or best-effort:0 to 7", text));
  }
  return Status::Ok();
}

void RunInBackground(const BackgroundPriority& priority, const std::function<void()>& work) {
  std::thread thread([&] {
    LowerThisThread(priority);
    work();
  });
  thread.join();
}

}  // namespace snapstore::agent
