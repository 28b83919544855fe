#include "engine/volume_feed.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/check.h"
#include "base/status_macros.h"
#include "engine/content_range.h"
#include "engine/parallel.h"

namespace snapstore {
namespace {

// Planned together: at the end of a plan its threads wait for the last one.
constexpr size_t kPlannedReads = 1024;

}  // namespace

VolumeFeed::VolumeFeed(const VolumeSource& source, EventSink* sink, size_t buffers_ahead,
                       const NodeSource* nodes, const format::Entry* parent)
    : source_(source), sink_(sink), buffers_ahead_(buffers_ahead) {
  if (!source.rest_unchanged) return;
  SNAP_CHECK(nodes != nullptr && parent != nullptr);
  parent_runs_ = std::make_unique<RunListReader>(nodes, parent->content().runs());
  parent_content_ = std::make_unique<SharedContent>(nodes, *parent);
}

Status VolumeFeed::Run() {
  for (uint64_t at = 0; at < source_.size;) {
    uint64_t begin = 0;
    uint64_t end = 0;
    SNAP_RETURN_IF_ERROR(source_.reader->NextPart(at, &begin, &end));
    if (begin >= source_.size) break;
    if (begin < at || end <= begin || end > source_.size) {
      return Status::InvalidArgument(
          fmt::format("bytes {} to {} are no part of it after {}", begin, end, at));
    }
    for (at = begin; at < end;) {
      const uint64_t stop = std::min(end, at + kPlannedReads * uint64_t{source_.read_bytes});
      SNAP_RETURN_IF_ERROR(PlanPart(at, stop));
      at = stop;
      if (reads_.size() >= kPlannedReads) SNAP_RETURN_IF_ERROR(RunPlan());
    }
  }
  SNAP_RETURN_IF_ERROR(PlanEnd());
  return RunPlan();
}

Status VolumeFeed::PlanPart(uint64_t begin, uint64_t end) {
  if (parent_runs_ == nullptr) {
    Add(Step::Kind::kHole, planned_, begin);
  } else {
    SNAP_RETURN_IF_ERROR(PlanBefore(begin));
    if (end <= parent_runs_->size()) {
      SNAP_ASSIGN_OR_RETURN(const ByteRange last, ChunkAround(parent_runs_.get(), end - 1));
      widened_ = last.offset + last.length;
    } else {
      widened_ = end;
    }
  }
  Add(Step::Kind::kRead, begin, end);
  return {};
}

Status VolumeFeed::PlanBefore(uint64_t begin) {
  const uint64_t known = parent_runs_->size();
  if (begin > std::max(known, planned_)) {
    return Status::InvalidArgument(
        fmt::format("bytes {} to {} are in no part, and the parent ends before them",
                    std::max(known, planned_), begin));
  }
  // What the parent ends with may be a part of a chunk only: it is cut anew, with what follows.
  if (const uint64_t at = begin < known ? begin : known - 1; known > 0 && planned_ < known) {
    SNAP_ASSIGN_OR_RETURN(const ByteRange first, ChunkAround(parent_runs_.get(), at));
    if (first.offset > widened_) {
      Add(Step::Kind::kParent, planned_, widened_);
      Add(Step::Kind::kUnchanged, widened_, first.offset);
    }
  }
  Add(Step::Kind::kParent, planned_, begin);
  return {};
}

Status VolumeFeed::PlanEnd() {
  if (parent_runs_ == nullptr) {
    Add(Step::Kind::kHole, planned_, source_.size);
  } else {
    if (planned_ < source_.size && parent_runs_->size() < source_.size) {
      return PlanBefore(source_.size);
    }
    Add(Step::Kind::kParent, planned_, widened_);
    Add(Step::Kind::kUnchanged, planned_, source_.size);
  }
  return {};
}

void VolumeFeed::Add(Step::Kind kind, uint64_t begin, uint64_t end) {
  const bool fills = kind == Step::Kind::kRead || kind == Step::Kind::kParent;
  while (begin < end) {
    const uint64_t unit = kind == Step::Kind::kRead ? source_.read_bytes : sink_->buffer_bytes();
    const uint64_t stop = fills ? std::min(end, begin / unit * unit + unit) : end;
    if (fills) reads_.push_back(plan_.size());
    plan_.push_back({.kind = kind, .offset = begin, .length = stop - begin});
    begin = stop;
  }
  planned_ = std::max(planned_, end);
}

void VolumeFeed::Read(Step* step) {
  Result<PooledBuffer> buffer = sink_->TakeBuffer();
  if (!buffer.ok()) {
    step->status = buffer.status();
    return;
  }
  step->buffer = *std::move(buffer);
  const MutableByteSpan out(step->buffer.data(), step->length);
  step->status = step->kind == Step::Kind::kRead ? source_.reader->ReadAt(step->offset, out)
                                                 : parent_content_->ReadAt(step->offset, out);
}

Status VolumeFeed::Emit(Step* step) {
  switch (step->kind) {
    case Step::Kind::kHole:
      return sink_->Hole(step->length);
    case Step::Kind::kUnchanged:
      return sink_->Unchanged(step->length);
    case Step::Kind::kRead:
      bytes_read_ += step->length;
      break;
    case Step::Kind::kParent:
      break;
  }
  SNAP_RETURN_IF_ERROR(step->status);
  return sink_->Data(std::move(step->buffer), step->length);
}

Status VolumeFeed::RunPlan() {
  size_t emitted = 0;
  const auto emit_before = [&](size_t end) -> Status {
    for (; emitted < end; ++emitted) SNAP_RETURN_IF_ERROR(Emit(&plan_[emitted]));
    return {};
  };
  // Half of the buffers are left to those on their way to the storing thread: whoever waits for a
  // buffer gets one.
  OrderedTasks tasks;
  tasks.count = reads_.size();
  tasks.threads =
      std::max<unsigned>(1, static_cast<unsigned>(std::min<size_t>(source_.reads, buffers_ahead_)));
  tasks.cost = [](size_t) { return uint64_t{1}; };
  tasks.cost_max = buffers_ahead_;
  SNAP_RETURN_IF_ERROR(RunInOrder(
      tasks, [this](size_t task) { Read(&plan_[reads_[task]]); },
      [&](size_t task) { return emit_before(reads_[task] + 1); }, [] { return Status(); }));
  SNAP_RETURN_IF_ERROR(emit_before(plan_.size()));
  plan_.clear();
  reads_.clear();
  return {};
}

}  // namespace snapstore
