// CdcKernel: stage 1 of the `cdc` profile, the only part of it that reads every byte.
//
// Definition (docs/chunking.md): with bytes as elements of GF(2^8) modulo x^8+x^4+x^3+x^2+1,
//
//   H(n) = sum over i in [0, 32) of x^popcount(i) * byte(n - i)
//
// and position n is a candidate when H(n) == kCandidateHash. Any order of the five doubling steps
// H_2d(n) = H_d(n) + x * H_d(n - d), d in {1, 2, 4, 8, 16}, gives H, so that a kernel may take the
// order its registers like best. Kernels are bit-identical by this definition.
//
// Thread safety: pure functions and constants.
#ifndef SNAPSTORE_CHUNKER_INTERNAL_KERNEL_H_
#define SNAPSTORE_CHUNKER_INTERNAL_KERNEL_H_

#include <cstddef>
#include <cstdint>
#include <span>

namespace snapstore::internal {

// Part of the format: never change.
inline constexpr size_t kWindowBytes = 32;
inline constexpr uint8_t kFieldPolynomial = 0x1d;  // x^8 is implied
inline constexpr uint8_t kCandidateHash = 0xfb;

// Most positions a kernel is asked for in one call, and the words of bitmap they need.
inline constexpr size_t kScanPositions = 1024;
inline constexpr size_t kScanWords = kScanPositions / 64;

struct CdcKernel {
  const char* name;
  // Sets bit n of `bits` exactly when position n is a candidate, for n in [0, count); all further
  // bits of the ceil(count / 64) words become 0.
  // REQUIRES: 1 <= count <= kScanPositions; bytes [-31, count) around `data` are readable, and
  // nothing beyond them is read.
  void (*find_candidates)(const uint8_t* data, size_t count, uint64_t* bits);
};

// The definition, spelled out; slow.
extern const CdcKernel kReferenceKernel;
// Loops that compilers vectorise, for the baseline instruction set and for AVX2.
extern const CdcKernel kPortableKernel;
extern const CdcKernel kAvx2Kernel;
// AVX-512 (F and BW), without and with GFNI. These and AVX2: x86-64 only.
extern const CdcKernel kAvx512Kernel;
extern const CdcKernel kGfniKernel;

// Kernels this CPU can run, slowest first.
std::span<const CdcKernel* const> CdcKernels();
// The last of them.
const CdcKernel& BestCdcKernel();

}  // namespace snapstore::internal

#endif  // SNAPSTORE_CHUNKER_INTERNAL_KERNEL_H_
