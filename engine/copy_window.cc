#include "engine/copy_window.h"

#include <algorithm>
#include <numeric>
#include <utility>

#include "base/check.h"
#include "base/status_macros.h"
#include "engine/check_report.h"
#include "engine/parallel.h"

namespace snapstore {
namespace {

// References a window holds at most, 200 bytes each.
constexpr size_t kStepsMax = 64 << 10;
constexpr size_t kWantedMax = 32 << 10;
// What one thread fetches in one go.
constexpr uint64_t kSliceBytes = 8 << 20;

bool SameFrame(const StoredChunk& a, const StoredChunk& b) {
  return a.pack == b.pack && a.frame_offset == b.frame_offset;
}

}  // namespace

CopyWindow::CopyWindow(const CopyWindowOptions& options, WriteSession* session,
                       EntryListWriter* entries, ProgressReporter* progress, FailedFn failed)
    : options_(options),
      session_(session),
      entries_(entries),
      progress_(progress),
      failed_(std::move(failed)) {}

Status CopyWindow::Add(Step step) {
  steps_.push_back(std::move(step));
  return steps_.size() >= kStepsMax || wanted_.size() >= kWantedMax ? Flush() : Status();
}

Status CopyWindow::AddEntry(format::Entry entry) { return Add(std::move(entry)); }

Status CopyWindow::BeginContent(format::Entry entry, const std::optional<format::Content>& base) {
  return Add(Begin{std::move(entry), base});
}

Status CopyWindow::AddHole(uint64_t length) { return Add(Hole{length}); }

Status CopyWindow::AddChunk(const StoredChunk& chunk, uint64_t count) {
  const auto [it, added] = ordinals_.emplace(chunk.id, wanted_.size());
  if (added) wanted_.push_back({.chunk = chunk, .placed = {}, .failure = {}});
  return Add(Chunk{it->second, count});
}

Status CopyWindow::AddKnown(const ChunkRef& chunk, uint64_t count) {
  return Add(Known{chunk, count});
}

Status CopyWindow::AddStoredLeaf(const NodeRef& leaf) { return Add(leaf); }

Status CopyWindow::EndLeaf() { return Add(LeafEnd{}); }

Status CopyWindow::Lose(const Status& cause) { return Add(Loss{cause}); }

Status CopyWindow::EndContent() { return Add(End{}); }

Status CopyWindow::Flush() {
  SNAP_RETURN_IF_ERROR(FindPlaced());
  SNAP_RETURN_IF_ERROR(FetchMissing());
  for (Step& step : steps_) {
    SNAP_RETURN_IF_ERROR(progress_->Poll());
    SNAP_RETURN_IF_ERROR(Write(&step));
  }
  steps_.clear();
  wanted_.clear();
  ordinals_.clear();
  return {};
}

Status CopyWindow::FindPlaced() {
  if (!options_.same_ids || wanted_.empty()) return {};
  std::vector<ChunkId> ids;
  ids.reserve(wanted_.size());
  for (const Wanted& wanted : wanted_) ids.push_back(wanted.chunk.id);
  std::vector<std::optional<PendingRef>> placed;
  SNAP_RETURN_IF_ERROR(session_->packs().Find(PackKind::kData, ids, &placed));
  for (size_t i = 0; i < wanted_.size(); ++i) wanted_[i].placed = std::move(placed[i]);
  return {};
}

Status CopyWindow::FetchMissing() {
  std::vector<size_t> missing;
  for (size_t i = 0; i < wanted_.size(); ++i) {
    if (!wanted_[i].placed.has_value()) missing.push_back(i);
  }
  const auto chunk_at = [&](size_t i) -> const StoredChunk& { return wanted_[missing[i]].chunk; };
  std::sort(missing.begin(), missing.end(), [&](size_t a, size_t b) {
    const StoredChunk& x = wanted_[a].chunk;
    const StoredChunk& y = wanted_[b].chunk;
    return std::tie(x.pack, x.frame_offset, x.chunk_in_frame) <
           std::tie(y.pack, y.frame_offset, y.chunk_in_frame);
  });
  // Slices end between frames, so that none is fetched twice.
  std::vector<std::pair<size_t, size_t>> slices;
  for (size_t begin = 0; begin < missing.size();) {
    uint64_t bytes = chunk_at(begin).frame_length;
    size_t end = begin + 1;
    for (; end < missing.size(); ++end) {
      if (SameFrame(chunk_at(end - 1), chunk_at(end))) continue;
      if (bytes >= kSliceBytes) break;
      bytes += chunk_at(end).frame_length;
    }
    slices.emplace_back(begin, end);
    begin = end;
  }
  return RunParallel(
      options_.threads, slices.size(),
      [&](size_t slice, unsigned) {
        const auto [begin, end] = slices[slice];
        return Fetch(std::span(missing).subspan(begin, end - begin));
      },
      [this] { return progress_->Poll(); });
}

Status CopyWindow::Fetch(std::span<const size_t> wanted) {
  std::vector<StoredChunk> chunks;
  chunks.reserve(wanted.size());
  for (const size_t each : wanted) chunks.push_back(wanted_[each].chunk);
  return options_.source->ReadMany(
      PackKind::kData, chunks,
      [&](std::span<const FetchedChunk> fetched) { return Store(wanted, fetched); },
      [&](size_t ordinal, const Status& status) {
        if (!IsDamage(status)) return status;
        wanted_[wanted[ordinal]].failure = status;
        return Status();
      });
}

Status CopyWindow::Store(std::span<const size_t> wanted, std::span<const FetchedChunk> fetched) {
  std::vector<NewChunk> chunks;
  chunks.reserve(fetched.size());
  for (const FetchedChunk& each : fetched) {
    const ChunkId& id = wanted_[wanted[each.ordinal]].chunk.id;
    chunks.push_back(
        {options_.same_ids ? id : ComputeChunkId(session_->secret(), each.bytes), each.bytes});
  }
  std::vector<PendingRef> refs;
  {
    std::lock_guard lock(store_mutex_);
    SNAP_RETURN_IF_ERROR(session_->packs().PutMany(PackKind::kData, chunks, &refs));
  }
  for (size_t i = 0; i < fetched.size(); ++i) {
    wanted_[wanted[fetched[i].ordinal]].placed = std::move(refs[i]);
  }
  return {};
}

Status CopyWindow::Write(Step* step) {
  if (auto* const entry = std::get_if<format::Entry>(step)) {
    return entries_->Add(std::move(*entry), nullptr);
  }
  if (auto* const begin = std::get_if<Begin>(step)) return WriteBegin(begin);
  if (const auto* const chunk = std::get_if<Chunk>(step)) return WriteChunk(*chunk);
  if (const auto* const loss = std::get_if<Loss>(step)) {
    loss_ = loss->cause;
    return {};
  }
  if (std::holds_alternative<End>(*step)) return WriteEnd();
  if (!loss_.ok()) return {};  // it comes to nothing
  if (const auto* const hole = std::get_if<Hole>(step)) return runs_->AddHole(hole->length);
  if (const auto* const leaf = std::get_if<NodeRef>(step)) return runs_->AddStoredLeaf(*leaf);
  if (std::holds_alternative<LeafEnd>(*step)) return runs_->EndLeafHere();
  const Known& known = std::get<Known>(*step);
  for (uint64_t i = 0; i < known.count; ++i) {
    SNAP_RETURN_IF_ERROR(runs_->AddChunk(PendingRef(known.ref)));
  }
  return {};
}

Status CopyWindow::WriteBegin(Begin* begin) {
  SNAP_CHECK(runs_ == nullptr);
  loss_ = Status();
  runs_ =
      std::make_unique<RunListWriter>(&session_->packs(), &session_->secret(), options_.base_nodes,
                                      begin->base.has_value() ? &begin->base->runs() : nullptr);
  runs_->KeepLeaves();
  entry_ = std::move(begin->entry);
  return {};
}

Status CopyWindow::WriteChunk(const Chunk& chunk) {
  const Wanted& wanted = wanted_[chunk.wanted];
  if (loss_.ok()) loss_ = wanted.failure;
  if (!loss_.ok()) return {};
  SNAP_CHECK(wanted.placed.has_value());
  for (uint64_t i = 0; i < chunk.count; ++i) {
    SNAP_RETURN_IF_ERROR(runs_->AddChunk(*wanted.placed));
  }
  return {};
}

Status CopyWindow::WriteEnd() {
  std::unique_ptr<RunListWriter> runs = std::move(runs_);
  format::Entry entry = std::move(*entry_);
  entry_.reset();
  if (loss_.ok() && runs->size() != entry.size()) {
    loss_ = Status::Corruption("its content is not as long as it should be");
  }
  if (!loss_.ok()) {
    ++entries_failed_;
    failed_(entry.path(), std::exchange(loss_, Status()));
    return {};
  }
  return entries_->Add(std::move(entry), std::move(runs));
}

}  // namespace snapstore
