// Randomness: cryptographic bytes for names and secrets, a seeded generator for tests and jitter.
#ifndef SNAPSTORE_BASE_RANDOM_H_
#define SNAPSTORE_BASE_RANDOM_H_

#include <cstdint>

#include "base/bytes.h"

namespace snapstore {

// Fills `out` from the kernel (getrandom). Cannot fail on a supported kernel.
void SecureRandom(MutableByteSpan out);

// SplitMix64 (Steele, Lea, Flood 2014): tiny, seedable, replayable. Not for secrets.
class SplitMix64 {
 public:
  explicit SplitMix64(uint64_t seed) : state_(seed) {}
  uint64_t Next() {
    uint64_t z = (state_ += 0x9e3779b97f4a7c15ULL);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
    return z ^ (z >> 31);
  }
  // Uniform enough in [0, bound). REQUIRES: bound > 0.
  uint64_t Below(uint64_t bound) { return Next() % bound; }

 private:
  uint64_t state_;
};

}  // namespace snapstore

#endif  // SNAPSTORE_BASE_RANDOM_H_
