#include "chunker/internal/kernel_loops.h"

namespace snapstore::internal {

const CdcKernel kAvx2Kernel = {"avx2", FindCandidates};

}  // namespace snapstore::internal
