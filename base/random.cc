#include "base/random.h"

#include <sys/random.h>

#include "base/check.h"

namespace snapstore {

void SecureRandom(MutableByteSpan out) {
  while (!out.empty()) {
    const ssize_t got = ::getrandom(out.data(), out.size(), 0);
    if (got < 0) {
      SNAP_CHECK(errno == EINTR);
      continue;
    }
    out = out.subspan(static_cast<size_t>(got));
  }
}

}  // namespace snapstore
