#include "agent/dirty_tracker.h"

#include <fmt/format.h>

#include <algorithm>

#include "agent/criu_image.h"
#include "agent/page_scan.h"
#include "agent/process_tree.h"
#include "base/log.h"
#include "base/status_macros.h"

namespace snapstore::agent {
namespace {

// Less than this is read and compared faster than it is asked for.
constexpr uint64_t kTrackedBytesMin = 4 << 20;

// At one process: its threads stand still each time.
constexpr int kAttemptsMax = 3;
// An application may make processes without end.
constexpr int kComplaintsMax = 10;

}  // namespace

Result<std::unique_ptr<DirtyTracker>> DirtyTracker::Create(uint64_t watched_bytes_min) {
  SNAP_RETURN_IF_ERROR(CheckPageTracking());
  return std::unique_ptr<DirtyTracker>(new DirtyTracker(watched_bytes_min));
}

void DirtyTracker::Attach(const std::vector<pid_t>& pids) {
  std::lock_guard lock(mutex_);
  const auto ended = [&](const auto& entry) {
    return std::find(pids.begin(), pids.end(), entry.first) == pids.end();
  };
  std::erase_if(processes_, [&](const auto& entry) {
    return ended(entry) || !entry.second->IsAlive() || entry.second->IsStale();
  });
  std::erase_if(refusals_, ended);
  for (const pid_t pid : pids) {
    if (processes_.contains(pid) || PrivateBytes(pid) < kTrackedBytesMin) continue;
    const auto refused = refusals_.find(pid);
    if (refused != refusals_.end() && refused->second >= kAttemptsMax) continue;
    auto process = TrackedProcess::Start(pid, PrivateBytes(pid) >= watched_bytes_min_);
    if (process.ok()) {
      processes_[pid] = std::move(*process);
      continue;
    }
    if (process.status().Is(StatusCode::kNotFound)) continue;
    if (++refusals_[pid] == kAttemptsMax && complaints_++ < kComplaintsMax) {
      LogInfo("not tracked, its memory is read as a whole: {}", process.status().message());
    }
  }
}

std::vector<DirtyTracker::Watched> DirtyTracker::WatchedAnew() const {
  std::lock_guard lock(mutex_);
  std::vector<Watched> found;
  for (const auto& [pid, process] : processes_) {
    if (!process->base().empty() || PrivateBytes(pid) < watched_bytes_min_) continue;
    Result<AddressSet> pages = process->Watched();
    if (!pages.ok() || pages->empty()) continue;
    found.push_back({pid, process->pagemap_name(), std::move(*pages)});
  }
  return found;
}

LetGoPlan DirtyTracker::LetGo() const {
  std::lock_guard lock(mutex_);
  LetGoPlan plan;
  for (const auto& [pid, process] : processes_) {
    if (process->base().empty()) continue;
    const Result<uint64_t> dirty = process->DirtyBytes();
    const uint64_t all = PrivateBytes(pid);
    if (!dirty.ok() || *dirty >= all / 2) continue;
    plan.pagemaps.insert(process->pagemap_name());
    plan.bytes_spared += all - 2 * *dirty;
  }
  return plan;
}

PagesByProcess DirtyTracker::Known() const {
  std::lock_guard lock(mutex_);
  PagesByProcess known;
  for (const auto& [pid, process] : processes_) {
    if (!process->base().empty()) known[process->inner_pid()] = process->base();
  }
  return known;
}

Status DirtyTracker::Complete(std::vector<ArenaFile>* files, Arena* arena) {
  std::lock_guard lock(mutex_);
  for (const auto& [pid, process] : processes_) process->Scan();
  for (ArenaFile& file : *files) {
    if (!file.only_changed) continue;
    Status read = Status::Internal(fmt::format("{}: let go, but nobody's", file.name));
    for (const auto& [pid, process] : processes_) {
      read = ReadChanged(*files, *process, &file, arena);
      if (!read.Is(StatusCode::kNotFound)) break;
    }
    SNAP_RETURN_IF_ERROR(read);
  }
  return Status::Ok();
}

// NotFound: they are another process's.
Status DirtyTracker::ReadChanged(const std::vector<ArenaFile>& files, const TrackedProcess& process,
                                 ArenaFile* pages, Arena* arena) const {
  for (const ArenaFile& file : files) {
    if (file.name != process.pagemap_name()) continue;
    SNAP_ASSIGN_OR_RETURN(const Pagemap map, Pagemap::Parse(Flatten(file)));
    if (PagesImageName(map.pages_id) != pages->name) break;
    // If it has ended, its id may be another one's by now.
    if (!process.IsAlive()) {
      return Status::Conflict(fmt::format("process {} has ended during the dump", process.pid()));
    }
    if (!map.ascending || map.bytes != pages->size) {
      return Status::Corruption(fmt::format("{}: does not describe {}", file.name, pages->name));
    }
    return process.Read(map.Addresses().Subtract(process.base()), arena, pages);
  }
  return Status::NotFound(fmt::format("{}: let go, but nobody's", pages->name));
}

PagesByMap DirtyTracker::Unchanged() const {
  std::lock_guard lock(mutex_);
  PagesByMap pages;
  for (const auto& [pid, process] : processes_) pages[process->pagemap_name()] = process->base();
  return pages;
}

void DirtyTracker::Committed(const PagesByMap& pages) {
  std::lock_guard lock(mutex_);
  for (const auto& [pid, process] : processes_) {
    const auto held = pages.find(process->pagemap_name());
    process->SetBase(held == pages.end() ? AddressSet() : held->second);
  }
  committed_ = true;
}

void DirtyTracker::Forget() {
  std::lock_guard lock(mutex_);
  for (const auto& [pid, process] : processes_) process->DropBase();
  committed_ = false;
}

std::optional<uint64_t> DirtyTracker::DirtyBytes(const std::vector<pid_t>& pids) const {
  std::lock_guard lock(mutex_);
  if (!committed_) return std::nullopt;
  uint64_t bytes = 0;
  for (const pid_t pid : pids) {
    const auto process = processes_.find(pid);
    const uint64_t all = PrivateBytes(pid);
    if (process == processes_.end() || process->second->base().empty()) {
      bytes += all;
      continue;
    }
    const Result<uint64_t> dirty = process->second->DirtyBytes();
    bytes += dirty.ok() ? std::min(*dirty, all) : all;
  }
  return bytes;
}

}  // namespace snapstore::agent
