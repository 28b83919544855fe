// The loops of stage 1, written so that GCC and clang vectorise them at -O3. Each kernel_<cpu>.cc
// includes this file once and is compiled for its instruction set. Everything is in an unnamed
// namespace and calls nothing inline from elsewhere: a shared inline function compiled for AVX2
// could otherwise be the copy that the linker keeps for every CPU.
#ifndef SNAPSTORE_CHUNKER_INTERNAL_KERNEL_LOOPS_H_
#define SNAPSTORE_CHUNKER_INTERNAL_KERNEL_LOOPS_H_

#include <cstring>

#include "chunker/internal/kernel.h"

#if defined(__AVX2__)
#include <immintrin.h>
#elif defined(__SSE2__)
#include <emmintrin.h>
#endif

namespace snapstore::internal {
namespace {

inline uint8_t TimesX(uint8_t v) {
  return static_cast<uint8_t>((v << 1) ^ (static_cast<int8_t>(v) < 0 ? kFieldPolynomial : 0));
}

// Three doubling steps at once (distances 1, 2, 4), which saves two round trips through memory:
// out[n] is the hash of the 8 bytes that end at in[n + 7].
void HashEight(const uint8_t* __restrict in, uint8_t* __restrict out, size_t count) {
  for (size_t n = 0; n < count; ++n) {
    const uint8_t three = in[n];
    const uint8_t two = in[n + 1] ^ in[n + 2] ^ in[n + 4] ^ TimesX(three);
    const uint8_t one = in[n + 3] ^ in[n + 5] ^ in[n + 6] ^ TimesX(two);
    out[n] = in[n + 7] ^ TimesX(one);
  }
}

// The last two steps (distances 8, 16), then the comparison: out[n] is 0xff or 0.
void MatchThirtyTwo(const uint8_t* __restrict eight, uint8_t* __restrict out, size_t count) {
  for (size_t n = 0; n < count; ++n) {
    const uint8_t one = eight[n + 16] ^ eight[n + 8] ^ TimesX(eight[n]);
    const uint8_t hash = eight[n + 24] ^ TimesX(one);
    out[n] = hash == kCandidateHash ? 0xff : 0;
  }
}

// One bit for each of 64 flags, the first one lowest.
inline uint64_t GatherBits(const uint8_t* flags) {
  uint64_t bits = 0;
#if defined(__AVX2__)
  for (int at = 0; at < 64; at += 32) {
    const __m256i lanes = _mm256_load_si256(reinterpret_cast<const __m256i*>(flags + at));
    bits |= static_cast<uint64_t>(static_cast<unsigned>(_mm256_movemask_epi8(lanes))) << at;
  }
#elif defined(__SSE2__)
  for (int at = 0; at < 64; at += 16) {
    const __m128i lanes = _mm_load_si128(reinterpret_cast<const __m128i*>(flags + at));
    bits |= static_cast<uint64_t>(static_cast<unsigned>(_mm_movemask_epi8(lanes))) << at;
  }
#else
  for (int at = 0; at < 64; at += 8) {
    uint64_t lanes;
    std::memcpy(&lanes, flags + at, sizeof(lanes));
    bits |= (((lanes & 0x0101010101010101ULL) * 0x0102040810204080ULL) >> 56) << at;
  }
#endif
  return bits;
}

void FindCandidates(const uint8_t* data, size_t count, uint64_t* bits) {
  alignas(64) uint8_t eight[kScanPositions + 24];
  alignas(64) uint8_t match[kScanPositions];
  HashEight(data - (kWindowBytes - 1), eight, count + 24);
  MatchThirtyTwo(eight, match, count);
  const size_t words = (count + 63) / 64;
  std::memset(match + count, 0, words * 64 - count);
  for (size_t word = 0; word < words; ++word) bits[word] = GatherBits(match + word * 64);
}

}  // namespace

}  // namespace snapstore::internal

#endif  // SNAPSTORE_CHUNKER_INTERNAL_KERNEL_LOOPS_H_
