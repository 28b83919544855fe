#include "uploader/directory_store.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <optional>
#include <utility>
#include <vector>

#include "base/file.h"
#include "base/status_macros.h"
#include "uploader/internal/directory_walk.h"
#include "uploader/internal/store_root.h"

namespace snapstore {
namespace {

using internal::StoreRoot;
using internal::TemporaryFile;

bool IsLinkRefused(int error_number) {
  return error_number == EPERM || error_number == EOPNOTSUPP || error_number == ENOSYS ||
         error_number == EMLINK;
}

class DirectoryStore final : public ObjectStore {
 public:
  DirectoryStore(std::string described, std::unique_ptr<StoreRoot> root)
      : described_(std::move(described)), root_(std::move(root)) {}

  Result<PutOutcome> PutIfAbsent(const ObjectKey& key, std::span<const ByteSpan> parts) override {
    SNAP_RETURN_IF_ERROR(CheckKey(key));
    SNAP_ASSIGN_OR_RETURN(bool exists, IsInPlace(key));
    SNAP_RETURN_IF_ERROR(root_->EnsureFolder(key.text()));
    PutOutcome outcome = PutOutcome::kExisted;
    if (!exists) {
      SNAP_ASSIGN_OR_RETURN(outcome, Create(key, parts));
    }
    // Also for an object of somebody else, who may not have got as far as this.
    SNAP_RETURN_IF_ERROR(root_->SyncFolder(key.text()));
    return outcome;
  }

  Status GetRange(const ObjectKey& key, uint64_t offset, MutableByteSpan out) override {
    SNAP_ASSIGN_OR_RETURN(const OpenObject object, Open(key));
    if (offset > object.size || out.size() > object.size - offset) {
      return Status::Corruption(fmt::format("{}/{} has {} bytes, {} at {} were expected",
                                            root_->path(), key.text(), object.size, out.size(),
                                            offset));
    }
    return ReadExactly(object, key, offset, out);
  }

  Result<Bytes> Get(const ObjectKey& key, size_t bytes_max) override {
    SNAP_ASSIGN_OR_RETURN(const OpenObject object, Open(key));
    if (object.size > bytes_max) {
      return Status::InvalidArgument(fmt::format("{}/{} has {} bytes, more than the {} allowed",
                                                 root_->path(), key.text(), object.size,
                                                 bytes_max));
    }
    Bytes bytes(object.size);
    SNAP_RETURN_IF_ERROR(ReadExactly(object, key, 0, bytes));
    return bytes;
  }

  Result<ObjectInfo> Stat(const ObjectKey& key) override {
    SNAP_RETURN_IF_ERROR(CheckKey(key));
    struct stat info {};
    if (::fstatat(root_->fd(), key.text().c_str(), &info, AT_SYMLINK_NOFOLLOW) != 0) {
      return root_->ReadError(errno, "stat", key.text());
    }
    SNAP_RETURN_IF_ERROR(CheckType(key, info));
    return ObjectInfo{key.text(), static_cast<uint64_t>(info.st_size)};
  }

  Status List(std::string_view prefix,
              const std::function<Status(const ObjectInfo&)>& visit) override {
    return internal::WalkObjects(*root_, prefix, visit);
  }

  Status Delete(const ObjectKey& key) override {
    SNAP_RETURN_IF_ERROR(CheckKey(key));
    if (::unlinkat(root_->fd(), key.text().c_str(), 0) != 0) {
      return root_->ReadError(errno, "delete", key.text());
    }
    // A manifest must not come back after a crash once the packs it names are deleted.
    return root_->SyncFolder(key.text());
  }

  std::string Describe() const override { return described_; }

 private:
  struct OpenObject {
    UniqueFd fd;
    uint64_t size = 0;
  };

  static Status CheckKey(const ObjectKey& key) {
    const std::string& text = key.text();
    if (text.compare(0, internal::kNfsPrefix.size(), internal::kNfsPrefix) == 0 ||
        text.find(fmt::format("/{}", internal::kNfsPrefix)) != std::string::npos) {
      return Status::InvalidArgument(
          fmt::format("object key {}: names that begin with {} belong to NFS clients", text,
                      internal::kNfsPrefix));
    }
    return Status::Ok();
  }

  // A folder is certainly no object; anything else that is no file was put there by somebody else.
  Status CheckType(const ObjectKey& key, const struct stat& info) const {
    if (S_ISREG(info.st_mode)) return Status::Ok();
    if (S_ISDIR(info.st_mode)) return root_->ReadError(ENOENT, "find object", key.text());
    return Status::Io(fmt::format("{}/{} is not a regular file", root_->path(), key.text()));
  }

