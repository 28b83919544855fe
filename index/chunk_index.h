// ChunkIndex: from chunk id to the place of that chunk, on RocksDB.
//
// The index is a cache of what pack footers say. It may be deleted at any time; whoever opens it
// next fills it again from index segments or from the packs themselves. It lives on a local disk,
// one folder per repository, and one process at a time has it open (Open returns Conflict to a
// second one).
//
// A pack enters the index as a whole and only after its object is durable, so a hit is always safe
// to refer to.
//
// Thread safety: all calls may run concurrently.
#ifndef SNAPSTORE_INDEX_CHUNK_INDEX_H_
#define SNAPSTORE_INDEX_CHUNK_INDEX_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/sha256.h"
#include "chunker/chunk_id.h"
#include "snapstore/status.h"

namespace snapstore {

// A pack's object is named by the SHA-256 of its bytes.
using PackId = Digest;

// Where one chunk lies. Offsets and lengths in bytes within the pack's object.
struct ChunkLocation {
  PackId pack;
  uint32_t frame_offset = 0;
  uint32_t frame_length = 0;    // stored length of the whole frame, header included
  uint16_t chunk_in_frame = 0;  // ordinal

  bool operator==(const ChunkLocation&) const = default;
};

// One chunk of a pack, as its footer lists it.
struct PackChunk {
  ChunkId id;
  uint32_t frame_offset = 0;
  uint32_t frame_length = 0;
  uint16_t chunk_in_frame = 0;
};

struct ChunkIndexOptions {
  std::string path;                // folder, made when missing
  size_t memory_bytes = 64 << 20;  // directory, block cache, write buffers together
};

// What packs and segments are added to: an index, or a load.
class ChunkSink {
 public:
  virtual ~ChunkSink() = default;

  // Adds all chunks of one durable pack, atomically; the chunks of a pack already known are left as
  // they are. `published` says whether an index segment in the store lists it already. When two
  // packs hold the same chunk, the later location wins; both stay valid.
  virtual Status AddPack(const PackId& pack, std::span<const PackChunk> chunks, bool published) = 0;
  virtual Result<bool> HasPack(const PackId& pack) = 0;
  // NotFound, and nothing is changed, when one of them is unknown.
  virtual Status MarkPublished(std::span<const PackId> packs) = 0;

  // Names of index segments already taken in.
  virtual Status AddSegment(const Digest& segment) = 0;
};

// Very much to be added at once: written to temporary files, sorted, and merged with what the index
// holds into one new file. Nothing of it can be found before Commit; without Commit, or when the
// process dies before its end, the index stays as it was. Needs disk space for all chunks, old and
// new, beside what the index takes; memory as much as a quarter of the index's, and 100 bytes a
// pack.
//
// Thread safety: one thread at a time.
class ChunkLoad : public ChunkSink {
 public:
  // Called every now and then with how many of the chunks are written, both estimates; an error
  // ends the commit with it. May be empty.
  using Progress = std::function<Status(uint64_t done, uint64_t total)>;

  // Everything added becomes part of the index, durably. Adding to the index waits meanwhile,
  // look-ups do so for a moment. The load is spent, whatever the outcome.
  virtual Status Commit(const Progress& progress) = 0;
};

class ChunkIndex : public ChunkSink {
 public:
  // Conflict: another process has it open. Corruption: the folder holds something RocksDB refuses;
  // the caller may Destroy and open again.
  static Result<std::unique_ptr<ChunkIndex>> Open(const ChunkIndexOptions& options);
  // Removes the folder and all in it. NotFound is success.
  static Status Destroy(const std::string& path);
  virtual Result<std::optional<ChunkLocation>> Find(const ChunkId& id) = 0;
  // Same for many at once; out.size() == ids.size().
  virtual Status FindMany(std::span<const ChunkId> ids,
                          std::vector<std::optional<ChunkLocation>>* out) = 0;

  // Calls `visit` for each pack, in any order; stops at the first error.
  virtual Status ForEachPack(const std::function<Status(const PackId&, bool published)>& visit) = 0;

  // Forgets packs that are gone, unknown ones included: their chunks are found no more where they
  // lay there. A chunk that an earlier pack holds as well may or may not be found in that one.
  virtual Status DropPacks(std::span<const PackId> packs) = 0;

  virtual Result<bool> HasSegment(const Digest& segment) = 0;
  virtual Status DropSegments(std::span<const Digest> segments) = 0;
  virtual Status ForEachSegment(const std::function<Status(const Digest&)>& visit) = 0;

  // Number of chunks; of those added since the last load, an estimate.
  virtual uint64_t ApproximateChunkCount() = 0;

  // Begins a load, of which there is one at a time. It must end before the index does.
  virtual Result<std::unique_ptr<ChunkLoad>> StartLoad() = 0;
  // Whether a load is the better way to add about `chunks` more. With 0, whether so many were added
  // one pack at a time that look-ups get faster by a load of nothing.
  virtual bool LoadPays(uint64_t chunks) = 0;
};

}  // namespace snapstore

#endif  // SNAPSTORE_INDEX_CHUNK_INDEX_H_
