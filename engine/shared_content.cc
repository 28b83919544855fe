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

Status SharedContent::CheckRange(uint64_t offset, uint64_t length) const {
  if (offset <= size_ && length <= size_ - offset) return {};
  return Status::InvalidArgument("read beyond the end of '" + path_ + "'");
}

Status SharedContent::ReadAt(uint64_t offset, std::span<uint8_t> out) {
  SNAP_RETURN_IF_ERROR(CheckRange(offset, out.size()));
  if (out.empty()) return {};
  std::unique_ptr<RunListReader> runs = TakeRuns();
  SNAP_RETURN_IF_ERROR(
      ReadRange(*source_, runs.get(), offset, out, KeepFrames::kYes).WithContext(path_));
  GiveRuns(std::move(runs));
  return {};
}

Status SharedContent::Visit(uint64_t offset, uint64_t length, const PartVisitor& visit) {
  SNAP_RETURN_IF_ERROR(CheckRange(offset, length));
  if (length == 0) return {};
  std::unique_ptr<RunListReader> runs = TakeRuns();
  SNAP_RETURN_IF_ERROR(
      VisitRange(*source_, runs.get(), offset, length, KeepFrames::kYes, visit).WithContext(path_));
  GiveRuns(std::move(runs));
  return {};
}

Status SharedContent::VisitAlong(uint64_t at, uint64_t offset, uint64_t length,
                                 const PartVisitor& visit) {
  SNAP_RETURN_IF_ERROR(CheckRange(offset, length));
  SNAP_RETURN_IF_ERROR(CheckHolds(offset, length, at));
  std::unique_ptr<RunListReader> runs = TakeRuns();
  SNAP_RETURN_IF_ERROR(
      snapstore::VisitAlong(*source_, runs.get(), at, offset, length, visit).WithContext(path_));
  GiveRuns(std::move(runs));
  return {};
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
  const Result<std::vector<StoredChunk>> chunks =
      FindChunks(*source_, runs.get(), offset, std::min(length, size_ - offset));
  if (!chunks.ok()) return chunks.status().WithContext(path_);
  GiveRuns(std::move(runs));
  return source_->fetcher()->Prefetch(PackKind::kData, *chunks);
}

}  // namespace snapstore
