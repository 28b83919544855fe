// DeltaFilter: tells most chunks that were not added since the last load, in one cache line each,
// without asking RocksDB. Private to index/.
//
// A Bloom filter of fixed size. It is kept in a file while the index is closed; whoever opens the
// index and finds no file, or another one, fills the filter again from RocksDB.
//
// Thread safety: Add, MayHold and Prefetch may run concurrently; a chunk is found once Add is done.
#ifndef SNAPSTORE_INDEX_INTERNAL_DELTA_FILTER_H_
#define SNAPSTORE_INDEX_INTERNAL_DELTA_FILTER_H_

#include <array>
#include <atomic>
#include <cstdint>
#include <string>
#include <vector>

#include "chunker/chunk_id.h"
#include "snapstore/status.h"

namespace snapstore::internal {

class DeltaFilter {
 public:
  // Holds nothing. `bytes` are taken with the first Add or Load.
  explicit DeltaFilter(size_t bytes) : line_count_(bytes / sizeof(Line)) {}

  void Reserve();
  // REQUIRES: Reserve or Load was called, as for all that follow.
  void Add(const ChunkId& id);
  bool MayHold(const ChunkId& id) const;
  void Prefetch(const ChunkId& id) const;
  void Clear();

  // `token` names the state of the index that the filter belongs to. Not durable.
  Status Save(const std::string& path, uint64_t token) const;
  // Whether the file was whole and of that token and this size; else the filter holds nothing.
  bool Load(const std::string& path, uint64_t token);

 private:
  struct alignas(64) Line {
    std::array<std::atomic<uint64_t>, 8> words;
  };
  static_assert(sizeof(Line) == 64);

  size_t bytes() const { return lines_.size() * sizeof(Line); }
  const Line& LineOf(const ChunkId& id) const;
  std::array<uint64_t, 3> Header(uint64_t token) const;

  const size_t line_count_;
  std::vector<Line> lines_;
};

}  // namespace snapstore::internal

#endif  // SNAPSTORE_INDEX_INTERNAL_DELTA_FILTER_H_
