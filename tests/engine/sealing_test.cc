// How the stored format is sealed: what opens where, and what does not.
#include <gtest/gtest.h>
#include <xxhash.h>

#include "engine/config.h"
#include "engine/frame.h"
#include "engine/manifest.h"
#include "engine/pack.h"
#include "engine/segment.h"
#include "tests/engine/format_fixture.h"

namespace snapstore {
namespace {

Sealer TestSealer(uint8_t repository = 1, char key = 'k') {
  RepositoryId id{};
  id.fill(repository);
  return Sealer(id, Secret(std::string(32, key)));
}

// One chunk, as an encoder gives it.
Bytes EncodedFrame(const Bytes& content) {
  FrameEncoder encoder;
  PlainFrame frame{content, {ComputeChunkId(TestSecret(), content)}};
  const ByteSpan stored = encoder.Encode(&frame, /*level=*/3).value();
  return Bytes(stored.begin(), stored.end());
}

class SealedFrame : public testing::TestWithParam<bool> {
 protected:
  SealedFrame() {
    SplitMix64 random(1);
    content_ = GetParam() ? Bytes(5000, 'c') : RandomBytes(&random, 5000);
    frame_ = EncodedFrame(content_);
    stored_.resize(frame_.size() + Sealer::kPartOverhead);
    SealFrame(sealer_, salt_, place_, frame_, stored_);
  }
  static Status Decode(const Sealer& sealer, const FramePlace& place, const Bytes& stored) {
    FrameDecoder decoder(&sealer);
    DecodedFrame frame;
    return decoder.Decode(place, stored, &frame);
  }

