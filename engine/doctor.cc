#include "snapstore/doctor.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <thread>

#include "base/clock.h"
#include "base/file.h"
#include "base/io_engine.h"
#include "base/memory_limit.h"
#include "base/status_macros.h"
#include "base/unique_fd.h"
#include "engine/cache_root.h"
#include "engine/config.h"
#include "engine/format.h"
#include "engine/repository_impl.h"
#include "uploader/open_store.h"
#include "uploader/store_doctor.h"

namespace snapstore {
namespace {

using Grade = Diagnosis::Grade;

constexpr uint64_t kMiB = 1 << 20;
constexpr uint64_t kCacheFreeMin = 256 * kMiB;
constexpr int kLatencySamples = 5;
constexpr double kSlowSeconds = 0.5;
// statfs(2): the index needs locks and durable renames, which these do not give between machines.
constexpr long kNfsMagic = 0x6969;
constexpr long kSmbMagic = 0x517b;
// A user waits for the answer.
constexpr const char* kRetrySecondsKey = "s3.retry-seconds";
constexpr const char* kRetrySeconds = "10";

std::string Mib(uint64_t bytes) { return fmt::format("{} MiB", bytes / kMiB); }

Diagnosis DiagnoseKernel() {
  Diagnosis out{.subject = "kernel"};
  struct utsname name {};
  if (::uname(&name) != 0) name = {};
  out.text = fmt::format("{} on {}, {} processors", name.release, name.machine,
                         std::thread::hardware_concurrency());
  out.facts = {{"release", std::string(name.release)},
               {"architecture", std::string(name.machine)},
               {"processors", static_cast<int64_t>(std::thread::hardware_concurrency())}};
#ifdef SYS_openat2
  // No arguments at all: only a kernel without the call says ENOSYS.
  if (::syscall(SYS_openat2, -1, nullptr, nullptr, 0) < 0 && errno == ENOSYS) {
    out.grade = Grade::kFailure;
    out.text += "; no openat2 (Linux 5.6, or seccomp forbids it): restore will not work";
  }
#endif
  return out;
}

Diagnosis DiagnoseMemory(const RepositoryOptions& options) {
  Diagnosis out{.subject = "memory"};
  const std::optional<uint64_t> cgroup = CgroupMemoryLimit();
  const uint64_t limit = EffectiveMemoryLimit(options.memory_limit);
  const MemoryPlan plan = MemoryPlan::For(limit, options.threads);
  out.text = fmt::format("{}: index {}, packs {} x {}, read buffers {}, frame cache {}, {} workers",
                         Mib(limit), Mib(plan.index), 3 + plan.uploads, Mib(plan.pack),
                         Mib(plan.read_buffers), Mib(plan.frame_cache), plan.threads);
  if (limit < options.memory_limit) {
    out.grade = Grade::kWarning;
    out.text += fmt::format("; lowered from {} since the cgroup has {}", Mib(options.memory_limit),
                            Mib(cgroup.value_or(0)));
  }
  out.facts = {{"limit", static_cast<int64_t>(limit)},
               {"requested", static_cast<int64_t>(options.memory_limit)},
               {"index", static_cast<int64_t>(plan.index)},
               {"pack", static_cast<int64_t>(plan.pack)},
               {"packs", static_cast<int64_t>(3 + plan.uploads)},
               {"read_buffers", static_cast<int64_t>(plan.read_buffers)},
               {"frame_cache", static_cast<int64_t>(plan.frame_cache)},
               {"workers", static_cast<int64_t>(plan.threads)}};
  if (cgroup.has_value()) out.facts.emplace_back("cgroup", static_cast<int64_t>(*cgroup));
  return out;
}

Diagnosis DiagnoseIo(const RepositoryOptions& options) {
  Diagnosis out{.subject = "io_uring"};
  const IoBackend wanted = options.io == IoChoice::kUring     ? IoBackend::kUring
                           : options.io == IoChoice::kThreads ? IoBackend::kThreads
                                                              : IoBackend::kAuto;
  const Status probe = ProbeIoUring();
  const Result<std::unique_ptr<IoEngine>> engine = IoEngine::Create({.backend = wanted});
  if (!engine.ok()) {
    out.grade = Grade::kFailure;
    out.text = engine.status().message();
    return out;
  }
  const bool uring = (*engine)->backend() == IoBackend::kUring;
  out.text = uring        ? "available and used"
             : probe.ok() ? "available; a pool of threads was asked for"
                          : "a pool of threads instead: " + probe.message();
  if (!probe.ok()) out.grade = Grade::kWarning;
  out.facts = {{"available", probe.ok()}, {"backend", std::string(uring ? "uring" : "threads")}};
  return out;
}

// A file can be made, written and removed in `folder`.
Status TryToWrite(const std::string& folder) {
  const std::string path = fmt::format("{}/doctor-{}", folder, ::getpid());
  const UniqueFd fd(::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
  if (!fd.valid()) return Status::FromErrno(errno, "create a file in " + folder);
  ::unlink(path.c_str());
  const char byte = 0;
  if (::write(fd.get(), &byte, 1) != 1) return Status::FromErrno(errno, "write in " + folder);
  return {};
}

Diagnosis DiagnoseCache(const RepositoryOptions& options) {
  Diagnosis out{.subject = "cache"};
  const Result<std::string> root = CacheRoot(options);
  Status status = root.status();
  if (status.ok()) status = MakeDirectories(*root, 0700);
  if (status.ok()) status = TryToWrite(*root);
  if (!status.ok()) {
    out.grade = Grade::kFailure;
    out.text = status.message();
    return out;
  }
  struct statvfs space {};
  struct statfs type {};
  if (::statvfs(root->c_str(), &space) != 0 || ::statfs(root->c_str(), &type) != 0) {
    out.grade = Grade::kFailure;
    out.text = Status::FromErrno(errno, "statvfs " + *root).message();
    return out;
  }
  const uint64_t free = static_cast<uint64_t>(space.f_bavail) * space.f_frsize;
  out.text = fmt::format("{}: {} free", *root, Mib(free));
  out.facts = {{"path", *root}, {"free", static_cast<int64_t>(free)}};
  if (static_cast<long>(type.f_type) == kNfsMagic || static_cast<long>(type.f_type) == kSmbMagic) {
    out.grade = Grade::kWarning;
    out.text += "; a network file system: the index belongs on a local disk (--cache-dir)";
  } else if (free < kCacheFreeMin) {
    out.grade = Grade::kWarning;
    out.text += "; a large repository's index needs more: 25 bytes a chunk";
  }
  return out;
}

Diagnosis DiagnoseLatency(ObjectStore& store) {
  Diagnosis out{.subject = "latency"};
  std::array<double, kLatencySamples> seconds;
  for (double& sample : seconds) {
    const Stopwatch watch;
    const Status status = store.Stat(ConfigKey()).status();
    sample = watch.Seconds();
    if (!status.ok()) {
      out.grade = Grade::kFailure;
      out.text = status.message();
      return out;
    }
  }
  std::sort(seconds.begin(), seconds.end());
  const double median = seconds[kLatencySamples / 2];
  out.text = fmt::format("a small request takes {:.1f} ms ({:.1f} to {:.1f})", median * 1e3,
                         seconds.front() * 1e3, seconds.back() * 1e3);
  out.facts = {{"median_seconds", median}, {"max_seconds", seconds.back()}};
  if (median > kSlowSeconds) out.grade = Grade::kWarning;
  return out;
}

// The store answers; says whether a repository is there.
Diagnosis DiagnoseRepository(ObjectStore& store, bool* there) {
  Diagnosis out{.subject = "repository", .grade = Grade::kFailure};
  const Result<Bytes> bytes = store.Get(ConfigKey(), kConfigBytesMax);
  *there = bytes.ok();
  if (bytes.status().Is(StatusCode::kNotFound)) {
    out.text = "none at " + store.Describe() + "; 'snapstore init' makes one";
    return out;
  }
  if (!bytes.ok()) {
    out.text = bytes.status().message();
    return out;
  }
  const Result<RepositoryConfig> config = RepositoryConfig::Decode(*bytes);
  if (!config.ok()) {
    out.text = config.status().WithContext(store.Describe()).message();
    return out;
  }
  out.grade = Grade::kOk;
  out.text = fmt::format("{} at {}", HexEncode(config->id), store.Describe());
  if (config->encrypted) out.text += ", encrypted: needs a password or a key file";
  out.facts = {{"id", HexEncode(config->id)},
               {"location", store.Describe()},
               {"encrypted", config->encrypted}};
  return out;
}

void DiagnosePlace(RepositoryOptions options, const DoctorOptions& doctor,
                   const DiagnosisSink& sink) {
  options.store_settings.emplace(kRetrySecondsKey, kRetrySeconds);
  const Result<std::unique_ptr<ObjectStore>> store = OpenStore(
      options.location, {.settings = options.store_settings, .cancelled = options.cancelled});
  if (!store.ok()) {
    sink({.subject = "store", .grade = Grade::kFailure, .text = store.status().message()});
    return;
  }
  auto* const place = dynamic_cast<DiagnosableStore*>(store->get());
  if (place != nullptr && !place->Diagnose(doctor.write_probe, sink)) return;
  bool there = false;
  sink(DiagnoseRepository(**store, &there));
  if (there) sink(DiagnoseLatency(**store));
}

}  // namespace

void Diagnose(const RepositoryOptions& repository, const DoctorOptions& options,
              const DiagnosisSink& sink) {
  sink(DiagnoseKernel());
  sink(DiagnoseMemory(repository));
  sink(DiagnoseIo(repository));
  sink(DiagnoseCache(repository));
  if (!repository.location.empty()) DiagnosePlace(repository, options, sink);
}

}  // namespace snapstore
