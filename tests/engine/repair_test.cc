#include "snapstore/repair.h"

#include <gtest/gtest.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <set>

#include "engine/frame.h"
#include "engine/pack.h"
#include "engine/segment.h"
#include "snapstore/reader.h"
#include "tests/engine/fixture.h"

namespace snapstore {
namespace {

// Each once plain, once encrypted.
class RepairTest : public EngineFixture, public testing::WithParamInterface<bool> {
 protected:
  RepairTest() : EngineFixture(std::filesystem::temp_directory_path(), GetParam()) {}

  RepairSummary Repair(const RepairRequest& request = {}) {
    losses_.clear();
    repaired_.clear();
    const Result<RepairSummary> summary =
        RepairSnapshots(repository(), request,
                        {.loss =
                             [&](const Loss& loss) {
                               losses_.push_back(loss);
                               return Status();
                             },
                         .snapshot =
                             [&](const RepairedSnapshot& repaired) {
                               repaired_.push_back(repaired);
                               return Status();
                             }},
                        nullptr);
    EXPECT_TRUE(summary.ok()) << summary.status().ToString();
    return summary.ok() ? *summary : RepairSummary();
  }
  std::string CheckOne(const std::string& id) {
    return Describe(Check({.read_data = true, .snapshots = {id}}));
  }
  std::string CheckAll() { return Describe(Check({.read_data = true})); }

  // The data packs that hold one of the chunks of `content`, when that is less than a chunk long.
  std::string PackOf(const std::string& content) {
    const ChunkId id = ComputeChunkId(repository().config().hash_secret, AsBytes(content));
    for (const std::string& key : KeysBelow("data/")) {
      const Result<PackFooter> footer = ParsePack(repository().sealer(), Objects().at(key));
      for (const PackChunk& chunk : footer->chunks) {
        if (chunk.id == id) return key;
      }
    }
    return {};
  }
  std::set<std::string> Paths(const std::string& id) {
    std::set<std::string> paths;
    const auto reader = SnapshotReader::Open(repository(), id);
    EXPECT_TRUE(reader.ok()) << reader.status().ToString();
    EXPECT_TRUE((*reader)
                    ->ForEachEntry("",
                                   [&](const Entry& entry) {
                                     paths.insert(entry.path);
                                     return Status();
                                   })
                    .ok());
    return paths;
  }
  // A file whose data lies in a pack of its own, and the pack.
  std::string StoreApart(const std::string& name, const std::string& content) {
    const std::vector<std::string> before = KeysBelow("data/");
    WriteSource(name, content);
    last_ = Snapshot();
    for (const std::string& key : KeysBelow("data/")) {
      if (std::find(before.begin(), before.end(), key) == before.end()) return key;
    }
    return {};
  }

