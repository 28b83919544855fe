#include "agent/criu_driver.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <charconv>
#include <cstdlib>
#include <utility>

#include "agent/criu_log.h"
#include "agent/dump_rescue.h"
#include "agent/image_capture.h"
#include "agent/timer_images.h"
#include "base/file.h"
#include "base/log.h"
#include "base/status_macros.h"

namespace snapstore::agent {
namespace {

constexpr size_t kLogBytesMax = 64 << 20;
constexpr size_t kStatsBytesMax = 1 << 20;
// CRIU itself, the shell and the tools of its start script.
constexpr int kPidsOfRestorer = 4096;
constexpr int kExitSignalled = 128;  // and higher: it was killed

// Runs `path` with one argument; what it printed on stdout, and on stderr if asked for. When it
// fails the last line of that is in the message.
Result<std::string> OutputOf(const std::string& path, const char* argument,
                             bool with_errors = false) {
  int pipe_fds[2];
  if (pipe2(pipe_fds, O_CLOEXEC) != 0) return Status::FromErrno(errno, "make a pipe");
  UniqueFd reader(pipe_fds[0]);
  UniqueFd writer(pipe_fds[1]);
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, writer.get(), 1);
  if (with_errors) posix_spawn_file_actions_adddup2(&actions, writer.get(), 2);
  std::string program = path;
  std::string word = argument;
  std::array<char*, 3> argv{program.data(), word.data(), nullptr};
  pid_t pid = -1;
  const int error = posix_spawn(&pid, path.c_str(), &actions, nullptr, argv.data(), environ);
  posix_spawn_file_actions_destroy(&actions);
  writer.Reset();
  if (error != 0) return Status::FromErrno(error, fmt::format("run {}", path));
  Bytes output(4096);
  const auto got = ReadFull(reader.get(), output, path);
  reader.Reset();
  int status = 0;
  while (waitpid(pid, &status, 0) < 0 && errno == EINTR) {
  }
  if (!got.ok()) return got.status();
  std::string text(AsText(ByteSpan(output).first(*got)));
  if (status == 0) return text;
  std::string message = fmt::format("{} {}: {}", path, argument, DescribeWaitStatus(status));
  while (text.ends_with('\n')) text.pop_back();
  if (!text.empty()) message += ": " + text.substr(text.rfind('\n') + 1);
  return Status::Unsupported(std::move(message));
}

Result<std::string> FindCriu() {
  if (const char* named = getenv("SNAPSTORE_CRIU"); named != nullptr && *named != '\0') {
    auto found = FindProgram(named);
    if (!found.ok()) return found.status().WithContext("SNAPSTORE_CRIU");
    return found;
  }
  for (const char* candidate : {"/opt/snapstore/bin/criu", "criu", "/usr/local/bin/criu"}) {
    auto found = FindProgram(candidate);
    if (found.ok()) return found;
  }
  return Status::NotFound(
      "criu: not in /opt/snapstore/bin, PATH or /usr/local/bin; install it with "
      "tools/install-criu or set SNAPSTORE_CRIU");
}

std::vector<std::string> CommonArguments(const std::string& directory, const char* log) {
  return {"--stream", "-D",           directory,       "-o",           log,
          "-v2",      "--file-locks", "--ext-unix-sk", "--link-remap", "--manage-cgroups=ignore"};
}

void Append(std::vector<std::string>* words, std::vector<std::string> more) {
  for (std::string& word : more) words->push_back(std::move(word));
}

Result<UniqueFd> StartFresh(const std::string& directory, const std::string& log,
                            const std::string& output) {
  for (const std::string& name : {log, output, std::string("stats-dump")}) {
    const std::string path = fmt::format("{}/{}", directory, name);
    if (unlink(path.c_str()) != 0 && errno != ENOENT) {
      return Status::FromErrno(errno, fmt::format("remove old {}", path));
    }
  }
  return OpenFile(directory + "/" + output, O_WRONLY | O_CREAT | O_APPEND, 0600);
}

// Why CRIU failed, from its log or else from what it printed.
Status Explain(const std::string& directory, const std::string& log, const std::string& output,
               std::string_view action, int exit_code) {
  for (const std::string& name : {log, output}) {
    const auto bytes = ReadWholeFile(fmt::format("{}/{}", directory, name), kLogBytesMax);
    if (!bytes.ok()) continue;
    const std::string reason = FirstCriuError(AsText(*bytes));
    if (!reason.empty()) {
      return Status::Io(fmt::format("criu {}: {} (log: {}/{})", action, reason, directory, name));
    }
  }
  return Status::Io(
      fmt::format("criu {}: exit code {} (log: {}/{})", action, exit_code, directory, log));
}

int PidMax() {
  const auto bytes = ReadWholeFile("/proc/sys/kernel/pid_max", 64);
  int value = 0;
  if (bytes.ok()) {
    const std::string_view text = AsText(*bytes);
    std::from_chars(text.data(), text.data() + text.size(), value);
  }
  return value > 0 ? value : 32768;
}

}  // namespace

