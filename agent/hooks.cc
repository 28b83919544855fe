#include "agent/hooks.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/close_range.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <nlohmann/json.hpp>

#include "agent/cell.h"
#include "agent/environment.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "base/status_macros.h"
#include "base/unique_fd.h"

namespace snapstore::agent {
namespace {

using nlohmann::json;
using std::chrono::milliseconds;
using HookClock = std::chrono::steady_clock;

constexpr size_t kHooksFileBytesMax = 64 << 10;
constexpr size_t kErrorTailBytes = 4096;
constexpr size_t kErrorLineBytes = 300;
constexpr size_t kCommandBytesShown = 80;
constexpr double kTimeoutSecondsMax = 3600;
constexpr milliseconds kPollCutShort{100};
constexpr std::array kMemberNames{"preFreeze", "postThaw", "preRestore", "postRestore"};

struct HookPipe {
  UniqueFd read;
  UniqueFd write;
};

Result<HookPipe> NewPipe() {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) return Status::FromErrno(errno, "make a pipe");
  return HookPipe{UniqueFd(ends[0]), UniqueFd(ends[1])};
}

// In the child of a fork: system calls only.
[[noreturn]] void BecomeHook(pid_t parent, int input, int error, char* const* argv,
                             char* const* environment) {
  setpgid(0, 0);
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (getppid() != parent) _exit(127);
  for (int number = 1; number < NSIG; ++number) signal(number, SIG_DFL);
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, nullptr);
  const int high_input = fcntl(input, F_DUPFD_CLOEXEC, 10);
  const int high_error = fcntl(error, F_DUPFD_CLOEXEC, 10);
  // The agent's messages.
  dup2(2, 1);
  dup2(high_input, 0);
  dup2(high_error, 2);
  close_range(3, ~0U, CLOSE_RANGE_CLOEXEC);
  execve("/bin/sh", argv, environment);
  _exit(127);
}

bool IsTrue(const std::function<bool()>& asked) { return asked != nullptr && asked(); }

// One command under way.
class HookProcess {
 public:
  HookProcess() = default;
  HookProcess(const HookProcess&) = delete;
  HookProcess& operator=(const HookProcess&) = delete;
  ~HookProcess() {
    if (pid_ > 0) Kill();
  }

  Status Start(HookEvent event, const std::string& command, const HookContext& context) {
    SNAP_ASSIGN_OR_RETURN(HookPipe input, NewPipe());
    SNAP_ASSIGN_OR_RETURN(HookPipe error, NewPipe());
    std::vector<std::string> words = {"sh", "-c", command};
    std::vector<std::string> environment = ApplicationEnvironment();
    environment.push_back(fmt::format("SNAPSTORE_HOOK={}", HookEventName(event)));
    environment.push_back("SNAPSTORE_APP=" + context.app);
    const std::vector<char*> argv = ExecPointers(&words);
    const std::vector<char*> variables = ExecPointers(&environment);
    const pid_t parent = getpid();
    // Runs no atfork handlers, whose locks other threads may hold.
    const pid_t child = _Fork();
    if (child == 0) {
      BecomeHook(parent, input.read.get(), error.write.get(), argv.data(), variables.data());
    }
    if (child < 0) return Status::FromErrno(errno, "start a process");
    pid_ = child;
    (void)setpgid(child, child);  // whoever comes first
    pidfd_.Reset(static_cast<int>(syscall(SYS_pidfd_open, child, 0)));
    if (!pidfd_.valid()) return Status::FromErrno(errno, "watch a process");
    input_ = std::move(input.write);
    error_ = std::move(error.read);
    for (const int fd : {input_.get(), error_.get()}) (void)fcntl(fd, F_SETFL, O_NONBLOCK);
    return Status::Ok();
  }

  // The wait status; nothing when the time is over, or it is cut short. A child of the hook that
  // holds its standard error is not waited for.
  std::optional<int> Wait(std::string_view text, HookClock::time_point deadline,
                          const std::function<bool()>& cut_short) {
    while (true) {
      auto left = std::chrono::duration_cast<milliseconds>(deadline - HookClock::now()).count() + 1;
      if (cut_short != nullptr) left = std::min<int64_t>(left, kPollCutShort.count());
      pollfd fds[3] = {{pidfd_.get(), POLLIN, 0},
                       {error_.get(), POLLIN, 0},
                       {input_.valid() ? input_.get() : -1, POLLOUT, 0}};
      const int ready = poll(fds, 3, static_cast<int>(std::max<int64_t>(left, 0)));
      if (ready < 0 && errno != EINTR) return std::nullopt;
      if (ready > 0) {
        if (fds[1].revents != 0) ReadError();
        if (fds[2].revents != 0) WriteInput(&text);
        if (fds[0].revents != 0) return Reap();
      }
      if (HookClock::now() >= deadline || IsTrue(cut_short)) return std::nullopt;
    }
  }

