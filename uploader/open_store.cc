#include "uploader/open_store.h"

#include <cstdlib>
#include <sstream>

#include "base/file.h"
#include "base/status_macros.h"
#include "uploader/aws/credentials.h"
#include "uploader/directory_store.h"
#include "uploader/s3/s3_settings.h"
#include "uploader/s3_store.h"

namespace snapstore {
namespace {

constexpr size_t kMountInfoBytesMax = 16 << 20;

// mountinfo writes space, tab, newline and backslash as three octal digits.
std::string UnescapeMountField(const std::string& field) {
  std::string out;
  for (size_t i = 0; i < field.size(); ++i) {
    if (field[i] == '\\' && i + 3 < field.size()) {
      out.push_back(static_cast<char>(std::stoi(field.substr(i + 1, 3), nullptr, 8)));
      i += 3;
    } else {
      out.push_back(field[i]);
    }
  }
  return out;
}

bool ValidEfsId(const std::string& id) {
  constexpr std::string_view kPrefix = "fs-";
  const size_t digits = id.size() - std::min(id.size(), kPrefix.size());
  return id.starts_with(kPrefix) && (digits == 8 || digits == 17) &&
         id.find_first_not_of("0123456789abcdef", kPrefix.size()) == std::string::npos;
}

// A directory on the EFS file system named by "fs-ID/prefix".
Result<std::string> ResolveEfs(const std::string& address) {
  const size_t slash = address.find('/');
  const std::string id = address.substr(0, slash);
  const std::string prefix = slash == std::string::npos ? "" : address.substr(slash);
  if (!ValidEfsId(id)) {
    return Status::InvalidArgument("'" + id +
                                   "' is not an EFS id: fs- and 8 or 17 hexadecimal digits");
  }
  if (const char* root = std::getenv("SNAPSTORE_EFS_ROOT"); root != nullptr && *root != '\0') {
    return std::string(root) + "/" + id + prefix;
  }
  SNAP_ASSIGN_OR_RETURN(const Bytes mounts,
                        ReadWholeFile("/proc/self/mountinfo", kMountInfoBytesMax));
  const std::string mount = FindEfsMount(std::string(AsText(mounts)), id);
  if (mount.empty()) {
    return Status::NotFound("EFS file system " + id +
                            " is not mounted; mount it, or set SNAPSTORE_EFS_ROOT");
  }
  return mount + prefix;
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

std::string FindEfsMount(const std::string& mountinfo, const std::string& id) {
  std::istringstream lines(mountinfo);
  std::string line;
  while (std::getline(lines, line)) {
    std::istringstream fields(line);
    std::string skip;
    std::string mount_point;
    fields >> skip >> skip >> skip >> skip >> mount_point;
    for (std::string field; fields >> field && field != "-";) {
    }
    std::string type;
    std::string source;
    fields >> type >> source;
    // nfs4 mounts name "fs-ID.efs.REGION.…:/", the EFS mount helper's proxy keeps the id likewise.
    const bool network = type.starts_with("nfs") || type == "efs";
    if (network && source.starts_with(id) &&
        (source.size() == id.size() || source[id.size()] == '.' || source[id.size()] == ':')) {
      return UnescapeMountField(mount_point);
    }
  }
  return "";
}

Result<std::unique_ptr<ObjectStore>> OpenStore(const std::string& location,
                                               const OpenStoreOptions& options) {
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
