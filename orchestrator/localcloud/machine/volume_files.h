// VolumeFiles: volumes as sparse files, snapshots of them in a snapstore repository of the cloud's.
//
// Thread safety: all calls may run concurrently; those that write to the repository take turns.
#ifndef SNAPSTORE_ORCHESTRATOR_LOCALCLOUD_MACHINE_VOLUME_FILES_H_
#define SNAPSTORE_ORCHESTRATOR_LOCALCLOUD_MACHINE_VOLUME_FILES_H_

#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "snapstore/repository.h"

namespace snapstore::localcloud {

// Freezes the file systems of a block device that a process has mounted, until it goes.
class FrozenMounts {
 public:
  FrozenMounts() = default;
  ~FrozenMounts() { Thaw(); }
  FrozenMounts(const FrozenMounts&) = delete;
  FrozenMounts& operator=(const FrozenMounts&) = delete;

  // Those of device `number` in the mount namespace of `pid`. NotFound never: none is fine.
  Status Freeze(pid_t pid, uint64_t number);
  void Thaw();
  // What a server that was killed meanwhile left frozen.
  static void ThawAll(pid_t pid, uint64_t number);

 private:
  std::vector<int> frozen_;
};

class VolumeFiles {
 public:
  static constexpr uint64_t kBlockBytes = 512 << 10;  // of the EBS direct APIs

  // Opens the repository below `folder`, made if there is none.
  static Result<std::unique_ptr<VolumeFiles>> Open(const std::string& folder);

  std::string Path(const std::string& volume_id) const;

  // A volume with an empty ext4 file system.
  Status Create(const std::string& volume_id, uint64_t bytes) const;
  // A volume as a snapshot has it; `source_id` is the volume that it was taken of.
  Status Restore(const std::string& volume_id, const std::string& stored,
                 const std::string& source_id, uint64_t bytes);
  // Lets the ext4 file system of a volume that nobody uses fill it.
  Status GrowFileSystem(const std::string& volume_id) const;
  Status Remove(const std::string& volume_id) const;

  // Copies a volume, holes kept, for a snapshot: what Store then stores.
  Status Capture(const std::string& volume_id, const std::string& snapshot_id) const;
  // The id in the repository. `parent` (may be empty): an earlier one of this volume.
  Result<std::string> Store(const std::string& volume_id, const std::string& snapshot_id,
                            const std::string& parent);
  bool IsCaptured(const std::string& snapshot_id) const;
  void Discard(const std::string& snapshot_id) const;
  Status Forget(const std::string& stored);

  // Indexes of the blocks that have data, ascending.
  Result<std::vector<uint64_t>> Blocks(const std::string& stored, const std::string& volume_id);
  // Of those that differ between two snapshots of a volume.
  Result<std::vector<uint64_t>> ChangedBlocks(const std::string& before, const std::string& after,
                                              const std::string& volume_id);
  // Zeros where the volume has ended.
  Result<Bytes> ReadBlock(const std::string& stored, const std::string& volume_id, uint64_t index);

 private:
  explicit VolumeFiles(std::string folder) : folder_(std::move(folder)) {}
  // Where a volume's copy lies while it is stored: the same for all of its snapshots, so that they
  // can be compared.
  std::string StagingFolder(const std::string& volume_id) const;

  const std::string folder_;
  std::mutex store_mutex_;  // one snapshot at a time on the handle
  std::unique_ptr<Repository> repository_;
};

}  // namespace snapstore::localcloud

#endif  // SNAPSTORE_ORCHESTRATOR_LOCALCLOUD_MACHINE_VOLUME_FILES_H_
