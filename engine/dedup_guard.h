// DedupGuard: which packs a writer may come to depend on because a look-up found a chunk in them.
//
// The chunk index is a cache and may name packs that a prune has taken since, or that a writer
// published whose lease had run out. So a pack counts only if no mark that the writer's lease saw
// names it, and the store lists it now, under that lease: then a prune that condemns it later waits
// for this writer. Packs are confirmed by listing their folder, each folder once, and when that
// gets frequent, by one listing of all: requests in proportion to the packs touched, never to
// chunks.
//
// Names are held up to kPacksHeldMax; in a repository of more packs the folder that was listed
// first makes room and is listed again when it is asked for.
//
// A listing, not a stat of the object: an NFS client may answer the latter from its cache.
//
// Thread safety: all calls may run concurrently.
#ifndef SNAPSTORE_ENGINE_DEDUP_GUARD_H_
#define SNAPSTORE_ENGINE_DEDUP_GUARD_H_

#include <array>
#include <cstdint>
#include <deque>
#include <mutex>
#include <unordered_set>
#include <vector>

#include "engine/format.h"
#include "engine/lease.h"
#include "uploader/object_store.h"

namespace snapstore {

class DedupGuard {
 public:
  // 8 bytes each.
  static constexpr size_t kPacksHeldMax = 1 << 20;

  // `store` must outlive the guard. REQUIRES: it is made under the lease that saw `condemned`.
  DedupGuard(ObjectStore* store, CondemnedSet condemned, size_t packs_held_max = kPacksHeldMax)
      : store_(store), condemned_(std::move(condemned)), held_max_(packs_held_max) {}

  bool IsCondemned(const PackId& pack) const { return condemned_.contains(pack); }
  // `kind`: what the pack most likely is.
  Result<bool> MayReferTo(PackKind kind, const PackId& pack);
  // The writer has just stored it.
  void OnStored(const PackId& pack);

 private:
  static constexpr size_t kFolders = 256;

  // Packs of one kind whose names begin with the same byte.
  struct Folder {
    bool listed = false;
    std::vector<uint64_t> packs;  // the first 8 bytes of their names, ascending
  };
  struct Kind {
    std::array<Folder, kFolders> folders;
    size_t listings = 0;    // of single folders
    bool too_many = false;  // to list them all
  };

  // REQUIRES of all: mutex_ is held.
  Result<bool> IsPresent(PackKind kind, const PackId& pack);
  Status ListFolder(PackKind kind, uint8_t folder);
  Status ListAll(PackKind kind);
  void Keep(Folder* folder);
  void Drop(Folder* folder);
  Kind& of(PackKind kind) { return kinds_[kind == PackKind::kData ? 0 : 1]; }

  ObjectStore* const store_;
  const CondemnedSet condemned_;
  const size_t held_max_;
  std::mutex mutex_;  // guards what follows
  std::array<Kind, 2> kinds_;
  std::deque<Folder*> oldest_first_;  // those that are listed
  size_t held_ = 0;                   // packs in them
  std::unordered_set<uint64_t> stored_;
};

}  // namespace snapstore

#endif  // SNAPSTORE_ENGINE_DEDUP_GUARD_H_
