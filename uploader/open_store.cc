#include "uploader/open_store.h"

#include <fmt/format.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include <cerrno>
#include <cstdlib>
#include <vector>

#include "base/log.h"
#include "base/status_macros.h"
#include "snapstore/store_settings.h"
#include "uploader/aws/credentials.h"
#include "uploader/directory_store.h"
#include "uploader/internal/efs_mount.h"
#include "uploader/internal/mount_table.h"
#include "uploader/s3/s3_settings.h"
#include "uploader/s3_store.h"

namespace snapstore {
namespace {

bool HasDotFolder(const std::string& path) {
  const std::string closed = path + "/";
  return closed.find("/./") != std::string::npos || closed.find("/../") != std::string::npos;
}

// A directory on the EFS file system named by "fs-ID/folder".
Result<std::string> ResolveEfs(const std::string& address) {
  const size_t slash = address.find('/');
  const std::string id = address.substr(0, slash);
  const std::string folder = slash == std::string::npos ? "" : address.substr(slash);
  if (!internal::IsEfsFileSystemId(id)) {
    return Status::InvalidArgument("'" + id +
                                   "' is not an EFS id: fs- and 8 or 17 hexadecimal digits");
  }
  if (HasDotFolder(folder)) {
    return Status::InvalidArgument("'efs://" + address + "': write the folder without . and ..");
  }
  if (const char* root = std::getenv("SNAPSTORE_EFS_ROOT"); root != nullptr && *root != '\0') {
    return std::string(root) + "/" + id + folder;
  }
  SNAP_ASSIGN_OR_RETURN(const std::vector<internal::MountEntry> mounts, internal::ReadMountTable());
  SNAP_ASSIGN_OR_RETURN(const std::vector<internal::EfsProxy> proxies,
                        internal::ReadEfsProxies(internal::kEfsProxyFolder));
  SNAP_ASSIGN_OR_RETURN(const internal::EfsPlace place,
                        internal::LocateOnEfs(mounts, proxies, id, folder));
  struct stat info {};
  if (::stat(place.mount_point.c_str(), &info) != 0) {
    return Status::Io(
        Status::FromErrno(errno, "EFS file system " + id + " at " + place.mount_point).message());
  }
  if (place.device != fmt::format("{}:{}", major(info.st_dev), minor(info.st_dev))) {
    return Status::Io("EFS file system " + id + " is mounted at " + place.mount_point +
                      ", but something else is there now: give the path");
  }
  if (place.candidates > 1) {
    LogInfo("EFS file system {} is mounted {} times; using {}", id, place.candidates,
            place.mount_point);
  }
  return place.path;
}

Result<std::unique_ptr<ObjectStore>> OpenS3(const std::string& address,
                                            const OpenStoreOptions& options) {
  Result<AwsEnvironment> loaded = AwsEnvironment::Load();
  // Neither a missing profile nor a broken file says anything about the repository.
  if (!loaded.ok()) return Status::PermissionDenied("AWS settings: " + loaded.status().message());
  const auto environment = std::make_shared<const AwsEnvironment>(std::move(*loaded));
  SNAP_ASSIGN_OR_RETURN(S3Options s3, MakeS3Options(address, options.settings, *environment));
  Result<std::unique_ptr<S3Store>> store =
      S3Store::Open(std::move(s3), DefaultCredentialChain(environment), options.cancelled);
  if (!store.ok()) return store.status();
  return std::unique_ptr<ObjectStore>(std::move(*store));
}

}  // namespace

Status CheckStoreSettings(const std::map<std::string, std::string>& settings) {
  // S3 is the only kind of store that has any.
  S3Options scratch;
  return ApplyS3Settings(settings, &scratch);
}

Result<std::map<std::string, std::string>> ParseStoreSettings(
    const std::string& option, const std::vector<std::string>& settings) {
  std::map<std::string, std::string> out;
  for (const std::string& setting : settings) {
    const size_t equals = setting.find('=');
    if (equals == 0 || equals == std::string::npos) {
      return Status::InvalidArgument(fmt::format("{} {}: write KEY=VALUE", option, setting));
    }
    out[setting.substr(0, equals)] = setting.substr(equals + 1);
  }
  SNAP_RETURN_IF_ERROR(CheckStoreSettings(out).WithContext(option));
  return out;
}

Result<std::unique_ptr<ObjectStore>> OpenStore(const std::string& location,
                                               const OpenStoreOptions& options) {
  SNAP_RETURN_IF_ERROR(CheckStoreSettings(options.settings));
  const DirectoryStoreOptions directory{.create = options.create};
  const size_t scheme_end = location.find("://");
  if (location.empty()) return Status::InvalidArgument("the repository's address is empty");
  if (scheme_end == std::string::npos) return OpenDirectoryStore(location, directory);
  const std::string scheme = location.substr(0, scheme_end);
  const std::string rest = location.substr(scheme_end + 3);
  if (scheme == "file") {
    if (!rest.starts_with('/')) {
      return Status::InvalidArgument("'" + location + "': write file:///absolute/path");
    }
    return OpenDirectoryStore(rest, directory);
  }
  if (scheme == "efs") {
    SNAP_ASSIGN_OR_RETURN(const std::string path, ResolveEfs(rest));
    return OpenDirectoryStore(path, directory);
  }
  if (scheme == "s3") return OpenS3(rest, options);
  return Status::Unsupported("'" + location +
                             "': this build knows paths, file://, efs:// and s3://, not " + scheme +
                             "://");
}

}  // namespace snapstore
