#include "base/network_file_system.h"

#include <linux/magic.h>
#include <sys/vfs.h>

#include <cstdint>

namespace snapstore {
namespace {

FileSystemKind KindOfMagic(const struct statfs& info) {
  switch (static_cast<uint32_t>(info.f_type)) {
    case NFS_SUPER_MAGIC:
      return FileSystemKind::kNfs;
    case SMB_SUPER_MAGIC:
    case V9FS_MAGIC:
    case AFS_SUPER_MAGIC:
    case AFS_FS_MAGIC:
    case CIFS_SUPER_MAGIC:
    case SMB2_SUPER_MAGIC:
    case CEPH_SUPER_MAGIC:
      return FileSystemKind::kOtherNetwork;
    default:
      return FileSystemKind::kLocal;
  }
}

}  // namespace

FileSystemKind FileSystemKindOf(int fd) {
  struct statfs info {};
  return ::fstatfs(fd, &info) == 0 ? KindOfMagic(info) : FileSystemKind::kLocal;
}

FileSystemKind FileSystemKindOf(const std::string& path) {
  struct statfs info {};
  return ::statfs(path.c_str(), &info) == 0 ? KindOfMagic(info) : FileSystemKind::kLocal;
}

}  // namespace snapstore
