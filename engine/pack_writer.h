// PackWriter: the storing half of a snapshot. Chunks in, durable packs out.
//
// Put finds out whether a chunk is known (this session, then the chunk index) and otherwise adds it
// to the open frame of its kind. Full frames are compressed by a fixed set of workers, appended to
// the open pack in order of completion, and full packs are stored by uploader threads. All queues
// are bounded, so a slow store slows the caller down.
//
// A new chunk's place is known only once its frame lies in a pack: Put returns a PendingRef, which
// resolves later. A pack enters the chunk index after its object is durable, never before.
//
// Thread safety: one thread calls; threads inside are the writer's own. After an error every call
// returns it.
#ifndef SNAPSTORE_ENGINE_PACK_WRITER_H_
#define SNAPSTORE_ENGINE_PACK_WRITER_H_

#include <atomic>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <thread>
#include <unordered_map>
#include <vector>

#include "base/bounded_queue.h"
#include "base/clock.h"
#include "engine/chunk_fetcher.h"
#include "engine/dedup_guard.h"
#include "engine/format.h"
#include "engine/frame.h"
#include "engine/level_chooser.h"
#include "engine/pack.h"
#include "engine/pack_table.h"
#include "engine/segment_publisher.h"
#include "snapstore/pipeline_stage.h"
#include "uploader/object_store.h"

namespace snapstore {

// The place of a frame, once it has one.
struct FrameSlot {
  std::atomic<bool> placed = false;  // the rest is valid once this is true
  uint32_t pack = 0;                 // ordinal in the pack table
  uint32_t offset = 0;
  uint32_t length = 0;
};

// A reference whose place may still be open.
class PendingRef {
 public:
  PendingRef() = default;
  explicit PendingRef(const ChunkRef& ref) : ref_(ref) {}
  PendingRef(const ChunkId& id, std::shared_ptr<FrameSlot> slot, uint16_t chunk_in_frame);

  const ChunkId& id() const { return ref_.id; }
  bool resolved() const {
    return slot_ == nullptr || slot_->placed.load(std::memory_order_acquire);
  }
  // REQUIRES: resolved().
  ChunkRef Resolve() const;
  const FrameSlot* slot() const { return slot_.get(); }

 private:
  ChunkRef ref_;
  std::shared_ptr<FrameSlot> slot_;
};

// A chunk that may be new. REQUIRES: `id` is the id of `content`, which is not empty.
struct NewChunk {
  ChunkId id;
  ByteSpan content;
};

struct PackWriterOptions {
  unsigned threads = 2;          // compression workers
  int compression_level = 0;     // of zstd; 0: LevelChooser's
  size_t pack_bytes = 32 << 20;  // a pack is sealed once it is this large
  unsigned uploads = 1;          // packs on their way to the store at once
  // Asked before a chunk that the index knows is referred to; null: always allowed.
  DedupGuard* guard = nullptr;
  // Not null: what is taken for known by its id is compared with what this fetches, byte by byte.
  ChunkFetcher* compare = nullptr;
};

struct PackWriterStats {
  uint64_t chunks_new = 0;    // data chunks the repository did not have
  uint64_t bytes_new = 0;     // their plain bytes
  uint64_t bytes_stored = 0;  // of all packs written, data and meta
};

class PackWriter {
 public:
  // All pointers must outlive the writer.
  PackWriter(ObjectStore* store, const Sealer* sealer, ChunkIndex* index,
             SegmentPublisher* publisher, PackTable* table, const PackWriterOptions& options);
  // Cancels what is not finished.
  ~PackWriter();
  PackWriter(const PackWriter&) = delete;
  PackWriter& operator=(const PackWriter&) = delete;

  // Where chunks are that the repository or this session has; empty for others. `kind`: of the
  // packs they most likely are in.
  Status Find(PackKind kind, std::span<const ChunkId> ids,
              std::vector<std::optional<PendingRef>>* refs);

