// Metadata of file system objects, read without following links.
#ifndef SNAPSTORE_ENGINE_FILE_METADATA_H_
#define SNAPSTORE_ENGINE_FILE_METADATA_H_

#include <sys/stat.h>

#include <string>

#include "base/unique_fd.h"
#include "engine/format.pb.h"
#include "snapstore/status.h"

namespace snapstore {

// lstat of `name` in directory `dir_fd`.
Result<struct stat> StatAt(int dir_fd, const std::string& name);

// All fields that stat(2) gives; `path` becomes the entry's path. InvalidArgument for types of file
// that cannot be stored.
Result<format::Entry> EntryFromStat(const std::string& path, const struct stat& stat);

// Adds extended attributes (ACLs among them) and, for symlinks, the target.
Status ReadExtraMetadata(int dir_fd, const std::string& name, format::Entry* entry);
// Adds the extended attributes of an open file.
Status ReadXattrs(int fd, format::Entry* entry);

// openat of `name` itself, never of what it links to; access times stay where that is allowed.
Result<UniqueFd> OpenAt(int dir_fd, const std::string& name, int flags);

// Whether nothing was written between the two.
bool SameModification(const struct stat& a, const struct stat& b);

}  // namespace snapstore

#endif  // SNAPSTORE_ENGINE_FILE_METADATA_H_
