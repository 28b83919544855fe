#include "base/check.h"

#include <cstdio>
#include <cstdlib>

namespace snapstore::internal {

void CheckFailed(const char* expression, const char* file, int line) {
  std::fprintf(stderr, "snapstore: check failed at %s:%d: %s\n", file, line, expression);
  std::abort();
}

}  // namespace snapstore::internal
