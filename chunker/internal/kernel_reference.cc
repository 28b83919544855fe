#include <algorithm>
#include <bit>

#include "chunker/internal/kernel.h"

namespace snapstore::internal {
namespace {

uint8_t TimesX(uint8_t v) {
  return static_cast<uint8_t>((v << 1) ^ ((v & 0x80) != 0 ? kFieldPolynomial : 0));
}

uint8_t WindowHash(const uint8_t* last) {
  uint8_t sum = 0;
  for (unsigned i = 0; i < kWindowBytes; ++i) {
    uint8_t term = *(last - i);
    for (int k = 0; k < std::popcount(i); ++k) term = TimesX(term);
    sum ^= term;
  }
  return sum;
}

void FindCandidates(const uint8_t* data, size_t count, uint64_t* bits) {
  std::fill_n(bits, (count + 63) / 64, 0);
  for (size_t n = 0; n < count; ++n) {
    if (WindowHash(data + n) == kCandidateHash) bits[n / 64] |= uint64_t{1} << (n % 64);
  }
}

}  // namespace

const CdcKernel kReferenceKernel = {"reference", FindCandidates};

}  // namespace snapstore::internal
