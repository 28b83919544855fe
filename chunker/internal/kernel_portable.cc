#include "chunker/internal/kernel_loops.h"

namespace snapstore::internal {

const CdcKernel kPortableKernel = {"portable", FindCandidates};

}  // namespace snapstore::internal
