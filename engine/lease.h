// WriterLease: a writer's claim that what it is about to refer to stays, without any lock.
//
// All claims and all prune marks lie under one prefix, so that one listing shows both:
//
//   leases/writer-<32 hex of the writer>-<sequence>-<seconds of life>
//   leases/prune-<SHA-256 of the mark>
//
// A writer puts its lease and then lists; a prune puts its mark and then lists. Whichever comes
// second sees the other: either the writer keeps off the condemned packs, or the prune waits until
// the writer has ended. A lease ends when its writer deletes it, or by itself when the store's
// clock says that its seconds have passed since it was put; there is nothing to unlock. The writer
// measures the same seconds by its own clock from before it sent the lease, so it never believes in
// it longer than a prune does. docs/design.md, "Many writers and a prune".
//
// Thread safety: all calls may run concurrently.
#ifndef SNAPSTORE_ENGINE_LEASE_H_
#define SNAPSTORE_ENGINE_LEASE_H_

#include <chrono>
#include <condition_variable>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <span>
#include <string>
#include <thread>
#include <vector>

#include "engine/prune_mark.h"
#include "uploader/object_store.h"

namespace snapstore {

inline constexpr std::string_view kLeasePrefix = "leases/";
ObjectKey MarkKey(const Digest& id);
// NotFound: the prune has ended. Corruption: damaged.
Result<std::vector<CondemnedPack>> ReadMark(ObjectStore& store, const Sealer& sealer,
                                            const Digest& id);

// Nanoseconds since boot, time asleep included (CLOCK_BOOTTIME).
int64_t BootNanos();

struct LeaseOptions {
  std::chrono::seconds life{1800};
  // Must be left when a manifest is sent: more than one request can take.
  std::chrono::seconds margin{600};
  // By so much the dates that one store gives may be off: some cut them to seconds.
  std::chrono::seconds store_slack{5};
  // Time in ns that never jumps; only differences count. Tests have their own.
  std::function<int64_t()> clock = BootNanos;
};

// One writer, as a listing shows it. Times are the store's, in ns.
struct WriterSeen {
  int64_t began_ns = 0;  // when its first lease that is still there was put
  int64_t ends_ns = 0;   // when the last of its leases is void
  std::vector<ObjectKey> keys;
};

// What lies below kLeasePrefix. Names that are neither are passed over.
struct LeaseFolder {
  std::map<std::string, WriterSeen> writers;  // by their 32 hex digits
  std::map<Digest, int64_t> marks;            // with the time they were put
};
Result<LeaseFolder> ListLeases(ObjectStore& store);
// What the marks in `folder` name, one call a mark; a mark of a prune that has ended meanwhile is
// passed over. Corruption: a mark is damaged, and nobody may write until `repair index` took it
// away.
Status ForEachMark(ObjectStore& store, const Sealer& sealer, const LeaseFolder& folder,
                   const std::function<void(const Digest& id, std::span<const CondemnedPack>)>& fn);
// The host of a writer as its leases tell it, for people: printable ASCII. Empty when they do not,
// as those of older programs, or cannot be read.
std::string HostOfWriter(ObjectStore& store, const Sealer& sealer, const WriterSeen& writer);

// Packs that some mark names.
using CondemnedSet = std::set<PackId>;

class WriterLease {
 public:
  // Puts the first lease, then reads the marks. `store` must outlive the lease.
  static Result<std::unique_ptr<WriterLease>> Take(ObjectStore* store, const Sealer& sealer,
                                                   const LeaseOptions& options);
  // Ends it; a store that does not allow that lets it expire.
  ~WriterLease();
  WriterLease(const WriterLease&) = delete;
  WriterLease& operator=(const WriterLease&) = delete;

  // As they were when the lease had been put.
  const LeaseFolder& seen() const { return seen_; }
  const CondemnedSet& condemned() const { return condemned_; }
  const std::string& writer() const { return writer_; }

  // The lease holds for at least the margin from now, renewed if need be. Conflict: it has expired,
  // so whatever was found under it may be gone.
  Status Ensure();
  // Whether it has run out. Once it has, it stays so.
  bool Expired();
  // Whether it held without a gap, by the store's dates, until the object `put` was stored: a
  // machine that stood still and runs on, as a virtual one may, cannot tell by its own clock.
  Result<bool> Covered(const ObjectKey& put);

 private:
  WriterLease(ObjectStore* store, const Sealer& sealer, const LeaseOptions& options);
  Status Put();
  void RenewLoop();
  // REQUIRES: mutex_ is held.
  int64_t LeftLocked();

  ObjectStore* const store_;
  const LeaseOptions options_;
  const Bytes content_;  // of every lease
  std::string writer_;
  LeaseFolder seen_;
  CondemnedSet condemned_;

  std::mutex put_mutex_;         // one renewal at a time; guards keys_
  std::vector<ObjectKey> keys_;  // of all leases put
  std::mutex mutex_;             // guards what follows
  std::condition_variable ended_;
  bool end_ = false;
  bool expired_ = false;
  int64_t sent_ns_ = 0;  // when the newest lease was sent, by options_.clock
  std::thread renewer_;
};

}  // namespace snapstore

#endif  // SNAPSTORE_ENGINE_LEASE_H_
