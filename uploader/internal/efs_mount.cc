#include "uploader/internal/efs_mount.h"

#include <dirent.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cerrno>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>

#include "base/file.h"
#include "base/status_macros.h"

namespace snapstore::internal {
namespace {

constexpr size_t kProxyFileBytesMax = 64 << 10;
constexpr std::string_view kIdPrefix = "fs-";

struct EfsSource {
  std::string host;    // "fs-0123abcd.efs.eu-west-1.amazonaws.com"
  std::string folder;  // "/"
};

// "HOST:/folder" or "HOST".
EfsSource SplitSource(const std::string& source) {
  const size_t colon = source.find(":/");
  if (colon == std::string::npos) return {source.substr(0, source.find(':')), "/"};
  return {source.substr(0, colon), source.substr(colon + 1)};
}

// "/a//b/" and "/c" to "/a/b/c"; the root is "".
std::string JoinFolders(const std::string& above, const std::string& below) {
  std::string joined;
  for (const std::string& part : {above, below}) {
    for (size_t at = 0; at < part.size();) {
      const size_t end = std::min(part.find('/', at), part.size());
      if (end > at) joined += "/" + part.substr(at, end - at);
      at = end + 1;
    }
  }
  return joined;
}

bool HasLabel(const std::string& host, const std::string& label) {
  const size_t at = host.find(label);
  return at != std::string::npos && (at == 0 || host[at - 1] == '.') &&
         (at + label.size() == host.size() || host[at + label.size()] == '.');
}

bool IsWithin(const std::string& folder, const std::string& above) {
  return folder.starts_with(above) &&
         (folder.size() == above.size() || folder[above.size()] == '/');
}

struct EfsCandidate {
  const MountEntry* mount;
  std::string folder;        // of the file system, or of the access point
  std::string access_point;  // empty if none
};

class EfsSearch {
 public:
  EfsSearch(const std::vector<MountEntry>& mounts, const std::vector<EfsProxy>& proxies,
            const std::string& id)
      : proxies_(proxies), id_(id) {
    for (auto it = mounts.begin(); it != mounts.end(); ++it) {
      const bool network = it->type.starts_with("nfs") || it->type == "efs";
      // What is mounted over it later hides it.
      const auto hides = [&](const MountEntry& later) {
        return IsWithin(it->mount_point, later.mount_point == "/" ? "" : later.mount_point);
      };
      if (network && std::none_of(it + 1, mounts.end(), hides)) Consider(*it);
    }
  }

  const std::vector<EfsCandidate>& found() const { return found_; }
  // Some mount's proxy is not known.
  bool unknown_proxies() const { return unknown_proxies_; }

 private:
  void Consider(const MountEntry& mount) {
    const EfsSource source = SplitSource(mount.source);
    const bool local =
        source.host == "127.0.0.1" || source.host == "localhost" || source.host == "[::1]";
    std::string access_point;
    if (local) {
      const std::string port = mount.OptionValue("port");
      const auto proxy = std::find_if(proxies_.begin(), proxies_.end(),
                                      [&](const EfsProxy& one) { return one.port == port; });
      unknown_proxies_ = unknown_proxies_ || proxy == proxies_.end();
      if (proxy == proxies_.end() || proxy->file_system != id_) return;
      access_point = proxy->access_point;
    } else if (!HasLabel(source.host, id_)) {
      return;
    }
    found_.push_back({&mount, JoinFolders(source.folder, mount.root), access_point});
  }

