#include "engine/shared_content.h"

#include <algorithm>

#include "base/status_macros.h"
#include "engine/content_range.h"

namespace snapstore {

SharedContent::SharedContent(const NodeSource* source, const format::Entry& entry)
    : source_(source),
      path_(entry.path()),
      size_(entry.size()),
      root_(entry.content().runs()),
      idle_(std::make_unique<RunListReader>(source, root_)) {}

std::unique_ptr<RunListReader> SharedContent::TakeRuns() {
  {
    const std::lock_guard lock(mutex_);
    if (idle_ != nullptr) return std::move(idle_);
  }
  return std::make_unique<RunListReader>(source_, root_);
}

void SharedContent::GiveRuns(std::unique_ptr<RunListReader> runs) {
  const std::lock_guard lock(mutex_);
  idle_ = std::move(runs);
}

Status SharedContent::ReadAt(uint64_t offset, std::span<uint8_t> out) {
  if (offset > size_ || out.size() > size_ - offset) {
    return Status::InvalidArgument("read beyond the end of '" + path_ + "'");
  }
  if (out.empty()) return {};
  std::unique_ptr<RunListReader> runs = TakeRuns();
  const Result<ContentRange> range = FindContentRange(*source_, runs.get(), offset, out.size());
  if (!range.ok()) return range.status().WithContext(path_);
  GiveRuns(std::move(runs));
  std::fill(out.begin(), out.end(), uint8_t{0});
  return source_->fetcher()
      ->ReadKept(
          PackKind::kData, range->chunks,
          [&](std::span<const FetchedChunk> fetched) {
            for (const auto& [i, bytes] : fetched) {
              PlacePiece(range->pieces[i], bytes, offset, out);
            }
            return Status();
          },
          [](size_t, const Status& status) { return status; })
      .WithContext(path_);
}

Status SharedContent::NextData(uint64_t offset, uint64_t* begin, uint64_t* end) {
  std::unique_ptr<RunListReader> runs = TakeRuns();
  SNAP_RETURN_IF_ERROR(FindNextData(runs.get(), offset, begin, end).WithContext(path_));
  GiveRuns(std::move(runs));
  return {};
}

Status SharedContent::Prefetch(uint64_t offset, uint64_t length) {
  if (offset >= size_) return {};
  std::unique_ptr<RunListReader> runs = TakeRuns();
  const Result<ContentRange> range =
      FindContentRange(*source_, runs.get(), offset, std::min(length, size_ - offset));
  if (!range.ok()) return range.status().WithContext(path_);
  GiveRuns(std::move(runs));
  return source_->fetcher()->Prefetch(PackKind::kData, range->chunks);
}

}  // namespace snapstore
