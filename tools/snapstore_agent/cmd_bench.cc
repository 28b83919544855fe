#include <fmt/format.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <future>

#include "agent/checkpoint_reader.h"
#include "base/log.h"
#include "base/status_macros.h"
#include "snapstore/maintain.h"
#include "snapstore/repository.h"
#include "tools/snapstore_agent/bench_agent.h"
#include "tools/snapstore_agent/bench_figures.h"
#include "tools/snapstore_agent/bench_peers.h"
#include "tools/snapstore_agent/command.h"
#include "tools/snapstore_agent/text.h"

namespace snapstore::agent {
namespace {

constexpr uint64_t kHeapPage = 4096;
constexpr uint64_t kCostHeapMax = 1ull << 30;
constexpr double kCostDirtyPercent = 1;
constexpr uint64_t kBenchMemory = 512ull << 20;

// A folder of this run, removed at its end.
class BenchFolder {
 public:
  static Result<std::unique_ptr<BenchFolder>> Make(const std::string& parent) {
    std::string pattern = parent + "/snapstore-bench-XXXXXX";
    if (mkdtemp(pattern.data()) == nullptr) return Status::FromErrno(errno, "make " + pattern);
    return std::unique_ptr<BenchFolder>(new BenchFolder(pattern));
  }
  ~BenchFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  BenchFolder(const BenchFolder&) = delete;
  BenchFolder& operator=(const BenchFolder&) = delete;
  const std::string& path() const { return path_; }

 private:
  explicit BenchFolder(std::string path) : path_(std::move(path)) {}
  std::string path_;
};

uint64_t PagesOf(uint64_t bytes, double percent) {
  const uint64_t pages = bytes / kHeapPage;
  return std::max<uint64_t>(
      1, static_cast<uint64_t>(std::llround(static_cast<double>(pages) * percent / 100)));
}

class BenchCommand : public Command {
 public:
  void AddOptions(CLI::App* app) override {
    app->add_option("--heaps", heaps_, "Sizes of the application's heap")
        ->delimiter(',')
        ->transform(CLI::AsSizeValue(false))
        ->type_name("BYTES,…")
        ->default_str("64M,1G,4G");
    app->add_option("--dirty", dirty_, "Percent of its pages that change between two checkpoints")
        ->delimiter(',')
        ->check(CLI::Range(0.0, 100.0))
        ->type_name("PERCENT,…")
        ->default_str("0.1,1,10");
    app->add_option("--rounds", rounds_, "How often each is measured; medians are shown")
        ->check(CLI::Range(1, 1000))
        ->capture_default_str();
    app->add_option("--interval", interval_,
                    "Seconds of work for one checkpoint, to measure its cost to the application; "
                    "0: not measured")
        ->check(CLI::Range(0.0, 3600.0))
        ->capture_default_str();
    app->add_option("--arena-limit", arena_limit_,
                    "As of 'run': what exceeds it goes through a spool in --work")
        ->transform(CLI::AsSizeValue(false))
        ->type_name("BYTES");
    app->add_option("--dirty-tracking", dirty_tracking_, "As of 'run'")
        ->check(CLI::IsMember({"auto", "off"}))
        ->capture_default_str();
    app->add_option("--repository", repository_,
                    "Where checkpoints go, made when missing; else a temporary one in --work")
        ->type_name("REPO");
    app->add_option("--work", work_, "A temporary folder is made here")
        ->type_name("DIR")
        ->capture_default_str();
    app->add_option("--tmpfs", tmpfs_, "Where the others dump to: a folder in memory")
        ->type_name("DIR")
        ->capture_default_str();
    app->add_flag("--no-others", no_others_, "Only the agent: no criu, zstd and gcore beside it");
  }