  Result<bool> IsInPlace(const ObjectKey& key) const {
    struct stat info {};
    if (::fstatat(root_->fd(), key.text().c_str(), &info, AT_SYMLINK_NOFOLLOW) != 0) {
      if (errno == ENOENT) return false;
      if (errno == ENOTDIR) {
        return Status::Conflict(fmt::format("put {}/{}: an object has the name of its folder",
                                            root_->path(), key.text()));
      }
      return root_->WriteError(errno, "stat", key.text());
    }
    if (S_ISREG(info.st_mode)) return true;
    return Status::Conflict(fmt::format("put {}/{}: something else that is not an object is there",
                                        root_->path(), key.text()));
  }

  Result<PutOutcome> Create(const ObjectKey& key, std::span<const ByteSpan> parts) {
    SNAP_ASSIGN_OR_RETURN(TemporaryFile file, root_->MakeTemporary());
    if (const int error_number = PwriteParts(file.fd(), parts, 0); error_number != 0) {
      return root_->WriteError(error_number, "write", key.text());
    }
    SNAP_RETURN_IF_ERROR(SyncFd(file.fd(), fmt::format("{}/{}", root_->path(), key.text())));
    int error_number = Name(file, key);
    if (error_number == ENOENT) {
      root_->ForgetFolders();
      SNAP_RETURN_IF_ERROR(root_->EnsureFolder(key.text()));
      error_number = Name(file, key);
    }
    file.Close();
    if (error_number == 0) return PutOutcome::kCreated;
    if (error_number != EEXIST) return root_->WriteError(error_number, "create", key.text());
    SNAP_ASSIGN_OR_RETURN(const bool exists, IsInPlace(key));
    if (exists) return PutOutcome::kExisted;
    return Status::Conflict(
        fmt::format("put {}/{}: it was deleted at the same time", root_->path(), key.text()));
  }

  // Gives the finished file its key. Returns 0 or the errno.
  int Name(const TemporaryFile& file, const ObjectKey& key) const {
    const char* const from = file.name().c_str();
    const char* const to = key.text().c_str();
    if (::linkat(root_->fd(), from, root_->fd(), to, 0) == 0) return 0;
    if (errno == EEXIST) {
      // An NFS client repeats a request whose answer was lost and then meets its own link.
      struct stat info {};
      return ::fstat(file.fd(), &info) == 0 && info.st_nlink == 2 ? 0 : EEXIST;
    }
    if (!IsLinkRefused(errno)) return errno;
    return ::renameat2(root_->fd(), from, root_->fd(), to, RENAME_NOREPLACE) == 0 ? 0 : errno;
  }

  Result<OpenObject> Open(const ObjectKey& key) const {
    SNAP_RETURN_IF_ERROR(CheckKey(key));
    // O_NONBLOCK: a FIFO in the place of an object must not hang the reader.
    constexpr int kFlags = O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC;
    UniqueFd fd(::openat(root_->fd(), key.text().c_str(), kFlags));
    if (!fd.valid()) return root_->ReadError(errno, "open", key.text());
    struct stat info {};
    if (::fstat(fd.get(), &info) != 0) return root_->WriteError(errno, "stat", key.text());
    SNAP_RETURN_IF_ERROR(CheckType(key, info));
    return OpenObject{std::move(fd), static_cast<uint64_t>(info.st_size)};
  }

  Status ReadExactly(const OpenObject& object, const ObjectKey& key, uint64_t offset,
                     MutableByteSpan out) const {
    const std::string name = fmt::format("{}/{}", root_->path(), key.text());
    SNAP_ASSIGN_OR_RETURN(const size_t got, PreadFull(object.fd.get(), out, offset, name));
    if (got == out.size()) return Status::Ok();
    return Status::Corruption(fmt::format("{} became shorter while it was read", name));
  }

  const std::string described_;
  const std::unique_ptr<StoreRoot> root_;
};

}  // namespace

Result<std::unique_ptr<ObjectStore>> OpenDirectoryStore(const std::string& path,
                                                        const DirectoryStoreOptions& options) {
  if (path.empty()) return Status::InvalidArgument("directory store: the path is empty");
  if (options.create) SNAP_RETURN_IF_ERROR(MakeDirectories(path, 0700));
  SNAP_ASSIGN_OR_RETURN(std::unique_ptr<StoreRoot> root, StoreRoot::Open(path));
  return std::unique_ptr<ObjectStore>(std::make_unique<DirectoryStore>(path, std::move(root)));
}

}  // namespace snapstore
