// DirectoryStore: objects as files below one directory, on a local disk or an EFS/NFS mount.
//
// PutIfAbsent writes a temporary file in DIR/+tmp ('+' is in no key), fsyncs and closes it, links
// it to its final name with link(2) (which fails with EEXIST, so nothing is ever replaced) or
// renameat2(RENAME_NOREPLACE) where links are refused, and fsyncs the folder before it returns.
// Temporary files that a crash left are removed when they are older than a day, by the first put of
// a process.
//
// Files are read-only since objects never change, and for their owner alone (0400, in folders of
// 0700); in a directory that is writable to its group, for the group too (0440 and 0770, less the
// umask). A key whose component begins with ".nfs" is InvalidArgument: NFS clients give such names
// to deleted files. An object and a folder cannot share a name: Conflict for the second.
//
// On NFS nothing is taken from the client's caches that could be wrong: who is told that an object
// is absent, or there already, or gets a listing, has the server's answer of that moment, whatever
// other clients did before. Reading an object that is there costs nothing for this. ESTALE is tried
// again on handles opened anew. No locks are used, and no rename that replaces. docs/stores.md has
// the rest.
//
// The directory is held open. When its path leads elsewhere later (unmounted, removed, renamed),
// nothing is NotFound any more; Io says so.
//
// Thread safety: all calls may run concurrently; other processes may share the directory.
#ifndef SNAPSTORE_UPLOADER_DIRECTORY_STORE_H_
#define SNAPSTORE_UPLOADER_DIRECTORY_STORE_H_

#include <memory>
#include <string>

#include "uploader/object_store.h"

namespace snapstore {

struct DirectoryStoreOptions {
  bool create = false;  // make the directory (and its parents), mode 0700, when missing
};

// NotFound when `path` does not exist and `create` is off.
Result<std::unique_ptr<ObjectStore>> OpenDirectoryStore(const std::string& path,
                                                        const DirectoryStoreOptions& options = {});

}  // namespace snapstore

#endif  // SNAPSTORE_UPLOADER_DIRECTORY_STORE_H_
