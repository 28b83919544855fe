// LiveChunks: which chunks snapshots need, and which pack each of them is to be read from.
//
// Both are kept on disk (CheckScratch), so memory stays bounded. When a chunk lies in several
// packs, the newest that is not condemned is its home; its other places are as good as garbage.
//
// Thread safety: belongs to one thread; places() may be used concurrently.
#ifndef SNAPSTORE_ENGINE_LIVE_CHUNKS_H_
#define SNAPSTORE_ENGINE_LIVE_CHUNKS_H_

#include <memory>
#include <unordered_set>
#include <vector>

#include "engine/check_scratch.h"
#include "engine/pack_catalog.h"

namespace snapstore {

class LiveChunks {
 public:
  static Result<std::unique_ptr<LiveChunks>> Create(RepositoryImpl* repository);

  // Takes in where the chunks of all packs lie.
  Status AddPlaces(PackCatalog* catalog, Observer* observer);
  // Where every chunk lies; packs written later are added to it.
  ChunkIndex& places() { return places_->chunks(); }
  // For a walk to remember where it was.
  CheckScratch& walked() { return *live_; }

  Status Need(const ChunkId& id);
  // REQUIRES: what was added is complete so far.
  Status Flush();
  uint64_t count() const { return count_; }
  Result<bool> IsNeeded(const ChunkId& id);

  // Those of a pack's chunks that are needed from it.
  Result<std::vector<PackChunk>> NeededFrom(const PackCatalog& catalog, const CatalogPack& pack);

 private:
  LiveChunks() = default;

  std::unique_ptr<CheckScratch> places_;
  std::unique_ptr<CheckScratch> live_;
  std::unordered_set<ChunkId> recent_;  // not in live_ yet
  uint64_t batches_ = 0;
  uint64_t count_ = 0;  // of all in live_
};

}  // namespace snapstore

#endif  // SNAPSTORE_ENGINE_LIVE_CHUNKS_H_
