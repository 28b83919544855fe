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

#include "base/clock.h"
#include "base/file.h"
#include "base/status_macros.h"
#include "uploader/internal/directory_doctor.h"
#include "uploader/internal/directory_walk.h"
#include "uploader/internal/store_root.h"
#include "uploader/store_doctor.h"

namespace snapstore {
namespace {

using internal::StoreRoot;
using internal::TemporaryFile;

constexpr unsigned kRemotePutsAtOnce = 4;
constexpr unsigned kRemoteGetsAtOnce = 8;
// The kernel takes no more of one such request than the mount's rsize, at most 1 MiB.
constexpr uint64_t kAskAheadBytes = 1 << 20;

// Of an object or its folder: perhaps only in the memory of a network mount.
bool IsAbsence(int error_number) { return error_number == ENOENT || error_number == ESTALE; }

bool IsLinkRefused(int error_number) {
  return error_number == EPERM || error_number == EOPNOTSUPP || error_number == ENOSYS ||
         error_number == EMLINK;
}

class DirectoryStore final : public ObjectStore, public DiagnosableStore {
 public:
  DirectoryStore(std::string described, std::unique_ptr<StoreRoot> root)
      : described_(std::move(described)), root_(std::move(root)) {}

  Result<PutOutcome> PutIfAbsent(const ObjectKey& key, std::span<const ByteSpan> parts) override {
    SNAP_RETURN_IF_ERROR(CheckKey(key));
    // A guess that spares writing what is there; a network mount's memory is no proof.
    struct stat info {};
    const int guess = ::fstatat(root_->fd(), key.text().c_str(), &info, AT_SYMLINK_NOFOLLOW);
    bool exists = false;
    if (guess == 0 || errno != ENOENT) {
      SNAP_ASSIGN_OR_RETURN(exists, IsInPlace(key));
    }
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
    return WithObject(key, [&](const OpenObject& object) -> Status {
      if (offset > object.size || out.size() > object.size - offset) {
        return Status::Corruption(fmt::format("{}/{} has {} bytes, {} at {} were expected",
                                              root_->path(), key.text(), object.size, out.size(),
                                              offset));
      }
      return ReadExactly(object, key, offset, out);
    });
  }

  Result<Bytes> Get(const ObjectKey& key, size_t bytes_max) override {
    Bytes bytes;
    SNAP_RETURN_IF_ERROR(WithObject(key, [&](const OpenObject& object) -> Status {
      if (object.size > bytes_max) {
        return Status::InvalidArgument(fmt::format("{}/{} has {} bytes, more than the {} allowed",
                                                   root_->path(), key.text(), object.size,
                                                   bytes_max));
      }
      bytes.resize(object.size);
      return ReadExactly(object, key, 0, bytes);
    }));
    return bytes;
  }

  Result<ObjectInfo> Stat(const ObjectKey& key) override {
    SNAP_RETURN_IF_ERROR(CheckKey(key));
    struct stat info {};
    if (const int error_number = root_->StatFresh(key.text(), &info); error_number != 0) {
      return root_->ReadError(error_number, "stat", key.text());
    }
    SNAP_RETURN_IF_ERROR(CheckType(key, info));
    return ObjectInfo{key.text(), static_cast<uint64_t>(info.st_size), ToNanos(info.st_mtim)};
  }

  Status List(std::string_view prefix,
              const std::function<Status(const ObjectInfo&)>& visit) override {
    return internal::WalkObjects(*root_, prefix, visit);
  }

  Status Delete(const ObjectKey& key) override {
    SNAP_RETURN_IF_ERROR(CheckKey(key));
    int error_number = ::unlinkat(root_->fd(), key.text().c_str(), 0) == 0 ? 0 : errno;
    if (IsAbsence(error_number)) {
      const std::string name(internal::NameOfKey(key.text()));
      UniqueFd folder;
      error_number = root_->OpenFresh(internal::FolderOfKey(key.text()), &folder);
      if (error_number == 0 && ::unlinkat(folder.get(), name.c_str(), 0) != 0) error_number = errno;
    }
    if (error_number != 0) return root_->ReadError(error_number, "delete", key.text());
    // A manifest must not come back after a crash once the packs it names are deleted.
    return root_->SyncFolder(key.text());
  }

  // Far away, a put is a dozen round trips and little else.
  unsigned PutsAtOnce() const override { return root_->remote() ? kRemotePutsAtOnce : 1; }
  // The kernel reads ahead by itself, but not from one file to the next.
  unsigned GetsAtOnce() const override { return root_->remote() ? kRemoteGetsAtOnce : 1; }

