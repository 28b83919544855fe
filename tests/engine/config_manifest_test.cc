#include <gtest/gtest.h>

#include "engine/config.h"
#include "engine/manifest.h"
#include "engine/pack_table.h"
#include "tests/engine/format_fixture.h"

namespace snapstore {
namespace {

TEST(Config, ComesBackAsItWentIn) {
  const RepositoryConfig config = RepositoryConfig::Generate();
  const auto decoded = RepositoryConfig::Decode(config.Encode(Sealer::Plain()));
  ASSERT_TRUE(decoded.ok()) << decoded.status().ToString();
  EXPECT_EQ(decoded->id, config.id);
  EXPECT_EQ(decoded->hash_secret.bytes, config.hash_secret.bytes);
  EXPECT_EQ(decoded->chunker_seed, config.chunker_seed);
  EXPECT_EQ(decoded->created, config.created);
  EXPECT_NE(RepositoryConfig::Generate().id, config.id);
}

TEST(Config, AnyDamageIsNoticed) {
  ForEachDamage(RepositoryConfig::Generate().Encode(Sealer::Plain()), [](const Bytes& damaged) {
    EXPECT_TRUE(RepositoryConfig::Decode(damaged).status().Is(StatusCode::kCorruption));
  });
}

Bytes WithDigestLine(const std::string& text) {
  const std::string line = text + "\n";
  const std::string whole = line + Sha256::Of(AsBytes(line)).ToHex() + "\n";
  return {whole.begin(), whole.end()};
}

TEST(Config, ForeignContentWithAFittingChecksumIsRefused) {
  for (const char* text :
       {"", "{}", "[]", "null", "{\"format\":7}", "{\"format\":\"other\",\"version\":1}",
        "{\"format\":\"snapstore\"}", "{\"format\":\"snapstore\",\"version\":-1}",
        "{\"format\":\"snapstore\",\"version\":\"1\"}", "{\"format\":\"snapstore\",\"version\":1}",
        "{\"format\":\"snapstore\",\"version\":1,\"id\":7}", "{\"format\":\"snapstore\xff\"}"}) {
    const auto config = RepositoryConfig::Decode(WithDigestLine(text));
    EXPECT_TRUE(config.status().Is(StatusCode::kCorruption))
        << text << ": " << config.status().ToString();
  }
  EXPECT_TRUE(RepositoryConfig::Decode(WithDigestLine("{\"format\":\"snapstore\",\"version\":3}"))
                  .status()
                  .Is(StatusCode::kUnsupported));
}

format::Manifest SampleManifest(SplitMix64* random) {
  format::Manifest manifest;
  manifest.set_nonce("0123456789abcdef");
  manifest.set_time_ns(-5);
  manifest.set_host("node-\xff");  // host names are bytes
  manifest.add_paths("/data/\xc3\x28");
  format::Tag* const tag = manifest.add_tags();
  tag->set_key("k\xfe");  // not UTF-8
  tag->set_value("v\xff");
  manifest.mutable_statistics()->set_bytes_total(uint64_t{1} << 63);
  const Digest pack = RandomDigest(random);
  manifest.set_pack_table_tail(pack.bytes.data(), pack.bytes.size());
  manifest.mutable_tree()->set_nodes("leaf");
  return manifest;
}

TEST(Manifest, ComesBackAsItWentIn) {
  SplitMix64 random(1);
  const format::Manifest manifest = SampleManifest(&random);
  const Bytes bytes = EncodeManifest(Sealer::Plain(), manifest);
  const Digest id = Sha256::Of(bytes);
  const auto decoded = DecodeManifest(Sealer::Plain(), id, bytes);
  ASSERT_TRUE(decoded.ok()) << decoded.status().ToString();
  EXPECT_EQ(decoded->SerializeAsString(), manifest.SerializeAsString());
  const SnapshotInfo info = InfoFromManifest(id, *decoded);
  EXPECT_EQ(info.id, id.ToHex());
  EXPECT_EQ(info.time_ns, -5);
  EXPECT_EQ(info.tags.at("k\xfe"), "v\xff");
  EXPECT_EQ(info.bytes_total, uint64_t{1} << 63);
}

TEST(Manifest, AnyDamageIsNoticed) {
  SplitMix64 random(2);
  const Bytes bytes = EncodeManifest(Sealer::Plain(), SampleManifest(&random));
  const Digest id = Sha256::Of(bytes);
  ForEachDamage(bytes, [&](const Bytes& damaged) {
    EXPECT_TRUE(DecodeManifest(Sealer::Plain(), id, damaged).status().Is(StatusCode::kCorruption));
    const auto renamed = DecodeManifest(Sealer::Plain(), Sha256::Of(damaged), damaged);
    if (damaged.size() < bytes.size()) {
      EXPECT_TRUE(SaysDamaged(renamed.status()));
    }
  });
}

TEST(PackTable, IsReadFromFullLeavesAndTheTail) {
  SplitMix64 random(3);
  Bench bench;
  format::Manifest manifest;
  std::vector<PackId> packs;
  for (size_t i = 0; i < 2 * kPackTableLeafEntries + 7; ++i) packs.push_back(RandomDigest(&random));
  Bytes flat;
  for (const PackId& pack : packs) flat.insert(flat.end(), pack.bytes.begin(), pack.bytes.end());
  const size_t leaf_bytes = kPackTableLeafEntries * sizeof(PackId::bytes);
  std::vector<PendingRef> refs;
  for (size_t i = 0; i < 2; ++i) {
    refs.push_back(bench.Put(PackKind::kMeta, ByteSpan(flat).subspan(i * leaf_bytes, leaf_bytes)));
  }
  bench.Flush();
  for (const PendingRef& pending : refs) {
    const ChunkRef ref = pending.Resolve();
    const PackId pack = *bench.table().PackAt(ref.pack);
    format::PackTableLeaf* const leaf = manifest.add_pack_table();
    leaf->set_hash(ref.id.hash.data(), ref.id.hash.size());
    leaf->set_length(ref.id.length);
    leaf->set_pack(pack.bytes.data(), pack.bytes.size());
    leaf->set_frame_offset(ref.frame_offset);
    leaf->set_frame_length(ref.frame_length);
    leaf->set_chunk_in_frame(ref.chunk_in_frame);
  }
  manifest.set_pack_table_tail(flat.data() + 2 * leaf_bytes, flat.size() - 2 * leaf_bytes);
  const auto read = ReadPackTable(manifest, &bench.fetcher());
  ASSERT_TRUE(read.ok()) << read.status().ToString();
  EXPECT_EQ(*read, packs);

  manifest.mutable_pack_table_tail()->pop_back();
  EXPECT_TRUE(ReadPackTable(manifest, &bench.fetcher()).status().Is(StatusCode::kCorruption));
  manifest.clear_pack_table_tail();
  manifest.mutable_pack_table(0)->set_hash("short");
  EXPECT_TRUE(ReadPackTable(manifest, &bench.fetcher()).status().Is(StatusCode::kCorruption));
}

TEST(PackTable, KnowsPacksByOrdinal) {
  SplitMix64 random(4);
  const PackId a = RandomDigest(&random);
  const PackId b = RandomDigest(&random);
  PackTable table({a});
  EXPECT_EQ(table.OrdinalOf(a), 0u);
  const uint32_t reserved = table.Reserve();
  EXPECT_EQ(reserved, 1u);
  table.Name(reserved, b);
  EXPECT_EQ(table.OrdinalOf(b), 1u);
  EXPECT_EQ(*table.PackAt(1), b);
  EXPECT_TRUE(table.PackAt(2).status().Is(StatusCode::kCorruption));
  EXPECT_EQ(table.Copy(), (std::vector<PackId>{a, b}));
}

}  // namespace
}  // namespace snapstore
