// The mounts that this process sees. Private to uploader.
//
// Source: mountinfo in proc(5).
#ifndef SNAPSTORE_UPLOADER_INTERNAL_MOUNT_TABLE_H_
#define SNAPSTORE_UPLOADER_INTERNAL_MOUNT_TABLE_H_

#include <string>
#include <string_view>
#include <vector>

#include "snapstore/status.h"

namespace snapstore::internal {

struct MountEntry {
  std::string device;       // "0:45", as st_dev of what is below
  std::string root;         // the folder of the file system that is mounted: "/"
  std::string mount_point;  // absolute
  std::string type;         // "nfs4"
  std::string source;       // "fs-0123abcd.efs.eu-west-1.amazonaws.com:/"
  std::string options;      // the file system's own: "rw,vers=4.1,hard,…"

  bool HasOption(std::string_view name) const;           // "soft"
  std::string OptionValue(std::string_view name) const;  // of "port=20049"; empty if none
};

// In the order in which they were mounted; lines that are no mounts are passed over.
std::vector<MountEntry> ParseMountTable(const std::string& mountinfo);

// Of this process.
Result<std::vector<MountEntry>> ReadMountTable();

}  // namespace snapstore::internal

#endif  // SNAPSTORE_UPLOADER_INTERNAL_MOUNT_TABLE_H_
