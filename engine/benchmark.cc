#include "snapstore/benchmark.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <zstd.h>

#include <algorithm>
#include <filesystem>
#include <thread>

#include "base/clock.h"
#include "base/file.h"
#include "base/memory_limit.h"
#include "base/random.h"
#include "base/status_macros.h"
#include "chunker/chunker.h"
#include "engine/benchmark_parts.h"
#include "engine/format.h"
#include "engine/progress.h"
#include "snapstore/restore.h"
#include "snapstore/snapshot.h"

namespace snapstore {
namespace {

namespace fs = std::filesystem;

constexpr size_t kSampleBytes = 256 << 20;
constexpr double kChangedShare = 0.01;
constexpr uint64_t kChangedRange = 64 << 10;

class WorkFolder {
 public:
  static Result<std::unique_ptr<WorkFolder>> Make(const std::string& below) {
    std::string pattern = below + "/snapstore-bench-XXXXXX";
    if (::mkdtemp(pattern.data()) == nullptr) {
      return Status::FromErrno(errno, "make a folder in " + below);
    }
    return std::unique_ptr<WorkFolder>(new WorkFolder(pattern));
  }
  ~WorkFolder() { Remove(""); }
  WorkFolder(const WorkFolder&) = delete;
  WorkFolder& operator=(const WorkFolder&) = delete;

  std::string Path(const std::string& name) const { return path_ + "/" + name; }
  // Nothing to do about what cannot be removed: the folder's name says whose it is.
  void Remove(const std::string& name) const {
    std::error_code ignored;
    fs::remove_all(name.empty() ? path_ : Path(name), ignored);
  }

 private:
  explicit WorkFolder(std::string path) : path_(std::move(path)) {}
  const std::string path_;
};

// Up to `bytes_max` bytes of a file or volume.
Status AppendContent(const std::string& path, size_t bytes_max, Bytes* out) {
  SNAP_ASSIGN_OR_RETURN(const UniqueFd file, OpenFile(path, O_RDONLY | O_NONBLOCK));
  struct stat info {};
  if (::fstat(file.get(), &info) != 0) return Status::FromErrno(errno, "stat " + path);
  // A tree has many files, and a vector that is made longer is filled first.
  if (S_ISREG(info.st_mode)) bytes_max = std::min<size_t>(bytes_max, info.st_size);
  const size_t before = out->size();
  out->resize(before + bytes_max);
  const Result<size_t> got =
      PreadFull(file.get(), MutableByteSpan(*out).subspan(before, bytes_max), 0, path);
  out->resize(before + (got.ok() ? *got : 0));
  return got.status();
}

// What the first files hold; zeros, which cost next to nothing, are left out.
Result<Bytes> Sample(const std::vector<std::string>& paths) {
  Bytes sample;
  const auto add = [&](const std::string& path) -> Status {
    if (sample.size() >= kSampleBytes) return {};
    return AppendContent(path, kSampleBytes - sample.size(), &sample);
  };
  for (const std::string& path : paths) {
    std::error_code error;
    if (!fs::is_directory(path, error)) {
      SNAP_RETURN_IF_ERROR(add(path));
      continue;
    }
    fs::recursive_directory_iterator it(path, fs::directory_options::skip_permission_denied, error);
    for (; !error && it != fs::recursive_directory_iterator() && sample.size() < kSampleBytes;
         it.increment(error)) {
      std::error_code ignored;
      if (!it->is_regular_file(ignored) || it->is_symlink(ignored)) continue;
      const Status added = add(it->path());  // a file that cannot be read is no sample
      (void)added;
    }
  }
  size_t kept = 0;
  for (size_t at = 0; at + kBlockBytes <= sample.size(); at += kBlockBytes) {
    if (IsZero(ByteSpan(sample).subspan(at, kBlockBytes))) continue;
    std::copy_n(sample.begin() + static_cast<ptrdiff_t>(at), kBlockBytes,
                sample.begin() + static_cast<ptrdiff_t>(kept));
    kept += kBlockBytes;
  }
  sample.resize(kept);
  if (sample.empty()) return Status::NotFound("there is no data to measure with");
  return sample;
}

class Benchmark {
 public:
  Benchmark(const BenchmarkRequest& request, Observer* observer, BenchmarkVisit visit)
      : request_(request), observer_(observer), visit_(std::move(visit)) {}

  Status Run();

