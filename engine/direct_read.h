// OpenForDirectReads: a way past the page cache, where that is the faster one.
#ifndef SNAPSTORE_ENGINE_DIRECT_READ_H_
#define SNAPSTORE_ENGINE_DIRECT_READ_H_

#include <cstdint>

#include "base/unique_fd.h"

namespace snapstore {

// Offsets, lengths and memory of direct reads are multiples of this; a length may go past the end.
inline constexpr uint64_t kDirectAlignment = 4096;

// A second descriptor of the open file or device `fd` of `size` bytes, with O_DIRECT. Invalid where
// that would not pay (a short file, or one that the page cache holds) or is not to be had.
//
// Copying through the page cache takes most of a core at a gigabyte a second, which compression
// needs; bytes that are cached already are cheaper there.
UniqueFd OpenForDirectReads(int fd, uint64_t size);

}  // namespace snapstore

#endif  // SNAPSTORE_ENGINE_DIRECT_READ_H_
