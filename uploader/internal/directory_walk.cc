#include "uploader/internal/directory_walk.h"

#include <dirent.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "base/status_macros.h"

namespace snapstore::internal {
namespace {

class Walk {
 public:
  Walk(const StoreRoot& root, std::string_view prefix,
       const std::function<Status(const ObjectInfo&)>& visit)
      : root_(root), prefix_(prefix), visit_(visit) {}

  // The folder `folder` (empty: the root) and all below it.
  Status Folder(const std::string& folder) {
    UniqueFd fd;
    const int error_number = root_.OpenFresh(folder, &fd);
    // Never there, or an object: it holds no objects. Whether the root is in place is asked at the
    // end.
    if (error_number == ENOENT || error_number == ENOTDIR) return Status::Ok();
    if (error_number != 0) return root_.WriteError(error_number, "open folder", folder);
    return Opened(std::move(fd), folder);
  }

 private:
  Status Opened(UniqueFd fd, const std::string& folder) {
    // Names first: the visitor may delete, and readdir may repeat names when a folder changes.
    std::vector<std::string> names;
    int error_number = ReadNames(fd.get(), folder, &names);
    for (int attempt = 1; error_number == ESTALE && attempt < kStaleAttempts; ++attempt) {
      // Removed by another client, and perhaps made again.
      error_number = root_.OpenFresh(folder, &fd);
      if (error_number == ENOENT) return Status::Ok();
      if (error_number == 0) error_number = ReadNames(fd.get(), folder, &names);
    }
    if (error_number != 0) return root_.WriteError(error_number, "read folder", folder);
    const std::string below = folder.empty() ? "" : folder + "/";
    for (const std::string& entry : names) {
      SNAP_RETURN_IF_ERROR(Entry(fd.get(), entry, below + entry));
    }
    return Status::Ok();
  }

  // Returns 0 or the errno. `fd` was opened for this: on NFS the names are those of that moment.
  int ReadNames(int fd, const std::string& folder, std::vector<std::string>* names) {
    names->clear();
    UniqueFd copy(::fcntl(fd, F_DUPFD_CLOEXEC, 0));
    if (!copy.valid()) return errno;
    const std::unique_ptr<DIR, int (*)(DIR*)> entries(::fdopendir(copy.get()), ::closedir);
    if (entries == nullptr) return errno;
    copy.Release();
    for (;;) {
      errno = 0;
      const dirent* const entry = ::readdir(entries.get());
      if (entry == nullptr) break;
      const std::string_view name(entry->d_name);
      if (name.substr(0, kNfsPrefix.size()) == kNfsPrefix) continue;
      if (Leads(folder, name)) names->emplace_back(name);
    }
    if (errno != 0) return errno;
    std::sort(names->begin(), names->end());
    names->erase(std::unique(names->begin(), names->end()), names->end());
    return 0;
  }

  // Whether the entry, or something below it, can match the prefix.
  bool Leads(const std::string& folder, std::string_view name) const {
    std::string key = folder.empty() ? std::string(name) : fmt::format("{}/{}", folder, name);
    const Result<ObjectKey> parsed = ObjectKey::Parse(key);
    if (!parsed.ok()) return false;
    if (key.size() >= prefix_.size()) return key.compare(0, prefix_.size(), prefix_) == 0;
    key += '/';
    return prefix_.compare(0, key.size(), key) == 0;
  }

  Status Entry(int fd, const std::string& name, const std::string& key) {
    struct stat info {};
    int error_number = ::fstatat(fd, name.c_str(), &info, AT_SYMLINK_NOFOLLOW) == 0 ? 0 : errno;
    if (error_number == ESTALE) error_number = root_.StatFresh(key, &info);
    if (error_number == ENOENT) return Status::Ok();  // deleted meanwhile
    if (error_number != 0) return root_.WriteError(error_number, "stat", key);
    if (S_ISDIR(info.st_mode)) return Subfolder(fd, name, key);
    if (!S_ISREG(info.st_mode) || key.size() < prefix_.size()) return Status::Ok();
    return visit_({key, static_cast<uint64_t>(info.st_size), ToNanos(info.st_mtim)});
  }

  Status Subfolder(int fd, const std::string& name, const std::string& key) {
    UniqueFd folder(::openat(fd, name.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
    return folder.valid() ? Opened(std::move(folder), key) : Folder(key);
  }

  const StoreRoot& root_;
  const std::string prefix_;
  const std::function<Status(const ObjectInfo&)>& visit_;
};

}  // namespace

Status WalkObjects(const StoreRoot& root, std::string_view prefix,
                   const std::function<Status(const ObjectInfo&)>& visit) {
  const size_t slash = prefix.find_last_of('/');
  std::string folder;
  if (slash != std::string_view::npos) {
    const Result<ObjectKey> parsed = ObjectKey::Parse(std::string(prefix.substr(0, slash)));
    if (!parsed.ok()) return root.CheckPresent();  // no key begins like this
    folder = parsed->text();
  }
  Walk walk(root, prefix, visit);
  SNAP_RETURN_IF_ERROR(walk.Folder(folder));
  // What was not seen is only absent if the root is still the one that was asked for.
  return root.CheckPresent();
}

}  // namespace snapstore::internal
