// VolumeFeed: the bytes of a volume that is read by calls (VolumeSource), as events.
//
// Several calls are under way at once; events come in order of the content. Where the rest is as in
// the parent snapshot, what is read anew has to begin and end between two of the parent's chunks:
// the bytes that lacks come out of the parent's content, so that the caller's reader is never asked
// for more than it named.
//
// Memory: the sink's buffers, and the plan of some hundred reads.
//
// Thread safety: Run belongs to one thread; the threads inside are its own.
#ifndef SNAPSTORE_ENGINE_VOLUME_FEED_H_
#define SNAPSTORE_ENGINE_VOLUME_FEED_H_

#include <cstdint>
#include <memory>
#include <vector>

#include "engine/event_sink.h"
#include "engine/format.pb.h"
#include "engine/run_list.h"
#include "engine/shared_content.h"
#include "snapstore/snapshot.h"

namespace snapstore {

class VolumeFeed {
 public:
  // All must outlive the feed. `nodes` and `parent`, an entry with content, are used if the rest is
  // unchanged only, and may be null else.
  VolumeFeed(const VolumeSource& source, EventSink* sink, size_t buffers_ahead,
             const NodeSource* nodes, const format::Entry* parent);

  // Emits events for all of the volume, but neither its begin nor its end. InvalidArgument when the
  // reader names parts that do not ascend or exceed the volume; else the reader's errors, and those
  // of the parent's content.
  Status Run();

  // Of the caller's reader.
  uint64_t bytes_read() const { return bytes_read_; }

 private:
  struct Step {
    enum class Kind { kHole, kUnchanged, kRead, kParent };  // kParent: the bytes that it has
    Kind kind = Kind::kHole;
    uint64_t offset = 0;
    uint64_t length = 0;
    PooledBuffer buffer = {};
    Status status = {};
  };

  Status PlanPart(uint64_t begin, uint64_t end);
  // What the parent has before a part that begins at `begin`.
  Status PlanBefore(uint64_t begin);
  Status PlanEnd();
  void Add(Step::Kind kind, uint64_t begin, uint64_t end);
  void Read(Step* step);
  Status Emit(Step* step);
  // Carries out what is planned.
  Status RunPlan();

  const VolumeSource& source_;
  EventSink* const sink_;
  const size_t buffers_ahead_;
  std::unique_ptr<RunListReader> parent_runs_;  // null: the rest is zeros
  std::unique_ptr<SharedContent> parent_content_;
  uint64_t planned_ = 0;  // up to where steps were made
  uint64_t widened_ = 0;  // where the parent's chunk ends that the last part touches
  std::vector<Step> plan_;
  std::vector<size_t> reads_;  // those of plan_ that fill a buffer
  uint64_t bytes_read_ = 0;
};

}  // namespace snapstore

#endif  // SNAPSTORE_ENGINE_VOLUME_FEED_H_
