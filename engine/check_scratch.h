// CheckScratch: the sets a check builds, on disk so that memory stays bounded.
//
// It lives in a folder of its own below the repository's cache folder, apart from the working
// index, and is removed at the end. What a killed check left is removed by the next one.
#ifndef SNAPSTORE_ENGINE_CHECK_SCRATCH_H_
#define SNAPSTORE_ENGINE_CHECK_SCRATCH_H_

#include <memory>
#include <string>
#include <unordered_set>

#include "base/unique_fd.h"
#include "index/chunk_index.h"
#include "snapstore/status.h"

namespace snapstore {

// Thread safety: chunks() may be used concurrently, the rest belongs to one thread.
class CheckScratch {
 public:
  // Conflict when too many checks of one repository run on this machine.
  static Result<std::unique_ptr<CheckScratch>> Open(const std::string& cache_folder,
                                                    size_t memory_bytes);
  ~CheckScratch();
  CheckScratch(const CheckScratch&) = delete;
  CheckScratch& operator=(const CheckScratch&) = delete;

  // Chunks that can be read, by pack.
  ChunkIndex& chunks() { return *index_; }

  // A set of nodes found whole, with everything below them. `height` (not 0) keeps apart what is
  // read in different ways.
  Result<bool> IsWhole(const ChunkId& node, uint8_t height);
  Status MarkWhole(const ChunkId& node, uint8_t height);

 private:
  CheckScratch(std::string path, UniqueFd lock) : path_(std::move(path)), lock_(std::move(lock)) {}

  const std::string path_;
  const UniqueFd lock_;
  std::unique_ptr<ChunkIndex> index_;         // of chunks, and of whole nodes under other lengths
  std::unordered_set<ChunkId> recent_nodes_;  // not in index_ yet
  uint64_t node_batches_ = 0;
};

}  // namespace snapstore

#endif  // SNAPSTORE_ENGINE_CHECK_SCRATCH_H_
