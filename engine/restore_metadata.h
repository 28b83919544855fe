// Owner, mode, extended attributes and times of restored entries.
//
// Thread safety: free functions; one thread at a time for one file.
#ifndef SNAPSTORE_ENGINE_RESTORE_METADATA_H_
#define SNAPSTORE_ENGINE_RESTORE_METADATA_H_

#include "snapstore/reader.h"
#include "snapstore/status.h"

namespace snapstore {

// Gives what `fd` refers to (a regular file open for writing, or anything as O_PATH) the metadata
// of `entry`. Attributes and ACLs that the entry lacks are removed. The access time stays.
//
// Only root can give files away: for anybody else a refused owner is passed over, and the setuid
// and setgid bits, which would then mean something else, are left out.
Status ApplyMetadata(int fd, bool path_only, const Entry& entry);

}  // namespace snapstore

#endif  // SNAPSTORE_ENGINE_RESTORE_METADATA_H_
