// Built with -O3 for the vectorised loop.
#include "chunker/chunker.h"

namespace snapstore {

bool IsZero(ByteSpan bytes) {
  // Most bytes that are not zero show it at once; long zero runs are read a stride at a time, with
  // no branch inside.
  constexpr size_t kStride = 512;
  const uint8_t* p = bytes.data();
  size_t rest = bytes.size();
  if (rest >= sizeof(uint64_t) && LoadLe<uint64_t>(p) != 0) return false;
  for (; rest >= kStride; p += kStride, rest -= kStride) {
    uint64_t any = 0;
    for (size_t i = 0; i < kStride; i += sizeof(uint64_t)) any |= LoadLe<uint64_t>(p + i);
    if (any != 0) return false;
  }
  uint8_t any = 0;
  for (size_t i = 0; i < rest; ++i) any |= p[i];
  return any == 0;
}

}  // namespace snapstore