  Outcome Run(const GlobalOptions& globals) override {
    if (geteuid() != 0) return Outcome::Of(Status::PermissionDenied("bench: must be root"));
    if (heaps_.empty()) heaps_ = {64ull << 20, 1ull << 30, 4ull << 30};
    if (dirty_.empty()) dirty_ = {0.1, 1, 10};
    quiet_ = globals.quiet;
    // The supervisor takes these itself; between its runs they end this.
    sigset_t set;
    sigemptyset(&set);
    for (const int number : {SIGTERM, SIGINT, SIGQUIT, SIGUSR1}) sigaddset(&set, number);
    pthread_sigmask(SIG_BLOCK, &set, nullptr);
    SetLogLevel(LogLevel::kWarning);
    const Status status = Measure();
    if (!status.ok()) return Outcome::Of(status);
    fmt::print("{}", globals.json ? BenchJson(figures_) : BenchText(figures_));
    return Outcome::Done();
  }

 private:
  Status Measure() {
    SNAP_ASSIGN_OR_RETURN(const CriuDriver criu, CriuDriver::Find());
    SNAP_ASSIGN_OR_RETURN(const auto folder, BenchFolder::Make(work_));
    SNAP_ASSIGN_OR_RETURN(const auto repository, OpenRepository(folder->path()));
    figures_.rounds = rounds_;
    figures_.criu_version = criu.version();
    figures_.repository = repository_.empty() ? "temporary, in " + work_ : repository->location();
    for (const uint64_t heap : heaps_) {
      if (heap < kHeapPage) return Status::InvalidArgument("--heaps: less than a page");
      figures_.heaps.emplace_back().heap_bytes = heap;
      const std::string name = folder->path() + fmt::format("/heap-{}", heap);
      const std::string app = std::filesystem::path(folder->path()).filename().string();
      Status status = MeasureAgent(name, app, heap, repository.get(), criu);
      const Status forgotten = Forget(repository.get(), app);
      if (status.ok()) status = forgotten;
      if (status.ok() && !no_others_) status = MeasureOthers(heap, criu);
      SNAP_RETURN_IF_ERROR(status);
    }
    return Status::Ok();
  }

  Result<std::unique_ptr<Repository>> OpenRepository(const std::string& folder) const {
    RepositoryOptions options;
    options.location = repository_.empty() ? folder + "/repository" : repository_;
    options.cache_dir = folder + "/cache";
    options.memory_limit = kBenchMemory;
    SNAP_ASSIGN_OR_RETURN(options.credential, CredentialFromEnvironment());
    const Status made = Repository::Init(
        options, {.encrypt = options.credential.has_value(), .key_label = "bench"});
    if (!made.ok() && !made.Is(StatusCode::kConflict)) return made;
    return Repository::Open(options);
  }

  // Only this run's: nobody else has an application of that name.
  static Status Forget(Repository* repository, const std::string& app) {
    SNAP_ASSIGN_OR_RETURN(const std::vector<SnapshotInfo> all, ListCheckpoints(repository, app));
    std::vector<std::string> ids;
    ids.reserve(all.size());
    for (const SnapshotInfo& info : all) ids.push_back(info.id);
    return ForgetSnapshots(*repository, ids, nullptr).status();
  }

  Status MeasureAgent(const std::string& folder, const std::string& app, uint64_t heap,
                      Repository* repository, const CriuDriver& criu) {
    Note("{}: filling the heap", SizeText(heap));
    BenchAgent agent(folder, app, heap, {arena_limit_, dirty_tracking_ == "auto"}, repository,
                     &criu);
    SNAP_RETURN_IF_ERROR(agent.StartFresh());
    SNAP_ASSIGN_OR_RETURN(const CheckpointRecord first, agent.Checkpoint());
    figures_.heaps.back().first_frozen_ms = first.frozen_ms;
    figures_.heaps.back().first_seconds = first.seconds;
    for (const double percent : dirty_) {
      SNAP_RETURN_IF_ERROR(MeasureDirty(&agent, heap, percent));
    }
    if (interval_ > 0 && heap == CostHeap()) SNAP_RETURN_IF_ERROR(MeasureCost(&agent, heap));
    return Status::Ok();
  }

