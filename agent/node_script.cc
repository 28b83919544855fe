#include "agent/node_script.h"

#include <fcntl.h>
#include <linux/close_range.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <optional>

#include "base/file.h"
#include "base/log.h"
#include "base/status_macros.h"

namespace snapstore::agent {
namespace {

constexpr size_t kSmallFileBytes = 4096;
// $1: the script. It outlives the agent, so the exit code goes to a file. Descriptor 9 is a lock
// that tells who comes later that somebody still waits for it.
constexpr const char* kKeeper =
    R"("$1" >"$1.log" 2>&1 </dev/null 9>&-; echo $? >"$1.exit.new"; mv "$1.exit.new" "$1.exit")";
constexpr int kLockFd = 9;

std::string ReadSmall(const std::string& path) {
  const auto bytes = ReadWholeFile(path, kSmallFileBytes);
  return bytes.ok() ? std::string(AsText(*bytes)) : std::string();
}

std::vector<char*> ScriptPointers(std::vector<std::string>* strings) {
  std::vector<char*> pointers;
  pointers.reserve(strings->size() + 1);
  for (std::string& s : *strings) pointers.push_back(s.data());
  pointers.push_back(nullptr);
  return pointers;
}

// In the child of a fork: system calls only. Forks once more, so that the keeper is nobody's child.
[[noreturn]] void BecomeKeeper(int lock, char* const* argv, char* const* environment) {
  if (const pid_t keeper = _Fork(); keeper != 0) _exit(keeper < 0 ? 1 : 0);
  setsid();
  for (int number = 1; number < NSIG; ++number) signal(number, SIG_DFL);
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, nullptr);
  if (chdir("/") != 0) _exit(1);
  if (lock == kLockFd) {
    fcntl(lock, F_SETFD, 0);
  } else {
    dup2(lock, kLockFd);
  }
  const int null_fd = open("/dev/null", O_RDWR | O_CLOEXEC);
  for (int fd = 0; fd < 3; ++fd) dup2(null_fd, fd);
  close_range(3, kLockFd - 1, CLOSE_RANGE_CLOEXEC);
  close_range(kLockFd + 1, ~0U, CLOSE_RANGE_CLOEXEC);
  execve("/bin/sh", argv, environment);
  _exit(1);
}

}  // namespace

// An instance that was stopped and started again is in another run.
std::string RunOf(const std::string& instance_id) {
  return instance_id + " " + ReadSmall("/proc/sys/kernel/random/boot_id");
}

NodeScript::NodeScript(std::string directory, std::string run, std::vector<std::string> environment)
    : path_(std::move(directory) + "/shutdown-script"),
      run_(std::move(run)),
      environment_(std::move(environment)) {}

bool NodeScript::WasStarted() const { return ReadSmall(path_ + ".run") == run_; }

Status NodeScript::Start(const std::string& script) {
  const std::lock_guard lock(mutex_);
  if (WasStarted()) return Status::Ok();
  (void)unlink((path_ + ".exit").c_str());
  SNAP_RETURN_IF_ERROR(ReplaceFile(path_, AsBytes(script), 0700));
  // Before it runs: twice would be worse than never.
  SNAP_RETURN_IF_ERROR(ReplaceFile(path_ + ".run", AsBytes(run_), 0600));
  LogInfo("starting the shutdown script, output in {}.log", path_);
  Status spawned = Spawn();
  if (!spawned.ok()) (void)unlink((path_ + ".run").c_str());
  return spawned;
}

Status NodeScript::Spawn() const {
  SNAP_ASSIGN_OR_RETURN(const UniqueFd held, OpenFile(path_ + ".run", O_RDONLY));
  if (flock(held.get(), LOCK_EX | LOCK_NB) != 0) {
    return Status::FromErrno(errno, "lock " + path_ + ".run");
  }
  std::vector<std::string> arguments = {"sh", "-c", kKeeper, "sh", path_};
  std::vector<std::string> environment = environment_;
  const std::vector<char*> argv = ScriptPointers(&arguments);
  const std::vector<char*> variables = ScriptPointers(&environment);
  // Runs no atfork handlers, whose locks other threads may hold.
  const pid_t child = _Fork();
  if (child == 0) BecomeKeeper(held.get(), argv.data(), variables.data());
  if (child < 0) return Status::FromErrno(errno, "start a process");
  int wait_status = 0;
  while (waitpid(child, &wait_status, 0) < 0 && errno == EINTR) {
  }
  return wait_status == 0 ? Status::Ok() : Status::Io("start the shutdown script: no process");
}

NodeScript::Standing NodeScript::standing() const {
  const std::lock_guard lock(mutex_);
  if (!WasStarted()) return {};
  const auto done = [this]() -> std::optional<Standing> {
    const std::string text = ReadSmall(path_ + ".exit");
    int code = 0;
    if (std::from_chars(text.data(), text.data() + text.size(), code).ec != std::errc()) {
      return std::nullopt;
    }
    return Standing{State::kDone, code};
  };
  if (const auto standing = done()) return *standing;
  const auto file = OpenFile(path_ + ".run", O_RDONLY);
  if (!file.ok() || flock(file->get(), LOCK_SH | LOCK_NB) != 0) return {State::kRunning, 0};
  // Nobody waits for it; it may have ended between the two looks.
  return done().value_or(Standing{State::kDone, -1});
}

}  // namespace snapstore::agent
