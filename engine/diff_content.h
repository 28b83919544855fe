// DiffContent: where two contents differ, from their run lists alone.
#ifndef SNAPSTORE_ENGINE_DIFF_CONTENT_H_
#define SNAPSTORE_ENGINE_DIFF_CONTENT_H_

#include <vector>

#include "engine/node_tree.h"
#include "snapstore/snapshot.h"
#include "snapstore/status.h"

namespace snapstore {

// Appends the byte ranges of `after` that are not the same at the same offset in `before`:
// ascending, merged, in whole chunks, holes to the byte. Leaves that both lists have at the same
// offset are not read.
Status DiffContent(const NodeSource& before_nodes, const format::StreamRoot& before,
                   const NodeSource& after_nodes, const format::StreamRoot& after,
                   std::vector<ByteRange>* ranges);

}  // namespace snapstore

#endif  // SNAPSTORE_ENGINE_DIFF_CONTENT_H_
