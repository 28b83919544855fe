// Inode numbers of a mount: each says by itself what it stands for, so that nothing has to be kept
// for the inodes that the kernel knows, however many these are.
//
//   bits 63…40  1 + number of the snapshot (SnapshotNames); 0: not within one
//   bits 39…0   within a snapshot: 0 its top directory, else 1 + position of the entry;
//               outside: kind and value of the mount's own directories and links
//
// Thread safety: values and pure functions.
#ifndef SNAPSTORE_TOOLS_SNAPSTORE_MOUNT_INODE_NUMBER_H_
#define SNAPSTORE_TOOLS_SNAPSTORE_MOUNT_INODE_NUMBER_H_

#include <cstdint>

namespace snapstore::cli {

struct Inode {
  enum class Kind : uint8_t {
    kFixed = 0,  // value: one of the directories below
    kHost,       // value: number of the host; its directory
    kLink,       // value: how deep below the root it lies; links to the top of `snapshot`
    kTop,        // the top directory of `snapshot`
    kEntry,      // value: position of the entry
  };
  Kind kind = Kind::kFixed;
  uint32_t snapshot = 0;
  uint64_t value = 0;

  bool in_snapshot() const { return kind == Kind::kTop || kind == Kind::kEntry; }
};

// Values of Kind::kFixed; the first is what FUSE calls the root.
inline constexpr uint64_t kRootInode = 1;
inline constexpr uint64_t kIdsInode = 2;
inline constexpr uint64_t kTimesInode = 3;
inline constexpr uint64_t kHostsInode = 4;

inline constexpr uint32_t kMountedSnapshotsMax = (1u << 24) - 2;
inline constexpr uint64_t kMountedPositionMax = (uint64_t{1} << 40) - 2;

uint64_t InodeNumber(const Inode& inode);
// The reverse. Any number gives some inode, though perhaps of nothing that exists.
Inode InodeOf(uint64_t number);

}  // namespace snapstore::cli

#endif  // SNAPSTORE_TOOLS_SNAPSTORE_MOUNT_INODE_NUMBER_H_
