#include "engine/frame.h"

#include <gtest/gtest.h>

#include "engine/format.h"
#include "tests/engine/format_fixture.h"

namespace snapstore {
namespace {

PlainFrame MakeFrame(const std::vector<Bytes>& chunks) {
  PlainFrame frame;
  const HashSecret secret = TestSecret();
  for (const Bytes& chunk : chunks) {
    frame.data.insert(frame.data.end(), chunk.begin(), chunk.end());
    frame.chunks.push_back(ComputeChunkId(secret, chunk));
  }
  return frame;
}

Bytes Encode(const std::vector<Bytes>& chunks) {
  FrameEncoder encoder;
  PlainFrame frame = MakeFrame(chunks);
  const ByteSpan stored = encoder.Encode(&frame, /*level=*/3).value();
  return Bytes(stored.begin(), stored.end());
}

void ExpectHolds(const Bytes& stored, const std::vector<Bytes>& chunks) {
  FrameDecoder decoder(&Sealer::Plain());
  DecodedFrame frame;
  const Status status = decoder.Decode({}, stored, &frame);
  ASSERT_TRUE(status.ok()) << status.ToString();
  ASSERT_EQ(frame.chunk_count(), chunks.size());
  for (size_t i = 0; i < chunks.size(); ++i) {
    const ByteSpan got = frame.chunk(i);
    EXPECT_EQ(Bytes(got.begin(), got.end()), chunks[i]) << "chunk " << i;
  }
}

TEST(Frame, ComesBackAsItWentIn) {
  const uint64_t seed = TestSeed();
  SNAP_TRACE_SEED(seed);
  SplitMix64 random(seed);
  for (int round = 0; round < 50; ++round) {
    std::vector<Bytes> chunks(1 + random.Below(40));
    for (Bytes& chunk : chunks) {
      chunk = random.Below(2) == 0 ? RandomBytes(&random, 1 + random.Below(8000))
                                   : Bytes(1 + random.Below(8000), uint8_t(random.Below(4)));
    }
    const Bytes stored = Encode(chunks);
    EXPECT_EQ(StoredFrameLength(stored), stored.size());
    ExpectHolds(stored, chunks);
  }
}

TEST(Frame, StoresIncompressibleBytesRawAndCompressibleOnesSmall) {
  SplitMix64 random(7);
  const Bytes noise = RandomBytes(&random, 256 << 10);
  EXPECT_EQ(Encode({noise})[0], 0);
  EXPECT_EQ(Encode({noise}).size(), kFrameHeaderBytes + noise.size() + 4);
  EXPECT_LT(Encode({Bytes(256 << 10, 'a')}).size(), 1000u);
}

TEST(Frame, TakesTheLargestFrameAWriterMakes) {
  SplitMix64 random(8);
  // One byte short of full, then the largest chunk there is.
  const std::vector<Bytes> chunks{RandomBytes(&random, kFramePlainTarget - 1),
                                  RandomBytes(&random, kChunkBytesMax)};
  ExpectHolds(Encode(chunks), chunks);
  const std::vector<Bytes> many(kFrameChunksMax, Bytes(1, 'x'));
  ExpectHolds(Encode(many), many);
}

TEST(Frame, IsFullEarlyWhenItHoldsSingleBlocks) {
  SplitMix64 random(10);
  const Bytes block = RandomBytes(&random, kBlockBytes);
  std::vector<Bytes> chunks(kBlockFramePlainTarget / kBlockBytes - 1, block);
  EXPECT_FALSE(MakeFrame(chunks).Full());
  chunks.push_back(block);
  EXPECT_TRUE(MakeFrame(chunks).Full());

  chunks.front().pop_back();
  while (MakeFrame(chunks).data.size() + kBlockBytes < kFramePlainTarget) {
    ASSERT_FALSE(MakeFrame(chunks).Full()) << chunks.size();
    chunks.push_back(block);
  }
  chunks.push_back(block);
  EXPECT_TRUE(MakeFrame(chunks).Full());
}

TEST(Frame, AnyDamageIsNoticed) {
  SplitMix64 random(9);
  for (const std::vector<Bytes>& chunks :
       {std::vector<Bytes>{RandomBytes(&random, 300), RandomBytes(&random, 5)},
        std::vector<Bytes>{Bytes(3000, 'a'), Bytes(20, 'b')}}) {
    const Bytes stored = Encode(chunks);
    FrameDecoder decoder(&Sealer::Plain());
    ForEachDamage(stored, [&](const Bytes& damaged) {
      DecodedFrame frame;
      EXPECT_TRUE(SaysDamaged(decoder.Decode({}, damaged, &frame)));
    });
    Bytes longer = stored;
    longer.push_back(0);
    DecodedFrame frame;
    EXPECT_TRUE(decoder.Decode({}, longer, &frame).Is(StatusCode::kCorruption));
  }
}

}  // namespace
}  // namespace snapstore
