#include "chunker/internal/kernel.h"

#include <bit>

#include "tests/chunker/chunker_testlib.h"

namespace snapstore::internal {
namespace {

// The doubling steps of docs/chunking.md, a second road to the same hash.
Bytes HashesByDoubling(const Bytes& bytes) {
  Bytes hashes = bytes;
  for (const size_t distance : {1, 2, 4, 8, 16}) {
    for (size_t n = hashes.size(); n-- > distance;) {
      const uint8_t v = hashes[n - distance];
      hashes[n] ^= static_cast<uint8_t>((v << 1) ^ ((v & 0x80) != 0 ? kFieldPolynomial : 0));
    }
  }
  return hashes;
}

std::vector<uint64_t> Candidates(const CdcKernel& kernel, const Bytes& bytes, size_t first,
                                 size_t count) {
  // Stale bits must not survive.
  std::vector<uint64_t> bits((count + 63) / 64, ~uint64_t{0});
  // A copy of exactly what a kernel may read, so that a sanitizer sees an excess.
  const Bytes readable(bytes.begin() + static_cast<ptrdiff_t>(first - (kWindowBytes - 1)),
                       bytes.begin() + static_cast<ptrdiff_t>(first + count));
  kernel.find_candidates(readable.data() + (kWindowBytes - 1), count, bits.data());
  return bits;
}

TEST(CdcKernel, ReferenceIsTheDoublingOfTheDefinition) {
  const uint64_t seed = test::TestSeed();
  for (const auto& [name, bytes] : test::Inputs(seed, 3 * kScanPositions)) {
    const Bytes hashes = HashesByDoubling(bytes);
    const size_t first = 2 * kScanPositions;
    const auto bits = Candidates(kReferenceKernel, bytes, first, kScanPositions);
    for (size_t n = 0; n < kScanPositions; ++n) {
      ASSERT_EQ((bits[n / 64] >> (n % 64)) & 1, hashes[first + n] == kCandidateHash ? 1u : 0u)
          << name << ", position " << n;
    }
  }
}

TEST(CdcKernel, EveryKernelMarksOneIn256OfRandomPositions) {
  const Bytes bytes = test::RandomBytes(test::TestSeed(), 1 << 20);
  size_t marked = 0, positions = 0;
  for (size_t at = kScanPositions; at + kScanPositions <= bytes.size(); at += kScanPositions) {
    for (const uint64_t word : Candidates(BestCdcKernel(), bytes, at, kScanPositions)) {
      marked += static_cast<size_t>(std::popcount(word));
    }
    positions += kScanPositions;
  }
  EXPECT_NEAR(static_cast<double>(positions) / static_cast<double>(marked), 256.0, 25.0);
}

TEST(CdcKernel, ZeroIsNeverACandidateAndPeriodsDoNotCancel) {
  const Bytes zero(3 * kScanPositions);
  for (const uint64_t word : Candidates(BestCdcKernel(), zero, kScanPositions, kScanPositions)) {
    EXPECT_EQ(word, 0u);
  }
  // Were the hash constant on data of some short period, all or no units would be candidates.
  for (const size_t period : {1, 2, 3, 4, 8, 12, 16, 24, 32, 48}) {
    size_t marked = 0;
    constexpr size_t kUnits = 4000;
    for (uint64_t seed = 0; seed < kUnits; ++seed) {
      const Bytes bytes = test::PeriodicBytes(seed, period, kWindowBytes);
      marked += Candidates(BestCdcKernel(), bytes, kWindowBytes - 1, 1)[0];
    }
    EXPECT_GT(marked, 0u) << period;
    EXPECT_LT(marked, kUnits / 60) << period;
  }
}

}  // namespace
}  // namespace snapstore::internal
