// Finding and walking entries of an opened snapshot by path.
//
// The entry list is ordered, so a path is found by bisection: a few leaves are read, not the list.
//
// Thread safety: free functions; an OpenedSnapshot may be shared.
#ifndef SNAPSTORE_ENGINE_ENTRY_WALK_H_
#define SNAPSTORE_ENGINE_ENTRY_WALK_H_

#include <functional>
#include <string>
#include <string_view>

#include "engine/format.pb.h"
#include "engine/repository_impl.h"
#include "snapstore/status.h"

namespace snapstore {

// A path as entries have it, from what a user may write: no '/' at either end or twice in a row, no
// component ".".
std::string NormalizePath(std::string_view path);

// What becomes of the contents of visited entries: `kRead` has their lists fetched ahead.
enum class Contents { kPassedOver, kRead };

// Visits `path` (normalized; empty: everything) and all below it, in the order of the list.
// NotFound when nothing is there.
Status WalkEntries(const OpenedSnapshot& snapshot, std::string_view path,
                   const std::function<Status(const format::Entry&)>& visit,
                   Contents contents = Contents::kPassedOver);

// The entry at `path` itself. NotFound when there is none.
Result<format::Entry> FindEntry(const OpenedSnapshot& snapshot, std::string_view path);

// The entry that holds the content of `entry`: itself, or the one it is a hard link to.
// InvalidArgument unless it is a file or a volume.
Result<format::Entry> FindContent(const OpenedSnapshot& snapshot, const format::Entry& entry);

}  // namespace snapstore

#endif  // SNAPSTORE_ENGINE_ENTRY_WALK_H_
