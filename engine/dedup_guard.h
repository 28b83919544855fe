// DedupGuard: which packs a writer may come to depend on because a look-up found a chunk in them.
//
// The chunk index is a cache and may name packs that a prune has taken since, or that a writer
// published whose lease had run out. So a pack counts only if no mark that the writer's lease saw
// names it, and the store lists it now, under that lease: then a prune that condemns it later waits
// for this writer. Packs are confirmed by listing their folder, each folder once, and when that
// gets frequent, by one listing of all: requests in proportion to the packs touched, never to
// chunks.
//
// A listing, not a stat of the object: an NFS client may answer the latter from its cache.
//
// Thread safety: all calls may run concurrently.
#ifndef SNAPSTORE_ENGINE_DEDUP_GUARD_H_
#define SNAPSTORE_ENGINE_DEDUP_GUARD_H_

#include <mutex>
#include <set>
#include <unordered_set>

#include "engine/format.h"
#include "engine/lease.h"
#include "uploader/object_store.h"

namespace snapstore {

class DedupGuard {
 public:
  // `store` must outlive the guard. REQUIRES: it is made under the lease that saw `condemned`.
  DedupGuard(ObjectStore* store, CondemnedSet condemned)
      : store_(store), condemned_(std::move(condemned)) {}

  bool IsCondemned(const PackId& pack) const { return condemned_.contains(pack); }
  // `kind`: what the pack most likely is.
  Result<bool> MayReferTo(PackKind kind, const PackId& pack);
  // The writer has just stored it.
  void OnStored(const PackId& pack);

 private:
  // What was listed of the packs of one kind.
  struct Listed {
    std::set<uint8_t> folders;
    bool all = false;
    bool too_many = false;  // to list them all
  };

  // REQUIRES: mutex_ is held.
  Result<bool> IsPresent(PackKind kind, const PackId& pack);
  Status ListFolder(PackKind kind, uint8_t folder);
  Status ListAll(PackKind kind);
  Listed& listed(PackKind kind) { return listed_[kind == PackKind::kData ? 0 : 1]; }

  ObjectStore* const store_;
  const CondemnedSet condemned_;
  std::mutex mutex_;  // guards what follows
  // The first 8 bytes of the names of packs that are there.
  std::unordered_set<uint64_t> present_;
  Listed listed_[2];
};

}  // namespace snapstore

#endif  // SNAPSTORE_ENGINE_DEDUP_GUARD_H_
