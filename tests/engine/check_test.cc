#include <gtest/gtest.h>
#include <unistd.h>

#include <cmath>
#include <random>
#include <set>

#include "base/random.h"
#include "engine/check_pack.h"
#include "engine/frame.h"
#include "engine/pack.h"
#include "engine/segment.h"
#include "tests/engine/fixture.h"
#include "uploader/fault_store.h"

namespace snapstore {
namespace {

class CheckTest : public EngineFixture {
 protected:
  explicit CheckTest(bool encrypt = false)
      : EngineFixture(std::filesystem::temp_directory_path(), encrypt) {}

  std::vector<PackChunk> ChunksOf(const Bytes& pack) {
    return ParsePack(repository().sealer(), pack)->chunks;
  }
  CheckReport CheckStructure() { return Check({}); }
  CheckReport CheckAll() { return Check({.read_data = true}); }
  static const CheckProblem* Find(const CheckReport& report, const std::string& object) {
    for (const CheckProblem& problem : report.problems) {
      if (problem.object == object) return &problem;
    }
    return nullptr;
  }

  // Two snapshots of a small tree; `second_` changes one file of it.
  void MakeSmallRepository() {
    WriteSource("a.txt", "first");
    WriteSource("folder/b.bin", RandomBytes(3000, 1));
    WriteSource("folder/c.bin", RandomBytes(2000, 2));
    ASSERT_EQ(::symlink("a.txt", source("link").c_str()), 0);
    ASSERT_EQ(::link(source("a.txt").c_str(), source("other-name").c_str()), 0);
    first_ = Snapshot();
    WriteSource("folder/c.bin", RandomBytes(2500, 3));
    second_ = Snapshot();
  }
  // The data pack that holds `content` as one chunk.
  std::string PackOf(const std::string& content) {
    const ChunkId id = ComputeChunkId(repository().config().hash_secret, AsBytes(content));
    for (const auto& [key, bytes] : Objects()) {
      if (!key.starts_with("data/")) continue;
      for (const PackChunk& chunk : ChunksOf(bytes)) {
        if (chunk.id == id) return key;
      }
    }
    return "";
  }
  std::string Lost(const std::string& snapshot, const std::string& name) const {
    return snapshot + ":" + (name == "/" ? name : SourceEntry(name));
  }

