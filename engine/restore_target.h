// TargetTree: the directory a restore writes below, and nothing outside it.
//
// Every path is walked one component at a time with openat2(RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS |
// RESOLVE_NO_MAGICLINKS), so a symlink in a directory's place is an error, never followed, and a
// path may be longer than PATH_MAX. What stands at a path's last component is replaced by the
// making calls, except a directory that is not empty.
//
// Paths are those of entries: relative, without "." and "..".
//
// Thread safety: all calls may run concurrently.
#ifndef SNAPSTORE_ENGINE_RESTORE_TARGET_H_
#define SNAPSTORE_ENGINE_RESTORE_TARGET_H_

#include <sys/stat.h>

#include <cstdint>
#include <functional>
#include <list>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>

#include "base/unique_fd.h"
#include "snapstore/status.h"

namespace snapstore {

class TargetTree {
 public:
  // Makes the directory when it is missing.
  static Result<std::unique_ptr<TargetTree>> Open(const std::string& path);

  // Called with the path of each directory that is made because something is to lie below it.
  // REQUIRES: set before any other call.
  void OnParentMade(std::function<void(const std::string&)> made) { made_ = std::move(made); }

  // A directory, kept if there is one; mode 0700 if not.
  Status MakeDirectory(const std::string& path);
  // A new empty file of mode 0600, open for reading and writing.
  Result<UniqueFd> CreateFile(const std::string& path);
  Status MakeSymlink(const std::string& path, const std::string& content);
  // A FIFO, socket or device node: `type` is S_IFIFO, ….
  Status MakeNode(const std::string& path, mode_t type, dev_t device);
  // Gives the file at `from` a second name; done already if `path` is that file.
  Status MakeHardLink(const std::string& from, const std::string& path);

  // An existing regular file for reading and writing; NotFound when there is none, or something
  // else.
  Result<UniqueFd> OpenFile(const std::string& path);
  // Whatever is there, as O_PATH, symlinks not followed.
  Result<UniqueFd> OpenPath(const std::string& path);

  Status Remove(const std::string& path);
  // Makes all that was written durable (syncfs).
  Status Sync();

 private:
  using DirectoryPtr = std::shared_ptr<const UniqueFd>;

  TargetTree(std::string name, UniqueFd root);

  // The directory that holds `path`, made when missing, and the last component.
  Result<DirectoryPtr> Parent(const std::string& path, std::string* name);
  Result<DirectoryPtr> Directory(std::string_view path);
  Result<UniqueFd> OpenComponent(int parent, const std::string& path, const std::string& name);
  // Calls `make` (0 or -1 with errno); what is in the way is removed and `make` called again.
  Status Replacing(const char* operation, const std::string& path, int parent,
                   const std::string& name, const std::function<int()>& make);
  DirectoryPtr Cached(std::string_view path);
  void Keep(std::string path, const DirectoryPtr& directory);
  Status Error(const char* operation, std::string_view path) const;

  const std::string name_;  // as the user wrote it, for messages
  const DirectoryPtr root_;
  std::function<void(const std::string&)> made_;

  using Recent = std::list<std::pair<std::string, DirectoryPtr>>;
  std::mutex mutex_;  // guards what follows
  Recent recent_;     // open directories, most recent first
  std::unordered_map<std::string_view, Recent::iterator> open_;
};

}  // namespace snapstore

#endif  // SNAPSTORE_ENGINE_RESTORE_TARGET_H_
