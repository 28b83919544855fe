#include "engine/image_sniffer.h"

#include <algorithm>
#include <array>
#include <string_view>

#include "base/file.h"

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
// Up to the last magic.
constexpr size_t kImageStartBytes = 0x10048;

}  // namespace

bool LooksLikeImage(ByteSpan start) {
  return std::any_of(kMagics.begin(), kMagics.end(), [&](const Magic& magic) {
    return start.size() >= magic.offset + magic.bytes.size() &&
           AsText(start.subspan(magic.offset, magic.bytes.size())) == magic.bytes;
  });
}

bool LooksLikeImage(int fd, uint64_t size) {
  if (size < kImageBytesMin) return false;
  Bytes start(kImageStartBytes);
  const Result<size_t> got = PreadFull(fd, start, 0, "");
  return got.ok() && LooksLikeImage(ByteSpan(start).first(*got));
}

}  // namespace snapstore