  void Kill() {
    kill(-pid_, SIGKILL);
    kill(pid_, SIGKILL);  // should it not have got to its group yet
    (void)Reap();
  }

  // Of what it wrote to standard error.
  std::string LastLine() const {
    std::string_view text = error_tail_;
    while (text.ends_with('\n') || text.ends_with('\r')) text.remove_suffix(1);
    text.remove_prefix(std::min(text.rfind('\n') + 1, text.size()));
    return SanitizedForLog(text.substr(0, kErrorLineBytes));
  }

 private:
  int Reap() {
    int status = 0;
    while (waitpid(pid_, &status, 0) < 0 && errno == EINTR) {
    }
    pid_ = -1;
    ReadError();
    return status;
  }

  void ReadError() {
    std::array<char, 4096> piece{};
    while (error_.valid()) {
      const ssize_t got = read(error_.get(), piece.data(), piece.size());
      if (got < 0 && errno == EINTR) continue;
      if (got < 0) return;
      if (got == 0) return error_.Reset();
      error_tail_.append(piece.data(), static_cast<size_t>(got));
      if (error_tail_.size() > 2 * kErrorTailBytes) {
        error_tail_.erase(0, error_tail_.size() - kErrorTailBytes);
      }
    }
  }

  void WriteInput(std::string_view* text) {
    const ssize_t put = write(input_.get(), text->data(), text->size());
    if (put < 0 && (errno == EINTR || errno == EAGAIN)) return;
    // It need not read what it is told.
    if (put < 0) return input_.Reset();
    text->remove_prefix(static_cast<size_t>(put));
    if (text->empty()) input_.Reset();
  }

  pid_t pid_ = -1;
  UniqueFd pidfd_;
  UniqueFd input_;
  UniqueFd error_;
  std::string error_tail_;
};

Status RunOne(HookEvent event, const std::string& command, const HookContext& context,
              milliseconds timeout, const std::function<bool()>& cut_short) {
  const auto cut = [] { return Status::Cancelled("the application is to be stopped"); };
  if (IsTrue(cut_short)) return cut();
  HookProcess process;
  const auto deadline = HookClock::now() + timeout;
  SNAP_RETURN_IF_ERROR(process.Start(event, command, context));
  const auto ended = process.Wait(HookContextJson(event, context), deadline, cut_short);
  if (!ended) {
    process.Kill();
    if (IsTrue(cut_short)) return cut();
    return Status::Timeout(
        fmt::format("killed after {:.1f} s", std::chrono::duration<double>(timeout).count()));
  }
  if (WIFEXITED(*ended) && WEXITSTATUS(*ended) == 0) return Status::Ok();
  const std::string line = process.LastLine();
  return Status::Internal(DescribeWaitStatus(*ended) + (line.empty() ? "" : ": " + line));
}

Status AddCommands(const json& value, const std::string& what, std::vector<std::string>* commands) {
  const json list = value.is_string() ? json::array({value}) : value;
  const bool fits = list.is_array() && std::all_of(list.begin(), list.end(), [](const json& one) {
                      return one.is_string() && !one.get_ref<const std::string&>().empty();
                    });
  if (!fits) {
    return Status::InvalidArgument(what + ": must be a command, or a list of commands");
  }
  for (const json& one : list) commands->push_back(one.get<std::string>());
  return Status::Ok();
}

Status TakeMember(const std::string& name, const json& value, const std::string& path,
                  HookOptions* options) {
  const std::string what = fmt::format("{}: {}", path, name);
  for (const HookEvent event : kAllHookEvents) {
    if (name == kMemberNames[static_cast<size_t>(event)]) {
      return AddCommands(value, what, &options->Of(event));
    }
  }
  if (name == "timeoutSeconds") {
    const double seconds = value.is_number() ? value.get<double>() : -1;
    if (!(seconds > 0 && seconds <= kTimeoutSecondsMax)) {
      return Status::InvalidArgument(what + ": must be above 0 and at most 3600");
    }
    options->timeout = milliseconds(static_cast<int64_t>(seconds * 1000));
    return Status::Ok();
  }
  if (name == "policy") {
    auto policy = ParseHookPolicy(value.is_string() ? value.get<std::string>() : "");
    if (!policy.ok()) return policy.status().WithContext(what);
    options->policy = *policy;
    return Status::Ok();
  }
  return Status::InvalidArgument(what + ": there is no such member");
}