 private:
  RepositoryOptions Options(const std::string& cache) const;
  Status MakeRepository();
  Result<std::unique_ptr<Repository>> Open(const std::string& cache);
  Result<double> Take(const SnapshotRequest& request, SnapshotInfo* info);
  Status MeasureImage(ByteSpan sample);
  Status MeasureRepository();
  Status RunOnce();
  Status Restore(const std::string& id, bool in_place);
  // Size of the only source, if that is one whose changed blocks could be known; else 0.
  uint64_t VolumeBytes() const;
  void Keep(const std::string& group, const std::string& name, const std::string& unit,
            double sample, uint64_t bytes = 0);
  Status VisitKept();

  const BenchmarkRequest& request_;
  Observer* const observer_;
  const BenchmarkVisit visit_;
  std::unique_ptr<WorkFolder> folder_;
  std::vector<BenchmarkResult> kept_;
};

RepositoryOptions Benchmark::Options(const std::string& cache) const {
  RepositoryOptions options = request_.options;
  options.location = folder_->Path("repository");
  options.cache_dir = folder_->Path(cache);
  return options;
}

Result<std::unique_ptr<Repository>> Benchmark::Open(const std::string& cache) {
  return Repository::Open(Options(cache));
}

Status Benchmark::MakeRepository() {
  folder_->Remove("repository");
  folder_->Remove("cache");
  return Repository::Init(Options("cache"));
}

void Benchmark::Keep(const std::string& group, const std::string& name, const std::string& unit,
                     double sample, uint64_t bytes) {
  auto it = std::find_if(kept_.begin(), kept_.end(), [&](const BenchmarkResult& result) {
    return result.group == group && result.name == name;
  });
  if (it == kept_.end()) {
    it = kept_.insert(it, {group, name, unit, {}, static_cast<double>(bytes)});
  }
  it->samples.push_back(sample);
}

Status Benchmark::VisitKept() {
  for (const BenchmarkResult& result : kept_) SNAP_RETURN_IF_ERROR(visit_(result));
  kept_.clear();
  return {};
}

Result<double> Benchmark::Take(const SnapshotRequest& request, SnapshotInfo* info) {
  const Stopwatch stopwatch;
  SNAP_ASSIGN_OR_RETURN(const std::unique_ptr<Repository> repository, Open("cache"));
  SNAP_ASSIGN_OR_RETURN(const SnapshotSummary summary,
                        TakeSnapshot(*repository, request, observer_));
  *info = summary.info;
  return stopwatch.Seconds();
}

// A process's memory, one page in a hundred of which changes at random.
Status Benchmark::MeasureImage(ByteSpan sample) {
  Bytes image(sample.begin(), sample.end());
  const size_t pages = image.size() / kBlockBytes;
  SplitMix64 random(1);
  SNAP_RETURN_IF_ERROR(MakeRepository());
  const auto snapshot = [&](SnapshotInfo* info) {
    SnapshotRequest request;
    request.images.push_back({.name = "image", .size = image.size(), .extents = {{0, image}}});
    return Take(request, info);
  };
  SnapshotInfo info;
  SNAP_ASSIGN_OR_RETURN(const double first, snapshot(&info));
  Keep("memory image", "first", "s", first, image.size());
  for (int run = 0; run < request_.runs; ++run) {
    Bytes changed;
    for (size_t i = 0; i < std::max<size_t>(1, pages / 100); ++i) {
      const size_t to = random.Below(pages) * kBlockBytes;
      const size_t from = random.Below(pages) * kBlockBytes;
      std::copy_n(sample.begin() + static_cast<ptrdiff_t>(from), kBlockBytes,
                  image.begin() + static_cast<ptrdiff_t>(to));
      StoreLe<uint64_t>(image.data() + to, random.Next());  // no other page is like it
      changed.insert(changed.end(), image.begin() + static_cast<ptrdiff_t>(to),
                     image.begin() + static_cast<ptrdiff_t>(to + kBlockBytes));
    }
    SNAP_ASSIGN_OR_RETURN(const double next, snapshot(&info));
    Bytes packed(ZSTD_compressBound(changed.size()));
    const size_t least =
        ZSTD_compress(packed.data(), packed.size(), changed.data(), changed.size(), /*level=*/3);
    Keep("memory image", "1 % of pages changed", "s", next, image.size());
    Keep("memory image", "stored, of the changed pages compressed", "ratio",
         static_cast<double>(info.bytes_stored) / static_cast<double>(least));
  }
  return VisitKept();
}

uint64_t Benchmark::VolumeBytes() const {
  std::error_code error;
  if (request_.paths.size() != 1 || !fs::is_regular_file(request_.paths[0], error)) return 0;
  const uint64_t size = fs::file_size(request_.paths[0], error);
  return error ? 0 : size;
}

Status Benchmark::Restore(const std::string& id, bool in_place) {
  folder_->Remove("cold-cache");
  const Stopwatch stopwatch;
  SNAP_ASSIGN_OR_RETURN(const std::unique_ptr<Repository> repository, Open("cold-cache"));
  RestoreRequest request;
  request.snapshot_id = id;
  request.target = folder_->Path("restored");
  request.in_place = in_place;
  SNAP_ASSIGN_OR_RETURN(const RestoreSummary summary,
                        RestoreSnapshot(*repository, request, observer_));
  const double seconds = stopwatch.Seconds();
  Keep("restore", in_place ? "in place, nothing differs" : "cold", "s", seconds,
       summary.bytes_total);
  return {};
}

Status Benchmark::RunOnce() {
  SNAP_RETURN_IF_ERROR(MakeRepository());
  SnapshotRequest request;
  request.paths = request_.paths;
  SnapshotInfo info;
  SNAP_ASSIGN_OR_RETURN(const double first, Take(request, &info));
  Keep("snapshot", "first", "s", first, info.bytes_total);
  Keep("snapshot", "stored", "B", static_cast<double>(info.bytes_stored));
  request.reread = true;
  SNAP_ASSIGN_OR_RETURN(const double reread, Take(request, &info));
  Keep("snapshot", "same bytes, read again", "s", reread, info.bytes_total);
  request.reread = false;
  SNAP_ASSIGN_OR_RETURN(const double unchanged, Take(request, &info));
  Keep("snapshot", "unchanged", "s", unchanged, info.bytes_total);
  if (const uint64_t volume = VolumeBytes(); volume >= kChangedRange) {
    request.have_changed_ranges = true;
    SplitMix64 random(1);
    const uint64_t slots = volume / kChangedRange;
    const auto count = static_cast<uint64_t>(static_cast<double>(slots) * kChangedShare) + 1;
    for (uint64_t i = 0; i < count; ++i) {
      request.changed_ranges.push_back({random.Below(slots) * kChangedRange, kChangedRange});
    }
    SNAP_ASSIGN_OR_RETURN(const double listed, Take(request, &info));
    Keep("snapshot", "changed blocks, 1 %", "s", listed, info.bytes_total);
  }
  SNAP_RETURN_IF_ERROR(Restore(info.id, /*in_place=*/false));
  SNAP_RETURN_IF_ERROR(Restore(info.id, /*in_place=*/true));
  folder_->Remove("restored");
  return {};
}

Status Benchmark::MeasureRepository() {
  for (int run = 0; run < request_.runs; ++run) SNAP_RETURN_IF_ERROR(RunOnce());
  const Result<MemoryUsage> usage = ReadMemoryUsage();
  if (usage.ok()) {
    Keep("snapshot", "peak memory of all this", "B", static_cast<double>(usage->rss_bytes_peak));
  }
  return VisitKept();
}

Status Benchmark::Run() {
  SNAP_ASSIGN_OR_RETURN(folder_, WorkFolder::Make(request_.work));
  // Before samples are in memory, which is not the engine's.
  SNAP_RETURN_IF_ERROR(MeasureRepository());
  SNAP_ASSIGN_OR_RETURN(const Bytes sample, Sample(request_.paths));
  const unsigned threads = request_.options.threads != 0
                               ? request_.options.threads
                               : std::max(1u, std::thread::hardware_concurrency());
  const std::string folder = folder_->Path("");
  ProgressReporter progress(observer_, "measure machine and parts");
  const auto visit = [&](const BenchmarkResult& result) -> Status {
    SNAP_RETURN_IF_ERROR(progress.Poll());
    return visit_(result);
  };
  SNAP_RETURN_IF_ERROR(MeasureImage(sample));
  SNAP_RETURN_IF_ERROR(MeasureMachine(sample, folder, threads, request_.runs, visit));
  return MeasureParts(sample, folder, request_.options.memory_limit / 8, request_.runs, visit);
}

}  // namespace

double BenchmarkResult::Median() const {
  std::vector<double> sorted = samples;
  std::sort(sorted.begin(), sorted.end());
  const size_t middle = sorted.size() / 2;
  return sorted.size() % 2 == 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}

double BenchmarkResult::Least() const { return *std::min_element(samples.begin(), samples.end()); }
double BenchmarkResult::Most() const { return *std::max_element(samples.begin(), samples.end()); }

Status RunBenchmark(const BenchmarkRequest& request, Observer* observer,
                    const std::function<Status(const BenchmarkResult&)>& visit) {
  if (request.paths.empty()) return Status::InvalidArgument("no data to measure with");
  if (request.runs < 1) return Status::InvalidArgument("at least one run is needed");
  return Benchmark(request, observer, visit).Run();
}

}  // namespace snapstore
