// PackNeeds: which packs some snapshots need, found by following their references.
//
// Thread safety: one thread at a time.
#ifndef SNAPSTORE_ENGINE_PACK_NEEDS_H_
#define SNAPSTORE_ENGINE_PACK_NEEDS_H_

#include <functional>
#include <set>
#include <vector>

#include "engine/check_scratch.h"
#include "engine/progress.h"
#include "engine/repository_impl.h"
#include "engine/run_list.h"

namespace snapstore {

class PackNeeds {
 public:
  using ExistsFn = std::function<bool(const PackId&)>;

  // `locate` finds chunks whose hint names a pack that does not exist. All must outlive this.
  PackNeeds(CheckScratch* scratch, LocateFn locate, ExistsFn exists, ProgressReporter* progress);

  // What cannot be read is passed over.
  Status Add(const OpenedSnapshot& snapshot);

  const std::set<PackId>& packs() const { return packs_; }

 private:
  Status AddTree(const format::StreamRoot& root, uint8_t height_base,
                 const std::function<Status(const NodeTreeReader::Leaf&)>& leaf);
  Status AddEntryLeaf(const NodeTreeReader::Leaf& leaf);
  Status AddRunLeaf(const NodeTreeReader::Leaf& leaf);
  Status AddReference(const ChunkRef& ref);

  CheckScratch* const scratch_;
  const LocateFn locate_;
  const ExistsFn exists_;
  ProgressReporter* const progress_;
  const OpenedSnapshot* snapshot_ = nullptr;
  enum class Known : uint8_t { kNot, kExists, kGone };
  std::vector<Known> known_;  // by ordinal of the snapshot's pack table
  std::vector<Run> runs_;
  std::set<PackId> packs_;
};

}  // namespace snapstore

#endif  // SNAPSTORE_ENGINE_PACK_NEEDS_H_
