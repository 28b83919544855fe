#include "engine/tree_walk.h"

#include <utility>
#include <vector>

#include "base/status_macros.h"
#include "engine/check_report.h"
#include "engine/format.pb.h"

namespace snapstore {
namespace {

class TreeWalker {
 public:
  TreeWalker(const NodeSource& nodes, const TreeVisitor& visitor)
      : nodes_(nodes), visitor_(visitor) {}

  Status Root(const format::StreamRoot& root) {
    const ByteSpan bytes = AsBytes(root.nodes());
    if (root.depth() == 0) {
      if (bytes.empty() && root.span() == 0) return {};
      return visitor_.leaf({{bytes.begin(), bytes.end()}, 0, root.span(), false, {}});
    }
    if (root.depth() > kNodeDepthMax) {
      return visitor_.lost(0, root.span(), Status::Corruption("metadata tree is too deep"));
    }
    return Node(bytes, root.depth(), 0, root.span());
  }

 private:
  Status Node(ByteSpan node, uint32_t depth, uint64_t begin, uint64_t span) {
    const Result<std::vector<NodeRef>> children = ParseNode(node, span);
    if (!children.ok()) return visitor_.lost(begin, span, children.status());
    for (const NodeRef& child : *children) {
      SNAP_RETURN_IF_ERROR(Child(child, depth, begin));
      begin += child.span;
    }
    return {};
  }

  Status Child(const NodeRef& child, uint32_t depth, uint64_t begin) {
    if (visitor_.enter) {
      SNAP_ASSIGN_OR_RETURN(const bool wanted, visitor_.enter(child, depth, begin));
      if (!wanted) return {};
    }
    NodeTreeReader::Leaf leaf{{}, begin, child.span, true, child};
    if (Status read = nodes_.ReadNode(child.chunk, &leaf.bytes); !read.ok()) {
      return IsDamage(read) ? visitor_.lost(begin, child.span, read) : read;
    }
    if (depth == 1) return visitor_.leaf(leaf);
    return Node(leaf.bytes, depth - 1, begin, child.span);
  }

  const NodeSource& nodes_;
  const TreeVisitor& visitor_;
};

}  // namespace

Status WalkTree(const NodeSource& nodes, const format::StreamRoot& root,
                const TreeVisitor& visitor) {
  return TreeWalker(nodes, visitor).Root(root);
}

}  // namespace snapstore