json HookTextOrNull(const std::string& text) { return text.empty() ? json() : json(text); }

}  // namespace

std::string_view HookEventName(HookEvent event) {
  switch (event) {
    case HookEvent::kPreFreeze:
      return "pre-freeze";
    case HookEvent::kPostThaw:
      return "post-thaw";
    case HookEvent::kPreRestore:
      return "pre-restore";
    case HookEvent::kPostRestore:
      return "post-restore";
  }
  return "unknown";
}

Result<HookPolicy> ParseHookPolicy(const std::string& text) {
  if (text == "fail") return HookPolicy::kFail;
  if (text == "warn") return HookPolicy::kWarn;
  if (text == "ignore") return HookPolicy::kIgnore;
  return Status::InvalidArgument(
      fmt::format("hook policy '{}': must be fail, warn or ignore", text));
}

Status LoadHooks(const std::string& path, HookOptions* options) {
  SNAP_ASSIGN_OR_RETURN(const UniqueFd file, OpenFile(path, O_RDONLY));
  struct stat info {};
  if (fstat(file.get(), &info) != 0) return Status::FromErrno(errno, path);
  if ((info.st_uid != 0 && info.st_uid != geteuid()) || (info.st_mode & 022) != 0) {
    return Status::PermissionDenied(fmt::format(
        "{}: must belong to root and be writable by nobody else: its commands run as root", path));
  }
  if (static_cast<uint64_t>(info.st_size) > kHooksFileBytesMax) {
    return Status::InvalidArgument(fmt::format("{}: is larger than 64 KiB", path));
  }
  Bytes bytes(static_cast<size_t>(info.st_size));
  SNAP_ASSIGN_OR_RETURN(const size_t read, PreadFull(file.get(), bytes, 0, path));
  bytes.resize(read);
  const json document = json::parse(AsText(bytes), nullptr, /*allow_exceptions=*/false);
  if (!document.is_object()) {
    return Status::InvalidArgument(fmt::format("{}: must be one JSON object", path));
  }
  for (const auto& [name, value] : document.items()) {
    SNAP_RETURN_IF_ERROR(TakeMember(name, value, path, options));
  }
  return Status::Ok();
}

std::string HookContextJson(HookEvent event, const HookContext& context) {
  const nlohmann::ordered_json document = {
      {"message_type", "hook"},
      {"event", HookEventName(event)},
      {"app", context.app},
      {"state_dir", context.state_directory},
      {"trigger", HookTextOrNull(context.trigger)},
      {"checkpoint_id", HookTextOrNull(context.checkpoint_id)},
      {"attempt", context.attempt != 0 ? json(context.attempt) : json()},
      {"pid", context.pid > 0 ? json(context.pid) : json()},
      {"time", FormatTime(context.time_ns)},
      {"final", context.final},
      {"frozen_ms", context.frozen_ms >= 0 ? json(context.frozen_ms) : json()},
      {"error", HookTextOrNull(context.error)}};
  return document.dump(-1, ' ', false, json::error_handler_t::replace) + "\n";
}

Status Hooks::Run(HookEvent event, const HookContext& context,
                  const std::function<bool()>& cut_short) const {
  for (const std::string& command : options_.Of(event)) {
    const Stopwatch watch;
    Status done = RunOne(event, command, context, options_.timeout, cut_short);
    if (done.ok()) {
      LogDebug("hook {}: done in {:.2f} s", HookEventName(event), watch.Seconds());
      continue;
    }
    done = done.WithContext(fmt::format("hook {} '{}'", HookEventName(event),
                                        SanitizedForLog(command.substr(0, kCommandBytesShown))));
    if (options_.policy == HookPolicy::kFail || done.Is(StatusCode::kCancelled)) return done;
    if (options_.policy == HookPolicy::kWarn) LogWarning("{}", done.message());
  }
  return Status::Ok();
}

}  // namespace snapstore::agent
