// RepositoryCheck: the steps of a check, and what they found out for whoever repairs.
//
// A prune beside it moves chunks into new packs and deletes the old ones, and snapshots may be
// forgotten. So a look that finds anything wrong is followed by another listing; if that differs,
// the check looks again, and only what a look finds in a store that holds still is damage.
//
// Thread safety: one thread at a time; the threads inside are its own.
#ifndef SNAPSTORE_ENGINE_REPOSITORY_CHECK_H_
#define SNAPSTORE_ENGINE_REPOSITORY_CHECK_H_

#include <atomic>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "base/clock.h"
#include "engine/check_pack.h"
#include "engine/check_report.h"
#include "engine/check_scratch.h"
#include "engine/progress.h"
#include "engine/repository_impl.h"
#include "engine/segment.h"
#include "snapstore/inspect.h"

namespace snapstore {

class RepositoryCheck {
 public:
  // What became of one snapshot.
  struct SnapshotRecord {
    Digest id;
    uint64_t size = 0;
    Status manifest;     // why it cannot be read
    bool whole = false;  // everything it refers to can be read
  };
  struct PackRecord {
    PackPlace place;
    bool looked_at = false;
    bool read_whole = false;
    Status status;  // what is wrong with it
    bool have_table = false;
    uint64_t table_hash = 0;  // of the footer's body
  };

  // `repository` and `observer` (may be null) must outlive the check.
  RepositoryCheck(RepositoryImpl* repository, const CheckOptions& options, Observer* observer);

  Result<CheckReport> Run();

  // After Run:
  const std::vector<SnapshotRecord>& snapshots() const { return snapshots_; }
  const std::vector<PackRecord>& packs() const { return packs_; }  // by id
  // The chunks that can be read, and the nodes found whole.
  CheckScratch& scratch() { return *scratch_; }

 private:
  struct SegmentRecord {
    Digest id;
    uint64_t size = 0;
  };

  bool restricted() const { return !options_.snapshots.empty(); }
  Result<CheckReport> LookUntilSettled();
  // The check itself: lists what there is and looks at it.
  Status Look();
  // What is found is explained by others at work, who move and delete: objects that this look had
  // listed have gone, or, if it was the first, new ones have come.
  Result<bool> HasMoved();
  // Keeps in mind which packs were read whole and found right.
  void NoteScrubbed();
  // Forgets the look, except which packs were read whole.
  void StartOver();
  Status ListObjects();
  Status ListManifests(ProgressReporter* progress);
  Status CheckConfig();
  Status CheckKeys();
  Status CheckMarks();
  Status CheckClaims();
  // Fills wanted_ with the packs to look at.
  Status ChooseWanted();
  Status CheckPacks();
  Status CheckPack(PackScrubber* scrubber, bool whole, PackRecord* record);
  Status TakeVerdict(PackRecord* record, const PackVerdict& verdict);
  Status CheckSegments();
  Status CheckSegment(const SegmentRecord& segment);
  Status CheckSegmentPack(const std::string& key, const SegmentPack& pack);
  Status CheckSnapshots();
  // Where chunks can be read. A restricted check looks into further packs for what is missing.
  Status FindChunks(std::span<const ChunkId> ids, std::vector<std::optional<ChunkLocation>>* found);
  Result<std::optional<ChunkLocation>> FindElsewhere(const ChunkId& id);
  // The working index, for a restricted check.
  Result<std::optional<ChunkLocation>> AskIndex(const ChunkId& id);
  // The whole object, or what is wrong with it in *damage.
  Result<Bytes> ReadObject(const ObjectKey& key, uint64_t size, uint64_t bytes_max, Status* damage);
  PackRecord* FindPack(const PackId& id);
  void FillReport(CheckReport* report);

  RepositoryImpl& repository_;
  ObjectStore& store_;
  const CheckOptions options_;
  Observer* const observer_;
  const uint64_t seed_;
  const Stopwatch stopwatch_;

  int looks_ = 0;
  std::set<PackId> scrubbed_;  // read whole and found right by earlier looks

  std::unique_ptr<CheckScratch> scratch_;
  std::optional<ChunkIndex*> index_;  // null: it cannot be had
  ProblemLog problems_;
  std::vector<SnapshotRecord> snapshots_;
  std::vector<SegmentRecord> segments_;
  std::vector<PackRecord> packs_;  // sorted by id
  std::vector<size_t> wanted_;     // of packs_
  uint64_t packs_chosen_ = 0;
  std::atomic<uint64_t> packs_read_ = 0;
  std::atomic<uint64_t> chunks_ = 0;
  std::atomic<uint64_t> bytes_read_ = 0;
};

}  // namespace snapstore

#endif  // SNAPSTORE_ENGINE_REPOSITORY_CHECK_H_
