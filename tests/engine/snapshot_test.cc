#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <thread>

#include "base/random.h"
#include "engine/entry_list.h"
#include "engine/segment.h"
#include "snapstore/inspect.h"
#include "snapstore/maintain.h"
#include "snapstore/reader.h"
#include "tests/engine/fixture.h"
#include "uploader/counting_store.h"
#include "uploader/fault_store.h"

namespace snapstore {
namespace {

constexpr uint64_t kPage = 4096;

class SnapshotTest : public EngineFixture {
 protected:
  SnapshotInfo Take(const SnapshotRequest& request, Observer* observer = nullptr) {
    const Result<SnapshotSummary> summary = TakeSnapshot(repository(), request, observer);
    EXPECT_TRUE(summary.ok()) << summary.status().ToString();
    return summary.ok() ? summary->info : SnapshotInfo();
  }

  std::string Content(const std::string& id, const std::string& path) {
    const auto reader = SnapshotReader::Open(repository(), id);
    EXPECT_TRUE(reader.ok()) << reader.status().ToString();
    const auto content = (*reader)->OpenContent(path);
    EXPECT_TRUE(content.ok()) << content.status().ToString();
    std::string out((*content)->size(), '\0');
    const Status read = (*content)->ReadAt(0, {reinterpret_cast<uint8_t*>(out.data()), out.size()});
    EXPECT_TRUE(read.ok()) << read.ToString();
    return out;
  }

  static std::span<const uint8_t> Span(std::string_view text) {
    return {reinterpret_cast<const uint8_t*>(text.data()), text.size()};
  }

  // One memory image named "memory/heap" with `pages`, which it refers to, at their addresses.
  SnapshotRequest ImageOf(const std::map<uint64_t, std::string_view>& pages, uint64_t size) {
    MemorySource image;
    image.name = "memory/heap";
    image.size = size;
    for (const auto& [address, bytes] : pages) image.extents.push_back({address, Span(bytes)});
    SnapshotRequest request;
    request.images.push_back(image);
    return request;
  }

