// Whether a file lies on a file system of another machine: what is cached, and what locks are
// worth, is different there.
//
// Thread safety: all calls may run concurrently.
#ifndef SNAPSTORE_BASE_NETWORK_FILE_SYSTEM_H_
#define SNAPSTORE_BASE_NETWORK_FILE_SYSTEM_H_

#include <string>

namespace snapstore {

enum class FileSystemKind {
  kLocal,         // and everything that is not known to be one of the others
  kNfs,           // Amazon EFS among them
  kOtherNetwork,  // SMB, 9P, AFS, Ceph
};

// By the magic number that fstatfs(2) gives for the open file `fd`; kLocal when it gives none.
FileSystemKind FileSystemKindOf(int fd);

// The same for a path; kLocal when it cannot be asked.
FileSystemKind FileSystemKindOf(const std::string& path);

}  // namespace snapstore

#endif  // SNAPSTORE_BASE_NETWORK_FILE_SYSTEM_H_
