// MountedTree: the file system that a mount shows, without FUSE.
//
//   ids/0123456789abcdef/…           a snapshot's entries
//   by-time/2026-11-25T07-30-00Z     link to it
//   hosts/NAME/2026-11-25T07-30-00Z  link to it, and hosts/NAME/latest
//   latest                           link to the newest
//
// Snapshots appear and vanish as they do in the repository, seconds later; all else never changes.
// Nothing is kept for inodes (inode_number.h); a few snapshots stay open.
//
// Statuses: NotFound for what is not there; others as errno where one fits (Status::error_number),
// Corruption for damage.
//
// Thread safety: all calls may run concurrently.
#ifndef SNAPSTORE_TOOLS_SNAPSTORE_MOUNT_MOUNTED_TREE_H_
#define SNAPSTORE_TOOLS_SNAPSTORE_MOUNT_MOUNTED_TREE_H_

#include <sys/stat.h>

#include <condition_variable>
#include <cstdint>
#include <functional>
#include <list>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <thread>

#include "snapstore/observer.h"
#include "snapstore/reader.h"
#include "snapstore/repository.h"
#include "tools/snapstore/mount/inode_number.h"
#include "tools/snapstore/mount/read_ahead.h"
#include "tools/snapstore/mount/snapshot_names.h"

namespace snapstore::cli {

struct MountedTreeOptions {
  // Bytes fetched ahead of one reader at most, and threads that do it.
  uint64_t read_ahead_bytes = 8 << 20;
  unsigned read_ahead_threads = 2;
  // What happens where nobody waits for an answer; called from any thread.
  std::function<void(const std::string& item, const Status&)> report;
};

// A file that somebody has open. Thread safety: all calls may run concurrently.
class MountedFile {
 public:
  uint64_t size() const { return content_->size(); }
  // Fills `out` as far as the file reaches; returns how many bytes.
  Result<size_t> ReadAt(uint64_t offset, std::span<uint8_t> out);
  // lseek(2) with SEEK_DATA or SEEK_HOLE.
  Result<uint64_t> Seek(uint64_t offset, int whence);

 private:
  friend class MountedTree;
  MountedFile(std::shared_ptr<SnapshotReader> snapshot,
              std::shared_ptr<SharedContentReader> content, BackgroundTasks* background,
              uint64_t window_max);

  const std::shared_ptr<SnapshotReader> snapshot_;  // content_ reads through it
  const std::shared_ptr<SharedContentReader> content_;
  BackgroundTasks* const background_;
  std::mutex mutex_;
  ReadAhead ahead_;  // guarded by mutex_
};

class MountedTree {
 public:
  // `repository` must outlive the tree.
  MountedTree(Repository* repository, MountedTreeOptions options);
  ~MountedTree();

  // Lists the snapshots; damaged ones are warned of and left out.
  Status Start(Observer* observer);

  Result<struct stat> Lookup(uint64_t parent, std::string_view name);
  Result<struct stat> Attributes(uint64_t inode);
  Result<std::string> ReadLink(uint64_t inode);
  Result<std::map<std::string, std::string>> Xattrs(uint64_t inode);
  Result<std::shared_ptr<MountedFile>> Open(uint64_t inode);

  // Entries of a directory but "." and "..", from where `cookie` says (0: the first), until `emit`
  // returns false. `next` is the cookie with which to go on behind that entry.
  using EmitFn =
      std::function<bool(const std::string& name, const struct stat& attributes, uint64_t next)>;
  Status ReadDirectory(uint64_t inode, uint64_t cookie, const EmitFn& emit);

  // "ids/0123456789abcdef" for inodes within a snapshot; for messages.
  std::string SnapshotOf(uint64_t inode) const;

 private:
  struct Opened {
    std::mutex mutex;  // held while it is being opened
    std::shared_ptr<SnapshotReader> reader;
  };

  Result<std::shared_ptr<SnapshotReader>> Snapshot(uint32_t number);
  Result<PlacedEntry> EntryOf(const Inode& inode);
  Result<struct stat> LookupOwn(const Inode& parent, std::string_view name);
  // Among the names that are known.
  Result<struct stat> FindOwn(const Inode& parent, std::string_view name) const;
  Status ReadOwnDirectory(const Inode& inode, uint64_t cookie, const EmitFn& emit);
  Status ReadFixed(uint64_t cookie, const EmitFn& emit);
  Status ReadLinks(const Inode& inode, uint64_t cookie, const EmitFn& emit);
  struct stat OwnDirectory(const Inode& inode) const;
  struct stat TopDirectory(const NamedSnapshot& snapshot) const;
  struct stat Link(uint64_t depth, const NamedSnapshot& snapshot) const;

  // Has the list of snapshots brought up to date if it is older than some seconds; waits a little.
  void Freshen();
  void RefreshLoop();
  // `names_missing`: set when a snapshot was left out that cannot be read.
  Status Refresh(bool* names_missing);

  Repository* const repository_;
  const MountedTreeOptions options_;
  const int64_t started_ns_;
  SnapshotNames names_;

  std::mutex opened_mutex_;  // guards what follows
  std::map<uint32_t, std::shared_ptr<Opened>> opened_;
  std::list<uint32_t> recent_;  // numbers in opened_, most recent first

  std::mutex refresh_mutex_;  // guards what follows
  std::condition_variable refresh_wake_;
  std::condition_variable refreshed_;
  bool refresh_wanted_ = false;
  bool refresh_failed_ = false;  // the last one
  bool names_missing_ = false;   // it failed, or left out snapshots that cannot be read
  bool stopping_ = false;
  uint64_t refreshes_ = 0;
  std::chrono::steady_clock::time_point refreshed_at_;

  std::unique_ptr<BackgroundTasks> background_;
  std::thread refresher_;
};

// Attributes of an entry in snapshot `number`.
struct stat EntryAttributes(uint32_t number, const PlacedEntry& placed);

}  // namespace snapstore::cli

#endif  // SNAPSTORE_TOOLS_SNAPSTORE_MOUNT_MOUNTED_TREE_H_
