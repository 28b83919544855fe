#include "chunker/internal/kernel_avx512.h"

namespace snapstore::internal {

const CdcKernel kAvx512Kernel = {"avx512", FindCandidates};

}  // namespace snapstore::internal
