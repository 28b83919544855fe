#include <algorithm>
#include <set>

#include "chunker/internal/cdc_chunker.h"
#include "tests/chunker/chunker_testlib.h"

namespace snapstore {
namespace {

using test::Cuts;
using test::MakeChunker;

std::vector<ChunkerParams> ParamsUnderTest(uint64_t seed) {
  return {ChunkerParams::Cdc(seed), ChunkerParams::AlignedGroups(seed),
          ChunkerParams::AlignedBlocks(), ChunkerParams{ChunkerKind::kCdc, 256, 1024, 4096, seed},
          ChunkerParams{ChunkerKind::kAligned, 512, 2048, 8192, seed}};
}

std::string Describe(const ChunkerParams& params) {
  return (params.kind == ChunkerKind::kCdc ? "cdc " : "aligned ") +
         std::to_string(params.bytes_avg);
}

TEST(Chunker, KeepsBoundsOnEveryInput) {
  const uint64_t seed = test::TestSeed();
  for (const auto& [name, bytes] : test::Inputs(seed, 300'001)) {
    for (const ChunkerParams& params : ParamsUnderTest(seed)) {
      const auto chunker = MakeChunker(params);
      size_t begin = 0;
      for (const size_t end : Cuts(*chunker, bytes)) {
        const size_t length = end - begin;
        ASSERT_LE(length, params.bytes_max) << name << ", " << Describe(params);
        if (end != bytes.size()) {
          ASSERT_GE(length, params.bytes_min) << name << ", " << Describe(params);
          if (params.kind == ChunkerKind::kAligned) {
            ASSERT_EQ(length % params.bytes_min, 0u);
          }
        }
        begin = end;
      }
      ASSERT_EQ(begin, bytes.size());
    }
  }
}

// Feeds the stream as a caller with a growing buffer does.
std::vector<size_t> CutsInPieces(const Chunker& chunker, ByteSpan stream, SplitMix64* random) {
  std::vector<size_t> ends;
  size_t begin = 0, filled = 0;
  while (begin < stream.size()) {
    const size_t length =
        chunker.NextCut(stream.subspan(begin, filled - begin), filled == stream.size());
    if (length == 0) {
      // A window of bytes_max always has a cut.
      EXPECT_LT(filled - begin, chunker.params().bytes_max);
      EXPECT_LT(filled, stream.size());
      if (filled == stream.size()) return ends;
      filled = std::min(stream.size(), filled + 1 + random->Below(5000));
      continue;
    }
    begin += length;
    EXPECT_LE(begin, filled);
    ends.push_back(begin);
  }
  return ends;
}

TEST(Chunker, CutsDoNotDependOnHowTheStreamArrives) {
  const uint64_t seed = test::TestSeed();
  SplitMix64 random(seed);
  for (const auto& [name, bytes] : test::Inputs(seed, 150'000)) {
    for (const ChunkerParams& params : ParamsUnderTest(seed)) {
      const auto chunker = MakeChunker(params);
      ASSERT_EQ(CutsInPieces(*chunker, bytes, &random), Cuts(*chunker, bytes))
          << name << ", " << Describe(params);
    }
  }
}

TEST(Chunker, DecidesNothingOnAnEmptyWindow) {
  for (const ChunkerParams& params : ParamsUnderTest(1)) {
    EXPECT_EQ(MakeChunker(params)->NextCut({}, false), 0u);
    EXPECT_EQ(MakeChunker(params)->NextCut({}, true), 0u);
  }
}

// Number of new chunks that `edited` has over `original`, by content.
size_t NewChunks(const Chunker& chunker, ByteSpan original, ByteSpan edited) {
  auto contents = [&](ByteSpan stream) {
    std::vector<std::string> chunks;
    size_t begin = 0;
    for (const size_t end : Cuts(chunker, stream)) {
      chunks.emplace_back(AsText(stream.subspan(begin, end - begin)));
      begin = end;
    }
    return chunks;
  };
  const auto before = contents(original);
  const std::set<std::string> known(before.begin(), before.end());
  const auto after = contents(edited);
  return static_cast<size_t>(std::count_if(
      after.begin(), after.end(), [&](const std::string& c) { return !known.contains(c); }));
}

TEST(CdcChunker, ByteEditsInsertsAndErasuresStayLocal) {
  const uint64_t seed = test::TestSeed();
  SplitMix64 random(seed);
  const auto chunker = MakeChunker(ChunkerParams::Cdc(seed));
  for (const Bytes& original : {test::RandomBytes(seed, 4 << 20), test::TextBytes(seed, 4 << 20)}) {
    const size_t chunks = Cuts(*chunker, original).size();
    size_t new_chunks = 0;
    constexpr size_t kEdits = 60;
    for (size_t n = 0; n < kEdits; ++n) {
      Bytes edited = original;
      const auto at = edited.begin() + static_cast<ptrdiff_t>(random.Below(original.size()));
      switch (n % 3) {
        case 0:
          *at ^= 0x5a;
          break;
        case 1:
          edited.insert(at, static_cast<uint8_t>(random.Next()));
          break;
        default:
          edited.erase(at);
      }
      const size_t changed = NewChunks(*chunker, original, edited);
      EXPECT_GE(changed, 1u);
      EXPECT_LE(changed, 20u) << "edit " << n << " of a stream of " << chunks << " chunks";
      new_chunks += changed;
    }
    // Both chunkings meet again within a few chunks, two or three on average.
    EXPECT_LE(new_chunks, kEdits * 4);
  }
}

TEST(AlignedChunker, BlockEditsStayLocal) {
  const uint64_t seed = test::TestSeed();
  SplitMix64 random(seed);
  const auto groups = MakeChunker(ChunkerParams::AlignedGroups(seed));
  const auto blocks = MakeChunker(ChunkerParams::AlignedBlocks());
  const Bytes original = test::RandomBytes(seed, 4 << 20);
  for (int n = 0; n < 20; ++n) {
    Bytes edited = original;
    edited[random.Below(edited.size())] ^= 1;
    EXPECT_EQ(NewChunks(*blocks, original, edited), 1u);
    EXPECT_LE(NewChunks(*groups, original, edited), 8u);
  }
}

TEST(Chunker, AverageIsWithinFifteenPercentOfTheParameterOnRandomData) {
  const uint64_t seed = test::TestSeed();
  const uint32_t k = 1 << 10;
  for (const ChunkerParams& params :
       {ChunkerParams::Cdc(seed), ChunkerParams::AlignedGroups(seed),
        ChunkerParams{ChunkerKind::kCdc, 256, k, 4 * k, seed},
        ChunkerParams{ChunkerKind::kCdc, 2 * k, 8 * k, 16 * k, seed},
        ChunkerParams{ChunkerKind::kCdc, 16 * k, 32 * k, 128 * k, seed},
        ChunkerParams{ChunkerKind::kCdc, 256, 16 * k, 64 * k, seed}}) {
    const Bytes bytes = test::RandomBytes(seed, size_t{1500} * params.bytes_avg);
    const double mean = static_cast<double>(bytes.size()) /
                        static_cast<double>(Cuts(*MakeChunker(params), bytes).size());
    EXPECT_NEAR(mean / params.bytes_avg, 1.0, 0.15) << Describe(params);
  }
}

TEST(Chunker, CutsDependOnTheSeed) {
  const Bytes bytes = test::RandomBytes(5, 1 << 20);
  EXPECT_NE(Cuts(*MakeChunker(ChunkerParams::Cdc(1)), bytes),
            Cuts(*MakeChunker(ChunkerParams::Cdc(2)), bytes));
  EXPECT_NE(Cuts(*MakeChunker(ChunkerParams::AlignedGroups(1)), bytes),
            Cuts(*MakeChunker(ChunkerParams::AlignedGroups(2)), bytes));
}

}  // namespace
}  // namespace snapstore
