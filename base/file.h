// Whole-file and positioned I/O on descriptors, with errno translated once.
//
// Every function retries EINTR and short transfers. `name` is used in error messages only.
// Thread safety: positioned calls may run concurrently on one descriptor.
#ifndef SNAPSTORE_BASE_FILE_H_
#define SNAPSTORE_BASE_FILE_H_

#include <sys/types.h>

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "base/bytes.h"
#include "base/unique_fd.h"
#include "snapstore/status.h"

namespace snapstore {

// open(2) with O_CLOEXEC added.
Result<UniqueFd> OpenFile(const std::string& path, int flags, mode_t mode = 0644);

// Fills `out` from `offset`; stops early only at end of file. Returns the bytes read.
Result<size_t> PreadFull(int fd, MutableByteSpan out, uint64_t offset, std::string_view name);
// Same from the current position (pipes, sockets).
Result<size_t> ReadFull(int fd, MutableByteSpan out, std::string_view name);
Status PwriteFull(int fd, ByteSpan bytes, uint64_t offset, std::string_view name);
Status WriteFull(int fd, ByteSpan bytes, std::string_view name);
// Writes all parts one after the other, in as few calls as the kernel allows. Returns 0 or the
// errno.
int PwriteParts(int fd, std::span<const ByteSpan> parts, uint64_t offset);

// Reads a whole file; InvalidArgument when it is longer than `bytes_max`.
Result<Bytes> ReadWholeFile(const std::string& path, size_t bytes_max);

// Replaces `path` with `bytes` so that a crash leaves the old or the new content: temporary file
// beside it ("<path>.new-<random>", which kill -9 may leave), fsync, rename, fsync of the folder.
Status ReplaceFile(const std::string& path, ByteSpan bytes, mode_t mode = 0644);

// fsync of an open file or directory. OK where the file system has nothing to sync (EINVAL, as for
// pipes and for directories of some network mounts).
Status SyncFd(int fd, std::string_view name);

// fsync of the directory `path`, so that names made or removed in it are durable.
Status SyncDirectory(const std::string& path);

// mkdir -p; the directories it made are durable.
Status MakeDirectories(const std::string& path, mode_t mode = 0755);

}  // namespace snapstore

#endif  // SNAPSTORE_BASE_FILE_H_
