#include "engine/pack.h"

#include <gtest/gtest.h>

#include "engine/frame.h"
#include "engine/segment.h"
#include "tests/engine/format_fixture.h"

namespace snapstore {
namespace {

struct Sample {
  SealedPack pack;
  std::vector<Bytes> contents;  // of the chunks
};

Sample MakePack(const Sealer& sealer, SplitMix64* random, PackKind kind, size_t frames) {
  Sample sample;
  FrameEncoder encoder;
  PackBuilder builder(&sealer, kind);
  for (size_t f = 0; f < frames; ++f) {
    PlainFrame frame;
    for (uint64_t left = 1 + random->Below(5); left > 0; --left) {
      const Bytes chunk = RandomBytes(random, 1 + random->Below(60));
      frame.data.insert(frame.data.end(), chunk.begin(), chunk.end());
      frame.chunks.push_back(ComputeChunkId(TestSecret(), chunk));
      sample.contents.push_back(chunk);
    }
    const ByteSpan stored = encoder.Encode(&frame, /*level=*/1).value();
    const size_t at = builder.size();
    EXPECT_EQ(builder.Append(stored, frame.chunks).offset, at);
  }
  sample.pack = std::move(builder).Seal();
  return sample;
}

bool SameChunks(std::span<const PackChunk> a, std::span<const PackChunk> b) {
  return std::equal(
      a.begin(), a.end(), b.begin(), b.end(), [](const PackChunk& x, const PackChunk& y) {
        return x.id == y.id && x.frame_offset == y.frame_offset &&
               x.frame_length == y.frame_length && x.chunk_in_frame == y.chunk_in_frame;
      });
}

TEST(Pack, FooterSaysWhereEachChunkIs) {
  const uint64_t seed = TestSeed();
  SNAP_TRACE_SEED(seed);
  SplitMix64 random(seed);
  for (const PackKind kind : {PackKind::kData, PackKind::kMeta}) {
    const Sample sample = MakePack(Sealer::Plain(), &random, kind, 1 + random.Below(20));
    const SealedPack& pack = sample.pack;
    EXPECT_EQ(pack.id, Sha256::Of(pack.bytes));
    const auto footer = ParsePack(Sealer::Plain(), pack.bytes);
    ASSERT_TRUE(footer.ok()) << footer.status().ToString();
    EXPECT_EQ(footer->kind, kind);
    EXPECT_TRUE(SameChunks(footer->chunks, pack.chunks));
    FrameDecoder decoder(&Sealer::Plain());
    DecodedFrame frame;
    for (size_t i = 0; i < footer->chunks.size(); ++i) {
      const PackChunk& chunk = footer->chunks[i];
      const auto stored = ByteSpan(pack.bytes).subspan(chunk.frame_offset, chunk.frame_length);
      ASSERT_TRUE(decoder.Decode({kind, chunk.frame_offset}, stored, &frame).ok());
      const ByteSpan got = frame.chunk(chunk.chunk_in_frame);
      EXPECT_EQ(Bytes(got.begin(), got.end()), sample.contents[i]);
    }
  }
}

TEST(Pack, FooterIsReadFromTheStoreAlsoWhenItIsLarge) {
  SplitMix64 random(3);
  const auto store = NewMemoryStore();
  for (const size_t frames : {size_t{2}, size_t{4000}}) {  // the second: more than one read
    const SealedPack pack = MakePack(Sealer::Plain(), &random, PackKind::kMeta, frames).pack;
    const ByteSpan parts[] = {pack.bytes};
    ASSERT_TRUE(store->PutIfAbsent(PackKey(pack.kind, pack.id), parts).ok());
    uint64_t bytes_read = 0;
    const auto footer =
        ReadPackFooter(*store, Sealer::Plain(), pack.kind, pack.id, pack.bytes.size(), &bytes_read);
    ASSERT_TRUE(footer.ok()) << footer.status().ToString();
    EXPECT_TRUE(SameChunks(footer->chunks, pack.chunks));
    EXPECT_LE(bytes_read, pack.bytes.size());
    EXPECT_TRUE(SaysDamaged(
        ReadPackFooter(*store, Sealer::Plain(), pack.kind, pack.id, pack.bytes.size() - 1, nullptr)
            .status()));
  }
}

TEST(Pack, IsNotTakenForAPackOfTheOtherKind) {
  SplitMix64 random(4);
  const auto store = NewMemoryStore();
  const SealedPack pack = MakePack(Sealer::Plain(), &random, PackKind::kMeta, 1).pack;
  const ByteSpan parts[] = {pack.bytes};
  ASSERT_TRUE(store->PutIfAbsent(PackKey(PackKind::kData, pack.id), parts).ok());
  EXPECT_TRUE(
      ReadPackFooter(*store, Sealer::Plain(), PackKind::kData, pack.id, pack.bytes.size(), nullptr)
          .status()
          .Is(StatusCode::kCorruption));
}

TEST(Pack, DamageOutsideTheFramesIsNoticedWithoutTheName) {
  SplitMix64 random(5);
  const SealedPack pack = MakePack(Sealer::Plain(), &random, PackKind::kData, 3).pack;
  const uint64_t frames_end = pack.chunks.back().frame_offset + pack.chunks.back().frame_length;
  for (size_t i = 0; i < pack.bytes.size(); ++i) {
    // A frame's own checksum covers it; and four bytes of the header may be any.
    if (i + 4 >= PackHeaderBytes(Sealer::Plain()) && i < frames_end) continue;
    Bytes damaged = pack.bytes;
    damaged[i] ^= 0x10;
    EXPECT_TRUE(SaysDamaged(ParsePack(Sealer::Plain(), damaged).status())) << "byte " << i;
  }
  ForEachDamage(pack.bytes, [&](const Bytes& damaged) {
    const auto footer = ParsePack(Sealer::Plain(), damaged);
    if (footer.ok()) {
      EXPECT_TRUE(SameChunks(footer->chunks, pack.chunks));
    }
  });
}

TEST(Segment, ListsThePacksItWasGiven) {
  SplitMix64 random(6);
  SegmentBuilder builder;
  std::vector<SealedPack> packs;
  for (int i = 0; i < 5; ++i) {
    packs.push_back(
        MakePack(Sealer::Plain(), &random, i % 2 == 0 ? PackKind::kData : PackKind::kMeta, 3).pack);
    builder.Add(packs.back().kind, packs.back().id, packs.back().chunks);
  }
  EXPECT_EQ(builder.pack_count(), packs.size());
  const Bytes bytes = std::move(builder).Finish(Sealer::Plain());
  size_t seen = 0;
  const Status status =
      ParseSegment(Sealer::Plain(), Sha256::Of(bytes), bytes, [&](const SegmentPack& pack) {
        EXPECT_EQ(pack.id, packs[seen].id);
        EXPECT_EQ(pack.kind, packs[seen].kind);
        EXPECT_TRUE(SameChunks(pack.chunks, packs[seen].chunks));
        ++seen;
        return Status();
      });
  ASSERT_TRUE(status.ok()) << status.ToString();
  EXPECT_EQ(seen, packs.size());
}

TEST(Segment, DamageIsNoticedBeforeAnythingIsTaken) {
  SplitMix64 random(7);
  const SealedPack pack = MakePack(Sealer::Plain(), &random, PackKind::kData, 4).pack;
  SegmentBuilder builder;
  builder.Add(pack.kind, pack.id, pack.chunks);
  const Bytes bytes = std::move(builder).Finish(Sealer::Plain());
  const Digest id = Sha256::Of(bytes);
  const auto refuse = [](const SegmentPack&) {
    ADD_FAILURE() << "a pack was taken from a damaged segment";
    return Status();
  };
  ForEachDamage(bytes, [&](const Bytes& damaged) {
    EXPECT_TRUE(ParseSegment(Sealer::Plain(), id, damaged, refuse).Is(StatusCode::kCorruption));
    // Even if the name fitted: no crash, no read beyond the end.
    const Status status = ParseSegment(Sealer::Plain(), Sha256::Of(damaged), damaged,
                                       [](const SegmentPack&) { return Status(); });
    if (damaged.size() < bytes.size()) {
      EXPECT_TRUE(SaysDamaged(status));
    }
  });
}

}  // namespace
}  // namespace snapstore
