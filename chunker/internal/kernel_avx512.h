// Stage 1 with 64 lanes. Each kernel_<cpu>.cc includes this file once and is compiled for its
// instruction set; with __GFNI__, multiplication by x is one instruction. Everything is in an
// unnamed namespace, for the reason given in kernel_loops.h.
#ifndef SNAPSTORE_CHUNKER_INTERNAL_KERNEL_AVX512_H_
#define SNAPSTORE_CHUNKER_INTERNAL_KERNEL_AVX512_H_

#include "chunker/internal/kernel.h"

#if defined(__AVX512F__) && defined(__AVX512BW__)
#include <immintrin.h>

namespace snapstore::internal {
namespace {

constexpr size_t kLanes = 64;

inline __m512i TimesX(__m512i v) {
#if defined(__GFNI__)
  // Row i of the matrix says which bits of the input make bit i of the output; row 0 is the most
  // significant byte.
  constexpr uint64_t kMatrix = 0x8001828488102040ULL;
  return _mm512_gf2p8affine_epi64_epi8(v, _mm512_set1_epi64(static_cast<int64_t>(kMatrix)), 0);
#else
  const __m512i twice = _mm512_add_epi8(v, v);
  const __m512i polynomial = _mm512_set1_epi8(kFieldPolynomial);
  return _mm512_mask_blend_epi8(_mm512_movepi8_mask(v), twice, _mm512_xor_si512(twice, polynomial));
#endif
}

// a ^ b ^ c
inline __m512i Xor(__m512i a, __m512i b, __m512i c) {
  return _mm512_ternarylogic_epi64(a, b, c, 0x96);
}

// Values of the 64 positions before those at hand, after the steps named.
struct Before {
  __m512i four;     // distances 1 and 2
  __m512i eight;    // and 4
  __m512i sixteen;  // and 8
};

// The candidates among the 64 positions whose bytes, and those 1, 2 and 3 before, are given.
inline uint64_t Step(__m512i at0, __m512i at1, __m512i at2, __m512i at3, Before* before) {
  const __m512i four = _mm512_xor_si512(at0, TimesX(Xor(at1, at2, TimesX(at3))));
  const __m512i eight =
      _mm512_xor_si512(four, TimesX(_mm512_alignr_epi32(four, before->four, 16 - 4 / 4)));
  const __m512i sixteen =
      _mm512_xor_si512(eight, TimesX(_mm512_alignr_epi64(eight, before->eight, 8 - 8 / 8)));
  const __m512i hash =
      _mm512_xor_si512(sixteen, TimesX(_mm512_alignr_epi64(sixteen, before->sixteen, 8 - 16 / 8)));
  *before = {four, eight, sixteen};
  return _mm512_cmpeq_epi8_mask(hash, _mm512_set1_epi8(static_cast<char>(kCandidateHash)));
}

void FindCandidates(const uint8_t* data, size_t count, uint64_t* bits) {
  Before before{};
  // The 64 positions before the first one; of their bytes only the last 31 may be read.
  const auto early = [data](size_t back) {
    constexpr size_t kUnreadable = kLanes - (kWindowBytes - 1);
    return _mm512_maskz_loadu_epi8(~uint64_t{0} << (kUnreadable + back), data - kLanes - back);
  };
  Step(early(0), early(1), early(2), early(3), &before);
  size_t at = 0;
  for (; at + kLanes <= count; at += kLanes) {
    const auto load = [from = data + at](size_t back) { return _mm512_loadu_si512(from - back); };
    *bits++ = Step(load(0), load(1), load(2), load(3), &before);
  }
  if (at == count) return;
  const size_t rest = count - at;
  const auto late = [from = data + at, rest](size_t back) {
    const size_t readable = rest + back;
    const uint64_t mask = readable >= kLanes ? ~uint64_t{0} : (uint64_t{1} << readable) - 1;
    return _mm512_maskz_loadu_epi8(mask, from - back);
  };
  *bits = Step(late(0), late(1), late(2), late(3), &before) & ((uint64_t{1} << rest) - 1);
}

}  // namespace
}  // namespace snapstore::internal
#endif  // AVX-512

#endif  // SNAPSTORE_CHUNKER_INTERNAL_KERNEL_AVX512_H_
