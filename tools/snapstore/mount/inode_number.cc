#include "tools/snapstore/mount/inode_number.h"

namespace snapstore::cli {
namespace {

constexpr int kSnapshotShift = 40;
constexpr int kKindShift = 36;
constexpr int kDepthShift = 24;
constexpr uint64_t kPositionMask = (uint64_t{1} << kSnapshotShift) - 1;
constexpr uint64_t kValueMask = (uint64_t{1} << kKindShift) - 1;
constexpr uint64_t kLinkSnapshotMask = (uint64_t{1} << kDepthShift) - 1;

}  // namespace

uint64_t InodeNumber(const Inode& inode) {
  const uint64_t kind = static_cast<uint64_t>(inode.kind) << kKindShift;
  const uint64_t within = (uint64_t{inode.snapshot} + 1) << kSnapshotShift;
  switch (inode.kind) {
    case Inode::Kind::kFixed:
    case Inode::Kind::kHost:
      return kind | inode.value;
    case Inode::Kind::kLink:
      return kind | (inode.value << kDepthShift) | inode.snapshot;
    case Inode::Kind::kTop:
      return within;
    case Inode::Kind::kEntry:
      return within | (inode.value + 1);
  }
  return 0;
}

Inode InodeOf(uint64_t number) {
  Inode inode;
  if (const uint64_t snapshot = number >> kSnapshotShift; snapshot != 0) {
    inode.snapshot = static_cast<uint32_t>(snapshot - 1);
    const uint64_t place = number & kPositionMask;
    inode.kind = place == 0 ? Inode::Kind::kTop : Inode::Kind::kEntry;
    inode.value = place == 0 ? 0 : place - 1;
    return inode;
  }
  const uint64_t kind = number >> kKindShift;
  inode.value = number & kValueMask;
  if (kind == static_cast<uint64_t>(Inode::Kind::kHost)) {
    inode.kind = Inode::Kind::kHost;
  } else if (kind == static_cast<uint64_t>(Inode::Kind::kLink)) {
    inode.kind = Inode::Kind::kLink;
    inode.snapshot = static_cast<uint32_t>(inode.value & kLinkSnapshotMask);
    inode.value >>= kDepthShift;
  } else if (kind != 0) {
    inode.value = 0;  // no such directory
  }
  return inode;
}

}  // namespace snapstore::cli
