// EntryTree: the entries of a snapshot by their position in the list, and by directory.
//
// Positions are stable, so that a caller can name an entry by its number and needs no table of its
// own. One level of a directory is read without what lies below it: the list is ordered, so the end
// of a subtree is found by galloping and bisection (Bentley and Yao, "An almost optimal algorithm
// for unbounded searching", 1976), which reads a few leaves however many entries are skipped.
//
// Thread safety: all calls may run concurrently.
#ifndef SNAPSTORE_ENGINE_ENTRY_TREE_H_
#define SNAPSTORE_ENGINE_ENTRY_TREE_H_

#include <array>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string_view>
#include <vector>

#include "engine/format.pb.h"
#include "engine/lru_cache.h"
#include "engine/node_tree.h"
#include "snapstore/status.h"

namespace snapstore {

using EntryLeafPtr = std::shared_ptr<const std::vector<format::Entry>>;

// Parsed leaves of entry lists; those that snapshots share are kept once.
//
// Thread safety: all calls may run concurrently.
class EntryLeafCache {
 public:
  explicit EntryLeafCache(size_t bytes_max) : leaves_(bytes_max) {}

  EntryLeafPtr Find(const ChunkId& id);
  // `stored_bytes`: of the leaf as it is stored, from which its size in memory is estimated.
  void Insert(const ChunkId& id, EntryLeafPtr leaf, size_t stored_bytes);

 private:
  std::mutex mutex_;
  LruCache<ChunkId, EntryLeafPtr> leaves_;
};

class EntryTree {
 public:
  // `source` must outlive the tree, and so must `cache`, which may be null.
  EntryTree(const NodeSource* source, const format::StreamRoot& root, EntryLeafCache* cache);

  // Number of entries.
  uint64_t size() const { return root_.span(); }

  // NotFound beyond the last.
  Result<format::Entry> At(uint64_t position) const;

  // Position of the first entry at or after `path`; size() if there is none.
  Result<uint64_t> LowerBound(std::string_view path) const;
  // Position of the entry at `path`. NotFound when there is none.
  Result<uint64_t> Find(std::string_view path) const;

  // Of the entry `name` directly in the directory at `directory` (empty: at the top). NotFound when
  // there is none, InvalidArgument when that is no directory.
  Result<uint64_t> FindIn(std::optional<uint64_t> directory, std::string_view name) const;

  // Visits what is directly in a directory, in order of the list, until `visit` returns false;
  // begins after the entry at `after`, if given, which must lie directly in the directory.
  using VisitChildFn = std::function<Result<bool>(uint64_t position, const format::Entry&)>;
  Status ForEachChild(std::optional<uint64_t> directory, std::optional<uint64_t> after,
                      const VisitChildFn& visit) const;

 private:
  struct Leaf {
    uint64_t begin = 0;
    EntryLeafPtr entries;  // null: none was looked at yet

    uint64_t end() const { return begin + entries->size(); }
    bool Holds(uint64_t position) const {
      return entries != nullptr && position >= begin && position < end();
    }
    const format::Entry& at(uint64_t position) const { return (*entries)[position - begin]; }
  };
  using BeforeFn = std::function<bool(const format::Entry&)>;

  // Makes `leaf` the one that holds `position`.
  Status Load(uint64_t position, Leaf* leaf) const;
  // Makes `leaf` the one among recent_ that `fits`, if there is one.
  bool LoadRecent(const std::function<bool(const Leaf&)>& fits, Leaf* leaf) const;
  Result<EntryLeafPtr> Parse(NodeTreeReader* tree, NodeTreeReader::Leaf* leaf) const;
  // The first position at or after `low` whose entry is not `before`; those that are come first.
  // `near`: it is expected soon after `low`.
  Result<uint64_t> PartitionPoint(uint64_t low, bool near, const BeforeFn& before,
                                  Leaf* leaf) const;
  // What the paths of entries directly in a directory begin with, and where they do.
  Result<std::string> PrefixOf(std::optional<uint64_t> directory, Leaf* leaf) const;
  // The position after everything below the entry at `position`.
  Result<uint64_t> EndOf(uint64_t position, Leaf* leaf) const;

  const NodeSource* const source_;
  const format::StreamRoot root_;
  EntryLeafCache* const cache_;
  mutable std::mutex mutex_;  // guards what follows
  mutable std::vector<std::unique_ptr<NodeTreeReader>> idle_;
  // The leaves read last, in a ring: who asks for one entry is likely to ask for its neighbours.
  mutable std::array<Leaf, 8> recent_;
  mutable size_t next_recent_ = 0;
};

}  // namespace snapstore

#endif  // SNAPSTORE_ENGINE_ENTRY_TREE_H_
