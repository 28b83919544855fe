#include "orchestrator/rocks/rocks_error.h"

#include <fmt/format.h>

#include <algorithm>

namespace snapstore {
namespace {

// RocksDB has no code for a lock that is held, only these words (file_system LockFile). A lock file
// that may not be opened has others.
bool IsHeldLock(const rocksdb::Status& status) {
  const std::string text = status.ToString();
  return status.IsIOError() && (text.find("While lock file: ") != std::string::npos ||
                                text.find("lock hold by current process") != std::string::npos);
}

}  // namespace

Status StatusOfRocks(const rocksdb::Status& status, std::string_view what) {
  std::string text = fmt::format("{}: {}", what, status.ToString());
  std::replace(text.begin(), text.end(), '\n', ' ');
  if (status.IsNoSpace()) return Status::NoSpace(std::move(text));
  if (status.IsIOError()) return Status::Io(std::move(text));
  // Files of another version, or with other families, are refused as invalid or unsupported.
  if (status.IsCorruption() || status.IsInvalidArgument() || status.IsNotSupported()) {
    return Status::Corruption(std::move(text));
  }
  return Status::Internal(std::move(text));
}

Status StatusOfRocksOpen(const rocksdb::Status& status, std::string_view path) {
  if (IsHeldLock(status)) {
    return Status::Conflict(fmt::format("{}: in use by another process", path));
  }
  return StatusOfRocks(status, fmt::format("open {}", path));
}

}  // namespace snapstore
