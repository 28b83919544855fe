#include "engine/restore_target.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/openat2.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <optional>

#include "base/file.h"
#include "base/status_macros.h"

namespace snapstore {
namespace {

// Directories kept open at once.
constexpr size_t kOpenDirectoriesMax = 128;
// Somebody else may put things in the way again while we clear it.
constexpr int kReplaceAttemptsMax = 4;

constexpr mode_t kParentMode = 0755;
constexpr mode_t kDirectoryMode = 0700;
constexpr mode_t kFileMode = 0600;

// Opens one component; -1 with errno.
int OpenBeneath(int parent, const std::string& name, int flags, mode_t mode) {
  open_how how{};
  how.flags = static_cast<uint64_t>(flags) | O_CLOEXEC | O_NOFOLLOW;
  how.mode = mode;
  how.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS;
  for (;;) {
    const long fd = ::syscall(SYS_openat2, parent, name.c_str(), &how, sizeof(how));
    if (fd >= 0 || errno != EINTR) return static_cast<int>(fd);
  }
}

}  // namespace

Result<std::unique_ptr<TargetTree>> TargetTree::Open(const std::string& path) {
  SNAP_RETURN_IF_ERROR(MakeDirectories(path).WithContext("target"));
  Result<UniqueFd> root = snapstore::OpenFile(path, O_RDONLY | O_DIRECTORY);
  if (!root.ok()) return root.status().WithContext("target");
  return std::unique_ptr<TargetTree>(new TargetTree(path, std::move(*root)));
}

TargetTree::TargetTree(std::string name, UniqueFd root)
    : name_(std::move(name)), root_(std::make_shared<const UniqueFd>(std::move(root))) {}

Status TargetTree::Error(const char* operation, std::string_view path) const {
  const int error_number = errno;
  const char* const separator = name_.ends_with('/') ? "" : "/";
  return Status::FromErrno(error_number,
                           fmt::format("{} {}{}{}", operation, name_, separator, path));
}

TargetTree::DirectoryPtr TargetTree::Cached(std::string_view path) {
  std::lock_guard lock(mutex_);
  const auto it = open_.find(path);
  if (it == open_.end()) return nullptr;
  recent_.splice(recent_.begin(), recent_, it->second);
  return it->second->second;
}

void TargetTree::Keep(std::string path, const DirectoryPtr& directory) {
  std::lock_guard lock(mutex_);
  if (open_.contains(path)) return;
  recent_.emplace_front(std::move(path), directory);
  open_.emplace(recent_.front().first, recent_.begin());
  if (recent_.size() <= kOpenDirectoriesMax) return;
  open_.erase(recent_.back().first);
  recent_.pop_back();
}

Result<UniqueFd> TargetTree::OpenComponent(int parent, const std::string& path,
                                           const std::string& name) {
  constexpr int kFlags = O_PATH | O_DIRECTORY;
  UniqueFd fd(OpenBeneath(parent, name, kFlags, 0));
  if (!fd.valid() && errno == ENOENT) {
    if (::mkdirat(parent, name.c_str(), kParentMode) == 0) {
      if (made_) made_(path);
    } else if (errno != EEXIST) {
      return Error("make directory", path);
    }
    fd.Reset(OpenBeneath(parent, name, kFlags, 0));
  }
  if (fd.valid()) return fd;
  if (errno == ENOTDIR || errno == ELOOP) {
    return Error("not a directory, or a symlink, which is not followed:", path);
  }
  return Error("open directory", path);
}

Result<TargetTree::DirectoryPtr> TargetTree::Directory(std::string_view path) {
  // From the nearest directory that is open, downwards.
  std::string_view known = path;
  DirectoryPtr directory = known.empty() ? root_ : Cached(known);
  while (directory == nullptr) {
    const size_t slash = known.rfind('/');
    known = known.substr(0, slash == std::string_view::npos ? 0 : slash);
    directory = known.empty() ? root_ : Cached(known);
  }
  size_t done = known.size();
  while (done < path.size()) {
    const size_t begin = done == 0 ? 0 : done + 1;
    done = std::min(path.find('/', begin), path.size());
    const std::string name(path.substr(begin, done - begin));
    std::string here(path.substr(0, done));
    SNAP_ASSIGN_OR_RETURN(UniqueFd fd, OpenComponent(directory->get(), here, name));
    directory = std::make_shared<const UniqueFd>(std::move(fd));
    Keep(std::move(here), directory);
  }
  return directory;
}

Result<TargetTree::DirectoryPtr> TargetTree::Parent(const std::string& path, std::string* name) {
  const size_t slash = path.rfind('/');
  *name = slash == std::string::npos ? path : path.substr(slash + 1);
  return Directory(std::string_view(path).substr(0, slash == std::string::npos ? 0 : slash));
}

Status TargetTree::Replacing(const char* operation, const std::string& path, int parent,
                             const std::string& name, const std::function<int()>& make) {
  for (int attempt = 0; attempt < kReplaceAttemptsMax; ++attempt) {
    if (make() == 0) return {};
    if (errno != EEXIST) return Error(operation, path);
    if (::unlinkat(parent, name.c_str(), 0) == 0 || errno == ENOENT) continue;
    if (errno != EISDIR) return Error("replace", path);
    if (::unlinkat(parent, name.c_str(), AT_REMOVEDIR) == 0) continue;
    return Error("replace the directory", path);
  }
  errno = EEXIST;
  return Error(operation, path);
}

Status TargetTree::MakeDirectory(const std::string& path) {
  std::string name;
  SNAP_ASSIGN_OR_RETURN(const DirectoryPtr parent, Parent(path, &name));
  return Replacing("make directory", path, parent->get(), name, [&] {
    if (::mkdirat(parent->get(), name.c_str(), kDirectoryMode) == 0) return 0;
    struct stat found;
    if (errno == EEXIST &&
        ::fstatat(parent->get(), name.c_str(), &found, AT_SYMLINK_NOFOLLOW) == 0) {
      if (S_ISDIR(found.st_mode)) return 0;
      errno = EEXIST;
    }
    return -1;
  });
}

Result<UniqueFd> TargetTree::CreateFile(const std::string& path) {
  std::string name;
  SNAP_ASSIGN_OR_RETURN(const DirectoryPtr parent, Parent(path, &name));
  UniqueFd fd;
  SNAP_RETURN_IF_ERROR(Replacing("create", path, parent->get(), name, [&] {
    fd.Reset(OpenBeneath(parent->get(), name, O_RDWR | O_CREAT | O_EXCL, kFileMode));
    return fd.valid() ? 0 : -1;
  }));
  return fd;
}

Status TargetTree::MakeSymlink(const std::string& path, const std::string& content) {
  std::string name;
  SNAP_ASSIGN_OR_RETURN(const DirectoryPtr parent, Parent(path, &name));
  return Replacing("make symlink", path, parent->get(), name,
                   [&] { return ::symlinkat(content.c_str(), parent->get(), name.c_str()); });
}

Status TargetTree::MakeNode(const std::string& path, mode_t type, dev_t device) {
  std::string name;
  SNAP_ASSIGN_OR_RETURN(const DirectoryPtr parent, Parent(path, &name));
  return Replacing("make node", path, parent->get(), name, [&] {
    return ::mknodat(parent->get(), name.c_str(), type | kFileMode, device);
  });
}

Status TargetTree::MakeHardLink(const std::string& from, const std::string& path) {
  std::string from_name;
  std::string name;
  SNAP_ASSIGN_OR_RETURN(const DirectoryPtr from_parent, Parent(from, &from_name));
  SNAP_ASSIGN_OR_RETURN(const DirectoryPtr parent, Parent(path, &name));
  return Replacing("link", path, parent->get(), name, [&] {
    if (::linkat(from_parent->get(), from_name.c_str(), parent->get(), name.c_str(), 0) == 0) {
      return 0;
    }
    struct stat first;
    struct stat second;
    const int error_number = errno;
    if (error_number == EEXIST &&
        ::fstatat(from_parent->get(), from_name.c_str(), &first, AT_SYMLINK_NOFOLLOW) == 0 &&
        ::fstatat(parent->get(), name.c_str(), &second, AT_SYMLINK_NOFOLLOW) == 0 &&
        first.st_dev == second.st_dev && first.st_ino == second.st_ino) {
      return 0;
    }
    errno = error_number;
    return -1;
  });
}

Result<UniqueFd> TargetTree::OpenFile(const std::string& path) {
  std::string name;
  SNAP_ASSIGN_OR_RETURN(const DirectoryPtr parent, Parent(path, &name));
  struct stat found;
  if (::fstatat(parent->get(), name.c_str(), &found, AT_SYMLINK_NOFOLLOW) != 0) {
    return Error("open", path);
  }
  errno = ENOENT;
  if (!S_ISREG(found.st_mode)) return Error("open", path);
  // O_NONBLOCK, in case a FIFO has taken the file's place meanwhile.
  UniqueFd fd(OpenBeneath(parent->get(), name, O_RDWR | O_NONBLOCK, 0));
  if (!fd.valid() || ::fstat(fd.get(), &found) != 0) return Error("open", path);
  errno = ENOENT;
  if (!S_ISREG(found.st_mode)) return Error("open", path);
  return fd;
}

Result<UniqueFd> TargetTree::OpenPath(const std::string& path) {
  std::string name;
  SNAP_ASSIGN_OR_RETURN(const DirectoryPtr parent, Parent(path, &name));
  UniqueFd fd(OpenBeneath(parent->get(), name, O_PATH, 0));
  if (!fd.valid()) return Error("open", path);
  return fd;
}

Status TargetTree::Remove(const std::string& path) {
  std::string name;
  SNAP_ASSIGN_OR_RETURN(const DirectoryPtr parent, Parent(path, &name));
  if (::unlinkat(parent->get(), name.c_str(), 0) == 0 || errno == ENOENT) return {};
  return Error("remove", path);
}

Status TargetTree::Sync() {
  if (::syncfs(root_->get()) == 0) return {};
  return Error("sync", "");
}

}  // namespace snapstore
