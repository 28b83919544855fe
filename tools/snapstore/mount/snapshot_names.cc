#include "tools/snapstore/mount/snapshot_names.h"

#include <fmt/format.h>

#include <algorithm>
#include <tuple>
#include <utility>

#include "base/clock.h"
#include "tools/snapstore/mount/inode_number.h"

namespace snapstore::cli {
namespace {

constexpr size_t kIdNameDigits = 16;
constexpr size_t kTimeSuffixDigits = 8;

// RFC 3339 without colons, which confuse programs that read HOST:PATH.
std::string TimeName(int64_t time_ns) {
  std::string name = FormatTime(time_ns, /*decimals=*/0);
  std::replace(name.begin(), name.end(), ':', '-');
  return name;
}

}  // namespace

std::string HostDirectoryName(std::string_view host) {
  std::string out;
  for (const char c : host) {
    const auto byte = static_cast<unsigned char>(c);
    const bool plain =
        byte > 0x20 && byte != 0x7f && c != '/' && c != '%' && (c != '.' || !out.empty());
    if (plain) {
      out += c;
    } else {
      out += fmt::format("%{:02X}", byte);
    }
  }
  return out.empty() ? "unnamed" : out;
}

std::vector<std::string> SnapshotNames::Unknown(const std::vector<std::string>& ids) const {
  const std::lock_guard lock(mutex_);
  std::vector<std::string> unknown;
  for (const std::string& id : ids) {
    if (!by_id_.contains(id)) unknown.push_back(id);
  }
  return unknown;
}

uint32_t SnapshotNames::HostLocked(const std::string& host) {
  const std::string name = HostDirectoryName(host);
  const auto [it, added] = by_host_.try_emplace(name, static_cast<uint32_t>(hosts_.size()));
  if (added) {
    hosts_.push_back(name);
    present_of_host_.push_back(0);
  }
  return it->second;
}

void SnapshotNames::AddLocked(const SnapshotInfo& info) {
  if (by_id_.contains(info.id) || snapshots_.size() >= kMountedSnapshotsMax) return;
  NamedSnapshot named;
  named.number = static_cast<uint32_t>(snapshots_.size());
  named.id = info.id;
  named.id_name = info.id.substr(0, kIdNameDigits);
  if (by_id_name_.contains(named.id_name)) named.id_name = info.id;
  named.time_name = TimeName(info.time_ns);
  if (by_time_name_.contains(named.time_name)) {
    named.time_name += "-" + info.id.substr(0, kTimeSuffixDigits);
  }
  if (by_time_name_.contains(named.time_name)) named.time_name = TimeName(info.time_ns) + info.id;
  named.time_ns = info.time_ns;
  named.host = HostLocked(info.host);
  by_id_[named.id] = named.number;
  by_id_name_[named.id_name] = named.number;
  by_time_name_[named.time_name] = named.number;
  snapshots_.push_back(std::move(named));
}

void SnapshotNames::Update(const std::vector<std::string>& ids, std::vector<SnapshotInfo> added) {
  std::sort(added.begin(), added.end(), [](const SnapshotInfo& a, const SnapshotInfo& b) {
    return std::tie(a.time_ns, a.id) < std::tie(b.time_ns, b.id);
  });
  const std::lock_guard lock(mutex_);
  for (const SnapshotInfo& info : added) AddLocked(info);
  for (NamedSnapshot& snapshot : snapshots_) snapshot.present = false;
  std::fill(present_of_host_.begin(), present_of_host_.end(), 0);
  for (const std::string& id : ids) {
    const auto it = by_id_.find(id);
    if (it == by_id_.end() || std::exchange(snapshots_[it->second].present, true)) continue;
    ++present_of_host_[snapshots_[it->second].host];
  }
}

std::optional<NamedSnapshot> SnapshotNames::Get(uint32_t number) const {
  const std::lock_guard lock(mutex_);
  if (number >= snapshots_.size()) return std::nullopt;
  return snapshots_[number];
}

std::optional<uint32_t> SnapshotNames::FindId(std::string_view name) const {
  const std::lock_guard lock(mutex_);
  auto it = by_id_name_.find(name);
  if (it == by_id_name_.end()) {
    it = by_id_.find(name);
    if (it == by_id_.end()) return std::nullopt;
  }
  return snapshots_[it->second].present ? std::optional(it->second) : std::nullopt;
}

std::optional<uint32_t> SnapshotNames::FindTime(std::string_view name) const {
  const std::lock_guard lock(mutex_);
  const auto it = by_time_name_.find(name);
  if (it == by_time_name_.end() || !snapshots_[it->second].present) return std::nullopt;
  return it->second;
}

std::optional<uint32_t> SnapshotNames::NewestLocked(std::optional<uint32_t> host) const {
  const NamedSnapshot* newest = nullptr;
  for (const NamedSnapshot& snapshot : snapshots_) {
    if (!snapshot.present || (host.has_value() && snapshot.host != *host)) continue;
    if (newest == nullptr ||
        std::tie(newest->time_ns, newest->id) < std::tie(snapshot.time_ns, snapshot.id)) {
      newest = &snapshot;
    }
  }
  return newest == nullptr ? std::nullopt : std::optional(newest->number);
}

std::optional<uint32_t> SnapshotNames::Latest() const {
  const std::lock_guard lock(mutex_);
  return NewestLocked(std::nullopt);
}

std::optional<uint32_t> SnapshotNames::LatestOf(uint32_t host) const {
  const std::lock_guard lock(mutex_);
  return NewestLocked(host);
}

std::optional<NamedSnapshot> SnapshotNames::Next(uint32_t number,
                                                 std::optional<uint32_t> host) const {
  const std::lock_guard lock(mutex_);
  for (size_t i = number; i < snapshots_.size(); ++i) {
    const NamedSnapshot& snapshot = snapshots_[i];
    if (snapshot.present && (!host.has_value() || snapshot.host == *host)) return snapshot;
  }
  return std::nullopt;
}

std::optional<uint32_t> SnapshotNames::FindHost(std::string_view name) const {
  const std::lock_guard lock(mutex_);
  const auto it = by_host_.find(name);
  if (it == by_host_.end() || present_of_host_[it->second] == 0) return std::nullopt;
  return it->second;
}

std::optional<std::string> SnapshotNames::NextHost(uint32_t* host) const {
  const std::lock_guard lock(mutex_);
  for (; *host < hosts_.size(); ++*host) {
    if (present_of_host_[*host] > 0) return hosts_[*host];
  }
  return std::nullopt;
}

}  // namespace snapstore::cli
