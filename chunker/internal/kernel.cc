#include "chunker/internal/kernel.h"

#include <vector>

namespace snapstore::internal {

std::span<const CdcKernel* const> CdcKernels() {
  static const std::vector<const CdcKernel*> kernels = [] {
    std::vector<const CdcKernel*> usable = {&kReferenceKernel, &kPortableKernel};
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx2") != 0) usable.push_back(&kAvx2Kernel);
    if (__builtin_cpu_supports("avx512f") != 0 && __builtin_cpu_supports("avx512bw") != 0) {
      usable.push_back(&kAvx512Kernel);
      if (__builtin_cpu_supports("gfni") != 0) usable.push_back(&kGfniKernel);
    }
#endif
    return usable;
  }();
  return kernels;
}

const CdcKernel& BestCdcKernel() { return *CdcKernels().back(); }

}  // namespace snapstore::internal
