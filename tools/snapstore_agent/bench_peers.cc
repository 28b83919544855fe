#include "tools/snapstore_agent/bench_peers.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>

#include "agent/criu_image.h"
#include "agent/process_tree.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/status_macros.h"
#include "tools/snapstore_agent/bench_agent.h"

namespace snapstore::agent {
namespace {

constexpr std::chrono::seconds kPeerAnswerTimeout{900};
constexpr size_t kSmallImageBytesMax = 16 << 20;
// As the agent leaves free for CRIU's own processes; see CriuDriver.
constexpr int kPidMax = 32768;
constexpr int kPidsOfCriu = 4096;

// Seconds it took; its output is thrown away.
Result<double> TimeOf(const std::string& program, const std::vector<std::string>& words) {
  SNAP_RETURN_IF_ERROR(CheckNotInterrupted());
  std::vector<char*> argv;
  argv.reserve(words.size() + 1);
  for (const std::string& word : words) argv.push_back(const_cast<char*>(word.c_str()));
  argv.push_back(nullptr);
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  for (const int fd : {1, 2}) {
    posix_spawn_file_actions_addopen(&actions, fd, "/dev/null", O_WRONLY, 0);
  }
  const Stopwatch watch;
  pid_t pid = -1;
  const int error = posix_spawn(&pid, program.c_str(), &actions, nullptr, argv.data(), environ);
  posix_spawn_file_actions_destroy(&actions);
  if (error != 0) return Status::FromErrno(error, fmt::format("run {}", program));
  int status = 0;
  while (waitpid(pid, &status, 0) < 0 && errno == EINTR) {
  }
  if (status != 0) return Status::Io(fmt::format("{}: {}", program, DescribeWaitStatus(status)));
  return watch.Seconds();
}

std::vector<std::string> ImagesIn(const std::string& folder) {
  std::vector<std::string> images;
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(folder, error)) {
    if (entry.path().extension() == ".img") images.push_back(entry.path());
  }
  return images;
}

}  // namespace

Result<std::optional<uint64_t>> CompressedBytes(const std::string& path) {
  const auto program = FindProgram("zstd");
  if (!program.ok()) return std::optional<uint64_t>();
  const std::string compressed = path + ".zst";
  SNAP_RETURN_IF_ERROR(
      TimeOf(*program, {"zstd", "-3", "-q", "-f", path, "-o", compressed}).status());
  std::error_code error;
  const uint64_t bytes = std::filesystem::file_size(compressed, error);
  if (error) return Status::FromErrno(error.value(), compressed);
  return std::optional<uint64_t>(bytes);
}

BenchPeers::BenchPeers(std::string folder, uint64_t heap_bytes, const CriuDriver* criu)
    : folder_(std::move(folder)), heap_bytes_(heap_bytes), criu_(criu), heap_(folder_) {}

CellOptions BenchPeers::Options() const {
  CellOptions options;
  options.argv = BenchHeapCommandLine(folder_, heap_bytes_);
  options.environment = {"PATH=/usr/bin:/bin"};
  options.log_path = folder_ + "/app.log";
  return options;
}

Status BenchPeers::Start() {
  SNAP_RETURN_IF_ERROR(CheckNotInterrupted());
  SNAP_ASSIGN_OR_RETURN(cell_, Cell::Create(Options()));
  SNAP_RETURN_IF_ERROR(cell_->StartApplication());
  return heap_.WaitForAnswer(kPeerAnswerTimeout);
}

Result<int> BenchPeers::RunInCell(std::vector<std::string> words) {
  const std::vector<std::string> common = {
      "-D",           Images(),          "-v2",
      "--file-locks", "--ext-unix-sk",   "--link-remap",
      "-o",           words[1] + ".log", "--manage-cgroups=ignore"};
  words.insert(words.end(), common.begin(), common.end());
  SNAP_ASSIGN_OR_RETURN(const UniqueFd output,
                        OpenFile(folder_ + "/criu.out", O_WRONLY | O_CREAT | O_APPEND, 0600));
  SNAP_ASSIGN_OR_RETURN(CellProcess process, cell_->Spawn(words, output.get()));
  return process.Wait();
}

