// External files: files of the application that are saved and put back with its memory.
//
// Thread safety: free functions; none share state.
#ifndef SNAPSTORE_AGENT_EXTERNAL_FILES_H_
#define SNAPSTORE_AGENT_EXTERNAL_FILES_H_

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "agent/arena.h"
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

struct CapturedFile {
  ExternalFile info;
  ArenaFile content;  // named `path`
};

// Reads the files into the arena; meant for the time the application is frozen, so it does nothing
// else. The first file that is missing or no regular file fails the whole capture; the message
// begins with "external file <path>".
Result<std::vector<CapturedFile>> CaptureExternalFiles(const std::vector<std::string>& paths,
                                                       Arena* arena);

// The bytes these files have now, to prepare the arena with; what cannot be told counts as 0.
uint64_t ExternalFileBytes(const std::vector<std::string>& paths);

// Replaces the file by what `write` writes to a descriptor, with its mode, owner and times: a new
// file beside it, fsync, rename. Missing folders are made; a symbolic link the path led through is
// made again when nothing stands there.
Status PutBackExternalFile(const ExternalFile& file, const std::function<Status(int fd)>& write);

}  // namespace snapstore::agent

#endif  // SNAPSTORE_AGENT_EXTERNAL_FILES_H_