  const Sealer sealer_ = TestSealer();
  const Sealer::Salt salt_{9, 8, 7};
  const FramePlace place_{PackKind::kMeta, 12345};
  Bytes content_;
  Bytes frame_;
  Bytes stored_;
};
INSTANTIATE_TEST_SUITE_P(Content, SealedFrame, testing::Bool(),
                         [](const auto& chosen) { return chosen.param ? "Compressed" : "Raw"; });

TEST_P(SealedFrame, OpensInItsPlaceOnly) {
  FrameDecoder decoder(&sealer_);
  DecodedFrame frame;
  ASSERT_TRUE(decoder.Decode(place_, stored_, &frame).ok());
  EXPECT_EQ(frame.data, content_);
  EXPECT_EQ(StoredFrameLength(stored_), stored_.size());
  EXPECT_EQ(FrameSalt(stored_), salt_);
  EXPECT_EQ(*OpenFrame(sealer_, place_, stored_), frame_);

  const auto refused = [&](const Status& status) { return status.Is(StatusCode::kCorruption); };
  EXPECT_TRUE(refused(Decode(sealer_, {PackKind::kMeta, 12346}, stored_)));
  EXPECT_TRUE(refused(Decode(sealer_, {PackKind::kData, 12345}, stored_)));
  EXPECT_TRUE(refused(Decode(TestSealer(2), place_, stored_)));
  EXPECT_TRUE(refused(Decode(TestSealer(1, 'K'), place_, stored_)));
  EXPECT_TRUE(refused(Decode(Sealer::Plain(), place_, stored_)));
  EXPECT_TRUE(refused(Decode(sealer_, place_, frame_))) << "anybody could have put a plain frame";
  EXPECT_TRUE(refused(OpenFrame(sealer_, {PackKind::kMeta, 1}, stored_).status()));
}

TEST_P(SealedFrame, AnyChangeIsRefusedAlsoWithAFittingChecksum) {
  ForEachDamage(stored_, [&](const Bytes& damaged) {
    EXPECT_TRUE(SaysDamaged(Decode(sealer_, place_, damaged)));
    if (damaged.size() < kFrameHeaderBytes) return;
    // As a hostile store would do it: the checksum has no secret.
    Bytes forged = damaged;
    StoreLe<uint32_t>(forged.data() + 8, static_cast<uint32_t>(forged.size() - kFrameHeaderBytes));
    const uint64_t seed = XXH3_64bits(forged.data(), 16);
    StoreLe<uint64_t>(forged.data() + 16,
                      XXH3_64bits_withSeed(forged.data() + kFrameHeaderBytes,
                                           forged.size() - kFrameHeaderBytes, seed));
    if (forged == stored_) return;  // the damage was in these fields
    EXPECT_TRUE(SaysDamaged(Decode(sealer_, place_, forged)));
  });
}

SealedPack BuildPack(const Sealer& sealer, PackKind kind, const std::vector<Bytes>& contents) {
  PackBuilder builder(&sealer, kind);
  for (const Bytes& content : contents) {
    const ChunkId id = ComputeChunkId(TestSecret(), content);
    builder.Append(EncodedFrame(content), {&id, 1});
  }
  return std::move(builder).Seal();
}

TEST(SealedPackTest, NamesItsChunksOnlyToWhoHasTheKey) {
  const Sealer sealer = TestSealer();
  const SealedPack pack =
      BuildPack(sealer, PackKind::kData, {Bytes(300, 'a'), Bytes(20, 'b'), Bytes(1, 'c')});
  const auto footer = ParsePack(sealer, pack.bytes);
  ASSERT_TRUE(footer.ok()) << footer.status().ToString();
  ASSERT_EQ(footer->chunks.size(), 3u);
  FrameDecoder decoder(&sealer);
  for (const PackChunk& chunk : footer->chunks) {
    const std::string_view hash(reinterpret_cast<const char*>(chunk.id.hash.data()), 16);
    EXPECT_EQ(AsText(pack.bytes).find(hash), std::string_view::npos);
    DecodedFrame frame;
    const auto stored = ByteSpan(pack.bytes).subspan(chunk.frame_offset, chunk.frame_length);
    ASSERT_TRUE(decoder.Decode({PackKind::kData, chunk.frame_offset}, stored, &frame).ok());
    EXPECT_EQ(ComputeChunkId(TestSecret(), frame.chunk(0)), chunk.id);
  }
  for (const Sealer& other : {TestSealer(2), TestSealer(1, 'K'), Sealer()}) {
    EXPECT_TRUE(SaysDamaged(ParsePack(other, pack.bytes).status()));
  }
  const SealedPack plain = BuildPack(Sealer(), PackKind::kData, {Bytes(300, 'a')});
  EXPECT_TRUE(ParsePack(sealer, plain.bytes).status().Is(StatusCode::kCorruption));
}

TEST(SealedPackTest, FooterOfAnotherPackIsRefused) {
  const Sealer sealer = TestSealer();
  const SealedPack one = BuildPack(sealer, PackKind::kData, {Bytes(300, 'a')});
  const SealedPack two = BuildPack(sealer, PackKind::kData, {Bytes(300, 'a')});
  ASSERT_EQ(one.bytes.size(), two.bytes.size());
  ASSERT_NE(one.id, two.id) << "each pack has a salt of its own";
  Bytes mixed = one.bytes;
  const PackChunk& last = one.chunks.back();
  const ptrdiff_t frames_end = ptrdiff_t{last.frame_offset} + ptrdiff_t{last.frame_length};
  std::copy(two.bytes.begin() + frames_end, two.bytes.end(), mixed.begin() + frames_end);
  EXPECT_TRUE(ParsePack(sealer, mixed).status().Is(StatusCode::kCorruption));
}

TEST(SealedSegment, IsReadWithTheKeyAndAnyChangeRefused) {
  const Sealer sealer = TestSealer();
  const SealedPack pack = BuildPack(sealer, PackKind::kMeta, {Bytes(300, 'a'), Bytes(20, 'b')});
  SegmentBuilder builder;
  builder.Add(pack.kind, pack.id, pack.chunks);
  const Bytes bytes = std::move(builder).Finish(sealer);
  size_t seen = 0;
  const auto count = [&](const SegmentPack& found) {
    seen += found.id == pack.id && found.chunks.size() == 2 ? 1 : 0;
    return Status();
  };
  ASSERT_TRUE(ParseSegment(sealer, Sha256::Of(bytes), bytes, count).ok());
  EXPECT_EQ(seen, 1u);
  ForEachDamage(bytes, [&](const Bytes& damaged) {
    EXPECT_TRUE(SaysDamaged(ParseSegment(sealer, Sha256::Of(damaged), damaged, count)));
  });
  EXPECT_EQ(seen, 1u) << "a pack was taken from a segment that somebody changed";
  for (const Sealer& other : {TestSealer(2), TestSealer(1, 'K'), Sealer()}) {
    EXPECT_TRUE(SaysDamaged(ParseSegment(other, Sha256::Of(bytes), bytes, count)));
  }
}

TEST(SealedManifest, IsReadWithTheKeyAndAnyChangeRefused) {
  const Sealer sealer = TestSealer();
  format::Manifest manifest;
  manifest.set_host("a-host-with-a-name");
  manifest.add_paths("/srv/secret-project");
  const Bytes bytes = EncodeManifest(sealer, manifest);
  EXPECT_EQ(AsText(bytes).find("host"), std::string_view::npos);
  EXPECT_EQ(AsText(bytes).find("secret"), std::string_view::npos);
  EXPECT_NE(EncodeManifest(sealer, manifest), bytes) << "a nonce of its own each time";
  const auto decoded = DecodeManifest(sealer, Sha256::Of(bytes), bytes);
  ASSERT_TRUE(decoded.ok()) << decoded.status().ToString();
  EXPECT_EQ(decoded->SerializeAsString(), manifest.SerializeAsString());
  ForEachDamage(bytes, [&](const Bytes& damaged) {
    EXPECT_TRUE(SaysDamaged(DecodeManifest(sealer, Sha256::Of(damaged), damaged).status()));
  });
  for (const Sealer& other : {TestSealer(2), TestSealer(1, 'K'), Sealer()}) {
    EXPECT_TRUE(SaysDamaged(DecodeManifest(other, Sha256::Of(bytes), bytes).status()));
  }
  const Bytes plain = EncodeManifest(Sealer(), manifest);
  EXPECT_TRUE(SaysDamaged(DecodeManifest(sealer, Sha256::Of(plain), plain).status()));
}

TEST(SealedBox, OpensAsWhatItWasSealedOnly) {
  const Sealer sealer = TestSealer();
  const Bytes sealed = sealer.SealBox(SealedKind::kSweepMark, AsBytes("clear"), AsBytes("content"));
  EXPECT_EQ(AsText(*sealer.OpenBox(SealedKind::kSweepMark, AsBytes("clear"), sealed)), "content");
  EXPECT_FALSE(sealer.OpenBox(SealedKind::kManifest, AsBytes("clear"), sealed).ok());
  EXPECT_FALSE(sealer.OpenBox(SealedKind::kSweepMark, AsBytes("cleaR"), sealed).ok());
  EXPECT_FALSE(sealer.OpenBox(SealedKind::kSweepMark, AsBytes("clear"), {}).ok());
  const Bytes plain =
      Sealer().SealBox(SealedKind::kSweepMark, AsBytes("clear"), AsBytes("content"));
  EXPECT_EQ(AsText(plain), "content");
}

TEST(SealedConfig, HoldsNoSecretInTheClear) {
  RepositoryConfig config = RepositoryConfig::Generate();
  config.encrypted = true;
  const Sealer sealer(config.id, Secret(std::string(32, 'k')));
  const Bytes bytes = config.Encode(sealer);
  EXPECT_EQ(AsText(bytes).find(HexEncode(config.hash_secret.bytes).substr(0, 32)),
            std::string_view::npos);
  auto decoded = RepositoryConfig::Decode(bytes);
  ASSERT_TRUE(decoded.ok()) << decoded.status().ToString();
  EXPECT_TRUE(decoded->encrypted);
  RepositoryConfig moved = *decoded;
  RepositoryConfig dated = *decoded;
  ASSERT_TRUE(decoded->OpenSecrets(sealer).ok());
  EXPECT_EQ(decoded->hash_secret.bytes, config.hash_secret.bytes);
  EXPECT_EQ(decoded->chunker_seed, config.chunker_seed);
  EXPECT_EQ(decoded->created, config.created);
  dated.created += " ";
  EXPECT_TRUE(dated.OpenSecrets(sealer).Is(StatusCode::kCorruption));
  const Sealer wrong(config.id, Secret(std::string(32, 'K')));
  EXPECT_TRUE(moved.OpenSecrets(wrong).Is(StatusCode::kCorruption));
  ForEachDamage(bytes, [](const Bytes& damaged) {
    EXPECT_TRUE(RepositoryConfig::Decode(damaged).status().Is(StatusCode::kCorruption));
  });
}

// What programs before encryption wrote, and read.
TEST(SealedConfig, OfAPlainRepositoryIsAsItAlwaysWas) {
  RepositoryConfig config;
  config.id.fill(0xab);
  config.created = "2026-01-02T03:04:05Z";
  config.hash_secret.bytes.fill(0x11);
  config.chunker_seed = 0x0807060504030201;
  const std::string line = R"({"chunker_seed":"0102030405060708","created":"2026-01-02T03:04:05Z",)"
                           R"("format":"snapstore","hash_secret":")" +
                           std::string(384, '1') +
                           R"(","id":"abababababababababababababababab","version":1})" + "\n";
  const std::string whole = line + Sha256::Of(AsBytes(line)).ToHex() + "\n";
  EXPECT_EQ(AsText(config.Encode(Sealer::Plain())), whole);
}

}  // namespace
}  // namespace snapstore
