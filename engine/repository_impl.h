// RepositoryImpl: the one implementation of Repository, and what the engine's operations need of
// it.
#ifndef SNAPSTORE_ENGINE_REPOSITORY_IMPL_H_
#define SNAPSTORE_ENGINE_REPOSITORY_IMPL_H_

#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "chunker/chunker.h"
#include "engine/chunk_fetcher.h"
#include "engine/config.h"
#include "engine/entry_tree.h"
#include "engine/format.pb.h"
#include "engine/key_ring.h"
#include "engine/lease.h"
#include "engine/node_tree.h"
#include "engine/pack_table.h"
#include "engine/sealer.h"
#include "index/chunk_index.h"
#include "snapstore/repository.h"
#include "uploader/object_store.h"

namespace snapstore {

// How the one memory budget is split. All in bytes.
struct MemoryPlan {
  size_t index = 0;         // the chunk index
  size_t pack = 0;          // one pack in memory; up to 3 + uploads exist
  size_t read_buffers = 0;  // between reader and chunker, or of one restore window
  size_t frame_cache = 0;   // decoded frames
  unsigned threads = 0;     // workers, each with a frame and its compressed form
  unsigned uploads = 1;     // packs on their way to the store at once
  unsigned reads = 1;       // reads from the store at once, while no pack is written

  // Threads that decode and write: one more than there are cores to use, since writers of one file
  // wait for each other.
  unsigned decoders() const { return threads > 1 ? threads + 1 : 1; }
  FetchLimits fetch_limits() const { return {frame_cache, reads, decoders()}; }

  // `limit` is the effective limit, `threads` what the user asked for (0: one a core), `uploads`
  // and `reads` what the store takes at once.
  static MemoryPlan For(uint64_t limit, unsigned threads, unsigned uploads = 1, unsigned reads = 1);
};

// A manifest with what is needed to follow its references.
struct OpenedSnapshot {
  Digest id;
  format::Manifest manifest;
  std::unique_ptr<PackTable> packs;
  std::unique_ptr<NodeSource> nodes;
};

class RepositoryImpl final : public Repository {
 public:
  // For tests: any store, with its own cache folder.
  static Status InitStore(ObjectStore& store, const RepositoryOptions& options = {},
                          const InitOptions& init = {}, const ScryptCost& cost = {});
  static Result<std::unique_ptr<RepositoryImpl>> OpenWithStore(std::unique_ptr<ObjectStore> store,
                                                               const RepositoryOptions& options);
  // Every Repository is a RepositoryImpl.
  static RepositoryImpl& Of(Repository& repository) {
    return static_cast<RepositoryImpl&>(repository);
  }

  const std::string& id() const override { return id_; }
  const std::string& location() const override { return location_; }
  const RepositoryOptions& options() const override { return options_; }
  bool encrypted() const override { return sealer_.encrypted(); }
  StoreUsage Usage() const override { return store_->Usage(); }
  void LiftBandwidthLimits(bool lifted) override { store_->LiftBandwidthLimits(lifted); }
  Result<std::vector<SnapshotInfo>> ListSnapshots(Observer* observer, uint64_t* damaged) override;
  Result<std::string> ResolveSnapshot(std::string_view reference) override;
  Result<SnapshotInfo> GetSnapshot(const std::string& id) override;
  Result<std::vector<std::string>> SnapshotIds() override;
  Result<RebuiltIndex> RebuildIndex(Observer* observer) override;

  ObjectStore& store() { return *store_; }
  const RepositoryConfig& config() const { return config_; }
  const Sealer& sealer() const { return sealer_; }
  // Of an encrypted repository: the key that opened it, or that took that one's place.
  OpenedKey opened_key() const;
  void SetOpenedKey(const OpenedKey& key);
  const MemoryPlan& memory() const { return memory_; }
  ChunkFetcher& fetcher() { return *fetcher_; }
  EntryLeafCache& entry_leaves() { return entry_leaves_; }
  // How leases are taken; for tests to change before they begin.
  LeaseOptions& lease_options() { return lease_options_; }
  Result<std::unique_ptr<WriterLease>> TakeLease() {
    return WriterLease::Take(store_.get(), sealer_, lease_options_);
  }

  // The chunk index, opened and brought up to date with the store's segments on first use.
  Result<ChunkIndex*> Index();
  // Takes in segments that other writers have published since.
  Status SyncIndex(Observer* observer);
  // Forgets and takes in again all that the store's segments say; once in the life of this object.
  // The index keeps one place of a chunk, and when that pack is deleted another that holds it too
  // is not found in it any more.
  Status ReloadIndexOnce();

  // As RebuildIndex, as if the packs `left_out` did not exist.
  Result<RebuiltIndex> RebuildIndexWithout(const std::set<PackId>& left_out, Observer* observer);

  // Packs that nothing new may refer to, beside those that a mark names: they were found damaged.
  Result<std::set<PackId>> AvoidedPacks();
  // Returns how many were not avoided before.
  Result<uint64_t> AvoidPacks(const std::set<PackId>& packs);

  // This repository's folder below the cache directory; made when missing.
  Result<std::string> CacheFolder() const;

  // Names of all manifests.
  Result<std::vector<Digest>> ManifestIds();
  Result<OpenedSnapshot> OpenSnapshot(const Digest& id);
  // NotFound when there is no such snapshot.
  Result<format::Manifest> LoadManifest(const Digest& id);

 private:
  RepositoryImpl(std::unique_ptr<ObjectStore> store, const RepositoryConfig& config,
                 const OpenedKey& key, const RepositoryOptions& options);

  Status OpenIndexLocked();
  // REQUIRES: avoided_mutex_ is held.
  Status LoadAvoidedLocked();
  // REQUIRES, as all that follow: index_mutex_ is held.
  Status SyncIndexLocked(Observer* observer);
  Status SyncOnceLocked(Observer* observer);
  // Takes out of the index what the store has no more.
  Status DropVanishedLocked(std::span<const Digest> segments);
  struct SegmentObject {
    Digest id;
    uint64_t bytes = 0;  // as the store lists it
  };
  Status ImportSegment(const Digest& segment, ByteSpan bytes, ChunkSink* sink);
  Status ImportSegments(std::span<const SegmentObject> segments, ChunkSink* sink,
                        Observer* observer);
  static Status CommitLoad(ChunkLoad* load, Observer* observer);
  Status ResetIndexLocked();
  Status RemoveSegments(std::span<const Digest> segments, Observer* observer,
                        RebuiltIndex* rebuilt);
  // All index segments.
  Result<std::map<Digest, ObjectInfo>> Segments();

  const std::unique_ptr<ObjectStore> store_;
  const RepositoryConfig config_;
  const Sealer sealer_;
  const RepositoryOptions options_;
  const std::string id_;
  const std::string location_;
  const MemoryPlan memory_;
  std::unique_ptr<ChunkFetcher> fetcher_;
  EntryLeafCache entry_leaves_;
  LeaseOptions lease_options_;

  mutable std::mutex key_mutex_;
  OpenedKey opened_key_;

  std::mutex avoided_mutex_;
  std::optional<std::set<PackId>> avoided_;  // once read from the cache folder

  std::mutex index_mutex_;
  std::string index_path_;
  std::unique_ptr<ChunkIndex> index_;
  bool synced_ = false;
  bool reloaded_ = false;
};

}  // namespace snapstore

#endif  // SNAPSTORE_ENGINE_REPOSITORY_IMPL_H_
