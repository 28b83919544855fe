// Pruner: one run of PruneRepository. docs/design.md, "Many writers and a prune", has the argument
// why it is safe; the order of steps here is that of the argument.
//
// Thread safety: belongs to one thread; the threads inside are its own.
#ifndef SNAPSTORE_ENGINE_PRUNE_H_
#define SNAPSTORE_ENGINE_PRUNE_H_

#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "base/clock.h"
#include "engine/chunk_fetcher.h"
#include "engine/lease.h"
#include "engine/live_chunks.h"
#include "engine/pack_catalog.h"
#include "engine/pack_writer.h"
#include "engine/repository_impl.h"
#include "engine/spool_store.h"
#include "snapstore/maintain.h"

namespace snapstore {

class Pruner {
 public:
  // All must outlive it; `observer` may be null.
  Pruner(RepositoryImpl* repository, const PruneOptions* options, Observer* observer)
      : repository_(*repository),
        store_(repository->store()),
        options_(*options),
        observer_(observer) {}

  Result<PruneSummary> Run();

 private:
  // What copies chunks into new packs, from one lease to its end.
  struct Copier {
    std::unique_ptr<DedupGuard> guard;
    std::unique_ptr<SegmentPublisher> publisher;
    std::unique_ptr<PackTable> table;
    std::unique_ptr<PackWriter> packs;
  };

  // Finding out.
  Status Begin();
  Status ReadMarks(const LeaseFolder& folder);
  Status ReadCatalog();
  Status FindLive();
  Status Weigh();
  Status Plan();
  // Doing.
  Status Rewrite();
  Status CopyOut(CatalogPack* pack, Copier* copier);
  Status Condemn();
  // False: the time was up before all had ended.
  Result<bool> WaitForWriters();
  // The writers waited for, for people. Asks the store once for each that it names.
  std::string TellWriters();
  Status SaveLate();
  Status SaveMissing(PackKind kind, std::span<const StoredChunk> chunks, DedupGuard* present,
                     Copier* copier);
  Status Sweep();
  Status ReplaceSegments(std::vector<ObjectKey>* old);
  Status DeleteAll(const std::vector<ObjectKey>& keys, const char* phase);

  Copier MakeCopier(const WriterLease& lease);
  Status Finish(Copier* copier, WriterLease* lease);
  bool IsCondemned(const PackId& id) const { return doomed_.contains(id); }
  // No mark but those known is there: then no other prune works on what this one relies on.
  Status CheckAlone(const LeaseFolder& folder) const;
  // Conflict: a mark that this prune put is not there any more.
  Status CheckMarked(const LeaseFolder& folder) const;
  // The store's time, never too late.
  int64_t StoreNow() const;
  // Whether this part of the time is over.
  bool OutOfTime(double part = 1) const {
    return options_.max_seconds > 0 && stopwatch_.Seconds() >= part * options_.max_seconds;
  }
  // Something is left for the next prune.
  void Postpone(std::string why);
  // What ends a run because another prune took something away is no damage.
  Status Explain(const Status& status);
  Status Work();

  RepositoryImpl& repository_;
  ObjectStore& store_;
  const PruneOptions& options_;
  Observer* const observer_;
  const Stopwatch stopwatch_;

  std::unique_ptr<WriterLease> lease_;
  int64_t store_time_ns_ = 0;  // of the store...
  int64_t clock_time_ns_ = 0;  // ...not before this time of the lease's clock
  LeaseFolder first_seen_;
  std::set<Digest> marks_;      // known, one's own included
  std::set<Digest> own_marks_;  // of these, what this prune put
  std::set<PackId> doomed_;     // packs that these name
  std::map<std::string, WriterSeen> waiting_;
  std::map<std::string, std::string> hosts_;  // of writers, as far as asked for
  std::vector<ObjectKey> void_leases_;

  std::unique_ptr<PackCatalog> catalog_;
  std::unique_ptr<LiveChunks> live_;
  std::unique_ptr<SpoolStore> spool_;
  std::unique_ptr<ChunkFetcher> fetcher_;
  std::set<Digest> manifests_;  // walked
  PruneSummary summary_;
};

}  // namespace snapstore

#endif  // SNAPSTORE_ENGINE_PRUNE_H_
