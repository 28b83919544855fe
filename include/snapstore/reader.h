// SnapshotReader: what is in a snapshot, and its bytes, by path.
//
// Reads the snapshot's metadata only, never the repository's index unless a location in the
// manifest turns out to be stale. Every byte is verified before it is handed out.
//
// Thread safety: const calls may run concurrently; a ContentReader belongs to one thread, a
// SharedContentReader may be shared.
#ifndef SNAPSTORE_READER_H_
#define SNAPSTORE_READER_H_

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "snapstore/repository.h"
#include "snapstore/status.h"

namespace snapstore {

// Stored: do not renumber.
enum class EntryType : uint8_t {
  kFile = 1,
  kDirectory = 2,
  kSymlink = 3,
  kFifo = 4,
  kSocket = 5,
  kCharDevice = 6,
  kBlockDevice = 7,  // a device node, without content
  kVolume = 8,       // the content of a block device
};

// "file", "dir", "symlink", "fifo", "socket", "chardev", "blockdev", "volume".
std::string_view EntryTypeName(EntryType type);

struct Entry {
  std::string path;  // bytes as the file system gave them, without a leading '/'
  EntryType type = EntryType::kFile;
  uint32_t mode = 0;  // permission bits with setuid, setgid and sticky
  uint32_t uid = 0;
  uint32_t gid = 0;
  int64_t mtime_ns = 0;  // ns since the epoch
  int64_t ctime_ns = 0;
  uint64_t size = 0;  // of the content in bytes
  uint64_t inode = 0;
  uint64_t device = 0;         // st_dev of the file system it lay on
  uint64_t links = 1;          // st_nlink
  uint64_t rdev = 0;           // of device nodes
  std::string symlink_target;  // of symlinks
  // Path of an earlier entry that is the same file (hard link); content is stored there.
  std::string hard_link_to;
  std::map<std::string, std::string> xattrs;  // ACLs among them (system.posix_acl_*)
  bool changed_while_read = false;  // it was written to meanwhile: content may mix two states
};

// Some bytes of a content, or a hole in it.
struct ContentPart {
  uint64_t offset = 0;  // in the content
  uint64_t length = 0;
  std::span<const uint8_t> bytes;  // `length` of them; empty: a hole, all zeros
};
using PartVisitor = std::function<Status(const ContentPart&)>;

// Random and sequential access to one entry's content.
class ContentReader {
 public:
  virtual ~ContentReader() = default;
  virtual uint64_t size() const = 0;
  // Fills `out` from `offset`; holes read as zeros. InvalidArgument beyond the end.
  virtual Status ReadAt(uint64_t offset, std::span<uint8_t> out) = 0;
  // Visits all of [offset, offset + length) once, as it comes: holes first, then data in the order
  // of the store. Bytes are gone when `visit` returns: nothing is copied for it. InvalidArgument
  // beyond the end.
  virtual Status Visit(uint64_t offset, uint64_t length, const PartVisitor& visit) = 0;
  // The same, but of [offset, offset + length) only what comes along with the byte at `at` in it:
  // holes, and what the store has in one frame with that byte, which is not read a second time for
  // a later call. InvalidArgument when `at` is not in the range.
  virtual Status VisitAlong(uint64_t at, uint64_t offset, uint64_t length,
                            const PartVisitor& visit) = 0;
  // The next part with data at or after `offset`: [*begin, *end), *begin == size() if none. A long
  // part may come in pieces: the next one then begins at *end.
  virtual Status NextData(uint64_t offset, uint64_t* begin, uint64_t* end) = 0;
};

// One content for many readers at once, as a mount has them. It does not read ahead by itself; what
// it reads goes through the decoded frames that the repository keeps
// (RepositoryOptions::read_cache_bytes).
//
// Thread safety: all calls may run concurrently.
class SharedContentReader : public ContentReader {
 public:
  // Brings [offset, offset + length) among the frames that are kept, so that a ReadAt that follows
  // need not wait; in few requests, one after the other. Content that cannot be read is no error
  // here: ReadAt will say so.
  virtual Status Prefetch(uint64_t offset, uint64_t length) = 0;
};

// An entry and where it stands: entries are numbered from 0 in the order of ForEachEntry.
struct PlacedEntry {
  uint64_t position = 0;
  uint64_t content_position = 0;  // of what a hard link links to; else its own
  // Of the content, holes left out: exact for short contents, else an estimate from above that
  // knows large holes only.
  uint64_t data_bytes = 0;
  Entry entry;
};

class SnapshotReader {
 public:
  // `id` is a full snapshot id (Repository::ResolveSnapshot). `repository` must outlive the reader.
  static Result<std::unique_ptr<SnapshotReader>> Open(Repository& repository,
                                                      const std::string& id);
  virtual ~SnapshotReader() = default;

  virtual const SnapshotInfo& info() const = 0;

  // Visits `path` and everything below it (empty: all), parents before children, names in byte
  // order. NotFound when nothing is there.
  virtual Status ForEachEntry(std::string_view path,
                              const std::function<Status(const Entry&)>& visit) const = 0;

  virtual Result<Entry> Lookup(std::string_view path) const = 0;

  // The content of a file or volume (hard links are followed). InvalidArgument for other types.
  virtual Result<std::unique_ptr<ContentReader>> OpenContent(std::string_view path) const = 0;

  // The same by position, for programs that serve a snapshot as a file system. Positions never
  // change. Neither call reads more than a few leaves of metadata.
  //
  // NotFound beyond the last entry.
  virtual Result<PlacedEntry> EntryAt(uint64_t position) const = 0;
  // The entry `name` in the directory at `directory`; empty: at the top. NotFound when there is
  // none, InvalidArgument when that is no directory.
  virtual Result<PlacedEntry> LookupIn(std::optional<uint64_t> directory,
                                       std::string_view name) const = 0;
  // Visits what is directly in a directory, in byte order, until `visit` returns false. What lies
  // deeper is skipped unread. With `after`, the position of an entry in it, begins behind that.
  virtual Status ForEachChild(
      std::optional<uint64_t> directory, std::optional<uint64_t> after,
      const std::function<Result<bool>(const PlacedEntry&)>& visit) const = 0;
  // As OpenContent. The SnapshotReader must outlive it.
  virtual Result<std::unique_ptr<SharedContentReader>> OpenShared(uint64_t position) const = 0;
};

}  // namespace snapstore

#endif  // SNAPSTORE_READER_H_