  std::string first_;
  std::string second_;
};

// Each once plain, once encrypted.
class CheckEachTest : public CheckTest, public testing::WithParamInterface<bool> {
 protected:
  CheckEachTest() : CheckTest(GetParam()) {}
};
INSTANTIATE_TEST_SUITE_P(Repository, CheckEachTest, testing::Bool(),
                         [](const auto& chosen) { return chosen.param ? "Encrypted" : "Plain"; });

TEST_P(CheckEachTest, WholeRepositoryHasNoProblems) {
  EXPECT_EQ(Describe(CheckAll()), "");  // empty
  MakeSmallRepository();
  WriteSource("large",
              RandomBytes(5 << 20, 4) + std::string(3 << 20, '\0') + RandomBytes(1 << 20, 4));
  const std::string third = Snapshot();
  const CheckReport structure = CheckStructure();
  EXPECT_EQ(Describe(structure), "");
  EXPECT_EQ(structure.snapshots, 3u);
  EXPECT_EQ(structure.packs, KeysBelow("data/").size() + KeysBelow("meta/").size());
  EXPECT_GT(structure.chunks, 100u);
  const CheckReport all = CheckAll();
  EXPECT_EQ(Describe(all), "");
  EXPECT_GT(all.bytes_read, 5u << 20);
  EXPECT_LT(structure.bytes_read, all.bytes_read / 4);
  EXPECT_EQ(all.chunks, structure.chunks);
}

TEST_F(CheckTest, ForeignObjectsAndUnusedPacksAreNoProblem) {
  MakeSmallRepository();
  Put("notes.txt", Bytes{1, 2, 3});
  Put("data/zz/hello", Bytes{1});
  Put("snapshots/readme", Bytes{1});
  Put("index/0123", Bytes{1});
  // A writer that died before its commit leaves packs without segment or manifest.
  PackBuilder builder(&repository().sealer(), PackKind::kData);
  PlainFrame frame{Bytes(100, 7), {}};
  frame.chunks.push_back(ComputeChunkId(repository().config().hash_secret, frame.data));
  FrameEncoder encoder;
  builder.Append(encoder.Encode(&frame, /*level=*/3).value(), frame.chunks);
  const SealedPack pack = std::move(builder).Seal();
  Put(PackKey(pack.kind, pack.id).text(), pack.bytes);
  EXPECT_EQ(Describe(CheckAll()), "");
}

// Invariant 5 depends on it: no flip of a stored byte goes unnoticed.
TEST_P(CheckEachTest, CheckFindsEveryFlippedByte) {
  MakeSmallRepository();
  const uint64_t seed = std::random_device()();
  SCOPED_TRACE(testing::Message() << "seed " << seed);
  SplitMix64 random(seed);
  // Every byte of a kind of place at least once; a sample of the rest, for time.
  constexpr int kSamples = 20;
  for (const auto& [key, bytes] : Objects()) {
    std::vector<size_t> places{0, 8, 10, 15, bytes.size() - 1, bytes.size() - 20};
    while (places.size() < kSamples) places.push_back(random.Below(bytes.size()));
    for (const size_t place : places) {
      Bytes damaged = bytes;
      damaged[place] ^= static_cast<uint8_t>(1 + random.Below(255));
      Replace(key, damaged);
      const CheckReport report = CheckAll();
      ASSERT_NE(Find(report, key), nullptr) << key << " byte " << place << "\n" << Describe(report);
    }
    Replace(key, bytes);
  }
  EXPECT_EQ(Describe(CheckAll()), "");
}

// Without sampling, where no index is needed: the other objects are in their own tests.
TEST_P(CheckEachTest, ScrubFindsEveryFlippedByteOfEveryPack) {
  MakeSmallRepository();
  for (const auto& [key, bytes] : Objects()) {
    if (!key.starts_with("data/") && !key.starts_with("meta/")) continue;
    const PackPlace place{key.starts_with("data/") ? PackKind::kData : PackKind::kMeta,
                          *DigestOfKey(key), bytes.size()};
    PackScrubber scrubber(store_.get(), &repository().sealer(), repository().config().hash_secret);
    uint64_t bytes_read = 0;
    for (size_t i = 0; i < bytes.size(); ++i) {
      Bytes damaged = bytes;
      damaged[i] ^= static_cast<uint8_t>(1u << (i % 8));
      Replace(key, damaged);
      const auto verdict = scrubber.CheckBytes(place, &bytes_read);
      ASSERT_TRUE(verdict.ok()) << verdict.status().ToString();
      ASSERT_FALSE(verdict->status.ok()) << key << " byte " << i;
    }
    Replace(key, bytes);
    const auto verdict = scrubber.CheckBytes(place, &bytes_read);
    ASSERT_TRUE(verdict.ok() && verdict->status.ok()) << key;
  }
}

TEST_P(CheckEachTest, TruncatedAndEmptyObjectsAreFound) {
  MakeSmallRepository();
  for (const auto& [key, bytes] : Objects()) {
    for (const size_t size : {size_t{0}, size_t{1}, bytes.size() / 2, bytes.size() - 1}) {
      Replace(key, Bytes(bytes.begin(), bytes.begin() + static_cast<ptrdiff_t>(size)));
      for (const bool read_data : {false, true}) {
        const CheckReport report = Check({.read_data = read_data});
        EXPECT_NE(Find(report, key), nullptr) << key << " cut to " << size;
      }
    }
    Replace(key, bytes);
  }
}

TEST_P(CheckEachTest, DamagedFrameLosesExactlyThePathsThatNeedIt) {
  MakeSmallRepository();
  const std::string old_c = RandomBytes(2000, 2);
  const std::string key = PackOf(RandomBytes(2500, 3));  // only the second snapshot has it
  ASSERT_NE(key, "");
  Bytes pack = Objects().at(key);
  pack[PackHeaderBytes(repository().sealer()) + kFrameHeaderBytes + 10] ^= 1;
  Replace(key, pack);
  const CheckReport report = CheckAll();
  ASSERT_EQ(report.problems.size(), 1u) << Describe(report);
  EXPECT_EQ(report.problems[0].object, key);
  EXPECT_EQ(report.problems[0].lost_paths, std::vector<std::string>{Lost(second_, "folder/c.bin")});
  // The structure alone does not show it.
  EXPECT_EQ(Describe(CheckStructure()), "");
}

TEST_F(CheckTest, DamageThatTouchesNoChunkLosesNothing) {
  MakeSmallRepository();
  const std::string key = PackOf(RandomBytes(2500, 3));
  const Bytes whole = Objects().at(key);
  // The header, and the footer: then frames are found by themselves.
  for (const size_t place : {size_t{9}, whole.size() - kPackTrailerBytes - 3}) {
    Bytes pack = whole;
    pack[place] ^= 1;
    Replace(key, pack);
    const CheckReport report = CheckAll();
    ASSERT_EQ(report.problems.size(), 1u) << Describe(report);
    EXPECT_EQ(report.problems[0].object, key);
    EXPECT_TRUE(report.problems[0].lost_paths.empty()) << Describe(report);
  }
}

TEST_F(CheckTest, MissingPackLosesItsPathsInEverySnapshot) {
  MakeSmallRepository();
  const std::string key = PackOf(RandomBytes(3000, 1));
  Remove(key);
  for (const bool read_data : {false, true}) {
    const CheckReport report = Check({.read_data = read_data});
    ASSERT_EQ(report.problems.size(), 1u) << Describe(report);
    EXPECT_EQ(report.problems[0].object, key);
    std::vector<std::string> lost = report.problems[0].lost_paths;
    std::sort(lost.begin(), lost.end());
    std::vector<std::string> expected{Lost(first_, "a.txt"), Lost(first_, "folder/b.bin"),
                                      Lost(first_, "folder/c.bin"), Lost(second_, "a.txt"),
                                      Lost(second_, "folder/b.bin")};
    std::sort(expected.begin(), expected.end());
    EXPECT_EQ(lost, expected);
  }
}

TEST_F(CheckTest, LostPathsAreNamedUpToAHundred) {
  for (int i = 0; i < 150; ++i) WriteSource("f" + std::to_string(i), RandomBytes(50, 100 + i));
  Snapshot();
  Remove(KeysBelow("data/").at(0));
  const CheckReport report = CheckStructure();
  ASSERT_EQ(report.problems.size(), 1u);
  EXPECT_EQ(report.problems[0].lost_paths.size(), 100u);
}

TEST_F(CheckTest, LostMetadataIsPutDownToItsPackAndSnapshot) {
  for (int i = 0; i < 1500; ++i) WriteSource("f" + std::to_string(i), "x" + std::to_string(i));
  const std::string id = Snapshot();
  ASSERT_FALSE(KeysBelow("meta/").empty());
  for (const std::string& key : KeysBelow("meta/")) Remove(key);
  const CheckReport report = CheckStructure();
  ASSERT_FALSE(report.problems.empty());
  for (const CheckProblem& problem : report.problems) {
    EXPECT_TRUE(problem.object.starts_with("meta/")) << Describe(report);
    EXPECT_EQ(problem.lost_paths, std::vector<std::string>{id + ":/"});
  }
}

TEST_F(CheckTest, DamagedManifestLosesItsSnapshotOnly) {
  MakeSmallRepository();
  const std::string key = "snapshots/" + first_;
  Bytes manifest = Objects().at(key);
  manifest[40] ^= 1;
  Replace(key, manifest);
  const CheckReport report = CheckStructure();
  ASSERT_EQ(report.problems.size(), 1u) << Describe(report);
  EXPECT_EQ(report.problems[0].object, key);
  EXPECT_EQ(report.problems[0].lost_paths, std::vector<std::string>{first_ + ":/"});
}

TEST_F(CheckTest, SegmentThatLiesIsFound) {
  MakeSmallRepository();
  const std::string data_key = KeysBelow("data/").at(0);
  const PackId pack = *DigestOfKey(data_key);
  std::vector<PackChunk> chunks = ChunksOf(Objects().at(data_key));
  chunks[0].id.hash[0] ^= 1;
  SegmentBuilder builder;
  builder.Add(PackKind::kData, pack, chunks);
  PackId missing = pack;
  missing.bytes[0] ^= 1;
  builder.Add(PackKind::kData, missing, chunks);
  const Bytes segment = std::move(builder).Finish(repository().sealer());
  const std::string key = SegmentKey(Sha256::Of(segment)).text();
  Put(key, segment);
  const CheckReport report = CheckStructure();
  EXPECT_EQ(report.problems.size(), 2u) << Describe(report);
  EXPECT_NE(Find(report, key), nullptr);
  EXPECT_NE(Find(report, PackKey(PackKind::kData, missing).text()), nullptr);
}

TEST_P(CheckEachTest, StaleHintIsNoDamage) {
  MakeSmallRepository();
  // Every data pack is written anew, each chunk in a frame of its own, as a repacking would.
  FrameEncoder encoder;
  FrameDecoder decoder(&repository().sealer());
  int repacked = 0;
  for (const std::string& key : KeysBelow("data/")) {
    const Bytes bytes = Objects().at(key);
    PackBuilder builder(&repository().sealer(), PackKind::kData);
    for (const PackChunk& chunk : ChunksOf(bytes)) {
      DecodedFrame frame;
      ASSERT_TRUE(decoder
                      .Decode({PackKind::kData, chunk.frame_offset},
                              ByteSpan(bytes).subspan(chunk.frame_offset, chunk.frame_length),
                              &frame)
                      .ok());
      const ByteSpan content = frame.chunk(chunk.chunk_in_frame);
      PlainFrame plain{Bytes(content.begin(), content.end()), {chunk.id}};
      builder.Append(encoder.Encode(&plain, /*level=*/3).value(), plain.chunks);
    }
    const SealedPack pack = std::move(builder).Seal();
    const std::string fresh = PackKey(pack.kind, pack.id).text();
    if (fresh == key) continue;  // it held one chunk
    Put(fresh, pack.bytes);
    Remove(key);
    ++repacked;
  }
  ASSERT_GT(repacked, 0);
  for (const std::string& key : KeysBelow("index/")) Remove(key);
  EXPECT_EQ(Describe(CheckAll()), "");
}

// Invariant 9: "could not tell" is never "absent".
TEST_F(CheckTest, Invariant9FailedRequestIsAnErrorAndNeverDamage) {
  MakeSmallRepository();
  const std::vector<std::pair<StoreOp, std::string>> places{
      {StoreOp::kList, "snapshots/"}, {StoreOp::kList, "index/"},    {StoreOp::kList, "data/"},
      {StoreOp::kGet, "config"},      {StoreOp::kGet, "snapshots/"}, {StoreOp::kGet, "index/"},
      {StoreOp::kGetRange, "data/"},  {StoreOp::kGetRange, "meta/"}};
  for (const auto& [op, prefix] : places) {
    if (prefix == "meta/" && KeysBelow("meta/").empty()) continue;
    for (const StatusCode code : {StatusCode::kIo, StatusCode::kTimeout,
                                  StatusCode::kPermissionDenied, StatusCode::kThrottled}) {
      auto faulty = std::make_unique<FaultStore>(store_, /*seed=*/1);
      FaultStore* const faults = faulty.get();
      Reopen(std::move(faulty));
      faults->Add({.op = op, .key_prefix = prefix, .error = Status(code, "injected")});
      const auto report = CheckRepository(repository(), {.read_data = true}, nullptr);
      EXPECT_EQ(report.status().code(), code) << prefix;
      EXPECT_GT(faults->injected(), 0u);
    }
  }
}

TEST_F(CheckTest, SampleReadsAShareOfThePacks) {
  for (int i = 0; i < 10; ++i) {
    WriteSource("f" + std::to_string(i), RandomBytes(200 << 10, 500 + i));
    Snapshot();
  }
  ASSERT_GE(KeysBelow("data/").size(), 10u);
  const uint64_t all = CheckAll().bytes_read;
  const uint64_t half = Check({.read_data = true, .sample = {.percent = 50}}).bytes_read;
  EXPECT_LT(half, all * 4 / 5);
  EXPECT_GT(half, all / 5);
  for (const double percent : {-1.0, 101.0, std::nan("")}) {
    EXPECT_TRUE(
        CheckRepository(repository(), {.read_data = true, .sample = {.percent = percent}}, nullptr)
            .status()
            .Is(StatusCode::kInvalidArgument));
  }
}

TEST_F(CheckTest, ReportsProgressAndStopsWhenAsked) {
  class Stopper : public Observer {
   public:
    void OnProgress(const Progress& progress) override { phases.insert(progress.phase); }
    bool Cancelled() override { return cancel; }
    std::set<std::string> phases;
    bool cancel = false;
  } observer;
  MakeSmallRepository();
  ASSERT_TRUE(CheckRepository(repository(), {.read_data = true}, &observer).ok());
  EXPECT_EQ(observer.phases, (std::set<std::string>{"list objects", "check packs",
                                                    "check index segments", "check snapshots"}));
  observer.cancel = true;
  EXPECT_TRUE(CheckRepository(repository(), {.read_data = true}, &observer)
                  .status()
                  .Is(StatusCode::kCancelled));
}

TEST_F(CheckTest, LeavesNothingBehindAndClearsWhatAKilledCheckLeft) {
  MakeSmallRepository();
  const std::string cache = folder_.File("cache") + "/" + repository().id();
  std::filesystem::create_directories(cache + "/check-0");
  WriteFileAt(cache + "/check-0/CURRENT", "not a database");
  EXPECT_EQ(Describe(CheckAll()), "");
  EXPECT_FALSE(std::filesystem::exists(cache + "/check-0"));
}

TEST_F(CheckTest, StatisticsCountWhatIsStored) {
  MakeSmallRepository();
  const auto stats = GatherStats(repository(), nullptr);
  ASSERT_TRUE(stats.ok()) << stats.status().ToString();
  uint64_t bytes = 0;
  uint64_t pack_bytes = 0;
  for (const auto& [key, object] : Objects()) {
    bytes += object.size();
    if (key.starts_with("data/") || key.starts_with("meta/")) pack_bytes += object.size();
  }
  EXPECT_EQ(stats->snapshots, 2u);
  EXPECT_EQ(stats->packs, KeysBelow("data/").size() + KeysBelow("meta/").size());
  EXPECT_EQ(stats->index_segments, KeysBelow("index/").size());
  EXPECT_EQ(stats->bytes_stored, bytes);
  EXPECT_EQ(stats->bytes_packs, pack_bytes);
  EXPECT_EQ(stats->bytes_logical, 2 * (5 + 3000) + 2000 + 2500u);
}

}  // namespace
}  // namespace snapstore