  Status MeasureDirty(BenchAgent* agent, uint64_t heap, double percent) {
    std::vector<CheckpointRecord> records;
    std::vector<double> stored;
    for (unsigned round = 0; round < rounds_; ++round) {
      Note("{}: {} % changed, checkpoint {} of {}", SizeText(heap), percent, round + 1, rounds_);
      SNAP_RETURN_IF_ERROR(agent->heap().Dirty(++seed_, PagesOf(heap, percent)));
      SNAP_ASSIGN_OR_RETURN(CheckpointRecord record, agent->Checkpoint());
      SNAP_ASSIGN_OR_RETURN(const std::optional<uint64_t> compressed,
                            CompressedBytes(agent->heap().changed_path()));
      if (compressed) {
        stored.push_back(static_cast<double>(record.bytes_stored) /
                         static_cast<double>(*compressed));
      }
      records.push_back(std::move(record));
    }
    std::vector<double> restored;
    std::vector<double> answered;
    std::vector<double> lazily;
    for (unsigned round = 0; round < rounds_; ++round) {
      Note("{}: {} % changed, resuming {} of {}", SizeText(heap), percent, round + 1, rounds_);
      // Last without that, so that all memory is there when it goes on.
      if (can_lazily_) {
        const Result<Resumed> lazy = agent->Resume(/*lazily=*/true);
        can_lazily_ = lazy.ok();
        if (lazy.ok()) lazily.push_back(lazy->answered_s);
        if (!lazy.ok()) Note("not lazily: {}", lazy.status().message());
      }
      SNAP_ASSIGN_OR_RETURN(const Resumed resumed, agent->Resume(/*lazily=*/false));
      restored.push_back(resumed.restored_s);
      answered.push_back(resumed.answered_s);
    }
    const auto median = [&](auto member) {
      std::vector<double> values;
      values.reserve(records.size());
      for (const CheckpointRecord& record : records) {
        values.push_back(static_cast<double>(record.*member));
      }
      return Median(std::move(values));
    };
    const auto bytes = [&](uint64_t CheckpointRecord::*member) {
      return static_cast<uint64_t>(median(member));
    };
    figures_.checkpoints.push_back(
        {heap, percent, median(&CheckpointRecord::frozen_ms), median(&CheckpointRecord::seconds),
         bytes(&CheckpointRecord::bytes_captured), bytes(&CheckpointRecord::bytes_read),
         bytes(&CheckpointRecord::bytes_new), bytes(&CheckpointRecord::bytes_stored),
         Median(stored), Median(restored), Median(answered),
         lazily.empty() ? std::nullopt : std::optional(Median(lazily))});
    return Status::Ok();
  }

  uint64_t CostHeap() const {
    uint64_t best = *std::min_element(heaps_.begin(), heaps_.end());
    for (const uint64_t heap : heaps_) {
      if (heap <= kCostHeapMax) best = std::max(best, heap);
    }
    return best;
  }

  // In turns, so that what else the machine does falls on both alike.
  Status MeasureCost(BenchAgent* agent, uint64_t heap) {
    const std::chrono::milliseconds time(std::llround(interval_ * 1000));
    const uint64_t pages = PagesOf(heap, kCostDirtyPercent);
    std::vector<double> without;
    std::vector<double> with;
    for (unsigned round = 0; round < rounds_; ++round) {
      Note("{}: cost of checkpoints, {} of {}", SizeText(heap), round + 1, rounds_);
      SNAP_ASSIGN_OR_RETURN(const uint64_t alone, agent->heap().Work(time, pages));
      without.push_back(static_cast<double>(alone) / interval_);
      auto work = std::async(std::launch::async, [&] { return agent->heap().Work(time, pages); });
      const Result<CheckpointRecord> record = agent->Checkpoint();
      const Result<uint64_t> read = work.get();
      SNAP_RETURN_IF_ERROR(record.status());
      SNAP_RETURN_IF_ERROR(read.status());
      with.push_back(static_cast<double>(*read) / interval_);
    }
    figures_.cost = {heap, kCostDirtyPercent, interval_, Median(without), Median(with)};
    return Status::Ok();
  }