Result<CriuDriver> CriuDriver::Find() {
  SNAP_ASSIGN_OR_RETURN(std::string path, FindCriu());
  SNAP_ASSIGN_OR_RETURN(const std::string output, OutputOf(path, "--version"));
  constexpr std::string_view kPrefix = "Version: ";
  const size_t at = output.find(kPrefix);
  if (at == std::string::npos) {
    return Status::Unsupported(fmt::format("{}: does not tell its version", path));
  }
  const size_t begin = at + kPrefix.size();
  return CriuDriver(std::move(path), output.substr(begin, output.find('\n', begin) - begin));
}

Status CriuDriver::Check() const {
  const Result<std::string> output = OutputOf(path_, "check", /*with_errors=*/true);
  return output.status();
}

Result<DumpedImages> CriuDriver::Dump(Cell* cell, const std::string& directory, Arena* arena,
                                      const std::function<Status()>& while_frozen,
                                      const CapturePlan* plan) const {
  SNAP_ASSIGN_OR_RETURN(const std::unique_ptr<ImageCapture> capture,
                        ImageCapture::Create(directory, arena, plan));
  SNAP_ASSIGN_OR_RETURN(const UniqueFd output, StartFresh(directory, "dump.log", "dump.out"));
  std::vector<std::string> words{path_, "dump", "-t", fmt::format("{}", cell->root_pid()),
                                 "--leave-running"};
  Append(&words, CommonArguments(directory, "dump.log"));
  Append(&words,
         {"--tcp-established", "--skip-in-flight", "--network-lock", "nftables", "--ghost-limit",
          fmt::format("{}", kDeletedFileBytesMax), "--action-script", capture->hook_command()});
  DumpRescue rescue(directory);
  const Status noted = rescue.Begin(*cell);
  SNAP_ASSIGN_OR_RETURN(
      CellProcess process,
      cell->Spawn(words, output.get(),
                  plan == nullptr ? std::vector<std::string>() : plan->environment));
  StandStill stand_still(cell);
  const Status captured = capture->Run(
      process.pidfd(), while_frozen,
      [&] {
        stand_still.Begin();
        process.Kill();
      },
      patience_);
  const int exit_code = process.Wait();
  if (exit_code < kExitSignalled) {
    rescue.End();
  } else if (const Status rescued = noted.ok() ? rescue.Rescue(*cell) : noted; !rescued.ok()) {
    LogError("connections of the application may be cut off: {}", rescued.message());
  }
  stand_still.End();
  // What the capture itself found wrong made CRIU fail, so it is the better explanation; a stream
  // that merely ended is CRIU's to explain.
  if (!captured.ok() && !captured.Is(StatusCode::kCancelled)) return captured;
  if (exit_code != 0) return Explain(directory, "dump.log", "dump.out", "dump", exit_code);
  SNAP_RETURN_IF_ERROR(captured);
  SNAP_ASSIGN_OR_RETURN(const Bytes stats,
                        ReadWholeFile(directory + "/stats-dump", kStatsBytesMax));
  DumpedImages dumped;
  dumped.files = capture->files();
  SNAP_ASSIGN_OR_RETURN(dumped.stats, DumpStats::Parse(stats));
  return dumped;
}

Status CriuDriver::Restore(Cell* cell, const std::string& directory, ImageSource* images,
                           ByteSpan process_tree, const RestoreOptions& options) const {
  SNAP_ASSIGN_OR_RETURN(const ProcessTree tree, ProcessTree::Parse(process_tree));
  SNAP_RETURN_IF_ERROR(
      cell->PrepareRestore(tree.FreePidsAfter(PidMax(), kPidsOfRestorer), tree.root_pid));
  RearmedImages mended(images);
  SNAP_ASSIGN_OR_RETURN(const std::unique_ptr<ImageServe> serve,
                        ImageServe::Create(directory, &mended));
  SNAP_ASSIGN_OR_RETURN(const UniqueFd output, StartFresh(directory, "restore.log", "restore.out"));
  std::vector<std::string> words{path_, "restore", "-d"};
  words.emplace_back(options.keep_connections ? "--tcp-established" : "--tcp-close");
  if (options.lazy) words.emplace_back("--lazy-pages");
  std::unique_ptr<StageHook> hook;
  if (options.before_resume != nullptr) {
    SNAP_ASSIGN_OR_RETURN(hook, StageHook::Create(directory, "pre-resume"));
    Append(&words, {"--action-script", hook->command()});
  }
  Append(&words, CommonArguments(directory, "restore.log"));
  SNAP_ASSIGN_OR_RETURN(CellProcess process, cell->Spawn(words, output.get()));
  Status served = serve->Run(process.pidfd(), hook.get(), options.before_resume);
  const int exit_code = process.Wait();
  if (exit_code != 0) {
    SNAP_RETURN_IF_ERROR(served.WithContext("read the checkpoint"));
    return Explain(directory, "restore.log", "restore.out", "restore", exit_code);
  }
  return served;
}

}  // namespace snapstore::agent
