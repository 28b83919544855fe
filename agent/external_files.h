// External files: files of the application that are saved and put back with its memory. How they
// are read is in external_capture.h.
//
// Thread safety: free functions; none share state.
#ifndef SNAPSTORE_AGENT_EXTERNAL_FILES_H_
#define SNAPSTORE_AGENT_EXTERNAL_FILES_H_

#include <cstdint>
#include <functional>
#include <string>

#include "snapstore/status.h"

namespace snapstore::agent {

struct ExternalFile {
  std::string path;       // as configured, absolute
  std::string real_path;  // with symbolic links followed
  uint32_t mode = 0;      // permission bits
  uint32_t uid = 0;
  uint32_t gid = 0;
  int64_t atime_ns = 0;  // ns since the epoch
  int64_t mtime_ns = 0;
  uint64_t size = 0;
};

// Replaces the file by what `write` writes to a descriptor, with its mode, owner and times: a new
// file beside it, fsync, rename. Missing folders are made; a symbolic link the path led through is
// made again when nothing stands there.
Status PutBackExternalFile(const ExternalFile& file, const std::function<Status(int fd)>& write);

}  // namespace snapstore::agent

#endif  // SNAPSTORE_AGENT_EXTERNAL_FILES_H_
