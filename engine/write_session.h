// WriteSession: what every writer of snapshots does besides its own work: an index that is up to
// date before, and in the right order afterwards packs, pack table, index segment, manifest.
//
// Thread safety: one thread at a time; the threads inside are the PackWriter's.
#ifndef SNAPSTORE_ENGINE_WRITE_SESSION_H_
#define SNAPSTORE_ENGINE_WRITE_SESSION_H_

#include <cstdint>
#include <memory>
#include <vector>

#include "base/sha256.h"
#include "engine/dedup_guard.h"
#include "engine/format.pb.h"
#include "engine/lease.h"
#include "engine/pack_table.h"
#include "engine/pack_writer.h"
#include "engine/repository_impl.h"
#include "engine/segment_publisher.h"
#include "snapstore/observer.h"
#include "snapstore/status.h"

namespace snapstore {

class WriteSession {
 public:
  // Takes a writer lease: before anything is looked at that a prune could take. `repository` must
  // outlive the session.
  static Result<std::unique_ptr<WriteSession>> Begin(RepositoryImpl* repository);
  // Takes in what others published and publishes what a killed run of this node left. `inherited`
  // is the parent's pack table, empty without one. To be called once, before all that follows;
  // the guard of `options` is the session's own.
  Status Start(std::vector<PackId> inherited, PackWriterOptions options, Observer* observer);

  PackTable& table() { return *table_; }
  PackWriter& packs() { return *packs_; }
  const HashSecret& secret() const { return repository_->config().hash_secret; }

  // Makes everything that was put durable and known to others.
  Status Publish();
  // The same, and fills in the pack table.
  // `parent` is the manifest that the table was inherited from, null without one.
  Status Finish(const format::Manifest* parent, format::Manifest* manifest);
  // Of packs and segments, bytes.
  uint64_t bytes_stored() const {
    return packs_->stats().bytes_stored + publisher_->bytes_stored();
  }
  // Puts the manifest: from here on the snapshot exists. `parent` is the snapshot that unread parts
  // were taken over from, null without one. Conflict if a prune may have taken something that it
  // needs: then it is gone again. REQUIRES: Finish succeeded.
  Result<Digest> Commit(const format::Manifest& manifest, const Digest* parent);

 private:
  explicit WriteSession(RepositoryImpl* repository) : repository_(repository) {}

  Status ConfirmCommit(const Digest& id, const format::Manifest& manifest, const Digest* parent);
  Status StorePackTable(const format::Manifest* parent, format::Manifest* manifest);

  RepositoryImpl* const repository_;
  std::unique_ptr<WriterLease> lease_;  // outlives whatever writes
  std::unique_ptr<DedupGuard> guard_;
  std::unique_ptr<PackTable> table_;
  std::unique_ptr<SegmentPublisher> publisher_;
  std::unique_ptr<PackWriter> packs_;
};

}  // namespace snapstore

#endif  // SNAPSTORE_ENGINE_WRITE_SESSION_H_