  bool Diagnose(bool /*write_probe*/, const DiagnosisSink& sink) override {
    internal::DiagnoseDirectory(root_->path(), sink);
    return true;
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

  // Whether the object is there now, as the server knows it.
  Result<bool> IsInPlace(const ObjectKey& key) const {
    struct stat info {};
    const int error_number = root_->StatFresh(key.text(), &info);
    if (error_number == ENOENT) return false;
    if (error_number == ENOTDIR) {
      return Status::Conflict(fmt::format("put {}/{}: an object has the name of its folder",
                                          root_->path(), key.text()));
    }
    if (error_number != 0) return root_->WriteError(error_number, "stat", key.text());
    if (S_ISREG(info.st_mode)) return true;
    return Status::Conflict(fmt::format("put {}/{}: something else that is not an object is there",
                                        root_->path(), key.text()));
  }

  Result<PutOutcome> Create(const ObjectKey& key, std::span<const ByteSpan> parts) {
    SNAP_ASSIGN_OR_RETURN(TemporaryFile file, root_->MakeTemporary());
    if (const int error_number = PwriteParts(file.fd(), parts, 0); error_number != 0) {
      return root_->WriteError(error_number, "write", key.text());
    }
    const Status synced = SyncFd(file.fd(), "");
    if (!synced.ok()) return root_->WriteError(synced.error_number(), "fsync", key.text());
    if (const int error_number = file.Close(); error_number != 0) {
      return root_->WriteError(error_number, "close", key.text());
    }
    for (int attempt = 0; attempt < internal::kStaleAttempts; ++attempt) {
      const int error_number = Name(file, key);
      if (error_number == 0) return PutOutcome::kCreated;
      if (error_number == EEXIST) {
        // Somebody else's, unless that is only what a network mount remembers.
        SNAP_ASSIGN_OR_RETURN(const bool exists, IsInPlace(key));
        if (exists) return PutOutcome::kExisted;
      } else if (IsAbsence(error_number)) {
        SNAP_RETURN_IF_ERROR(MakeFolderAgain(key));
      } else {
        return root_->WriteError(error_number, "create", key.text());
      }
    }
    return Status::Conflict(fmt::format(
        "put {}/{}: it, or its folder, was removed at the same time, several times over",
        root_->path(), key.text()));
  }

  Status MakeFolderAgain(const ObjectKey& key) {
    root_->ForgetFolders();
    // Asked for anew, or mkdir is told of the folder that somebody else removed.
    UniqueFd fresh;
    root_->OpenFresh(internal::FolderOfKey(key.text()), &fresh);
    return root_->EnsureFolder(key.text());
  }

  // Gives the finished file its key. Returns 0 or the errno.
  int Name(const TemporaryFile& file, const ObjectKey& key) const {
    const char* const from = file.name().c_str();
    const char* const to = key.text().c_str();
    if (::linkat(root_->fd(), from, root_->fd(), to, 0) == 0) return 0;
    if (errno == EEXIST) return IsLinkedTwice(file) ? 0 : EEXIST;
    if (!IsLinkRefused(errno)) return errno;
    return ::renameat2(root_->fd(), from, root_->fd(), to, RENAME_NOREPLACE) == 0 ? 0 : errno;
  }

  // An NFS client repeats a request whose answer was lost and then meets its own link.
  bool IsLinkedTwice(const TemporaryFile& file) const {
    struct statx info {};
    return internal::StatxFresh(root_->fd(), file.name().c_str(), AT_SYMLINK_NOFOLLOW, &info) ==
               0 &&
           info.stx_nlink == 2;
  }

  // Returns 0 or the errno; ENOENT only when that is no memory of a network mount.
  int OpenFile(const ObjectKey& key, UniqueFd* out) const {
    // O_NONBLOCK: a FIFO in the place of an object must not hang the reader.
    constexpr int kFlags = O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC;
    const std::string name(internal::NameOfKey(key.text()));
    UniqueFd fd(::openat(root_->fd(), key.text().c_str(), kFlags));
    for (int attempt = 0; !fd.valid(); ++attempt) {
      const int error_number = errno;
      if (!IsAbsence(error_number) || attempt == internal::kStaleAttempts ||
          (error_number == ENOENT && attempt > 0)) {
        return error_number;
      }
      UniqueFd folder;
      const int folder_error = root_->OpenFresh(internal::FolderOfKey(key.text()), &folder);
      if (folder_error != 0) return folder_error;
      fd = UniqueFd(::openat(folder.get(), name.c_str(), kFlags));
    }
    *out = std::move(fd);
    return 0;
  }

  Result<OpenObject> Open(const ObjectKey& key) const {
    UniqueFd fd;
    if (const int error_number = OpenFile(key, &fd); error_number != 0) {
      return root_->ReadError(error_number, "open", key.text());
    }
    struct stat info {};
    if (::fstat(fd.get(), &info) != 0) return root_->WriteError(errno, "stat", key.text());
    SNAP_RETURN_IF_ERROR(CheckType(key, info));
    return OpenObject{std::move(fd), static_cast<uint64_t>(info.st_size)};
  }

  // Runs `read` on the open object, and on one opened anew when it was deleted (and perhaps put
  // again) on the server meanwhile.
  template <typename Read>
  Status WithObject(const ObjectKey& key, const Read& read) const {
    SNAP_RETURN_IF_ERROR(CheckKey(key));
    Status status;
    for (int attempt = 0; attempt < internal::kStaleAttempts; ++attempt) {
      SNAP_ASSIGN_OR_RETURN(const OpenObject object, Open(key));
      status = read(object);
      if (status.error_number() != ESTALE) break;
    }
    // What came from the kernel gets the file server's part in it.
    if (status.error_number() == 0) return status;
    return root_->WriteError(status.error_number(), "read", key.text());
  }

  Status ReadExactly(const OpenObject& object, const ObjectKey& key, uint64_t offset,
                     MutableByteSpan out) const {
    if (root_->remote()) AskAhead(object.fd.get(), offset, out.size());
    const std::string name = fmt::format("{}/{}", root_->path(), key.text());
    SNAP_ASSIGN_OR_RETURN(const size_t got, PreadFull(object.fd.get(), out, offset, name));
    if (got == out.size()) return Status::Ok();
    return Status::Corruption(fmt::format("{} became shorter while it was read", name));
  }

  // Has the kernel ask for the whole range at once instead of step by step.
  static void AskAhead(int fd, uint64_t offset, uint64_t bytes) {
    for (uint64_t done = 0; done < bytes; done += kAskAheadBytes) {
      ::posix_fadvise(fd, static_cast<off_t>(offset + done),
                      static_cast<off_t>(std::min<uint64_t>(kAskAheadBytes, bytes - done)),
                      POSIX_FADV_WILLNEED);
    }
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
