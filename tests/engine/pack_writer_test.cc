#include "engine/pack_writer.h"

#include <gtest/gtest.h>

#include "tests/engine/format_fixture.h"

namespace snapstore {
namespace {

StoredChunk StoredOf(Bench* bench, const PendingRef& pending) {
  const ChunkRef ref = pending.Resolve();
  return {ref.id, *bench->table().PackAt(ref.pack), ref.frame_offset, ref.frame_length,
          ref.chunk_in_frame};
}

TEST(PackWriter, EveryChunkIsReadBackByItsReference) {
  const uint64_t seed = TestSeed();
  SNAP_TRACE_SEED(seed);
  SplitMix64 random(seed);
  Bench bench(/*pack_bytes=*/256 << 10);
  std::vector<Bytes> contents;
  std::vector<PendingRef> refs;
  for (int i = 0; i < 500; ++i) {
    if (i > 0 && random.Below(4) == 0) {
      contents.push_back(contents[random.Below(contents.size())]);
    } else {
      contents.push_back(RandomBytes(&random, 1 + random.Below(20000)));
    }
    refs.push_back(bench.Put(PackKind::kData, contents.back()));
    if (random.Below(100) == 0) {
      ASSERT_TRUE(bench.writer().Wait(refs.back()).ok());
    }
    if (random.Below(200) == 0) bench.Flush();
  }
  bench.Flush();
  std::vector<StoredChunk> chunks;
  for (size_t i = 0; i < refs.size(); ++i) {
    chunks.push_back(StoredOf(&bench, refs[i]));
    Bytes bytes;
    ASSERT_TRUE(bench.fetcher().Read(PackKind::kData, chunks.back(), &bytes).ok());
    ASSERT_EQ(bytes, contents[i]);
  }
  size_t visited = 0;
  const Status status = bench.fetcher().ReadMany(
      PackKind::kData, chunks,
      [&](std::span<const FetchedChunk> fetched) {
        for (const auto& [i, bytes] : fetched) {
          EXPECT_EQ(Bytes(bytes.begin(), bytes.end()), contents[i]);
        }
        visited += fetched.size();
        return Status();
      },
      [](size_t, const Status& failure) { return failure; });
  EXPECT_TRUE(status.ok()) << status.ToString();
  EXPECT_EQ(visited, chunks.size());
  ASSERT_TRUE(bench.publisher().Finish().ok());
  EXPECT_EQ(bench.publisher().packs_published(), bench.table().size());
}

TEST(PackWriter, KnownChunksAreNotStoredAgain) {
  SplitMix64 random(2);
  Bench bench;
  const Bytes content = RandomBytes(&random, 5000);
  const PendingRef first = bench.Put(PackKind::kData, content);
  const PendingRef again = bench.Put(PackKind::kData, content);
  bench.Flush();
  EXPECT_EQ(first.Resolve(), again.Resolve());
  bench.NewWriter();
  const PendingRef later = bench.Put(PackKind::kData, content);
  EXPECT_TRUE(later.resolved());
  EXPECT_EQ(later.Resolve(), first.Resolve());
  bench.Flush();
  EXPECT_EQ(bench.writer().stats().chunks_new, 0u);
  EXPECT_EQ(bench.writer().stats().bytes_stored, 0u);
}

TEST(PackWriter, AChunkThatFillsAFrameMayComeAgainAtOnce) {
  SplitMix64 random(5);
  Bench bench;
  std::vector<Bytes> contents;
  contents.reserve(16);
  for (size_t n = 0; n < 16; ++n) contents.push_back(RandomBytes(&random, kFramePlainTarget / 16));
  std::vector<NewChunk> chunks;
  chunks.reserve(contents.size() + 1);
  for (const Bytes& content : contents) {
    chunks.push_back({ComputeChunkId(TestSecret(), content), content});
  }
  chunks.push_back(chunks.back());
  std::vector<PendingRef> refs;
  ASSERT_TRUE(bench.writer().PutMany(PackKind::kData, chunks, &refs).ok());
  bench.Flush();  // of what is open then, which holds nothing
  ASSERT_EQ(refs.size(), chunks.size());
  EXPECT_EQ(refs[15].Resolve(), refs[16].Resolve());
}

TEST(PackWriter, FailedStoreEndsEveryCallWithItsError) {
  class FullStore : public ObjectStore {
   public:
    Result<PutOutcome> PutIfAbsent(const ObjectKey&, std::span<const ByteSpan>) override {
      return Status::NoSpace("disk full");
    }
    Status GetRange(const ObjectKey&, uint64_t, MutableByteSpan) override {
      return Status::NotFound("");
    }
    Result<Bytes> Get(const ObjectKey&, size_t) override { return Status::NotFound(""); }
    Result<ObjectInfo> Stat(const ObjectKey&) override { return Status::NotFound(""); }
    Status List(std::string_view, const std::function<Status(const ObjectInfo&)>&) override {
      return {};
    }
    Status Delete(const ObjectKey&) override { return Status::NotFound(""); }
    std::string Describe() const override { return "full"; }
  } store;
  FakeIndex index;
  SegmentPublisher publisher(&store, &Sealer::Plain(), &index);
  PackTable table;
  PackWriter writer(&store, &Sealer::Plain(), &index, &publisher, &table, {2, 1, 64 << 10});
  SplitMix64 random(3);
  Status status;
  for (int i = 0; i < 1000 && status.ok(); ++i) {
    const Bytes content = RandomBytes(&random, 20000);
    status = writer.Put(PackKind::kData, ComputeChunkId(TestSecret(), content), content).status();
  }
  EXPECT_TRUE(status.Is(StatusCode::kNoSpace)) << status.ToString();
  EXPECT_TRUE(writer.Flush().Is(StatusCode::kNoSpace));
  EXPECT_EQ(index.ApproximateChunkCount(), 0u);
}

TEST(ChunkFetcher, StaleHintIsResolvedThroughTheIndex) {
  SplitMix64 random(4);
  Bench bench;
  std::vector<Bytes> contents;
  std::vector<PendingRef> refs;
  for (int i = 0; i < 10; ++i) {
    contents.push_back(RandomBytes(&random, 500));
    refs.push_back(bench.Put(PackKind::kData, contents.back()));
  }
  bench.Flush();
  const auto expect_readable = [&](StoredChunk chunk, const char* what) {
    Bytes bytes;
    const Status status = bench.fetcher().Read(PackKind::kData, chunk, &bytes);
    ASSERT_TRUE(status.ok()) << what << ": " << status.ToString();
    EXPECT_EQ(bytes, contents[3]) << what;
  };
  const StoredChunk good = StoredOf(&bench, refs[3]);
  expect_readable(good, "good");
  StoredChunk stale = good;
  stale.pack = RandomDigest(&random);
  expect_readable(stale, "pack is gone");
  stale = good;
  stale.frame_offset += 8;
  expect_readable(stale, "frame lies elsewhere");
  stale = good;
  stale.chunk_in_frame = 4;
  expect_readable(stale, "another chunk of the frame");
  stale.chunk_in_frame = 4000;
  expect_readable(stale, "beyond the frame's chunks");
  stale = good;
  stale.frame_length = 0;
  expect_readable(stale, "impossible length");

  StoredChunk unknown = good;
  unknown.id = RandomId(&random, 500);
  Bytes bytes;
  EXPECT_TRUE(bench.fetcher().Read(PackKind::kData, unknown, &bytes).Is(StatusCode::kCorruption));
  unknown.pack = RandomDigest(&random);
  const Status gone = bench.fetcher().Read(PackKind::kData, unknown, &bytes);
  EXPECT_TRUE(gone.Is(StatusCode::kCorruption)) << gone.ToString();
  EXPECT_TRUE(bytes.empty());
}

TEST(ChunkFetcher, MetadataIsFoundInADataPack) {
  SplitMix64 random(5);
  Bench bench;
  const Bytes content = RandomBytes(&random, 700);
  bench.Put(PackKind::kData, content);
  bench.Flush();
  // The same bytes as metadata: known already, so the reference leads into the data pack.
  const PendingRef ref = bench.Put(PackKind::kMeta, content);
  ASSERT_TRUE(ref.resolved());
  Bytes bytes;
  const Status status = bench.fetcher().Read(PackKind::kMeta, StoredOf(&bench, ref), &bytes);
  ASSERT_TRUE(status.ok()) << status.ToString();
  EXPECT_EQ(bytes, content);
}

TEST(ChunkFetcher, FlippedByteNeverComesOut) {
  SplitMix64 random(6);
  Bench bench;
  const Bytes content = RandomBytes(&random, 300);
  const PendingRef ref = bench.Put(PackKind::kData, content);
  bench.Flush();
  const StoredChunk chunk = StoredOf(&bench, ref);
  const ObjectKey key = PackKey(PackKind::kData, chunk.pack);
  const Bytes pack = *bench.store().Get(key, 1 << 20);
  for (size_t i = 0; i < pack.size(); ++i) {
    const auto store = NewMemoryStore();
    Bytes damaged = pack;
    damaged[i] ^= 0x04;
    const ByteSpan parts[] = {damaged};
    ASSERT_TRUE(store->PutIfAbsent(key, parts).ok());
    ChunkFetcher fetcher(
        store.get(), &Sealer::Plain(), bench.secret(),
        [](const ChunkId&) -> Result<std::optional<ChunkLocation>> {
          return std::optional<ChunkLocation>();
        },
        FetchLimits());
    Bytes bytes;
    const Status status = fetcher.Read(PackKind::kData, chunk, &bytes);
    if (status.ok()) {
      EXPECT_EQ(bytes, content) << "byte " << i;
    } else {
      EXPECT_TRUE(SaysDamaged(status)) << status.ToString();
      EXPECT_TRUE(bytes.empty());
    }
  }
}

}  // namespace
}  // namespace snapstore
