#include "agent/pre_copy.h"

#include <algorithm>
#include <memory>
#include <mutex>

#include "agent/checkpoint_metadata.h"
#include "agent/remote_memory.h"
#include "base/status_macros.h"
#include "snapstore/maintain.h"

namespace snapstore::agent {
namespace {

constexpr const char* kPreCopyKind = "precopy";

bool IsPreCopyOf(const SnapshotInfo& info, const std::string& app) {
  const auto tag = info.tags.find(kAppTag);
  const auto kind = info.tags.find(kKindTag);
  return tag != info.tags.end() && tag->second == app && kind != info.tags.end() &&
         kind->second == kPreCopyKind;
}

// The pages of one process in one window, from the process itself. What cannot be read is given as
// zeros, and noted.
class WindowReader : public VolumeReader {
 public:
  WindowReader(const DirtyTracker::Watched* memory, uint64_t window)
      : memory_(memory), window_(window) {}

  void Add(uint64_t begin, uint64_t end) { ranges_.push_back({begin - window_, end - window_}); }

  VolumeSource Source() {
    VolumeSource source;
    source.name = MemoryFileName(memory_->pagemap, window_);
    source.size = ranges_.back().end;
    source.reader = this;
    source.single_blocks = true;
    return source;
  }

  Status NextPart(uint64_t offset, uint64_t* begin, uint64_t* end) override {
    while (next_ < ranges_.size() && ranges_[next_].end <= offset) ++next_;
    if (next_ == ranges_.size()) {
      *begin = *end = ranges_.back().end;
      return Status::Ok();
    }
    *begin = std::max(offset, ranges_[next_].begin);
    *end = ranges_[next_].end;
    return Status::Ok();
  }

  Status ReadAt(uint64_t offset, std::span<uint8_t> out) override {
    void* const from =
        reinterpret_cast<void*>(window_ + offset);  // NOLINT(performance-no-int-to-ptr)
    const iovec part{from, out.size()};
    if (RemoteMemory(memory_->pid).Read({&part, 1}, out).ok()) return Status::Ok();
    std::fill(out.begin(), out.end(), uint8_t{0});
    const std::lock_guard lock(mutex_);
    lost_.push_back({window_ + offset, window_ + offset + out.size()});
    return Status::Ok();
  }

  AddressSet Lost() {
    std::sort(lost_.begin(), lost_.end(),
              [](const AddressRange& a, const AddressRange& b) { return a.begin < b.begin; });
    AddressSet lost;
    for (const AddressRange& range : lost_) lost.Append(range.begin, range.end);
    return lost;
  }
  const DirtyTracker::Watched& memory() const { return *memory_; }

 private:
  const DirtyTracker::Watched* const memory_;
  const uint64_t window_;
  std::vector<AddressRange> ranges_;  // offsets
  size_t next_ = 0;
  std::mutex mutex_;
  std::vector<AddressRange> lost_;  // guarded by mutex_
};

std::vector<std::unique_ptr<WindowReader>> ReadersOf(
    const std::vector<DirtyTracker::Watched>& memory) {
  std::vector<std::unique_ptr<WindowReader>> readers;
  for (const DirtyTracker::Watched& process : memory) {
    uint64_t end_of_window = 0;
    for (const AddressRange& range : process.pages.ranges()) {
      for (uint64_t at = range.begin; at < range.end;) {
        if (at >= end_of_window) {
          const uint64_t window = at / kWindowBytes * kWindowBytes;
          end_of_window = window + kWindowBytes;
          readers.push_back(std::make_unique<WindowReader>(&process, window));
        }
        const uint64_t end = std::min(range.end, end_of_window);
        readers.back()->Add(at, end);
        at = end;
      }
    }
  }
  return readers;
}

}  // namespace

Result<PreCopy> CopyBeforehand(Repository* repository, const std::string& app,
                               const std::string& parent,
                               const std::vector<DirtyTracker::Watched>& memory) {
  const std::vector<std::unique_ptr<WindowReader>> readers = ReadersOf(memory);
  SnapshotRequest request;
  for (const auto& reader : readers) request.volumes.push_back(reader->Source());
  request.tags = {{kAppTag, app}, {kKindTag, kPreCopyKind}};
  request.parent = parent.empty() ? "none" : parent;
  SNAP_ASSIGN_OR_RETURN(SnapshotSummary summary, TakeSnapshot(*repository, request, nullptr));
  PreCopy copy;
  copy.info = std::move(summary.info);
  for (const DirtyTracker::Watched& process : memory) copy.pages[process.pagemap] = process.pages;
  for (const auto& reader : readers) {
    AddressSet& pages = copy.pages[reader->memory().pagemap];
    pages = pages.Subtract(reader->Lost());
  }
  if (copy.info.unreadable != 0) copy.pages.clear();
  return copy;
}

Status ForgetPreCopies(Repository* repository, const std::string& app) {
  SNAP_ASSIGN_OR_RETURN(const std::vector<SnapshotInfo> all,
                        repository->ListSnapshots(nullptr, nullptr));
  std::vector<std::string> ids;
  for (const SnapshotInfo& info : all) {
    if (IsPreCopyOf(info, app)) ids.push_back(info.id);
  }
  return ids.empty() ? Status::Ok() : ForgetSnapshots(*repository, ids, nullptr).status();
}

}  // namespace snapstore::agent
