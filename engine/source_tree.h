// SourceTree: the sources of one request, merged and ordered as the entry list wants them.
//
// Paths, streams, memory images and volumes that are read by calls become one small tree of names.
// Walking it visits the given roots in order, with the directories that lead to them.
#ifndef SNAPSTORE_ENGINE_SOURCE_TREE_H_
#define SNAPSTORE_ENGINE_SOURCE_TREE_H_

#include <functional>
#include <map>
#include <string>
#include <vector>

#include "snapstore/snapshot.h"
#include "snapstore/status.h"

namespace snapstore {

struct SourceNode {
  enum class Kind {
    kVirtualDirectory,  // leads to what is no path only
    kRealDirectory,     // leads to a path further down; only its metadata is taken
    kPath,              // a root: everything below it is taken
    kStream,
    kImage,
    kVolume,
  };
  Kind kind = Kind::kVirtualDirectory;
  const StreamSource* stream = nullptr;
  const MemorySource* image = nullptr;
  const VolumeSource* volume = nullptr;
  std::map<std::string, SourceNode> children;  // by name, in byte order
};

// The tree for `request`, whose sources it points to. InvalidArgument when names are
// unusable or collide.
Result<SourceNode> BuildSourceTree(const SnapshotRequest& request);

// All roots as they are recorded in the manifest: absolute for paths, as named for the rest;
// sorted.
Result<std::vector<std::string>> SourceNames(const SnapshotRequest& request);

}  // namespace snapstore

#endif  // SNAPSTORE_ENGINE_SOURCE_TREE_H_
