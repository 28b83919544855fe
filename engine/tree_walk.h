// WalkTree: every leaf of a node tree, also those behind nodes that cannot be read.
//
// Thread safety: a pure function of what the visitor does.
#ifndef SNAPSTORE_ENGINE_TREE_WALK_H_
#define SNAPSTORE_ENGINE_TREE_WALK_H_

#include <cstdint>
#include <functional>

#include "engine/node_tree.h"
#include "snapstore/status.h"

namespace snapstore {

// An error of any of these ends the walk with it.
struct TreeVisitor {
  // Before a node `depth` levels above the content is read (1: a leaf), which covers the list from
  // `begin` on; false passes over it and all below. May be empty.
  std::function<Result<bool>(const NodeRef& node, uint32_t depth, uint64_t begin)> enter;
  // In order of the list.
  std::function<Status(const NodeTreeReader::Leaf& leaf)> leaf;
  // The part of the list below a node that is damaged or missing.
  std::function<Status(uint64_t begin, uint64_t span, const Status& cause)> lost;
};

Status WalkTree(const NodeSource& nodes, const format::StreamRoot& root,
                const TreeVisitor& visitor);

}  // namespace snapstore

#endif  // SNAPSTORE_ENGINE_TREE_WALK_H_
