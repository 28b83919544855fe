// LooksLikeImage: whether a regular file is a file system or disk image, by its magic numbers.
#ifndef SNAPSTORE_ENGINE_IMAGE_SNIFFER_H_
#define SNAPSTORE_ENGINE_IMAGE_SNIFFER_H_

#include <cstdint>

namespace snapstore {

// Reads a few bytes of `fd`; what cannot be read counts as no.
bool LooksLikeImage(int fd, uint64_t size);

}  // namespace snapstore

#endif  // SNAPSTORE_ENGINE_IMAGE_SNIFFER_H_
