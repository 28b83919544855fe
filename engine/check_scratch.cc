#include "engine/check_scratch.h"

#include <fcntl.h>
#include <sys/file.h>

#include <cerrno>
#include <vector>

#include "base/bytes.h"
#include "base/file.h"
#include "base/status_macros.h"

namespace snapstore {
namespace {

constexpr int kFoldersMax = 16;
constexpr size_t kNodeBatch = 4096;

// No chunk is that long (kChunkBytesMax), so nodes and chunks can share an index.
ChunkId NodeKey(const ChunkId& node, uint8_t height) {
  ChunkId key = node;
  key.length |= uint32_t{height} << 24;
  return key;
}

}  // namespace

Result<std::unique_ptr<CheckScratch>> CheckScratch::Open(const std::string& cache_folder,
                                                         size_t memory_bytes) {
  for (int i = 0; i < kFoldersMax; ++i) {
    const std::string path = cache_folder + "/check-" + std::to_string(i);
    SNAP_ASSIGN_OR_RETURN(UniqueFd lock, OpenFile(path + ".lock", O_RDWR | O_CREAT, 0600));
    if (::flock(lock.get(), LOCK_EX | LOCK_NB) != 0) {
      if (errno == EWOULDBLOCK) continue;
      return Status::FromErrno(errno, "lock " + path + ".lock");
    }
    std::unique_ptr<CheckScratch> scratch(new CheckScratch(path, std::move(lock)));
    SNAP_RETURN_IF_ERROR(ChunkIndex::Destroy(path));
    SNAP_ASSIGN_OR_RETURN(scratch->index_,
                          ChunkIndex::Open({.path = path, .memory_bytes = memory_bytes}));
    return scratch;
  }
  return Status::Conflict("too many checks are running; their folders are " + cache_folder +
                          "/check-*");
}

CheckScratch::~CheckScratch() {
  index_.reset();
  // What stays behind after a failure here is removed by the next check.
  (void)ChunkIndex::Destroy(path_);
}

Result<bool> CheckScratch::IsWhole(const ChunkId& node, uint8_t height) {
  const ChunkId key = NodeKey(node, height);
  if (recent_nodes_.contains(key)) return true;
  SNAP_ASSIGN_OR_RETURN(const std::optional<ChunkLocation> found, index_->Find(key));
  return found.has_value();
}

Status CheckScratch::MarkWhole(const ChunkId& node, uint8_t height) {
  recent_nodes_.insert(NodeKey(node, height));
  if (recent_nodes_.size() < kNodeBatch) return {};
  std::vector<PackChunk> batch;
  batch.reserve(recent_nodes_.size());
  for (const ChunkId& key : recent_nodes_) batch.push_back({.id = key});
  PackId name;  // any name that was not used before
  StoreLe<uint64_t>(name.bytes.data(), ++node_batches_);
  SNAP_RETURN_IF_ERROR(index_->AddPack(name, batch, /*published=*/false));
  recent_nodes_.clear();
  return {};
}

}  // namespace snapstore
