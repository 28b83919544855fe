// StoreRoot: the folder of a DirectoryStore, held open, and the durability of names below it.
// Private to uploader.
//
// Every access goes through the descriptor, never through the path: should the file system be
// unmounted and the bare mount point show below it, the store must not take that for an empty
// store.
//
// Thread safety: all calls may run concurrently.
#ifndef SNAPSTORE_UPLOADER_INTERNAL_STORE_ROOT_H_
#define SNAPSTORE_UPLOADER_INTERNAL_STORE_ROOT_H_

#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <string_view>

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
  // An NFS client would rename an open file to .nfsXXXX instead of deleting it.
  void Close() { file_.Reset(); }

 private:
  int folder_fd_;
  std::string name_;
  UniqueFd file_;
};

class StoreRoot {
 public:
  // Not a valid component of a key, so that no object can live there.
  static constexpr std::string_view kTemporaryFolder = "+tmp";
  static constexpr int64_t kStaleSeconds = int64_t{24} * 60 * 60;

  // NotFound only when `path` certainly does not exist.
  static Result<std::unique_ptr<StoreRoot>> Open(const std::string& path);

  int fd() const { return fd_.get(); }
  const std::string& path() const { return path_; }

  // Io unless `path` still leads to the folder that was opened. An absence found below the root is
  // certain only then.
  Status CheckPresent() const;

  // The answer to `error_number` of reading or deleting the object or folder `name`: NotFound for
  // ENOENT with the root in place, never for anything else.
  Status ReadError(int error_number, std::string_view operation, std::string_view name) const;

  // The same for operations that make something, of which nothing is ever "not found".
  Status WriteError(int error_number, std::string_view operation, std::string_view name) const;

  // Makes the folder of the key `name` and its parents, all of them durable. Remembers which are.
  Status EnsureFolder(std::string_view name);

  // For a folder that somebody removed after it was made.
  void ForgetFolders();

  // fsync of the folder that holds the key `name`.
  Status SyncFolder(std::string_view name) const;

  // The first file a process makes also sets off the removal of stale ones.
  Result<TemporaryFile> MakeTemporary();

 private:
  StoreRoot(std::string path, UniqueFd fd, bool shared)
      : path_(std::move(path)), fd_(std::move(fd)), shared_(shared) {}

  mode_t FolderMode() const { return shared_ ? 0770 : 0700; }
  Status MakeFolder(const std::string& name);
  void RemoveStale(int64_t now_seconds) const;

  const std::string path_;  // absolute
  const UniqueFd fd_;
  const bool shared_;  // with its group
  std::mutex mutex_;
  std::set<std::string, std::less<>> durable_folders_;
  std::once_flag stale_removed_;
};

}  // namespace snapstore::internal

#endif  // SNAPSTORE_UPLOADER_INTERNAL_STORE_ROOT_H_
