// SnapshotRepairer: what a damaged snapshot lost, and its entry list without that.
//
// Thread safety: one thread at a time.
#ifndef SNAPSTORE_ENGINE_SNAPSHOT_REPAIRER_H_
#define SNAPSTORE_ENGINE_SNAPSHOT_REPAIRER_H_

#include <functional>
#include <memory>
#include <string>
#include <unordered_set>
#include <vector>

#include "engine/check_scratch.h"
#include "engine/entry_list.h"
#include "engine/progress.h"
#include "engine/repository_impl.h"
#include "engine/write_session.h"
#include "snapstore/repair.h"

namespace snapstore {

class SnapshotRepairer {
 public:
  using LossFn = std::function<Status(const Loss&)>;

  // `scratch` knows which chunks can be read and which nodes are whole, `fetcher` reads them. All
  // must outlive the repairer.
  SnapshotRepairer(ChunkFetcher* fetcher, CheckScratch* scratch, const RepairRequest& request,
                   ProgressReporter* progress, LossFn visit);

  // Follows `manifest`. What is left goes through `session`, which continues packs(), into
  // `repaired`, whose entry list and counters are filled in; a null session only finds losses.
  // Open() comes first.
  Status Open(const Digest& id, const format::Manifest& manifest);
  std::vector<PackId> packs() const { return packs_->Copy(); }
  // Whether the table of packs was read whole, so that its stored leaves can be taken over.
  bool have_pack_table() const { return have_pack_table_; }
  Status Repair(const format::Manifest& manifest, WriteSession* session,
                format::Manifest* repaired);

  uint64_t losses() const { return losses_; }
  uint64_t bytes_lost() const { return bytes_lost_; }
  uint64_t entries_kept() const { return entries_kept_; }

 private:
  Status TakeLeaf(const NodeTreeReader::Leaf& leaf);
  Status TakeEntry(format::Entry entry);
  // The names lost since the last entry, up to `next_path`.
  Status EndGap(const std::string& next_path);
  // Directories above `path` whose own entries are lost.
  Status MakeParents(const format::Entry& entry);
  Status TakeLink(format::Entry entry);
  Status TakeContent(format::Entry entry);
  Result<std::vector<ByteRange>> FindLost(const format::Content& content);
  Status AddLostRuns(const NodeTreeReader::Leaf& leaf, std::vector<ByteRange>* lost);
  // With holes in place of what is lost.
  Result<std::unique_ptr<RunListWriter>> Rewrite(const format::Content& content);
  Status RewriteLeaf(const NodeTreeReader::Leaf& leaf, RunListWriter* out);
  // The runs of a leaf, and for each whether it can be read. Damage when the leaf is no good.
  Status ReadRuns(const NodeTreeReader::Leaf& leaf);
  Status Keep(format::Entry entry, std::unique_ptr<RunListWriter> content);
  Status Tell(Loss loss);

  ChunkFetcher* const fetcher_;
  CheckScratch* const scratch_;
  const RepairRequest& request_;
  ProgressReporter* const progress_;
  const LossFn visit_;

  std::string id_;
  std::unique_ptr<PackTable> packs_;
  std::unique_ptr<NodeSource> nodes_;
  bool have_pack_table_ = true;
  WriteSession* session_ = nullptr;
  std::unique_ptr<EntryListWriter> entries_;  // null without a session

  std::string last_path_;
  std::vector<std::string> directories_;  // entries that lead to last_path_
  uint64_t gap_ = 0;                      // entries lost since last_path_
  bool any_gap_ = false;
  std::unordered_set<std::string> linked_;   // kept, with further names to come
  std::unordered_set<std::string> dropped_;  // the same, left out

  std::vector<Run> runs_;  // of the leaf at hand
  std::vector<bool> intact_;
  std::vector<ChunkId> ids_;
  std::vector<std::optional<ChunkLocation>> found_;

  uint64_t losses_ = 0;
  uint64_t bytes_lost_ = 0;
  uint64_t entries_kept_ = 0;
  uint64_t bytes_kept_ = 0;
  uint64_t entries_lost_ = 0;
};

}  // namespace snapstore

#endif  // SNAPSTORE_ENGINE_SNAPSHOT_REPAIRER_H_