  std::vector<Loss> losses_;
  std::vector<RepairedSnapshot> repaired_;
  std::string last_;
};

INSTANTIATE_TEST_SUITE_P(Repository, RepairTest, testing::Bool(),
                         [](const auto& chosen) { return chosen.param ? "Encrypted" : "Plain"; });

// What is lost or changed is stored again by the next snapshot that is not based on it.
TEST_P(RepairTest, NothingNewRefersToPacksThatAreAvoided) {
  const std::string lost = RandomBytes(30000, 1);
  const std::string changed = RandomBytes(30000, 2);
  const std::string lost_pack = StoreApart("lost", lost);
  const std::string changed_pack = StoreApart("changed", changed);
  Remove(lost_pack);
  FlipByte(changed_pack, Objects().at(changed_pack).size() / 2);
  const auto before = Objects();
  std::set<std::string> read;
  const CheckReport report = Check({.read_data = true, .snapshots = {last_}, .packs_read = &read});
  EXPECT_EQ(report.problems.size(), 2u) << Describe(report);
  const auto avoided = AvoidDamagedPacks(repository(), report);
  ASSERT_TRUE(avoided.ok()) << avoided.status().ToString();
  EXPECT_EQ(*avoided, 2u);
  EXPECT_EQ(*AvoidDamagedPacks(repository(), report), 0u);
  EXPECT_EQ(Objects(), before);
  // Also by the next process, whose index is filled from the segments anew.
  Reopen(nullptr);
  std::filesystem::remove_all(folder_.File("cache/" + repository().id() + "/index-0"));
  Reopen(nullptr);
  const std::string next = Snapshot("none");
  EXPECT_EQ(CheckOne(next), "");
  const RestoreSummary restored = RestoreAll(next);
  EXPECT_EQ(restored.failed, 0u);
}

TEST_P(RepairTest, PacksThatWereReadAreNotReadAgain) {
  const std::string pack = StoreApart("a", RandomBytes(300000, 1));
  std::set<std::string> read;
  const CheckOptions options{.read_data = true, .snapshots = {last_}, .packs_read = &read};
  EXPECT_GT(Check(options).bytes_read, 300000u);
  EXPECT_FALSE(read.empty());
  EXPECT_LT(Check(options).bytes_read, 100000u);
  FlipByte(pack, 1000);
  EXPECT_EQ(Describe(Check(options)), "");
  read.clear();
  EXPECT_NE(Describe(Check(options)), "");
  EXPECT_FALSE(read.contains(pack.substr(pack.rfind('/') + 1)));
}

TEST_P(RepairTest, WholeRepositoryIsLeftAsItIs) {
  StoreApart("a", "content");
  const auto before = Objects();
  const RepairSummary summary = Repair({.read_data = true, .forget = true});
  EXPECT_EQ(summary.damaged, 0u);
  EXPECT_EQ(summary.losses, 0u);
  EXPECT_EQ(Objects(), before);
}

TEST_P(RepairTest, LostPackCostsExactlyTheFilesThatNeedIt) {
  StoreApart("a", RandomBytes(3000, 1));
  const std::string key = StoreApart("folder/b", RandomBytes(3000, 2));
  StoreApart("c", RandomBytes(3000, 3));
  Remove(key);
  const RepairSummary summary = Repair();
  EXPECT_EQ(summary.damaged, 2u);
  EXPECT_EQ(summary.repaired, 2u);
  ASSERT_EQ(losses_.size(), 2u);
  for (const Loss& loss : losses_) {
    EXPECT_EQ(loss.kind, Loss::Kind::kContent);
    EXPECT_EQ(loss.path, SourceEntry("folder/b"));
    EXPECT_EQ(loss.size, 3000u);
    EXPECT_EQ(loss.ranges, (std::vector<ByteRange>{{0, 3000}}));
    EXPECT_FALSE(loss.kept);
  }
  ASSERT_EQ(repaired_.size(), 2u);
  for (const RepairedSnapshot& repaired : repaired_) {
    EXPECT_EQ(CheckOne(repaired.repaired_id), "");
    std::set<std::string> expected = Paths(repaired.damaged.id);
    EXPECT_EQ(expected.erase(SourceEntry("folder/b")), 1u);
    EXPECT_EQ(Paths(repaired.repaired_id), expected);
    const auto info = repository().GetSnapshot(repaired.repaired_id);
    ASSERT_TRUE(info.ok());
    EXPECT_EQ(info->repaired_from, repaired.damaged.id);
    EXPECT_EQ(info->tags.at("repaired"), repaired.damaged.id.substr(0, 16));
    EXPECT_EQ(info->time_ns, repaired.damaged.time_ns);
    EXPECT_EQ(info->entries, expected.size());
    RestoreAll(repaired.repaired_id);
    std::filesystem::remove_all(target());
  }
  // The originals are still there; nothing else is damaged.
  EXPECT_EQ(repository().ListSnapshots(nullptr, nullptr)->size(), 5u);
  EXPECT_NE(CheckAll(), "");
}

TEST_P(RepairTest, DryRunTellsTheSameAndChangesNothing) {
  const std::string key = StoreApart("a", RandomBytes(3000, 1));
  StoreApart("b", RandomBytes(3000, 2));
  Remove(key);
  const auto before = Objects();
  const RepairSummary told = Repair({.forget = true, .dry_run = true});
  EXPECT_EQ(Objects(), before);
  EXPECT_EQ(told.repaired, 0u);
  const std::vector<Loss> expected = losses_;
  Repair();
  ASSERT_EQ(losses_.size(), expected.size());
  for (size_t i = 0; i < losses_.size(); ++i) {
    EXPECT_EQ(losses_[i].path, expected[i].path);
    EXPECT_EQ(losses_[i].ranges, expected[i].ranges);
  }
}

TEST_P(RepairTest, ForgetLeavesACleanRepository) {
  const std::string lost = StoreApart("a", RandomBytes(3000, 1));
  const std::string flipped = StoreApart("b", RandomBytes(3000, 2));
  StoreApart("c", RandomBytes(3000, 3));
  Remove(lost);
  FlipByte(flipped, PackHeaderBytes(repository().sealer()) + kFrameHeaderBytes + 50);
  const RepairSummary summary = Repair({.read_data = true, .forget = true});
  EXPECT_EQ(summary.damaged, 3u);
  EXPECT_EQ(summary.forgotten, 3u);
  EXPECT_EQ(summary.packs_damaged, 1u);
  EXPECT_EQ(summary.packs_removed, 1u);
  EXPECT_EQ(CheckAll(), "");
  size_t with_c = 0;
  for (const RepairedSnapshot& each : repaired_) {
    if (!Paths(each.repaired_id).contains(SourceEntry("c"))) continue;
    ++with_c;
    RestoreAll(each.repaired_id);
  }
  EXPECT_EQ(with_c, 1u);
}

TEST_P(RepairTest, FlippedFrameIsFoundByReadingAlone) {
  const std::string key = StoreApart("a", RandomBytes(3000, 1));
  FlipByte(key, PackHeaderBytes(repository().sealer()) + kFrameHeaderBytes + 50);
  EXPECT_EQ(Repair().damaged, 0u);
  EXPECT_EQ(Repair({.read_data = true}).damaged, 1u);
  ASSERT_EQ(losses_.size(), 1u);
  EXPECT_EQ(losses_[0].path, SourceEntry("a"));
}

TEST_P(RepairTest, KeptFileHasZerosWhereItLostBytesAndSaysSo) {
  // Several frames of a megabyte; one of them is lost.
  const std::string content = RandomBytes(5 << 20, 1);
  const std::string key = StoreApart("big", content);
  const std::vector<PackChunk> chunks = ParsePack(repository().sealer(), Objects().at(key))->chunks;
  const PackChunk& victim = chunks[chunks.size() / 2];
  FlipByte(key, victim.frame_offset + kFrameHeaderBytes + 10);
  const RepairSummary summary = Repair({.read_data = true, .keep_damaged = true});
  EXPECT_EQ(summary.repaired, 1u);
  ASSERT_EQ(losses_.size(), 1u);
  EXPECT_TRUE(losses_[0].kept);
  ASSERT_EQ(losses_[0].ranges.size(), 1u);
  const ByteRange lost = losses_[0].ranges[0];
  EXPECT_GE(lost.length, 1u << 20);
  EXPECT_LT(lost.length, 2u << 20);
  EXPECT_EQ(repaired_[0].bytes_lost, lost.length);
  EXPECT_EQ(CheckOne(repaired_[0].repaired_id), "");

  RecordingObserver observer;
  const auto restored = Restore(AllOf(repaired_[0].repaired_id), &observer);
  ASSERT_TRUE(restored.ok()) << restored.status().ToString();
  std::string expected = content;
  std::fill_n(expected.begin() + static_cast<ptrdiff_t>(lost.offset), lost.length, '\0');
  EXPECT_TRUE(ReadFileAt(Restored(source("big"))) == expected);
  ASSERT_EQ(observer.warnings.size(), 1u);
  EXPECT_TRUE(observer.warnings[0].status.Is(StatusCode::kCorruption));
  std::string mark(100, '\0');
  const ssize_t length =
      ::getxattr(Restored(source("big")).c_str(), kLostRangesXattr, mark.data(), mark.size());
  if (length >= 0) {  // where the file system has such attributes
    EXPECT_EQ(mark.substr(0, static_cast<size_t>(length)),
              std::to_string(lost.offset) + "+" + std::to_string(lost.length));
  }
}

TEST_P(RepairTest, NextSnapshotStoresAgainWhatWasLostAndHealsTheOldOnes) {
  for (const bool keep : {false, true}) {
    SCOPED_TRACE(keep ? "kept" : "left out");
    const std::string key = StoreApart(keep ? "x" : "y", RandomBytes(300'000, keep ? 1 : 2));
    const std::string damaged = last_;
    Remove(key);
    Repair({.keep_damaged = keep});
    ASSERT_EQ(repaired_.size(), 1u);
    const std::string next = Snapshot();
    EXPECT_EQ(repository().GetSnapshot(next)->parent_id, repaired_[0].repaired_id);
    EXPECT_EQ(CheckOne(next), "");
    EXPECT_EQ(CheckOne(damaged), "");
    RestoreAll(damaged);
    EXPECT_EQ(ScanTree(Restored(source())), ScanTree(source()));
    std::filesystem::remove_all(target());
  }
}

TEST_P(RepairTest, SecondRepairDoesNotRepeatTheFirst) {
  Remove(StoreApart("a", RandomBytes(3000, 1)));
  WriteSource("b", "whole");
  SnapshotRequest request;
  request.paths = {source()};
  Repair();
  const size_t snapshots = repository().ListSnapshots(nullptr, nullptr)->size();
  const std::string first = repaired_.at(0).repaired_id;
  Repair();
  EXPECT_EQ(repository().ListSnapshots(nullptr, nullptr)->size(), snapshots);
  EXPECT_TRUE(repaired_.at(0).repaired_before);
  EXPECT_EQ(repaired_.at(0).repaired_id, first);
  EXPECT_EQ(Repair({.forget = true}).forgotten, 1u);
  EXPECT_EQ(CheckAll(), "");
}

TEST_P(RepairTest, DamagedFooterLosesNothing) {
  const std::string key = StoreApart("a", RandomBytes(50'000, 1));
  FlipByte(key, Objects().at(key).size() - kPackTrailerBytes - 3);
  EXPECT_NE(CheckAll(), "");
  const RepairSummary summary = Repair({.forget = true});
  EXPECT_EQ(summary.damaged, 0u);
  EXPECT_EQ(summary.losses, 0u);
  EXPECT_GT(summary.chunks_salvaged, 0u);
  EXPECT_EQ(summary.packs_removed, 1u);
  EXPECT_EQ(CheckAll(), "");
  RestoreAll(last_);
  EXPECT_EQ(ScanTree(Restored(source())), ScanTree(source()));
}

TEST_P(RepairTest, LostMetadataCostsNamesAndTheRestIsKept) {
  // Enough entries for several leaves, and content that all of them share.
  for (int i = 0; i < 4000; ++i) {
    WriteSource("d" + std::to_string(i % 40) + "/f" + std::to_string(i), "x");
  }
  const std::string id = Snapshot();
  const std::set<std::string> all = Paths(id);
  const std::string key = KeysBelow("meta/").at(0);
  const std::vector<PackChunk> chunks = ParsePack(repository().sealer(), Objects().at(key))->chunks;
  ASSERT_GT(chunks.size(), 4u);
  // The pack loses all chunks but half of them: it is written anew with these.
  FrameDecoder decoder(&repository().sealer());
  FrameEncoder encoder;
  PackBuilder builder(&repository().sealer(), PackKind::kMeta);
  const Bytes bytes = Objects().at(key);
  size_t kept = 0;
  for (const PackChunk& chunk : chunks) {
    if (++kept % 2 == 0) continue;
    DecodedFrame frame;
    ASSERT_TRUE(decoder
                    .Decode({PackKind::kMeta, chunk.frame_offset},
                            ByteSpan(bytes).subspan(chunk.frame_offset, chunk.frame_length), &frame)
                    .ok());
    const ByteSpan content = frame.chunk(chunk.chunk_in_frame);
    PlainFrame plain{Bytes(content.begin(), content.end()), {chunk.id}};
    builder.Append(encoder.Encode(&plain, /*level=*/1).value(), plain.chunks);
  }
  const SealedPack pack = std::move(builder).Seal();
  Remove(key);
  Put(PackKey(pack.kind, pack.id).text(), pack.bytes);
  for (const std::string& segment : KeysBelow("index/")) Remove(segment);

  const RepairSummary summary = Repair({.forget = true});
  EXPECT_EQ(summary.damaged, 1u);
  ASSERT_EQ(repaired_.size(), 1u);
  const std::string repaired = repaired_[0].repaired_id;
  ASSERT_NE(repaired, "");
  EXPECT_EQ(CheckAll(), "");
  uint64_t entries_lost = 0;
  uint64_t directories_made = 0;
  for (const Loss& loss : losses_) {
    if (loss.kind == Loss::Kind::kEntries) entries_lost += loss.entries;
    if (loss.kind == Loss::Kind::kDirectory) ++directories_made;
  }
  EXPECT_GT(entries_lost, 0u);
  const std::set<std::string> left = Paths(repaired);
  EXPECT_EQ(left.size(), all.size() - entries_lost + directories_made);
  EXPECT_TRUE(std::includes(all.begin(), all.end(), left.begin(), left.end()));
  // Each parent is there.
  for (const std::string& path : left) {
    const size_t slash = path.rfind('/');
    if (slash != std::string::npos) {
      EXPECT_TRUE(left.contains(path.substr(0, slash))) << path;
    }
  }
  RestoreAll(repaired);
}

TEST_P(RepairTest, LostMetadataPackLosesTheWholeSnapshotAndSaysSo) {
  for (int i = 0; i < 1500; ++i) WriteSource("f" + std::to_string(i), "x" + std::to_string(i));
  Snapshot();
  for (const std::string& key : KeysBelow("meta/")) Remove(key);
  const RepairSummary summary = Repair();
  EXPECT_EQ(summary.lost, 1u);
  EXPECT_EQ(summary.repaired, 0u);
  ASSERT_EQ(losses_.size(), 1u);
  EXPECT_EQ(losses_[0].kind, Loss::Kind::kEntries);
  EXPECT_GE(losses_[0].entries, 1500u);
}

TEST_P(RepairTest, DamagedManifestIsASnapshotLost) {
  StoreApart("a", "one");
  const std::string first = last_;
  StoreApart("b", "two");
  const Bytes manifest = Objects().at("snapshots/" + first);
  Replace("snapshots/" + first, Bytes(manifest.begin(), manifest.begin() + 40));
  const RepairSummary summary = Repair();
  EXPECT_EQ(summary.lost, 1u);
  ASSERT_EQ(losses_.size(), 1u);
  EXPECT_EQ(losses_[0].kind, Loss::Kind::kSnapshot);
  EXPECT_EQ(losses_[0].snapshot_id, first);
  EXPECT_EQ(Repair({.forget = true}).forgotten, 1u);
  EXPECT_EQ(CheckAll(), "");
  RestoreAll(last_);
}

TEST_P(RepairTest, OtherNamesOfALostFileAreLostWithIt) {
  WriteSource("a", RandomBytes(3000, 1));
  ASSERT_EQ(::link(source("a").c_str(), source("b").c_str()), 0);
  WriteSource("c", "c");
  const std::string key = StoreApart("c", RandomBytes(3000, 5));
  const std::string lost = PackOf(RandomBytes(3000, 1));
  ASSERT_NE(lost, "");
  Bytes pack = Objects().at(lost);
  // Only the chunk of `a`, wherever else the pack is whole.
  const Result<PackFooter> footer = ParsePack(repository().sealer(), pack);
  std::set<uint32_t> frames;
  for (const PackChunk& chunk : footer->chunks) frames.insert(chunk.frame_offset);
  for (const uint32_t offset : frames) pack[offset + kFrameHeaderBytes + 5] ^= 1;
  Replace(lost, pack);
  Repair({.read_data = true});
  std::set<std::string> paths;
  for (const Loss& loss : losses_) paths.insert(loss.path);
  EXPECT_TRUE(paths.contains(SourceEntry("a")));
  EXPECT_TRUE(paths.contains(SourceEntry("b")));
  const std::string repaired = repaired_.at(0).repaired_id;
  if (!repaired.empty()) RestoreAll(repaired);
}

TEST_P(RepairTest, IndexRepairReplacesSegmentsThatLie) {
  const std::string lost = StoreApart("a", RandomBytes(3000, 1));
  StoreApart("b", RandomBytes(3000, 2));
  const std::vector<std::string> segments = KeysBelow("index/");
  ASSERT_EQ(segments.size(), 2u);
  // One lies since the pack it names is gone, the other is damaged.
  bool first_lies = false;
  const Status parsed = ParseSegment(repository().sealer(), *DigestOfKey(segments[0]),
                                     Objects().at(segments[0]), [&](const SegmentPack& pack) {
                                       first_lies |= PackKey(pack.kind, pack.id).text() == lost;
                                       return Status();
                                     });
  ASSERT_TRUE(parsed.ok()) << parsed.ToString();
  Remove(lost);
  const std::string& damaged = segments[first_lies ? 1 : 0];
  const Bytes undamaged = Objects().at(damaged);
  FlipByte(damaged, 30);
  const Result<RebuiltIndex> rebuilt = repository().RebuildIndex(nullptr);
  ASSERT_TRUE(rebuilt.ok()) << rebuilt.status().ToString();
  EXPECT_EQ(rebuilt->segments_replaced, 2u);
  EXPECT_FALSE(Objects().contains(segments[first_lies ? 0 : 1]));
  // A plain one is replaced by its equal.
  EXPECT_EQ(Objects().contains(damaged), !GetParam());
  if (!GetParam()) {
    EXPECT_EQ(Objects().at(damaged), undamaged);
  }
  for (const CheckProblem& problem : Check({}).problems) {
    EXPECT_FALSE(problem.object.starts_with("index/")) << problem.message;
  }
  // Another node learns of it too, and stores again what is gone.
  repository_.reset();
  repository_ = OpenRepository(nullptr, "other-cache");
  SnapshotRequest request;
  request.paths = {source()};
  request.parent = "none";
  Snapshot(request);
  EXPECT_EQ(CheckAll(), "");
}

TEST_P(RepairTest, ADamagedSegmentIsReplacedByItsEqual) {
  StoreApart("a", RandomBytes(3000, 1));
  const std::vector<std::string> segments = KeysBelow("index/");
  ASSERT_EQ(segments.size(), 1u);
  FlipByte(segments[0], 30);
  const Result<RebuiltIndex> rebuilt = repository().RebuildIndex(nullptr);
  ASSERT_TRUE(rebuilt.ok()) << rebuilt.status().ToString();
  EXPECT_EQ(rebuilt->segments_replaced, 1u);
  EXPECT_EQ(KeysBelow("index/").size(), 1u);
  EXPECT_EQ(CheckAll(), "");
  repository_.reset();
  repository_ = OpenRepository(nullptr, "other-cache");
  SnapshotRequest request;
  request.paths = {source()};
  request.parent = "none";
  const auto taken = TakeSnapshot(repository(), request, nullptr);
  ASSERT_TRUE(taken.ok()) << taken.status().ToString();
  EXPECT_EQ(taken->info.chunks_new, 0u);
}

}  // namespace
}  // namespace snapstore