  std::map<std::string, Bytes> AllObjects() {
    std::map<std::string, Bytes> objects;
    for (const std::string& key : KeysBelow("")) {
      Result<Bytes> bytes = store_->Get(ObjectKey(key), 256 << 20);
      EXPECT_TRUE(bytes.ok()) << key;
      if (bytes.ok()) objects[key] = std::move(*bytes);
    }
    return objects;
  }
};

// Fails every operation of one kind in turn: at each point of a snapshot's life.
class Invariant1 : public SnapshotTest {};

TEST_F(Invariant1, AFailedPutAtAnyPointLeavesEarlierSnapshotsWholeAndNoNewOne) {
  WriteFileAt(source("a"), RandomBytes(900'000, 1));
  const std::string first = Snapshot();
  for (uint64_t at = 1; at <= 8; ++at) {
    WriteFileAt(source("b"), RandomBytes(900'000, 100 + at));
    auto faults = std::make_unique<FaultStore>(store_, at);
    FaultStore* const control = faults.get();
    // An error after the object was stored is the nastier half: the answer was lost.
    control->Add({.kind = at % 2 == 0 ? FaultKind::kFailAfter : FaultKind::kFail,
                  .op = StoreOp::kPut,
                  .at = at});
    const auto handle = OpenRepository(std::move(faults), "cache-faulty");
    SnapshotRequest request;
    request.paths = {source()};
    const Result<SnapshotSummary> summary = TakeSnapshot(*handle, request, nullptr);
    if (control->injected() == 0) {
      EXPECT_TRUE(summary.ok()) << summary.status().ToString();
      EXPECT_GT(at, 2u) << "a snapshot puts a pack, a segment and a manifest at least";
      break;
    }
    EXPECT_FALSE(summary.ok());
  }
  const auto report = CheckRepository(repository(), {.read_data = true}, nullptr);
  ASSERT_TRUE(report.ok()) << report.status().ToString();
  EXPECT_TRUE(report->problems.empty()) << report->problems.front().message;
  RestoreAll(first);
  EXPECT_TRUE(ReadFileAt(Restored(source("a"))) == RandomBytes(900'000, 1));
}

TEST_F(Invariant1, PacksOfAFailedSnapshotAreTakenUpByTheNextOne) {
  WriteFileAt(source("a"), RandomBytes(3'000'000, 1));
  auto faults = std::make_unique<FaultStore>(store_, 1);
  faults->Add({.kind = FaultKind::kFail, .op = StoreOp::kPut, .key_prefix = "snapshots/"});
  SnapshotRequest request;
  request.paths = {source()};
  {
    const auto handle = OpenRepository(std::move(faults));
    EXPECT_FALSE(TakeSnapshot(*handle, request, nullptr).ok());
  }
  const SnapshotInfo info = Take(request);
  EXPECT_EQ(info.bytes_new, 0u);
  RestoreAll(info.id);
  EXPECT_EQ(ReadFileAt(Restored(source("a"))), ReadFileAt(source("a")));
}

class Invariant2 : public SnapshotTest {};

TEST_F(Invariant2, NoObjectEverChangesOrVanishes) {
  std::map<std::string, Bytes> known;
  for (uint64_t step = 0; step < 4; ++step) {
    WriteFileAt(source("grows"), RandomBytes(200'000 + step * 100'000, 7));
    WriteFileAt(source("changes"), RandomBytes(300'000, step));
    Snapshot();
    const auto now = AllObjects();
    for (const auto& [key, bytes] : known) {
      ASSERT_TRUE(now.contains(key)) << key;
      EXPECT_TRUE(now.at(key) == bytes) << key;
    }
    EXPECT_GT(now.size(), known.size());
    known = now;
  }
}

TEST_F(Invariant2, TwoSnapshotsOfTheSameBytesHaveTwoNames) {
  WriteFileAt(source("a"), "same");
  EXPECT_NE(Snapshot(), Snapshot());
}

class Invariant3 : public SnapshotTest {};

TEST_F(Invariant3, WithoutItsIndexASnapshotStoresNothingTwice) {
  WriteFileAt(source("a"), RandomBytes(2'000'000, 3));
  Snapshot();
  SnapshotRequest request;
  request.paths = {source()};
  request.parent = "none";
  repository_ = OpenRepository(nullptr, "another-cache");
  const SnapshotInfo info = Take(request);
  EXPECT_EQ(info.bytes_new, 0u);
  EXPECT_GT(info.chunks_total, 0u);
}

TEST_F(Invariant3, TheIndexIsRebuiltFromPackFootersAlone) {
  WriteFileAt(source("a"), RandomBytes(24'000'000, 3));
  Snapshot();
  for (const std::string& key : KeysBelow("index/")) {
    ASSERT_TRUE(store_->Delete(ObjectKey(key)).ok());
  }
  auto counting = std::make_unique<CountingStore>(store_, std::vector<std::string>{"data/"});
  CountingStore* const counts = counting.get();
  repository_ = OpenRepository(std::move(counting), "fresh-cache");
  const Result<RebuiltIndex> rebuilt = repository().RebuildIndex(nullptr);
  ASSERT_TRUE(rebuilt.ok()) << rebuilt.status().ToString();
  EXPECT_GE(rebuilt->packs_read, 3u);
  const StoreCounts reads = counts->Counts(StoreOp::kGetRange, "data/");
  EXPECT_GT(reads.requests, 0u);
  EXPECT_LT(reads.bytes, 2'000'000u) << "more than footers of 24 MB of packs";
  EXPECT_EQ(counts->Counts(StoreOp::kGet, "data/").requests, 0u);

  SnapshotRequest request;
  request.paths = {source()};
  request.parent = "none";
  EXPECT_EQ(Take(request).bytes_new, 0u);
  EXPECT_FALSE(KeysBelow("index/").empty()) << "other nodes learn of the packs again";
}

TEST_F(Invariant3, ManySegmentsAreLoadedAtOnceAndWhatTheIndexHeldStays) {
  WriteFileAt(source("a"), RandomBytes(500'000, 3));
  Snapshot();
  // More chunks than a sync adds one pack at a time.
  constexpr uint64_t kPacks = 60;
  constexpr uint64_t kChunks = 10'000;
  const auto chunk_of = [](uint64_t number) {
    PackChunk chunk;
    SplitMix64 random(number);
    StoreLe(chunk.id.hash.data(), random.Next());
    chunk.id.length = 4096;
    chunk.frame_offset = static_cast<uint32_t>(number);
    chunk.frame_length = 100;
    return chunk;
  };
  SegmentBuilder builder;
  for (uint64_t pack = 0; pack < kPacks; ++pack) {
    PackId id{};
    StoreLe(id.bytes.data(), pack);
    std::vector<PackChunk> chunks(kChunks);
    for (uint64_t n = 0; n < kChunks; ++n) chunks[n] = chunk_of(pack * kChunks + n);
    builder.Add(PackKind::kData, id, chunks);
  }
  const Bytes segment = std::move(builder).Finish(repository().sealer());
  Put(SegmentKey(Sha256::Of(segment)).text(), segment);

  RecordingObserver observer;
  const Status synced = repository().SyncIndex(&observer);
  ASSERT_TRUE(synced.ok()) << synced.ToString();
  EXPECT_EQ(observer.last.phase, "sort index");
  const Result<ChunkIndex*> index = repository().Index();
  ASSERT_TRUE(index.ok());
  EXPECT_GT((*index)->ApproximateChunkCount(), kPacks * kChunks);
  for (uint64_t n = 0; n < kPacks * kChunks; n += 997) {
    const auto found = (*index)->Find(chunk_of(n).id);
    ASSERT_TRUE(found.ok() && found->has_value()) << n;
    EXPECT_EQ((*found)->frame_offset, n);
    EXPECT_EQ(LoadLe<uint64_t>((*found)->pack.bytes.data()), n / kChunks);
  }
  SnapshotRequest request;
  request.paths = {source()};
  request.parent = "none";
  EXPECT_EQ(Take(request).bytes_new, 0u);
}

class Invariant9 : public SnapshotTest {};

TEST_F(Invariant9, AStoreThatCannotTellMakesASnapshotFailNotStartAfresh) {
  WriteFileAt(source("a"), RandomBytes(500'000, 3));
  Snapshot();
  for (const StoreOp op : {StoreOp::kList, StoreOp::kGet}) {
    auto faults = std::make_unique<FaultStore>(store_, 1);
    faults->Add({.kind = FaultKind::kFail,
                 .op = op,
                 .key_prefix = op == StoreOp::kGet ? "snapshots/" : ""});
    const auto handle = OpenRepository(std::move(faults), "cache-faulty");
    SnapshotRequest request;
    request.paths = {source()};
    const Result<SnapshotSummary> summary = TakeSnapshot(*handle, request, nullptr);
    ASSERT_FALSE(summary.ok());
    EXPECT_EQ(summary.status().code(), StatusCode::kIo) << summary.status().ToString();
    EXPECT_EQ(handle->ResolveSnapshot("latest").status().code(), StatusCode::kIo);
  }
}

class Invariant10 : public SnapshotTest {};

TEST_F(Invariant10, WhatCannotBeReadIsWarnedAboutCountedAndLeftOut) {
  WriteFileAt(source("a"), "kept");
  SnapshotRequest request;
  request.paths = {source("a"), source("missing"), folder_.File("nowhere/at/all")};
  RecordingObserver observer;
  const SnapshotInfo info = Take(request, &observer);
  EXPECT_EQ(info.unreadable, 2u);
  ASSERT_EQ(observer.warnings.size(), 2u);
  EXPECT_EQ(Content(info.id, EntryPath(source("a"))), "kept");
}

TEST_F(Invariant10, NothingReadableIsAnErrorAndNoSnapshot) {
  SnapshotRequest request;
  request.paths = {source("missing")};
  EXPECT_EQ(TakeSnapshot(repository(), request, nullptr).status().code(), StatusCode::kNotFound);
  EXPECT_TRUE(KeysBelow("snapshots/").empty());
}

TEST_F(SnapshotTest, AnUnchangedFileIsTakenOverWithoutReadingIt) {
  WriteFileAt(source("a"), RandomBytes(500'000, 3));
  // Younger time stamps than two seconds are not trusted.
  std::this_thread::sleep_for(std::chrono::milliseconds(2100));
  SnapshotRequest request;
  request.paths = {source()};
  EXPECT_EQ(Take(request).bytes_read, 500'000u);
  const SnapshotInfo info = Take(request);
  EXPECT_EQ(info.bytes_read, 0u);
  EXPECT_EQ(info.bytes_total, 500'000u);
  EXPECT_LT(info.bytes_stored, 4096u);
  RestoreAll(info.id);
  EXPECT_EQ(ReadFileAt(Restored(source("a"))), ReadFileAt(source("a")));
}

TEST_F(SnapshotTest, AFreshlyWrittenFileIsReadAgainEvenIfItsTimesAreEqual) {
  WriteFileAt(source("a"), RandomBytes(500'000, 3));
  SnapshotRequest request;
  request.paths = {source()};
  Take(request);
  EXPECT_EQ(Take(request).bytes_read, 500'000u);
}

TEST_F(SnapshotTest, AMemoryImageIsComparedPageByPageAtTheSameAddress) {
  constexpr uint64_t kAddress = 0x7f00'0000'0000;
  constexpr uint64_t kPages = 4000;
  std::string heap = RandomBytes(kPages * kPage, 5);
  const auto request = [&] { return ImageOf({{kAddress, heap}}, kAddress + heap.size()); };
  const SnapshotInfo first = Take(request());
  EXPECT_EQ(first.chunks_new, kPages);
  EXPECT_EQ(first.bytes_total, kAddress + heap.size());
  heap.replace(100 * kPage, kPage, RandomBytes(kPage, 6));
  heap.replace(3000 * kPage + 17, 3, "abc");
  const SnapshotInfo second = Take(request());
  EXPECT_EQ(second.parent_id, first.id);
  EXPECT_EQ(second.chunks_new, 2u);
  const auto reader = SnapshotReader::Open(repository(), second.id);
  ASSERT_TRUE(reader.ok());
  const auto content = (*reader)->OpenContent("memory/heap");
  ASSERT_TRUE(content.ok());
  std::string read(heap.size(), '\0');
  ASSERT_TRUE(
      (*content)->ReadAt(kAddress, {reinterpret_cast<uint8_t*>(read.data()), read.size()}).ok());
  EXPECT_TRUE(read == heap);
}

TEST_F(SnapshotTest, ZeroPagesAreHolesAndEqualPagesAreStoredOnce) {
  std::string heap = RandomBytes(kPage, 5);
  heap += std::string(10 * kPage, '\0') + heap + heap + heap;
  const SnapshotInfo info = Take(ImageOf({{0, heap}}, heap.size()));
  EXPECT_EQ(info.chunks_new, 1u);
  EXPECT_EQ(info.chunks_total, 4u);
  EXPECT_TRUE(Content(info.id, "memory/heap") == heap);
}

TEST_F(SnapshotTest, OnlyChangedRangesOfAVolumeAreRead) {
  std::string volume = RandomBytes(8'000'000, 9);
  WriteFileAt(source("v"), volume);
  SnapshotRequest request;
  request.paths = {source("v")};
  request.profile = Profile::kAligned;
  Take(request);
  volume.replace(5'000'001, 10, "0123456789");
  volume.replace(17, 4, std::string(4, '\0'));
  WriteFileAt(source("v"), volume);
  request.have_changed_ranges = true;
  request.changed_ranges = {{5'000'001, 10}, {17, 4}};
  const SnapshotInfo info = Take(request);
  EXPECT_LT(info.bytes_read, 300'000u);
  EXPECT_GT(info.bytes_read, 0u);
  EXPECT_TRUE(Content(info.id, EntryPath(source("v"))) == volume);
}

TEST_F(SnapshotTest, ChangedRangesThatCannotBeRightAreRefused) {
  WriteFileAt(source("v"), RandomBytes(100'000, 9));
  SnapshotRequest request;
  request.paths = {source("v")};
  request.have_changed_ranges = true;
  request.changed_ranges = {{0, 10}};
  EXPECT_EQ(TakeSnapshot(repository(), request, nullptr).status().code(),
            StatusCode::kInvalidArgument)
      << "no parent";
  request.have_changed_ranges = false;
  Take(request);
  request.have_changed_ranges = true;
  request.changed_ranges = {{99'999, 10}};
  EXPECT_EQ(TakeSnapshot(repository(), request, nullptr).status().code(),
            StatusCode::kInvalidArgument)
      << "beyond the end";
}

// Hands out pieces of odd sizes.
class PieceStream final : public ByteStream {
 public:
  explicit PieceStream(std::string bytes) : bytes_(std::move(bytes)) {}
  Result<size_t> Read(std::span<uint8_t> out) override {
    const size_t piece = std::min({out.size(), bytes_.size() - at_, size_t{7919}});
    std::copy_n(bytes_.begin() + static_cast<ptrdiff_t>(at_), piece, out.begin());
    at_ += piece;
    return piece;
  }

 private:
  std::string bytes_;
  size_t at_ = 0;
};

TEST_F(SnapshotTest, AStreamIsStoredAsAFileWhateverItsLength) {
  for (const size_t size : {size_t{0}, size_t{1}, size_t{1} << 20, size_t{3'333'333}}) {
    const std::string bytes = RandomBytes(size, size);
    PieceStream stream(bytes);
    SnapshotRequest request;
    request.streams.push_back({.name = "db/dump.sql", .stream = &stream});
    const SnapshotInfo info = Take(request);
    EXPECT_TRUE(Content(info.id, "db/dump.sql") == bytes) << size;
  }
}

TEST_F(SnapshotTest, AnInsertionStoresOnlyTheChunksAroundIt) {
  std::string text = RandomBytes(4'000'000, 11);
  WriteFileAt(source("a"), text);
  Snapshot();
  text.insert(1'234'567, "inserted");
  WriteFileAt(source("a"), text);
  SnapshotRequest request;
  request.paths = {source()};
  const SnapshotInfo info = Take(request);
  EXPECT_LT(info.bytes_new, 300'000u);
  EXPECT_TRUE(Content(info.id, EntryPath(source("a"))) == text);
}

class Invariant7 : public SnapshotTest {};

TEST_F(Invariant7, CutsAndHolesDoNotDependOnHowTheContentWasRead) {
  std::string bytes = RandomBytes(3'000'001, 21);
  // Zero runs, some longer than a chunk may be: then one begins within the run.
  for (size_t at = 5'000; at + 300'000 < bytes.size(); at += 271'003) {
    bytes.replace(at, at % 250'000, std::string(at % 250'000, '\0'));
  }
  const auto image = [&](uint64_t seed) {
    MemorySource source;
    source.name = "content";
    source.size = bytes.size();
    source.profile = Profile::kCdc;
    SplitMix64 random(seed);
    for (size_t at = 0; at < bytes.size();) {
      const size_t piece =
          seed == 0 ? bytes.size() : 1 + random.Below(seed % 2 == 0 ? 900 : 40'000);
      const size_t length = std::min(piece, bytes.size() - at);
      source.extents.push_back({at, Span(bytes).subspan(at, length)});
      at += length;
    }
    SnapshotRequest request;
    request.parent = "none";
    request.images.push_back(source);
    return request;
  };
  const SnapshotInfo whole = Take(image(0));
  for (uint64_t seed = 1; seed <= 8; ++seed) {
    SCOPED_TRACE(seed);
    const SnapshotInfo pieces = Take(image(seed));
    EXPECT_EQ(pieces.chunks_new, 0u);
    EXPECT_EQ(pieces.chunks_total, whole.chunks_total);
    EXPECT_TRUE(Content(pieces.id, "content") == bytes);
  }
}

TEST_F(SnapshotTest, PartsOfMemoryThatAreUnchangedAreTakenFromTheParent) {
  constexpr uint64_t kPages = 3000;
  std::string bytes = RandomBytes(kPages * kPage, 11);
  bytes.replace(1000 * kPage, 10 * kPage, std::string(10 * kPage, '\0'));
  std::string parent = Take(ImageOf({{0, bytes}}, bytes.size())).id;
  SplitMix64 random(12);
  for (int round = 0; round < 5; ++round) {
    SCOPED_TRACE(round);
    // Each page: unchanged, written, or gone. Data that were the parent's must not be looked at.
    MemorySource image{.name = "memory/heap", .size = bytes.size(), .extents = {}};
    const std::string written = RandomBytes(bytes.size(), 100 + static_cast<uint64_t>(round));
    uint64_t expected_read = 0;
    for (uint64_t page = 0; page < kPages;) {
      const uint64_t count = std::min(1 + random.Below(40), kPages - page);
      const uint64_t offset = page * kPage;
      const uint64_t length = count * kPage;
      const uint64_t kind = random.Below(4);
      if (kind >= 2) image.extents.push_back({offset, {}, length});
      if (kind == 1) {
        image.extents.push_back({offset, Span(written).subspan(offset, length)});
        bytes.replace(offset, length, written, offset, length);
        expected_read += length;
      }
      if (kind == 0) bytes.replace(offset, length, length, '\0');
      page += count;
    }
    SnapshotRequest request;
    request.images = {image};
    request.parent = parent;
    const SnapshotInfo info = Take(request);
    EXPECT_EQ(info.bytes_read, expected_read);
    EXPECT_LE(info.chunks_new, expected_read / kPage);
    EXPECT_TRUE(Content(info.id, "memory/heap") == bytes);
    parent = info.id;
  }
}

TEST_F(SnapshotTest, UnchangedMemoryThatTheParentDoesNotHoldIsRefused) {
  const std::string bytes = RandomBytes(4 * kPage, 1);
  const std::string parent = Take(ImageOf({{0, bytes}}, bytes.size())).id;
  SnapshotRequest request;
  request.parent = parent;
  request.images = {{.name = "memory/heap", .size = 5 * kPage, .extents = {{0, {}, 5 * kPage}}}};
  EXPECT_EQ(TakeSnapshot(repository(), request, nullptr).status().code(),
            StatusCode::kInvalidArgument);
  request.images[0].name = "memory/other";
  request.images[0].extents[0].unchanged = kPage;
  EXPECT_EQ(TakeSnapshot(repository(), request, nullptr).status().code(),
            StatusCode::kInvalidArgument);
  request.images[0].name = "memory/heap";
  EXPECT_TRUE(TakeSnapshot(repository(), request, nullptr).ok());
  request.parent = "none";
  EXPECT_EQ(TakeSnapshot(repository(), request, nullptr).status().code(),
            StatusCode::kInvalidArgument);
}

TEST_F(SnapshotTest, SourcesThatOverlapAreTakenOnceAndCollidingNamesRefused) {
  WriteFileAt(source("d/x"), "x");
  SnapshotRequest request;
  request.paths = {source(), source("d"), source("d/x"), source()};
  const SnapshotInfo info = Take(request);
  EXPECT_EQ(info.bytes_total, 1u);

  PieceStream one("1");
  PieceStream two("2");
  SnapshotRequest colliding;
  colliding.streams = {{.name = "s", .stream = &one}, {.name = "s", .stream = &two}};
  EXPECT_EQ(TakeSnapshot(repository(), colliding, nullptr).status().code(),
            StatusCode::kInvalidArgument);
  colliding.streams = {{.name = "../s", .stream = &one}};
  EXPECT_EQ(TakeSnapshot(repository(), colliding, nullptr).status().code(),
            StatusCode::kInvalidArgument);
}

TEST_F(SnapshotTest, CancellingEndsItAndCommitsNothing) {
  WriteFileAt(source("a"), RandomBytes(30'000'000, 2));
  SnapshotRequest request;
  request.paths = {source()};
  RecordingObserver observer;
  observer.cancel_after = 12;
  EXPECT_EQ(TakeSnapshot(repository(), request, &observer).status().code(), StatusCode::kCancelled);
  EXPECT_TRUE(KeysBelow("snapshots/").empty());
}

TEST_F(SnapshotTest, AFileSystemImageIsCutAtBlocksAndOtherFilesByContent) {
  std::string image(1 << 20, '\0');
  image.replace(1080, 2, "\x53\xef");
  image.replace(64 << 10, 256 << 10, RandomBytes(256 << 10, 4));
  WriteFileAt(source("disk.img"), image);
  WriteFileAt(source("plain"), image.substr(64 << 10));
  const std::string id = Snapshot();
  const Result<OpenedSnapshot> opened = repository().OpenSnapshot(*Digest::FromHex(id));
  ASSERT_TRUE(opened.ok());
  EntryListReader entries(opened->nodes.get(), opened->manifest.tree());
  std::map<std::string, uint32_t> chunkers;
  while (true) {
    const auto entry = entries.Next();
    ASSERT_TRUE(entry.ok());
    if (*entry == nullptr) break;
    if ((*entry)->has_content()) {
      chunkers[std::filesystem::path((*entry)->path()).filename()] = (*entry)->content().chunker();
    }
  }
  EXPECT_EQ(chunkers["disk.img"], static_cast<uint32_t>(ChunkerKind::kAligned));
  EXPECT_EQ(chunkers["plain"], static_cast<uint32_t>(ChunkerKind::kCdc));
}

TEST_F(SnapshotTest, ADamagedParentIsGoneOnWithout) {
  for (int i = 0; i < 50; ++i) {
    WriteSource("dir/" + std::to_string(i), RandomBytes(20'000, static_cast<uint64_t>(i)));
  }
  const std::string damaged = Snapshot();
  for (const std::string& key : KeysBelow("meta/")) Remove(key);
  repository_ = OpenRepository(nullptr, "another");
  SnapshotRequest request;
  request.paths = {source()};
  request.parent = damaged;
  EXPECT_EQ(TakeSnapshot(repository(), request, nullptr).status().code(), StatusCode::kCorruption)
      << "it was asked for";
  request.parent = "auto";
  RecordingObserver observer;
  const SnapshotInfo taken = Take(request, &observer);
  EXPECT_EQ(taken.parent_id, "");
  ASSERT_EQ(observer.warnings.size(), 1u);
  EXPECT_EQ(observer.warnings.front().item, "snapshot " + damaged);
  RestoreAll(taken.id);
  // And that one is whole for the next.
  RecordingObserver quiet;
  EXPECT_EQ(Take(request, &quiet).parent_id, taken.id);
  EXPECT_TRUE(quiet.warnings.empty());
}

TEST_F(SnapshotTest, AManifestOfANewerProgramIsNotPassedOver) {
  WriteSource("a", "a");
  const std::string id = Snapshot();
  Bytes newer = Objects().at("snapshots/" + id);
  ++newer[8];
  Put("snapshots/" + Sha256::Of(newer).ToHex(), newer);
  const auto infos = repository().ListSnapshots(nullptr, nullptr);
  EXPECT_TRUE(infos.status().Is(StatusCode::kUnsupported)) << infos.status().ToString();
  EXPECT_THAT(infos.status().message(), testing::HasSubstr("newer"));
  EXPECT_TRUE(repository().ResolveSnapshot("latest").status().Is(StatusCode::kUnsupported));
  RestoreAll(id);
  // What it refers to is not known, so nothing may go.
  EXPECT_TRUE(PruneRepository(repository(), {}, nullptr).status().Is(StatusCode::kUnsupported));
}

}  // namespace
}  // namespace snapstore
