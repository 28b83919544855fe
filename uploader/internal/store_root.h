// StoreRoot: the folder of a DirectoryStore, held open, and what may be believed of names below it.
// Private to uploader.
//
// Every access goes through the descriptor, never through the path: should the file system be
// unmounted and the bare mount point show below it, the store must not take that for an empty
// store.
//
// An NFS client answers from caches that may be a minute old: a name that another client made is
// missing still, one that it removed is there still. OpenFresh() gets a folder whose names are
// current: opening a folder makes the client ask the server whether it changed ("close-to-open",
// nfs(5)), and drop what it remembers of the names in it if so.
//
// Thread safety: all calls may run concurrently.
#ifndef SNAPSTORE_UPLOADER_INTERNAL_STORE_ROOT_H_
#define SNAPSTORE_UPLOADER_INTERNAL_STORE_ROOT_H_

#include <sys/stat.h>

#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <string_view>
#include <utility>

#include "base/network_file_system.h"
#include "base/unique_fd.h"
#include "snapstore/status.h"

namespace snapstore::internal {

// A file in the temporary folder, deleted with this object.
class TemporaryFile {
 public:
  TemporaryFile(int folder_fd, std::string name, UniqueFd file)
      : folder_fd_(folder_fd), name_(std::move(name)), file_(std::move(file)) {}
  TemporaryFile(TemporaryFile&& other) noexcept
      : folder_fd_(std::exchange(other.folder_fd_, -1)),
        name_(std::move(other.name_)),
        file_(std::move(other.file_)) {}
  TemporaryFile& operator=(TemporaryFile&&) = delete;
  ~TemporaryFile();

  const std::string& name() const { return name_; }  // relative to the root
  int fd() const { return file_.get(); }
  // Returns 0 or the errno: a file system may tell as late as this that the bytes were not written.
  // (Besides, an NFS client would rename an open file to .nfsXXXX instead of deleting it.)
  int Close();

 private:
  int folder_fd_;
  std::string name_;
  UniqueFd file_;
};

// How often to try again what fails with ESTALE: a folder on the way was removed and made again
// between two calls. Once is enough unless somebody does so all the time.
inline constexpr int kStaleAttempts = 4;

// "a/b" for "a/b/c", empty for "c".
std::string_view FolderOfKey(std::string_view key);
// "c" for "a/b/c".
std::string_view NameOfKey(std::string_view key);

// statx(2) that asks the file server. Returns 0 or the errno.
int StatxFresh(int fd, const char* path, int flags, struct statx* info);

class StoreRoot {
 public:
  // Not a valid component of a key, so that no object can live there.
  static constexpr std::string_view kTemporaryFolder = "+tmp";
  static constexpr int64_t kStaleSeconds = int64_t{24} * 60 * 60;

  // NotFound only when `path` certainly does not exist.
  static Result<std::unique_ptr<StoreRoot>> Open(const std::string& path);

  int fd() const { return fd_.get(); }
  const std::string& path() const { return path_; }
  FileSystemKind kind() const { return kind_; }
  bool remote() const { return kind_ != FileSystemKind::kLocal; }

  // Opens the folder `name` (empty: the root), having asked the file server about it and each
  // folder on the way. Returns 0 or the errno. ENOENT: it is not there, if CheckPresent() is OK.
  int OpenFresh(std::string_view name, UniqueFd* out) const;

  // stat(2), without following links, of what the server has under `name` now. Returns 0 or the
  // errno, as OpenFresh().
  int StatFresh(std::string_view name, struct stat* info) const;

  // Io unless `path` still leads to the folder that was opened. An absence found below the root is
  // certain only then.
  Status CheckPresent() const;

  // The answer to `error_number` of reading or deleting the object or folder `name`: NotFound for
  // ENOENT with the root in place, never for anything else.
  Status ReadError(int error_number, std::string_view operation, std::string_view name) const;

  // The same for operations that make something, of which nothing is ever "not found". Both say
  // what is behind errors of network mounts and full disks.
  Status WriteError(int error_number, std::string_view operation, std::string_view name) const;

  // Makes the folder of the key `name` and its parents, all of them durable. Remembers which are.
  Status EnsureFolder(std::string_view name);

  // For a folder that somebody removed after it was made: all are made again.
  void ForgetFolders();

  // Makes the names in the folder that holds the key `name` durable.
  Status SyncFolder(std::string_view name) const;

  // The first file a process makes also sets off the removal of stale ones.
  Result<TemporaryFile> MakeTemporary();

 private:
  StoreRoot(std::string path, UniqueFd fd, bool shared, FileSystemKind kind)
      : path_(std::move(path)), fd_(std::move(fd)), shared_(shared), kind_(kind) {}

  mode_t FolderMode() const { return shared_ ? 0770 : 0700; }
  Status MakeFolder(const std::string& name);
  Result<TemporaryFile> OpenTemporary(std::string name);
  void RemoveStale(int64_t now_seconds) const;
  std::string Cause(int error_number) const;
  std::string CauseOfFailedCall() const;

  const std::string path_;  // absolute
  const UniqueFd fd_;
  const bool shared_;  // with its group
  const FileSystemKind kind_;
  std::mutex mutex_;
  std::set<std::string, std::less<>> durable_folders_;
  std::once_flag stale_removed_;
};

}  // namespace snapstore::internal

#endif  // SNAPSTORE_UPLOADER_INTERNAL_STORE_ROOT_H_