Result<PeerDump> BenchPeers::Dump() {
  SNAP_RETURN_IF_ERROR(CheckNotInterrupted());
  std::error_code error;
  std::filesystem::remove_all(Images(), error);
  SNAP_RETURN_IF_ERROR(MakeDirectories(Images(), 0700));
  const Stopwatch watch;
  SNAP_ASSIGN_OR_RETURN(
      const int code,
      RunInCell({criu_->path(), "dump", "-t", fmt::format("{}", cell_->root_pid()),
                 "--leave-running", "--tcp-established", "--network-lock", "nftables"}));
  PeerDump dump;
  dump.seconds = watch.Seconds();
  if (code != 0) return Status::Io(fmt::format("criu dump: exit code {}", code));
  SNAP_ASSIGN_OR_RETURN(const Bytes stats,
                        ReadWholeFile(Images() + "/stats-dump", kSmallImageBytesMax));
  SNAP_ASSIGN_OR_RETURN(const DumpStats parsed, DumpStats::Parse(stats));
  dump.frozen_ms = static_cast<double>(parsed.frozen_us) / 1000;
  return dump;
}

Result<std::optional<double>> BenchPeers::Compress() {
  const auto program = FindProgram("zstd");
  if (!program.ok()) return std::optional<double>();
  std::vector<std::string> words{"zstd", "-1", "-T2", "-q", "-f"};
  for (std::string& image : ImagesIn(Images())) words.push_back(std::move(image));
  SNAP_ASSIGN_OR_RETURN(const double seconds, TimeOf(*program, words));
  for (const std::string& image : ImagesIn(Images())) (void)unlink((image + ".zst").c_str());
  return std::optional<double>(seconds);
}

Result<std::optional<double>> BenchPeers::CoreDump() {
  const auto program = FindProgram("gcore");
  if (!program.ok()) return std::optional<double>();
  SNAP_ASSIGN_OR_RETURN(const std::vector<pid_t> pids, DescendantsOf(cell_->init_pid()));
  if (pids.empty()) return Status::NotFound("the heap program has ended");
  const std::string core = folder_ + "/core";
  const std::string pid = fmt::format("{}", pids.front());
  Result<double> seconds = TimeOf(*program, {"gcore", "-o", core, pid});
  (void)unlink(fmt::format("{}.{}", core, pid).c_str());
  if (!seconds.ok()) return seconds.status();
  return std::optional<double>(*seconds);
}

Result<PeerRestore> BenchPeers::Restore() {
  SNAP_RETURN_IF_ERROR(CheckNotInterrupted());
  cell_->Kill();
  SNAP_ASSIGN_OR_RETURN(const Bytes image,
                        ReadWholeFile(Images() + "/pstree.img", kSmallImageBytesMax));
  SNAP_ASSIGN_OR_RETURN(const ProcessTree tree, ProcessTree::Parse(image));
  const Stopwatch watch;
  SNAP_ASSIGN_OR_RETURN(cell_, Cell::Create(Options()));
  SNAP_RETURN_IF_ERROR(
      cell_->PrepareRestore(tree.FreePidsAfter(kPidMax, kPidsOfCriu), tree.root_pid));
  SNAP_ASSIGN_OR_RETURN(const int code, RunInCell({criu_->path(), "restore", "-d", "--tcp-close"}));
  PeerRestore restore;
  restore.restored_s = watch.Seconds();
  if (code != 0) return Status::Io(fmt::format("criu restore: exit code {}", code));
  SNAP_RETURN_IF_ERROR(heap_.WaitForAnswer(kPeerAnswerTimeout));
  restore.answered_s = watch.Seconds();
  return restore;
}

}  // namespace snapstore::agent
