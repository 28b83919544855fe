// LooksLikeImage: whether a regular file is a file system or disk image, by its magic numbers.
#ifndef SNAPSTORE_ENGINE_IMAGE_SNIFFER_H_
#define SNAPSTORE_ENGINE_IMAGE_SNIFFER_H_

#include <cstdint>

#include "base/bytes.h"

namespace snapstore {

// Smaller files are none.
inline constexpr uint64_t kImageBytesMin = 64 << 10;

// Goes by the first bytes of a file, as many as are there.
bool LooksLikeImage(ByteSpan start);
// Reads them from `fd`; what cannot be read counts as no.
bool LooksLikeImage(int fd, uint64_t size);

}  // namespace snapstore

#endif  // SNAPSTORE_ENGINE_IMAGE_SNIFFER_H_