  const std::vector<EfsProxy>& proxies_;
  const std::string& id_;
  std::vector<EfsCandidate> found_;
  bool unknown_proxies_ = false;
};

std::string ListMounts(const std::vector<EfsCandidate>& candidates) {
  std::vector<std::string> texts;
  texts.reserve(candidates.size());
  for (const EfsCandidate& one : candidates) {
    texts.push_back(fmt::format(
        "{} at {}",
        one.access_point.empty() ? (one.folder.empty() ? "/" : one.folder) : one.access_point,
        one.mount->mount_point));
  }
  return fmt::format("{}", fmt::join(texts, ", "));
}

Status NotMounted(const std::string& id, const EfsSearch& search) {
  std::string text = fmt::format(
      "EFS file system {0} is not mounted here: mount -t efs -o tls {0}:/ DIR (with"
      " amazon-efs-utils), or mount it as docs/stores.md shows; or give the path of the mount, or "
      "set"
      " SNAPSTORE_EFS_ROOT",
      id);
  if (search.unknown_proxies()) {
    text += fmt::format("; of a mount from 127.0.0.1, nothing in {} tells the file system",
                        kEfsProxyFolder);
  }
  return Status::Io(text);
}

// "fs-0123abcd.mnt.data.20449" of a proxy's file.
std::optional<EfsProxy> ParseProxyName(const std::string& name) {
  const size_t first = name.find('.');
  const size_t last = name.rfind('.');
  if (first == std::string::npos || first == last) return std::nullopt;
  EfsProxy proxy{name.substr(0, first), name.substr(last + 1), ""};
  const bool number =
      !proxy.port.empty() && proxy.port.find_first_not_of("0123456789") == std::string::npos;
  if (!number || !IsEfsFileSystemId(proxy.file_system)) return std::nullopt;
  return proxy;
}

std::string AccessPointIn(const std::string& path) {
  const Result<Bytes> bytes = ReadWholeFile(path, kProxyFileBytesMax);
  if (!bytes.ok()) return "";
  const auto state = nlohmann::json::parse(AsText(*bytes), nullptr, /*allow_exceptions=*/false);
  if (!state.is_object()) return "";
  const auto it = state.find("accessPoint");
  return it != state.end() && it->is_string() ? it->get<std::string>() : "";
}

}  // namespace

bool IsEfsFileSystemId(std::string_view id) {
  const size_t digits = id.size() - std::min(id.size(), kIdPrefix.size());
  return id.starts_with(kIdPrefix) && (digits == 8 || digits == 17) &&
         id.find_first_not_of("0123456789abcdef", kIdPrefix.size()) == std::string_view::npos;
}

Result<std::vector<EfsProxy>> ReadEfsProxies(const std::string& folder) {
  std::vector<EfsProxy> proxies;
  const std::unique_ptr<DIR, int (*)(DIR*)> entries(::opendir(folder.c_str()), ::closedir);
  if (entries == nullptr) {
    if (errno == ENOENT || errno == EACCES) return proxies;  // for root only, where it exists
    return Status::FromErrno(errno, "open " + folder);
  }
  while (const dirent* const entry = ::readdir(entries.get())) {
    std::optional<EfsProxy> proxy = ParseProxyName(entry->d_name);
    if (!proxy.has_value()) continue;
    proxy->access_point = AccessPointIn(folder + "/" + entry->d_name);
    proxies.push_back(std::move(*proxy));
  }
  return proxies;
}

Result<EfsPlace> LocateOnEfs(const std::vector<MountEntry>& mounts,
                             const std::vector<EfsProxy>& proxies, const std::string& id,
                             const std::string& folder) {
  const EfsSearch search(mounts, proxies, id);
  if (search.found().empty()) return NotMounted(id, search);
  const std::string wanted = JoinFolders(folder, "");
  // What an access point calls "/" is a folder that only the server knows.
  std::vector<EfsCandidate> usable;
  std::set<std::string> access_points;
  for (const EfsCandidate& one : search.found()) {
    if (!IsWithin(wanted, one.folder)) continue;
    if (one.access_point.empty()) usable.push_back(one);
    access_points.insert(one.access_point);
  }
  if (usable.empty() && access_points.size() > 1) {
    return Status::InvalidArgument(
        fmt::format("EFS file system {} is mounted by several access points ({}), which may be"
                    " different folders: give the path",
                    id, ListMounts(search.found())));
  }
  if (usable.empty()) {
    std::copy_if(search.found().begin(), search.found().end(), std::back_inserter(usable),
                 [&](const EfsCandidate& one) { return IsWithin(wanted, one.folder); });
  }
  if (usable.empty()) {
    return Status::Io(
        fmt::format("of EFS file system {} only other folders than {} are mounted: {}", id,
                    wanted.empty() ? "/" : wanted, ListMounts(search.found())));
  }
  const EfsCandidate* best = &usable.front();
  for (const EfsCandidate& one : usable) {
    if (one.folder.size() >= best->folder.size()) best = &one;
  }
  return EfsPlace{best->mount->mount_point + wanted.substr(best->folder.size()),
                  best->mount->mount_point, best->mount->device, usable.size()};
}

}  // namespace snapstore::internal
