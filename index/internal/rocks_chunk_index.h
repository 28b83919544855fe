// RocksChunkIndex: the one implementation of ChunkIndex. Private to index/.
//
// Chunks are in two places: the base table, written by loads, and RocksDB, which holds what was
// added since and wins. Packs, segments and which base table is current are in RocksDB.
#ifndef SNAPSTORE_INDEX_INTERNAL_ROCKS_CHUNK_INDEX_H_
#define SNAPSTORE_INDEX_INTERNAL_ROCKS_CHUNK_INDEX_H_

#include <atomic>
#include <map>
#include <memory>
#include <mutex>
#include <shared_mutex>
#include <vector>

#include "index/chunk_index.h"
#include "index/internal/base_table.h"
#include "index/internal/delta_filter.h"
#include "index/internal/record.h"
#include "index/internal/rocks.h"
#include "index/internal/spool.h"

namespace snapstore::internal {

// What a load has to say besides chunks.
struct LoadedPack {
  PackRecord record;
  bool is_new = false;  // not in the index when it was added
};
struct LoadedNames {
  std::map<PackId, LoadedPack> packs;
  std::vector<Digest> segments;
};

class RocksChunkIndex final : public ChunkIndex {
 public:
  ~RocksChunkIndex() override;
  Status Init(const ChunkIndexOptions& options);

  Status AddPack(const PackId& pack, std::span<const PackChunk> chunks, bool published) override;
  Result<std::optional<ChunkLocation>> Find(const ChunkId& id) override;
  Status FindMany(std::span<const ChunkId> ids,
                  std::vector<std::optional<ChunkLocation>>* out) override;
  Result<bool> HasPack(const PackId& pack) override;
  Status ForEachPack(const std::function<Status(const PackId&, bool)>& visit) override;
  Status MarkPublished(std::span<const PackId> packs) override;
  Status DropPacks(std::span<const PackId> packs) override;
  Status DropSegments(std::span<const Digest> segments) override;
  Result<bool> HasSegment(const Digest& segment) override;
  Status AddSegment(const Digest& segment) override;
  Status ForEachSegment(const std::function<Status(const Digest&)>& visit) override;
  uint64_t ApproximateChunkCount() override;
  Result<std::unique_ptr<ChunkLoad>> StartLoad() override;
  bool LoadPays(uint64_t chunks) override;

  // For the load.
  Result<std::optional<PackRecord>> FindPack(const PackId& pack);
  uint64_t TakePackNumber();
  // Writes all chunks, those of `spool` winning, to a new base table and makes it current together
  // with `names`.
  Status CommitLoad(Spool* spool, const ChunkLoad::Progress& progress, LoadedNames* names);
  void EndLoad();

 private:
  struct PackSlot {
    uint64_t number = 0;  // numbers start at 1: 0 is an empty slot
    PackId pack;
  };

  Status CheckSchema();
  Status LoadNextPackNumber();
  Status OpenBase();
  Status OpenDelta();
  // What the filter's file must name to be of this state: every write counts it up.
  uint64_t FilterToken() { return rocks_.db->GetLatestSequenceNumber(); }
  std::string FilterPath() const { return path_ + "/filter"; }
  std::string BasePath(uint64_t generation) const;
  void RemoveOtherBases();
  void SetCacheCapacity();
  // The rest of the memory is for RocksDB.
  size_t FilterBytes() const { return memory_bytes_ / 16; }
  size_t DirectoryBytesMax() const { return memory_bytes_ / 8 * 5; }
  uint64_t DeltaCount();
  // REQUIRES: base_mutex_ is held.
  Status FindInDelta(std::span<const ChunkId> ids, std::optional<ChunkLocation>* out);
  Status FindInBase(std::span<const ChunkId> ids, std::optional<ChunkLocation>* out);
  // Empty: the pack was dropped.
  Result<std::optional<ChunkLocation>> Locate(const ChunkRecord& record);
  Result<std::optional<PackId>> PackOfNumber(uint64_t number);

  Status WriteBase(const std::string& path, Spool* spool, const ChunkLoad::Progress& progress);
  Status FillNames(LoadedNames* names, rocksdb::WriteBatch* batch);
  Status SwitchBase(uint64_t generation, rocksdb::WriteBatch* batch);
  void EmptyDelta();

  std::string path_;
  size_t memory_bytes_ = 0;
  RocksHandle rocks_;
  // Serialises check-then-write on packs and keeps adding out while a load commits; readers never
  // take it.
  std::mutex pack_mutex_;
  uint64_t next_pack_number_ = 1;
  std::atomic<bool> loading_ = false;

  // Held shared by look-ups over both places, so that a chunk on its way from one to the other is
  // found.
  std::shared_mutex base_mutex_;
  uint64_t generation_ = 0;  // 0: no base table
  std::unique_ptr<BaseTable> base_;
  Status base_status_;  // of opening the current base table after a load
  // Nothing was added since the last load. While false, delta_filter_ has its memory.
  std::atomic<bool> delta_empty_ = true;
  std::unique_ptr<DeltaFilter> delta_filter_;

  // Direct-mapped by number: a stream of hits names few packs, mostly neighbours.
  std::shared_mutex pack_cache_mutex_;
  std::vector<PackSlot> pack_cache_;
};

// Forgets unless committed. `index` must outlive it.
Result<std::unique_ptr<ChunkLoad>> MakeChunkLoad(RocksChunkIndex* index, const std::string& path,
                                                 size_t buffer_bytes);

}  // namespace snapstore::internal

#endif  // SNAPSTORE_INDEX_INTERNAL_ROCKS_CHUNK_INDEX_H_
