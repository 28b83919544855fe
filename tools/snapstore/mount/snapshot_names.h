// SnapshotNames: which snapshots a mount shows, and under which names.
//
// A snapshot gets a number and its names when it is first seen, and keeps them for the life of the
// mount: other snapshots may come and go meanwhile.
//
// Thread safety: all calls may run concurrently.
#ifndef SNAPSTORE_TOOLS_SNAPSTORE_MOUNT_SNAPSHOT_NAMES_H_
#define SNAPSTORE_TOOLS_SNAPSTORE_MOUNT_SNAPSHOT_NAMES_H_

#include <cstdint>
#include <map>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "snapstore/repository.h"

namespace snapstore::cli {

struct NamedSnapshot {
  uint32_t number = 0;
  std::string id;         // 64 digits
  std::string id_name;    // its first 16; all if another snapshot has the same
  std::string time_name;  // "2026-11-25T07-30-00Z", with part of the id if that is taken
  int64_t time_ns = 0;
  uint32_t host = 0;     // number of its host
  bool present = false;  // it still exists in the repository
};

class SnapshotNames {
 public:
  // Those of `ids` that were never seen.
  std::vector<std::string> Unknown(const std::vector<std::string>& ids) const;
  // `ids` are all that exist now; `added` are those of them that are new. Ids that neither call
  // ever described are left out.
  void Update(const std::vector<std::string>& ids, std::vector<SnapshotInfo> added);

  // Also of one that was forgotten. Empty when the number was never given.
  std::optional<NamedSnapshot> Get(uint32_t number) const;
  // Of those that exist:
  std::optional<uint32_t> FindId(std::string_view name) const;  // 16 or 64 digits
  std::optional<uint32_t> FindTime(std::string_view name) const;
  std::optional<uint32_t> Latest() const;
  std::optional<uint32_t> LatestOf(uint32_t host) const;
  // The first that exists with a number of at least `number`, of any host if none is given.
  std::optional<NamedSnapshot> Next(uint32_t number, std::optional<uint32_t> host) const;

  // Hosts that have a snapshot.
  std::optional<uint32_t> FindHost(std::string_view name) const;
  // Name of the first of them with a number of at least *host, which becomes its number.
  std::optional<std::string> NextHost(uint32_t* host) const;

 private:
  std::optional<uint32_t> NewestLocked(std::optional<uint32_t> host) const;
  uint32_t HostLocked(const std::string& host);
  void AddLocked(const SnapshotInfo& info);

  mutable std::mutex mutex_;
  std::vector<NamedSnapshot> snapshots_;                // by number
  std::map<std::string, uint32_t, std::less<>> by_id_;  // full ids
  std::map<std::string, uint32_t, std::less<>> by_id_name_;
  std::map<std::string, uint32_t, std::less<>> by_time_name_;
  std::vector<std::string> hosts_;         // by number; as they are shown
  std::vector<uint32_t> present_of_host_;  // by number; how many that exist
  std::map<std::string, uint32_t, std::less<>> by_host_;
};

// A host's name as that of a directory: '/', '%' and control bytes as %XX, also a leading '.'.
std::string HostDirectoryName(std::string_view host);

}  // namespace snapstore::cli

#endif  // SNAPSTORE_TOOLS_SNAPSTORE_MOUNT_SNAPSHOT_NAMES_H_
