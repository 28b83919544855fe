// SegmentPublisher: tells other nodes, by index segments, which packs this one added.
//
// Thread safety: all calls may run concurrently.
#ifndef SNAPSTORE_ENGINE_SEGMENT_PUBLISHER_H_
#define SNAPSTORE_ENGINE_SEGMENT_PUBLISHER_H_

#include <mutex>
#include <optional>
#include <set>
#include <span>
#include <vector>

#include "engine/dedup_guard.h"
#include "engine/segment.h"
#include "uploader/object_store.h"

namespace snapstore {

class SegmentPublisher {
 public:
  // All must outlive the publisher.
  SegmentPublisher(ObjectStore* store, const Sealer* sealer, ChunkIndex* index)
      : store_(store), sealer_(sealer), index_(index) {}

  // REQUIRES: the pack is durable. Large segments are published as they fill up.
  Status Add(PackKind kind, const PackId& id, std::span<const PackChunk> chunks);
  // Publishes what has been added since.
  Status Finish();

  // A segment of one of these names is damaged: it is deleted before one with the same content is
  // published. Those that may not be deleted stay as they are. REQUIRES: nothing is published yet.
  void Replace(std::span<const Digest> damaged) { damaged_ = {damaged.begin(), damaged.end()}; }

  // Names of all that this has published, also where the same segment was there before. REQUIRES:
  // no other call runs.
  const std::set<Digest>& published() const { return published_; }
  uint64_t bytes_stored() const;
  uint64_t packs_published() const;

 private:
  Status PublishLocked();

  ObjectStore* const store_;
  const Sealer* const sealer_;
  ChunkIndex* const index_;
  mutable std::mutex mutex_;
  std::optional<SegmentBuilder> builder_;
  std::vector<PackId> packs_;  // in builder_
  std::set<Digest> damaged_;
  std::set<Digest> published_;
  uint64_t bytes_stored_ = 0;
  uint64_t packs_published_ = 0;
};

// Adds every durable pack of the index that no segment lists: left by a writer that died between
// storing its packs and committing. Packs that `guard` does not let anybody refer to are not
// published; those of them that are gone are dropped from the index.
Status PublishLeftovers(ObjectStore& store, const Sealer& sealer, ChunkIndex& index,
                        DedupGuard* guard, SegmentPublisher* publisher);

}  // namespace snapstore

#endif  // SNAPSTORE_ENGINE_SEGMENT_PUBLISHER_H_
