// The loops of stage 1 in vectors of the compiler's, the same for SSE2, AVX2 and NEON. Each
// kernel_<cpu>.cc includes this file once and is compiled for its instruction set. Everything is in
// an unnamed namespace and calls nothing inline from elsewhere: a shared inline function compiled
// for AVX2 could otherwise be the copy that the linker keeps for every CPU.
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

// "Using Vector Instructions through Built-in Functions", GCC manual; clang has the same.
#if defined(__AVX2__)
constexpr size_t kVectorBytes = 32;
#else
constexpr size_t kVectorBytes = 16;
#endif
using Vector = uint8_t __attribute__((vector_size(kVectorBytes)));
using SignedVector = int8_t __attribute__((vector_size(kVectorBytes)));

inline uint8_t TimesX(uint8_t v) {
  return static_cast<uint8_t>((v << 1) ^ (static_cast<int8_t>(v) < 0 ? kFieldPolynomial : 0));
}
inline Vector TimesX(Vector v) {
  // A comparison gives all ones or none in each lane.
  const auto carry = reinterpret_cast<Vector>(reinterpret_cast<SignedVector>(v) < 0);
  return (v + v) ^ (carry & kFieldPolynomial);
}

inline uint8_t EqualsCandidate(uint8_t v) { return v == kCandidateHash ? 0xff : 0; }
inline Vector EqualsCandidate(Vector v) { return reinterpret_cast<Vector>(v == kCandidateHash); }

// Three doubling steps at once (distances 1, 2, 4), which saves two round trips through memory:
// the hash of the 8 bytes that end at in[7], for one position or as many as a vector has.
template <typename Lanes>
inline Lanes HashEight(const uint8_t* in) {
  const auto load = [in](size_t at) {
    Lanes lanes;
    std::memcpy(&lanes, in + at, sizeof(lanes));
    return lanes;
  };
  const Lanes three = load(0);
  const Lanes two = load(1) ^ load(2) ^ load(4) ^ TimesX(three);
  const Lanes one = load(3) ^ load(5) ^ load(6) ^ TimesX(two);
  return load(7) ^ TimesX(one);
}

// The last two steps (distances 8, 16), then the comparison: 0xff or 0 for each position.
template <typename Lanes>
inline Lanes MatchThirtyTwo(const uint8_t* eight) {
  const auto load = [eight](size_t at) {
    Lanes lanes;
    std::memcpy(&lanes, eight + at, sizeof(lanes));
    return lanes;
  };
  const Lanes one = load(16) ^ load(8) ^ TimesX(load(0));
  return EqualsCandidate(load(24) ^ TimesX(one));
}

// out[n] = step(in + n) for n in [0, count).
template <typename VectorStep, typename ByteStep>
inline void ForAll(const uint8_t* in, uint8_t* out, size_t count, VectorStep vector_step,
                   ByteStep byte_step) {
  if (count < kVectorBytes) {
    for (size_t n = 0; n < count; ++n) out[n] = byte_step(in + n);
    return;
  }
  const size_t last = count - kVectorBytes;
  for (size_t n = 0;; n = n + kVectorBytes < last ? n + kVectorBytes : last) {
    const Vector lanes = vector_step(in + n);
    std::memcpy(out + n, &lanes, sizeof(lanes));
    if (n == last) return;  // some of it for the second time
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
  ForAll(data - (kWindowBytes - 1), eight, count + 24, HashEight<Vector>, HashEight<uint8_t>);
  ForAll(eight, match, count, MatchThirtyTwo<Vector>, MatchThirtyTwo<uint8_t>);
  const size_t words = (count + 63) / 64;
  std::memset(match + count, 0, words * 64 - count);
  for (size_t word = 0; word < words; ++word) bits[word] = GatherBits(match + word * 64);
}

}  // namespace

}  // namespace snapstore::internal

#endif  // SNAPSTORE_CHUNKER_INTERNAL_KERNEL_LOOPS_H_