  Status MeasureOthers(uint64_t heap, const CriuDriver& criu) {
    SNAP_ASSIGN_OR_RETURN(const auto folder, BenchFolder::Make(tmpfs_));
    BenchPeers peers(folder->path(), heap, &criu);
    Note("{}: filling the heap for the others", SizeText(heap));
    SNAP_RETURN_IF_ERROR(peers.Start());
    std::vector<double> frozen;
    std::vector<double> total;
    std::vector<double> zstd;
    std::vector<double> gcore;
    std::vector<double> restored;
    std::vector<double> answered;
    for (unsigned round = 0; round < rounds_; ++round) {
      Note("{}: the others, {} of {}", SizeText(heap), round + 1, rounds_);
      SNAP_ASSIGN_OR_RETURN(const std::optional<double> core, peers.CoreDump());
      if (core) gcore.push_back(*core);
      SNAP_ASSIGN_OR_RETURN(const PeerDump dump, peers.Dump());
      frozen.push_back(dump.frozen_ms);
      total.push_back(dump.seconds);
      SNAP_ASSIGN_OR_RETURN(const std::optional<double> compressed, peers.Compress());
      if (compressed) zstd.push_back(*compressed);
      SNAP_ASSIGN_OR_RETURN(const PeerRestore restore, peers.Restore());
      restored.push_back(restore.restored_s);
      answered.push_back(restore.answered_s);
    }
    HeapFigures& figures = figures_.heaps.back();
    figures.criu_frozen_ms = Median(frozen);
    figures.criu_seconds = Median(total);
    if (!zstd.empty()) figures.zstd_seconds = Median(zstd);
    if (!gcore.empty()) figures.gcore_seconds = Median(gcore);
    figures.criu_restore_s = Median(restored);
    figures.criu_answered_s = Median(answered);
    return Status::Ok();
  }

  template <typename... Arguments>
  void Note(fmt::format_string<Arguments...> format, Arguments&&... arguments) const {
    if (quiet_) return;
    fmt::print(stderr, "{}\n", fmt::format(format, std::forward<Arguments>(arguments)...));
  }

  std::vector<uint64_t> heaps_;
  std::vector<double> dirty_;
  unsigned rounds_ = 5;
  double interval_ = 10;
  uint64_t arena_limit_ = 0;
  std::string dirty_tracking_ = "auto";
  std::string repository_;
  std::string work_ = "/var/tmp";
  std::string tmpfs_ = "/dev/shm";
  bool no_others_ = false;
  bool quiet_ = false;
  bool can_lazily_ = true;
  uint64_t seed_ = 0;
  BenchFigures figures_;
};

}  // namespace

const CommandInfo kBenchCommand{
    "bench", "Measure checkpoints of an application with a large heap, beside CRIU itself.",
    R"(  snapstore-agent bench
  snapstore-agent bench --heaps 1G --dirty 1 --rounds 5 --json
  snapstore-agent bench --repository /mnt/efs/bench --heaps 256M --no-others

An application with a heap of real compressibility runs as below 'run'; between checkpoints some of
its pages change at random. Then the same application is dumped by 'criu dump' to a tmpfs (+ zstd -1
-T2 of the images), by gcore, and restored by 'criu restore'. /zstd: what was stored, to what zstd -3 makes
of the changed pages alone. Fro/criu: the agent's frozen time to that of CRIU; Res/criu: until the
first answer, the same (Lazily: the application runs before its memory has arrived). What is not installed is left out.

Needs three times the heap in memory. The checkpoints are forgotten at the end, also those in
--repository (what they took is given back by its next prune), and all else is removed.)",
    [] { return std::unique_ptr<Command>(new BenchCommand()); }};

}  // namespace snapstore::agent
