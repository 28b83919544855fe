// Spool: an unnamed file that takes what of a checkpoint exceeds the arena's memory.
//
// Its space is reserved before the application is frozen, so that a full disk is met while it runs,
// and kept from checkpoint to checkpoint. It is written with write(2), which is some twenty times
// as fast as faulting in the pages of a mapping, and read through one. The file has no name: it
// goes with the process, however that ends. What is in it is the application's memory, not
// encrypted.
//
// What the disk does not give any more reads as zeros, and ReadStatus says so.
//
// Thread safety: none.
#ifndef SNAPSTORE_AGENT_SPOOL_H_
#define SNAPSTORE_AGENT_SPOOL_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "agent/bus_guard.h"
#include "base/bytes.h"
#include "base/unique_fd.h"
#include "snapstore/status.h"

namespace snapstore::agent {

struct SpoolOptions {
  std::string directory;            // made when missing; empty: no spool
  std::optional<uint64_t> limit{};  // bytes; nothing: half of what its file system has free now
};

class Spool {
 public:
  // NoSpace, PermissionDenied, Io …: what is wrong with the directory.
  static Result<std::unique_ptr<Spool>> Create(const SpoolOptions& options);

  // Maps the whole file, as long as it may become, at `address`: only what is reserved may be read.
  // Again at the same address: what could not be read before is tried again.
  Status MapAt(void* address);
  // Makes the file at least `bytes` long, all of it backed by the disk. NoSpace: it is full, and
  // what was reserved before stays.
  Status Reserve(uint64_t bytes);
  // REQUIRES: within what is reserved.
  Status Write(uint64_t offset, ByteSpan bytes) const;

  // Whether what was read through the mapping since MapAt is what was written. Io: the disk has
  // failed.
  Status ReadStatus();

  const std::string& directory() const { return directory_; }
  uint64_t bytes_max() const { return bytes_max_; }  // multiple of kUnitBytes
  uint64_t reserved() const { return reserved_; }

  static constexpr uint64_t kUnitBytes = 2 << 20;

 private:
  Spool(std::string directory, UniqueFd fd, uint64_t bytes_max)
      : directory_(std::move(directory)), fd_(std::move(fd)), bytes_max_(bytes_max) {}

  const std::string directory_;
  const UniqueFd fd_;
  const uint64_t bytes_max_;
  uint64_t reserved_ = 0;
  std::unique_ptr<BusGuard> guard_;  // of the mapping
  bool lost_ = false;                // what was written did not get to the disk
};

}  // namespace snapstore::agent

#endif  // SNAPSTORE_AGENT_SPOOL_H_
