// ChunkFetcher: verified bytes of chunks, from where the manifest hints they are.
//
// A hint may be stale (its pack was repacked). Then, and only then, the chunk index is asked
// through `locate`. No byte leaves before its frame's checksum and its chunk id matched.
//
// Data is read through ReadMany, by as many threads as the store takes reads at once; only some of
// them decode at a time. Metadata is read chunk by chunk, of frames that ReadAhead has brought.
//
// Thread safety: all calls may run concurrently.
#ifndef SNAPSTORE_ENGINE_CHUNK_FETCHER_H_
#define SNAPSTORE_ENGINE_CHUNK_FETCHER_H_

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <span>
#include <vector>

#include "engine/background_fetches.h"
#include "engine/busy_clock.h"
#include "engine/format.h"
#include "engine/frame.h"
#include "engine/frame_cache.h"
#include "engine/spares.h"
#include "engine/turns.h"
#include "uploader/object_store.h"

namespace snapstore {

// A chunk and the pack it is expected in.
struct StoredChunk {
  ChunkId id;
  PackId pack;
  uint32_t frame_offset = 0;
  uint32_t frame_length = 0;
  uint16_t chunk_in_frame = 0;
};

// A chunk that was asked for, verified.
struct FetchedChunk {
  size_t ordinal = 0;  // in what was asked for
  ByteSpan bytes;
};

using VisitFn = std::function<Status(std::span<const FetchedChunk>)>;
using FailedFn = std::function<Status(size_t ordinal, const Status&)>;

// Finds a chunk by its id alone; empty when no pack has it.
using LocateFn = std::function<Result<std::optional<ChunkLocation>>(const ChunkId&)>;

struct FetchLimits {
  size_t cache_bytes = 0;  // of decoded frames kept for later calls
  unsigned reads = 1;      // from the store at once
  unsigned decoders = 1;   // threads in ReadMany that decode and visit at once
};

class ChunkFetcher {
 public:
  // Neighbouring frames are fetched in one read up to this size.
  static constexpr uint64_t kReadBytesMax = 4 << 20;

  // `store` and `sealer` must outlive the fetcher. `cancelled` (may be null) is polled while
  // another thread loads a frame that this one needs.
  ChunkFetcher(ObjectStore* store, const Sealer* sealer, const HashSecret& secret, LocateFn locate,
               const FetchLimits& limits, std::function<bool()> cancelled = nullptr);
  ~ChunkFetcher();

  // Called, possibly from several threads at once, when a pack is gone where `locate` says a chunk
  // is: `locate` may then know better. `refresh` once for each such pack; `reload` for each chunk
  // that would be called lost otherwise.
  void set_refresh(std::function<Status()> refresh, std::function<Status()> reload) {
    refresh_ = std::move(refresh);
    reload_ = std::move(reload);
  }

  // Appends the chunk's bytes to `out`.
  Status Read(PackKind kind, const StoredChunk& chunk, Bytes* out);

  // Reads many chunks, given in any order; neighbouring frames are fetched together. `visit` gets
  // those of one frame at a time, in order of their place in it; their bytes are gone when it
  // returns. Chunks that could not be read go to `failed` instead.
  Status ReadMany(PackKind kind, std::span<const StoredChunk> chunks, const VisitFn& visit,
                  const FailedFn& failed);

  // As ReadMany, for chunks in order of content, through the frames that are kept: for short reads,
  // which are likely to come back to the same frames.
  Status ReadKept(PackKind kind, std::span<const StoredChunk> chunks, const VisitFn& visit,
                  const FailedFn& failed);

  // Loads the frames of these chunks, neighbouring ones together, to be kept for later reads. Those
  // that are here or on their way are left out, and those that cannot be read: whoever reads their
  // chunks learns why. Only Cancelled is an error.
  Status Prefetch(PackKind kind, std::span<const StoredChunk> chunks);
  // The same by threads of its own, several reads at once; does not wait for them.
  void ReadAhead(PackKind kind, std::span<const StoredChunk> chunks);
  // How many frames one reader should have on their way or ready at most; 0: the store is so near
  // that it is not worth it.
  size_t frames_ahead() const { return frames_ahead_; }

  // Whether the store is one that is far away, which tries again by itself what may pass.
  bool far() const { return far_; }
  uint64_t bytes_fetched() const { return bytes_fetched_; }
  // Seconds that threads in ReadMany waited for the store, and for their turn to decode, all
  // together.
  double fetching() const { return fetching_.Seconds(); }
  double queueing() const { return queueing_.Seconds(); }

 private:
  // Orders of chunks in ReadMany that one read of `bytes` from the first one's frame on fetches.
  struct OneRead {
    size_t end = 0;
    uint64_t bytes = 0;
  };
  static OneRead CutRead(std::span<const StoredChunk> chunks, std::span<const size_t> order,
                         size_t begin);

  Result<FramePtr> Frame(PackKind kind, const StoredChunk& chunk);
  // Without the cache.
  Result<FramePtr> LoadFrame(PackKind kind, const StoredChunk& chunk);
  // Claims the frames of these chunks that are neither here nor on their way, and gives them to
  // `load`: neighbours that one read is to bring, in order.
  using LoadFn = std::function<Status(std::vector<StoredChunk> frames)>;
  Status ClaimFrames(std::span<const StoredChunk> chunks, const LoadFn& load);
  // Loads what was claimed.
  Status LoadClaimed(PackKind kind, std::span<const StoredChunk> frames);
  Status Fetch(PackKind kind, const PackId& pack, uint32_t offset, MutableByteSpan out);
  Status Decode(const FramePlace& place, ByteSpan stored, DecodedFrame* out);
  Status Verify(const DecodedFrame& frame, const StoredChunk& chunk, ByteSpan* out) const;
  // Brings what `locate` knows up to date because this pack is missing; once a pack.
  Status RefreshFor(const PackId& pack);
  // Where the chunk is if not where the hint says; `cause` if nowhere.
  Result<FramePtr> Relocate(PackKind kind, StoredChunk* chunk, const Status& cause);
  // Those of `order` lie in one frame, which is `stored`, or could not be read if that is empty.
  Status VisitFrame(PackKind kind, std::span<const StoredChunk> chunks,
                    std::span<const size_t> order, ByteSpan stored, DecodedFrame* scratch,
                    const VisitFn& visit, const FailedFn& failed);
  Status VisitSingly(PackKind kind, const StoredChunk& chunk, size_t ordinal, const VisitFn& visit,
                     const FailedFn& failed);

  ObjectStore* const store_;
  const Sealer* const sealer_;
  const HashSecret secret_;
  const LocateFn locate_;
  std::function<Status()> refresh_;
  std::function<Status()> reload_;
  const size_t frames_ahead_;
  BusyClock fetching_;
  BusyClock queueing_;
  std::atomic<uint64_t> bytes_fetched_ = 0;
  const bool far_;
  Turns decoding_;
  // Memory to use again: fresh pages are slow.
  Spares<FrameDecoder> decoders_;
  Spares<Bytes> buffers_;
  Spares<DecodedFrame> scratch_;
  FrameCache frames_;
  std::mutex mutex_;
  std::set<PackId> refreshed_for_;  // guarded by mutex_
  BackgroundFetches background_;    // last: its threads use the others
};

}  // namespace snapstore

#endif  // SNAPSTORE_ENGINE_CHUNK_FETCHER_H_
