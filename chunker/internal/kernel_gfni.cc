#include "chunker/internal/kernel_avx512.h"

namespace snapstore::internal {

const CdcKernel kGfniKernel = {"avx512+gfni", FindCandidates};

}  // namespace snapstore::internal
