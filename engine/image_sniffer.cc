#include "engine/image_sniffer.h"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <string_view>

namespace snapstore {
namespace {

using namespace std::string_view_literals;

struct Magic {
  uint64_t offset;
  std::string_view bytes;
};

// Superblock magics from the kernel's headers (ext4.h, xfs_format.h, btrfs_tree.h, swap.h), GPT's
// from the UEFI specification, QEMU's and LUKS's from their format documents.
constexpr std::array kMagics = {
    Magic{1080, "\x53\xef"sv},     // ext2, ext3, ext4
    Magic{0, "XFSB"sv},            // XFS
    Magic{0x10040, "_BHRfS_M"sv},  // btrfs
    Magic{4086, "SWAPSPACE2"sv},   // swap
    Magic{512, "EFI PART"sv},      // GPT
    Magic{0, "QFI\xfb"sv},         // qcow2
    Magic{0, "LUKS\xba\xbe"sv},    // LUKS
};
constexpr uint64_t kImageBytesMin = 64 << 10;

}  // namespace

bool LooksLikeImage(int fd, uint64_t size) {
  if (size < kImageBytesMin) return false;
  return std::any_of(kMagics.begin(), kMagics.end(), [&](const Magic& magic) {
    char found[16];
    return ::pread(fd, found, magic.bytes.size(), static_cast<off_t>(magic.offset)) ==
               static_cast<ssize_t>(magic.bytes.size()) &&
           std::string_view(found, magic.bytes.size()) == magic.bytes;
  });
}

}  // namespace snapstore
