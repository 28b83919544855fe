// Invariant 7: same bytes, same cuts, on every CPU.
#include "chunker/chunk_id.h"
#include "chunker/internal/cdc_chunker.h"
#include "tests/chunker/chunker_testlib.h"

namespace snapstore {
namespace {

using test::Cuts;

HashSecret GoldenSecret() {
  HashSecret secret;
  for (size_t n = 0; n < secret.bytes.size(); ++n) secret.bytes[n] = static_cast<uint8_t>(n * 7);
  return secret;
}

// SplitMix64 words, little-endian: reproducible outside this repository.
Bytes GoldenInput() { return test::RandomBytes(2024, 200'000); }

TEST(Invariant7, KernelsCutEveryInputAlike) {
  const uint64_t seed = test::TestSeed();
  for (const auto& [name, bytes] : test::Inputs(seed, 40'003)) {
    for (const ChunkerParams& params :
         {ChunkerParams::Cdc(seed), ChunkerParams{ChunkerKind::kCdc, 300, 1024, 5000, seed}}) {
      const auto expected = Cuts(internal::CdcChunker(params, internal::kReferenceKernel), bytes);
      for (const internal::CdcKernel* kernel : internal::CdcKernels()) {
        ASSERT_EQ(Cuts(internal::CdcChunker(params, *kernel), bytes), expected)
            << kernel->name << " on " << name;
      }
    }
  }
}

TEST(Invariant7, KernelsMarkAlikeWhateverTheLengthAndAlignment) {
  const uint64_t seed = test::TestSeed();
  SplitMix64 random(seed);
  for (int round = 0; round < 3000; ++round) {
    const size_t count = 1 + random.Below(internal::kScanPositions);
    const size_t skew = random.Below(64);
    // Exactly what may be read, at an odd address.
    const Bytes bytes = round % 3 == 0 ? Bytes(skew + 31 + count, 0xbd)
                                       : test::RandomBytes(random.Next(), skew + 31 + count);
    std::array<uint64_t, internal::kScanWords> expected{}, actual{};
    const uint8_t* data = bytes.data() + skew + 31;
    internal::kReferenceKernel.find_candidates(data, count, expected.data());
    for (const internal::CdcKernel* kernel : internal::CdcKernels()) {
      actual.fill(0);
      std::fill_n(actual.begin(), (count + 63) / 64, ~uint64_t{0});
      kernel->find_candidates(data, count, actual.data());
      ASSERT_EQ(actual, expected) << kernel->name << ", count " << count << ", skew " << skew;
    }
  }
}

TEST(Invariant7, CdcCutsAreThoseOfTheFormat) {
  const std::vector<size_t> golden = {13942,  30671,  51427,  72516,  88883,  107284, 112370,
                                      127186, 143154, 157339, 171948, 186412, 200000};
  const auto chunker = test::MakeChunker(ChunkerParams::Cdc(0x0123456789abcdefULL));
  EXPECT_EQ(Cuts(*chunker, GoldenInput()), golden);
}

TEST(Invariant7, SmallCdcCutsAreThoseOfTheFormat) {
  const std::vector<size_t> golden = {1616,  2273,  3389,  4393,  5237,  6923,  7783,  8408,
                                      9327,  10203, 11145, 12000, 12530, 13426, 13942, 14704,
                                      16325, 17356, 17696, 18571, 19686, 20000};
  const auto chunker =
      test::MakeChunker({ChunkerKind::kCdc, 256, 1024, 4096, 0x0123456789abcdefULL});
  EXPECT_EQ(Cuts(*chunker, ByteSpan(GoldenInput()).first(20'000)), golden);
}

TEST(Invariant7, AlignedCutsAreThoseOfTheFormat) {
  const std::vector<size_t> golden = {45056, 53248,  61440,  73728,  94208,
                                      98304, 139264, 192512, 196608, 200000};
  const auto chunker = test::MakeChunker(ChunkerParams::AlignedGroups(0x0123456789abcdefULL));
  EXPECT_EQ(Cuts(*chunker, GoldenInput()), golden);
}

TEST(Invariant7, ChunkIdsAreThoseOfTheFormat) {
  const Bytes input = GoldenInput();
  // Lengths on both sides of every branch of XXH3.
  const std::pair<size_t, const char*> golden[] = {
      {0, "f623fc960a4d0b42e2d4846561220d45"},     {1, "4ad8d647a64a85956039bf67df7a8d87"},
      {8, "94105a29d49487e7a3c441b51f1d1ee3"},     {16, "66380b8ae10632b69669bb567948d2a8"},
      {17, "afee2f8ccc3cd1d46c1fc45cd24de66b"},    {128, "3dca53aff8b25572afdbcc4794eeae5c"},
      {240, "5063f1055568bef672c6241a8c55b2af"},   {241, "556d12f07450a2d13983349f48d17027"},
      {1024, "20b7b53a5b8fd26a2b47f958812108bf"},  {4096, "212c0f79040f88cd9dfd0ba7480073ad"},
      {16384, "a230a244875860303853d29a5befff88"}, {200000, "edfb4ca34e9f41d486227c3212238e7a"},
  };
  for (const auto& [length, hex] : golden) {
    const ChunkId id = ComputeChunkId(GoldenSecret(), ByteSpan(input).first(length));
    EXPECT_EQ(id.ToHex(), hex) << length;
    EXPECT_EQ(id.length, length);
  }
}

}  // namespace
}  // namespace snapstore
