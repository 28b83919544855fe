// Metadata of file system objects, read without following links.
#ifndef SNAPSTORE_ENGINE_FILE_METADATA_H_
#define SNAPSTORE_ENGINE_FILE_METADATA_H_

#include <sys/stat.h>

#include <string>

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

}  // namespace snapstore

#endif  // SNAPSTORE_ENGINE_FILE_METADATA_H_
