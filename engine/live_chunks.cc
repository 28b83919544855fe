#include "engine/live_chunks.h"

#include <algorithm>

#include "base/status_macros.h"
#include "engine/progress.h"

namespace snapstore {
namespace {

constexpr size_t kLiveBatch = 8192;

// A name that no pack has and that CheckScratch does not use either.
PackId BatchName(uint64_t number) {
  PackId name;
  StoreLe<uint64_t>(name.bytes.data(), number);
  name.bytes.back() = 1;
  return name;
}

}  // namespace

Result<std::unique_ptr<LiveChunks>> LiveChunks::Create(RepositoryImpl* repository) {
  std::unique_ptr<LiveChunks> live(new LiveChunks());
  SNAP_ASSIGN_OR_RETURN(const std::string folder, repository->CacheFolder());
  const size_t memory = repository->memory().index / 2;
  SNAP_ASSIGN_OR_RETURN(live->places_, CheckScratch::Open(folder, memory));
  SNAP_ASSIGN_OR_RETURN(live->live_, CheckScratch::Open(folder, memory));
  return live;
}

Status LiveChunks::AddPlaces(PackCatalog* catalog, Observer* observer) {
  ProgressReporter progress(observer, "sort chunks");
  std::vector<const CatalogPack*> order;
  for (const CatalogPack& pack : catalog->packs()) order.push_back(&pack);
  // The last place of a chunk wins.
  std::sort(order.begin(), order.end(), [](const CatalogPack* a, const CatalogPack* b) {
    return std::tuple(!a->condemned, a->modified_ns, a->id) <
           std::tuple(!b->condemned, b->modified_ns, b->id);
  });
  progress.SetItemsTotal(order.size());
  for (const CatalogPack* pack : order) {
    SNAP_RETURN_IF_ERROR(progress.Poll());
    progress.AddItems(1);
    SNAP_ASSIGN_OR_RETURN(const bool known, places().HasPack(pack->id));
    if (known) continue;
    SNAP_ASSIGN_OR_RETURN(const std::vector<PackChunk> chunks, catalog->Table(*pack));
    SNAP_RETURN_IF_ERROR(places().AddPack(pack->id, chunks, /*published=*/true));
  }
  return {};
}

Status LiveChunks::Need(const ChunkId& id) {
  recent_.insert(id);
  return recent_.size() >= kLiveBatch ? Flush() : Status();
}

Status LiveChunks::Flush() {
  if (recent_.empty()) return {};
  const std::vector<ChunkId> ids(recent_.begin(), recent_.end());
  std::vector<std::optional<ChunkLocation>> known;
  SNAP_RETURN_IF_ERROR(live_->chunks().FindMany(ids, &known));
  std::vector<PackChunk> batch;
  for (size_t i = 0; i < ids.size(); ++i) {
    if (!known[i].has_value()) batch.push_back({.id = ids[i]});
  }
  recent_.clear();
  if (batch.empty()) return {};
  count_ += batch.size();
  return live_->chunks().AddPack(BatchName(++batches_), batch, /*published=*/false);
}

Result<bool> LiveChunks::IsNeeded(const ChunkId& id) {
  if (recent_.contains(id)) return true;
  SNAP_ASSIGN_OR_RETURN(const std::optional<ChunkLocation> found, live_->chunks().Find(id));
  return found.has_value();
}

Result<std::vector<PackChunk>> LiveChunks::NeededFrom(const PackCatalog& catalog,
                                                      const CatalogPack& pack) {
  SNAP_RETURN_IF_ERROR(Flush());
  SNAP_ASSIGN_OR_RETURN(std::vector<PackChunk> chunks, catalog.Table(pack));
  std::vector<ChunkId> ids;
  ids.reserve(chunks.size());
  for (const PackChunk& chunk : chunks) ids.push_back(chunk.id);
  std::vector<std::optional<ChunkLocation>> needed;
  std::vector<std::optional<ChunkLocation>> home;
  SNAP_RETURN_IF_ERROR(live_->chunks().FindMany(ids, &needed));
  SNAP_RETURN_IF_ERROR(places().FindMany(ids, &home));
  size_t kept = 0;
  for (size_t i = 0; i < chunks.size(); ++i) {
    // The same chunk twice in one pack is needed once.
    const bool here = needed[i].has_value() && home[i].has_value() && home[i]->pack == pack.id &&
                      home[i]->frame_offset == chunks[i].frame_offset &&
                      home[i]->chunk_in_frame == chunks[i].chunk_in_frame;
    if (here) chunks[kept++] = chunks[i];
  }
  chunks.resize(kept);
  return chunks;
}

}  // namespace snapstore