  // REQUIRES: `id` is the id of `content`.
  Result<PendingRef> Put(PackKind kind, const ChunkId& id, ByteSpan content);
  // Many at once, with one look-up for all. Replaces `refs` by one for each of `chunks`. When
  // chunks are compared, `collided` is replaced by those that are not what is stored under their
  // id, which get no reference; if it is null they are a Conflict.
  Status PutMany(PackKind kind, std::span<const NewChunk> chunks, std::vector<PendingRef>* refs,
                 std::vector<size_t>* collided = nullptr);
  bool compares() const { return options_.compare != nullptr; }

  // Blocks until `ref` is resolved; closes the frame it waits for.
  Status Wait(const PendingRef& ref);

  // Seals what is open and blocks until every pack is durable. Put may be called again afterwards.
  Status Flush();

  PackWriterStats stats() const;
  // How busy compression and the store were until now, and how long Put was blocked.
  std::vector<PipelineStage> Stages() const;
  double put_waited() const { return frame_queue_.push_waited(); }

 private:
  struct OpenFrame {
    PlainFrame plain;
    std::shared_ptr<FrameSlot> slot;
  };
  struct FrameJob {
    PackKind kind = PackKind::kData;
    OpenFrame frame;
  };
  struct OpenPack {
    std::unique_ptr<PackBuilder> builder;
    uint32_t ordinal = 0;
  };
  struct Known {
    std::shared_ptr<FrameSlot> slot;
    uint16_t chunk_in_frame = 0;
    Digest sha256;  // only when chunks are compared
  };
  struct UploadJob {
    SealedPack pack;
    uint32_t ordinal = 0;
  };

  OpenFrame& frame_of(PackKind kind) { return frames_[kind == PackKind::kData ? 0 : 1]; }
  OpenPack& pack_of(PackKind kind) { return packs_[kind == PackKind::kData ? 0 : 1]; }

  // Whether what the index found may be referred to.
  Result<bool> IsUsable(PackKind kind, const std::optional<ChunkLocation>& found);
  // The index does not have it. True in `collided`: this session has another under its id.
  Result<PendingRef> Add(PackKind kind, const NewChunk& chunk, bool* collided);
  // Compares put_found_ with `chunks`; what cannot be read counts as not found.
  Status CompareFound(PackKind kind, std::span<const NewChunk> chunks,
                      std::vector<size_t>* collided);
  void StartFrame(OpenFrame* frame);
  Status CloseFrame(PackKind kind);
  void CompressLoop();
  Status PlaceFrame(FrameJob job, ByteSpan stored);
  Bytes TakePackStorage();
  Status Seal(OpenPack pack);
  void UploadLoop();
  Status Upload(UploadJob* job);
  void Fail(const Status& status);
  Status error() const;

  ObjectStore* const store_;
  const Sealer* const sealer_;
  ChunkIndex* const index_;
  SegmentPublisher* const publisher_;
  PackTable* const table_;
  const PackWriterOptions options_;
  const Stopwatch stopwatch_;

  // Of the calling thread only; some are here so that no call allocates.
  OpenFrame frames_[2];
  std::vector<PendingRef> put_one_;
  std::vector<ChunkId> put_ids_;
  std::vector<std::optional<PendingRef>> put_found_;
  std::vector<size_t> unknown_;
  std::vector<ChunkId> unknown_ids_;
  std::vector<std::optional<ChunkLocation>> found_;

  std::mutex pack_mutex_;  // guards packs_; held while frames are sealed, appended and hashed
  OpenPack packs_[2];

  mutable std::mutex mutex_;  // guards what follows; never held over work
  std::condition_variable changed_;
  Status error_;
  size_t frames_in_flight_ = 0;
  size_t uploads_in_flight_ = 0;
  LevelChooser level_;
  std::vector<PlainFrame> spare_frames_;  // memory to use again: fresh pages are slow
  std::vector<Bytes> spare_packs_;
  std::unordered_map<ChunkId, Known> session_;  // chunks whose pack is not durable yet
  PackWriterStats stats_;

  BoundedQueue<FrameJob> frame_queue_;
  BoundedQueue<UploadJob> upload_queue_;
  std::vector<std::thread> threads_;
};

}  // namespace snapstore

#endif  // SNAPSTORE_ENGINE_PACK_WRITER_H_
