// Invariant 8: any number of writers beside a prune, without a lock. Each case drives one
// interleaving: a hook runs the other party between two operations of the first.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <thread>

#include "base/host_name.h"
#include "engine/segment.h"
#include "tests/engine/prune_fixture.h"
#include "uploader/counting_store.h"
#include "uploader/fault_store.h"

namespace snapstore {
namespace {

constexpr std::string_view kManifests = "snapshots/";

// Whether it is encrypted.
class Invariant8 : public PruneFixture, public testing::WithParamInterface<bool> {
 protected:
  Invariant8() : PruneFixture(std::filesystem::temp_directory_path(), GetParam()) {}

  // Runs `what` once, ahead of the writer's manifest.
  static HookStore::Hook BeforeCommit(std::function<void()> what) {
    return [what = std::move(what), done = false](StoreOp op, const std::string& key) mutable {
      if (done || op != StoreOp::kPut || !key.starts_with(kManifests)) return;
      done = true;
      what();
    };
  }
  // A writer that began and was never heard of again.
  void PutForeignLease() const {
    Put("leases/writer-0123456789abcdef0123456789abcdef-000000-1800", AsBytes("x"));
  }
  void RemoveLeases() const {
    for (const std::string& key : KeysBelow("leases/writer-")) Remove(key);
  }
  static PruneOptions Hasty() {
    PruneOptions options = Thorough();
    options.max_seconds = 0.2;
    return options;
  }
  // A snapshot by a writer with this clock, during whose commit, after it made sure of its lease,
  // half a day passes for the prune.
  void ExpectTakenBack(const std::function<void()>& sleep, std::function<int64_t()> clock) {
    MakeGarbage();
    const auto writer = Node("writer", BeforeCommit([&] {
                               sleep();
                               Prune(Thorough(), /*impatient=*/true);
                               Prune(Thorough(), /*impatient=*/true);
                             }));
    writer->lease_options().clock = std::move(clock);
    const auto taken = Take(*writer, source());
    EXPECT_TRUE(taken.status().Is(StatusCode::kConflict)) << taken.status().ToString();
    EXPECT_TRUE(KeysBelow("snapshots/").empty());
    Prune();
    ExpectClean();
  }
  // A pack whose only snapshot was forgotten; its content is in source().
  std::map<std::string, std::string> MakeGarbage() {
    WriteSource("file", RandomBytes(3 * kMiB, 1));
    const auto writer = Node("writer");
    const auto taken = Take(*writer, source());
    EXPECT_TRUE(taken.ok());
    Forget(taken->info.id);
    return ScanTree(source());
  }
};

TEST_P(Invariant8, APruneWaitsForAWriterThatDeduplicatedAgainstWhatItCondemns) {
  const auto expected = MakeGarbage();
  PruneSummary during;
  const auto writer = Node("writer", BeforeCommit([&] { during = Prune(Hasty()); }));
  const auto taken = Take(*writer, source());
  ASSERT_TRUE(taken.ok()) << taken.status().ToString();
  EXPECT_EQ(taken->info.chunks_new, 0u);  // it relies on the condemned pack
  EXPECT_GE(during.plan.packs_delete, 1u);
  EXPECT_FALSE(during.finished);
  EXPECT_EQ(during.packs_deleted, 0u);
  // The next prune copies what is needed after all out of the pack, which goes all the same.
  EXPECT_TRUE(Prune().finished);
  ExpectClean();
  ExpectRestores(taken->info.id, expected);
}

TEST_P(Invariant8, APruneSaysWhichWritersItWaitsFor) {
  MakeGarbage();
  PruneSummary during;
  const auto writer = Node("writer", BeforeCommit([&] { during = Prune(Hasty()); }));
  ASSERT_TRUE(Take(*writer, source()).ok());
  ASSERT_FALSE(during.finished);
  EXPECT_NE(during.unfinished.find("1 writer is at work"), std::string::npos) << during.unfinished;
  EXPECT_NE(during.unfinished.find("on " + HostName() + " since 20"), std::string::npos);
  EXPECT_NE(during.unfinished.find("ends by 20"), std::string::npos);
  Forget(KeysBelow("snapshots/").front().substr(10));
  // A lease may say nothing, as that of an older program, or what no terminal should see.
  PutForeignLease();
  const ObjectKey odd("leases/writer-1123456789abcdef0123456789abcdef-000000-1800");
  Put(odd.text(), AsBytes("writer lease\n\x1b[2Jhost"));
  during = Prune(Hasty());
  EXPECT_NE(during.unfinished.find("2 writers are at work"), std::string::npos)
      << during.unfinished;
  EXPECT_NE(during.unfinished.find(": one since 20"), std::string::npos) << during.unfinished;
  EXPECT_EQ(during.unfinished.find('\x1b'), std::string::npos);
  EXPECT_EQ(during.unfinished.find("?[2Jhost") != std::string::npos, !GetParam());
}

TEST_P(Invariant8, APruneThatWaitsForLongSaysWhyAndWhatToDo) {
  MakeGarbage();
  PutForeignLease();
  const auto node = Node("janitor");
  node->lease_options().store_slack = {};
  PruneOptions options = Thorough();
  options.max_seconds = 12;
  RecordingObserver observer;
  const auto summary = PruneRepository(*node, options, &observer);
  ASSERT_TRUE(summary.ok()) << summary.status().ToString();
  EXPECT_FALSE(summary->finished);
  ASSERT_EQ(observer.warnings.size(), 1u);
  const std::string& told = observer.warnings.front().status.message();
  EXPECT_NE(told.find("1 writer is at work"), std::string::npos) << told;
  EXPECT_NE(told.find("--max-seconds"), std::string::npos) << told;
}

TEST_P(Invariant8, ALeaseShowsItsHostToWhoeverCanOpenTheRepository) {
  const auto node = Node("writer");
  const auto lease = node->TakeLease();
  ASSERT_TRUE(lease.ok());
  const auto objects = Objects();
  const auto& [key, bytes] = *objects.lower_bound("leases/writer-");
  ASSERT_TRUE(key.starts_with("leases/writer-"));
  EXPECT_EQ(AsText(bytes).find(HostName()) == std::string_view::npos, GetParam());
  const Result<LeaseFolder> folder = ListLeases(*store_);
  ASSERT_TRUE(folder.ok());
  const WriterSeen& seen = folder->writers.begin()->second;
  EXPECT_EQ(HostOfWriter(*store_, node->sealer(), seen), HostName());
  FlipByte(key, bytes.size() - 1);
  EXPECT_NE(HostOfWriter(*store_, node->sealer(), seen), HostName());
}

TEST_P(Invariant8, APruneThatWaitedSavesWhatTheWriterCameToNeed) {
  const auto expected = MakeGarbage();
  std::thread janitor;
  PruneSummary pruned;
  const auto writer = Node("writer", BeforeCommit([&] {
                             janitor = std::thread([&] { pruned = Prune(); });
                             while (KeysBelow("leases/prune-").empty()) std::this_thread::yield();
                           }));
  const auto taken = Take(*writer, source());
  janitor.join();
  ASSERT_TRUE(taken.ok()) << taken.status().ToString();
  EXPECT_TRUE(pruned.finished);
  EXPECT_GE(pruned.packs_deleted, 1u);
  EXPECT_GE(pruned.bytes_written, 3 * kMiB);
  ExpectClean();
  ExpectRestores(taken->info.id, expected);
}

TEST_P(Invariant8, AWriterThatComesAfterTheMarkStoresWhatIsCondemnedAnew) {
  const auto expected = MakeGarbage();
  PutForeignLease();
  EXPECT_FALSE(Prune(Hasty()).finished);
  ASSERT_EQ(KeysBelow("leases/prune-").size(), 1u);
  const auto packs_before = KeysBelow("data/");
  const auto writer = Node("writer");
  const auto taken = Take(*writer, source());
  ASSERT_TRUE(taken.ok()) << taken.status().ToString();
  EXPECT_GT(taken->info.chunks_new, 0u);
  // The same bytes in the same order, and yet an object of another name.
  EXPECT_GT(KeysBelow("data/").size(), packs_before.size());
  RemoveLeases();
  EXPECT_GE(Prune().packs_deleted, 1u);
  ExpectClean();
  ExpectRestores(taken->info.id, expected);
}

TEST_P(Invariant8, APruneDoesNotWaitForWritersThatKnowOfItsMark) {
  MakeGarbage();
  PutForeignLease();
  EXPECT_FALSE(Prune(Hasty()).finished);
  RemoveLeases();
  // It begins after the mark, and is still at work when the next prune has come and gone.
  WriteSource("file", RandomBytes(2 * kMiB, 2));
  const auto expected = ScanTree(source());
  PruneSummary during;
  const auto writer = Node("late", BeforeCommit([&] { during = Prune(Hasty()); }));
  const auto taken = Take(*writer, source());
  ASSERT_TRUE(taken.ok()) << taken.status().ToString();
  EXPECT_GE(during.plan.packs_held, 1u);  // what the writer stored
  Prune();
  ExpectClean();
  ExpectRestores(taken->info.id, expected);
}

TEST_P(Invariant8, AWriterThatStoodStillBeyondItsLeaseCannotCommit) {
  WriteSource("file", RandomBytes(kMiB, 1));
  int64_t asleep = 0;
  const auto writer = Node("writer", [&](StoreOp op, const std::string& key) {
    if (op == StoreOp::kPut && key.starts_with("data/")) asleep = 7200 * kNanosPerSecond;
  });
  writer->lease_options().clock = [&] { return BootNanos() + asleep; };
  const auto taken = Take(*writer, source());
  EXPECT_TRUE(taken.status().Is(StatusCode::kConflict)) << taken.status().ToString();
  EXPECT_TRUE(KeysBelow("snapshots/").empty());
  asleep = 0;
  EXPECT_TRUE(Take(*Node("writer"), source()).ok());
}

TEST_P(Invariant8, AWriterThatSleptWhileItCommittedTakesItsSnapshotBack) {
  int64_t asleep = 0;
  ExpectTakenBack([&] { asleep = 43200 * kNanosPerSecond; }, [&] { return BootNanos() + asleep; });
}

TEST_P(Invariant8, AWriterWhoseClockStoodStillTakesItsSnapshotBack) {
  ExpectTakenBack([] {}, [paused = BootNanos()] { return paused; });
}

TEST_P(Invariant8, ADamagedMarkIsFoundAndTakenAway) {
  MakeGarbage();
  PutForeignLease();
  EXPECT_FALSE(Prune(Hasty()).finished);
  RemoveLeases();
  const std::vector<std::string> marks = KeysBelow("leases/prune-");
  ASSERT_EQ(marks.size(), 1u);
  FlipByte(marks.front(), 20);
  const auto refused = Take(*Node("writer"), source());
  EXPECT_TRUE(refused.status().Is(StatusCode::kCorruption)) << refused.status().ToString();
  EXPECT_THAT(refused.status().message(), testing::HasSubstr("repair index"));
  EXPECT_THAT(Describe(Check({})), testing::HasSubstr("prune mark"));
  const auto rebuilt = Node("repair")->RebuildIndex(nullptr);
  ASSERT_TRUE(rebuilt.ok()) << rebuilt.status().ToString();
  EXPECT_EQ(rebuilt->marks_removed, 1u);
  const auto taken = Take(*Node("writer"), source());
  ASSERT_TRUE(taken.ok()) << taken.status().ToString();
  Prune();
  ExpectClean();
  ExpectRestores(taken->info.id, ScanTree(source()));
}

TEST_P(Invariant8, AWriterNeedsNoPermissionToDelete) {
  WriteSource("file", RandomBytes(kMiB, 1));
  auto faults = std::make_shared<FaultStore>(store_, 1);
  faults->Add({.op = StoreOp::kDelete, .error = Status::PermissionDenied("not allowed")});
  const auto writer = NodeOf(faults, "writer");
  RecordingObserver observer;
  SnapshotRequest request;
  request.paths = {source()};
  const auto taken = TakeSnapshot(*writer, request, &observer);
  ASSERT_TRUE(taken.ok()) << taken.status().ToString();
  EXPECT_TRUE(observer.warnings.empty());
  EXPECT_EQ(KeysBelow("leases/").size(), 1u);
  // Its lease is waited out, and then removed by who may.
  WriteSource("file", RandomBytes(kMiB, 2));
  ASSERT_TRUE(Take(*Node("writer"), source()).ok());
  Forget(taken->info.id);
  Prune(Thorough(), /*impatient=*/true);
  Prune(Thorough(), /*impatient=*/true);
  ExpectClean();
}

TEST_P(Invariant8, ASnapshotWhoseParentWasForgottenMeanwhileIsWholeOrNotThere) {
  MakeGarbage();
  const auto first = Take(*Node("writer"), source());  // it took the garbage up again
  ASSERT_TRUE(first.ok());
  WriteSource("more", RandomBytes(kMiB, 5));
  std::filesystem::remove(source("file"));
  ASSERT_TRUE(Take(*Node("other"), source(), "none").ok());
  WriteSource("file", RandomBytes(3 * kMiB, 1));
  PutForeignLease();
  Forget(first->info.id);
  EXPECT_FALSE(Prune(Hasty()).finished);
  // The parent comes to be after the mark, from a writer that began before it.
  const auto again = Take(*Node("third"), source());
  ASSERT_TRUE(again.ok()) << again.status().ToString();
  const auto expected = ScanTree(source());
  const auto child = Take(*Node("fourth", BeforeCommit([&] {
                                  Forget(again->info.id);
                                  RemoveLeases();
                                  Prune();
                                })),
                          source());
  if (child.ok()) {
    Prune();
    ExpectClean();
    ExpectRestores(child->info.id, expected);
  } else {
    EXPECT_TRUE(child.status().Is(StatusCode::kConflict)) << child.status().ToString();
    EXPECT_EQ(Describe(Check({.read_data = true})), "");
  }
}

TEST_P(Invariant8, TwoPrunesAtOnceLoseNothing) {
  WriteSource("a", RandomBytes(2 * kMiB, 1));
  WriteSource("b", RandomBytes(2 * kMiB, 2));
  const std::string old = Snapshot();
  std::filesystem::remove(source("a"));
  const std::string kept = Snapshot();
  const auto expected = ScanTree(source());
  Forget(old);
  bool done = false;
  Result<PruneSummary> inner = Status::Internal("not run");
  const auto outer = Node("outer", [&](StoreOp op, const std::string& key) {
    if (done || op != StoreOp::kPut || !key.starts_with("leases/prune-")) return;
    done = true;
    inner = TryPrune(Hasty());
  });
  const auto summary = PruneRepository(*outer, Hasty(), nullptr);
  ASSERT_TRUE(done);
  // At least one of the two saw the other and stood back.
  const bool both = summary.ok() && summary->finished && inner.ok() && inner->finished;
  EXPECT_FALSE(both);
  ExpectRestores(kept, expected);
  EXPECT_TRUE(Prune().finished);
  Prune();
  ExpectClean();
  ExpectRestores(kept, expected);
}

TEST_P(Invariant8, RebuildingTheIndexPublishesNothingThatASweepTakes) {
  MakeGarbage();
  const std::vector<std::string> condemned = KeysBelow("data/");
  for (const std::string& key : KeysBelow("index/")) Remove(key);
  PutForeignLease();
  EXPECT_FALSE(Prune(Hasty()).finished);
  const auto node = Node("rebuilder");
  ASSERT_TRUE(node->RebuildIndex(nullptr).ok());
  EXPECT_TRUE(KeysBelow("index/").empty());
  RemoveLeases();
  Prune();
  // The other way round: the sweep waits for the rebuild.
  WriteSource("file", RandomBytes(kMiB, 7));
  const auto taken = Take(*Node("writer"), source());
  ASSERT_TRUE(taken.ok());
  Forget(taken->info.id);
  for (const std::string& key : KeysBelow("index/")) Remove(key);
  PruneSummary during;
  bool done = false;
  const auto other = Node("rebuilder-2", [&](StoreOp op, const std::string& key) {
    if (done || op != StoreOp::kPut || !key.starts_with("index/")) return;
    done = true;
    during = Prune(Hasty());
  });
  ASSERT_TRUE(other->RebuildIndex(nullptr).ok());
  EXPECT_TRUE(done);
  EXPECT_EQ(during.packs_deleted, 0u);
  Prune();
  ExpectClean();
}

TEST_P(Invariant8, AReaderGoesOnAcrossAPrune) {
  for (int i = 0; i < 40; ++i) {
    WriteSource("f" + std::to_string(i), RandomBytes(100'000, static_cast<uint64_t>(i)));
  }
  const std::string old = Snapshot();
  for (int i = 0; i < 20; ++i) std::filesystem::remove(source("f" + std::to_string(i)));
  const std::string kept = Snapshot();
  const auto expected = ScanTree(source());
  Forget(old);
  std::atomic<bool> done = false;
  const auto reader = Node("reader", [&](StoreOp op, const std::string& key) {
    if (op != StoreOp::kGetRange || !key.starts_with("data/") || done.exchange(true)) return;
    EXPECT_GE(Prune().packs_rewritten, 1u);
  });
  ASSERT_TRUE(reader->Index().ok());  // what it knows is from before the prune
  const auto restored = RestoreSnapshot(*reader, AllOf(kept), nullptr);
  ASSERT_TRUE(restored.ok()) << restored.status().ToString();
  EXPECT_TRUE(done);
  EXPECT_EQ(restored->failed, 0u);
  EXPECT_EQ(ScanTree(Restored(source())), expected);
}

TEST_P(Invariant8, AnotherNodeNoticesPacksThatAPruneTookAndReadsOnlySegmentsItLacks) {
  WriteSource("file", RandomBytes(3 * kMiB, 1));
  for (int i = 0; i < 8; ++i) {
    WriteSource("more", RandomBytes(20'000, 100 + static_cast<uint64_t>(i)));
    ASSERT_TRUE(Take(*Node("writer"), source()).ok());
  }
  auto counting = std::make_shared<CountingStore>(store_, std::vector<std::string>{"index/"});
  const auto other = NodeOf(counting, "other");
  ASSERT_TRUE(other->SyncIndex(nullptr).ok());
  EXPECT_EQ(counting->Counts(StoreOp::kGet, "index/").requests, KeysBelow("index/").size());
  // Only what is new is read.
  WriteSource("more", RandomBytes(20'000, 200));
  ASSERT_TRUE(Take(*Node("writer"), source()).ok());
  counting->Reset();
  ASSERT_TRUE(other->SyncIndex(nullptr).ok());
  EXPECT_EQ(counting->Counts(StoreOp::kGet, "index/").requests, 1u);
  EXPECT_EQ(counting->Counts(StoreOp::kList).requests, 1u);
  // All packs with "file" go.
  for (const std::string& key : KeysBelow("snapshots/")) Remove(key);
  std::filesystem::remove(source("file"));
  ASSERT_TRUE(Take(*Node("writer"), source()).ok());
  const size_t segments_before = KeysBelow("index/").size();
  Prune();
  counting->Reset();
  WriteSource("file", RandomBytes(3 * kMiB, 1));
  const auto expected = ScanTree(source());
  const auto taken = Take(*other, source());
  ASSERT_TRUE(taken.ok()) << taken.status().ToString();
  EXPECT_GT(taken->info.chunks_new, 0u);
  EXPECT_LT(counting->Counts(StoreOp::kGet, "index/").requests, segments_before);
  ExpectRestores(taken->info.id, expected);
  EXPECT_EQ(Describe(Check({.read_data = true})), "");
}

TEST_P(Invariant8, AChunkThatIsTwiceInTheStoreIsFoundWhereItStays) {
  WriteSource("file", RandomBytes(3 * kMiB, 1));
  const auto expected = ScanTree(source());
  const auto node = Node("node");
  const auto first = Take(*node, source());
  ASSERT_TRUE(first.ok());
  // A second writer, which sees none of it, stores the same in packs of its own.
  const auto all = Objects();
  for (const auto& [key, bytes] : all) {
    if (key.starts_with("index/")) Remove(key);
  }
  const auto second = Take(*Node("other"), source(), "none");
  ASSERT_TRUE(second.ok());
  ASSERT_GT(second->info.chunks_new, 0u);
  for (const auto& [key, bytes] : all) {
    if (key.starts_with("index/")) Put(key, bytes);
  }
  // The first node now knows the chunks to be in the second's packs, and its third snapshot says
  // so.
  ASSERT_TRUE(node->SyncIndex(nullptr).ok());
  const auto third = Take(*node, source(), "none");
  ASSERT_TRUE(third.ok());
  ASSERT_EQ(third->info.chunks_new, 0u);
  // They go, as they do when a prune takes the first's for the newer ones.
  Forget(second->info.id);
  for (const auto& [key, bytes] : Objects()) {
    const bool of_second = !all.contains(key);
    if (of_second && (key.starts_with("data/") || key.starts_with("index/"))) Remove(key);
  }
  const auto restored = RestoreSnapshot(*node, AllOf(third->info.id), nullptr);
  ASSERT_TRUE(restored.ok()) << restored.status().ToString();
  EXPECT_EQ(restored->failed, 0u);
  EXPECT_EQ(ScanTree(Restored(source())), expected);
}

TEST_P(Invariant8, ADamagedSegmentKeepsNothingFromARestoreWhosePlaceIsKnown) {
  WriteSource("a", RandomBytes(100'000, 1));
  const auto node = Node("node");
  ASSERT_TRUE(Take(*node, source()).ok());
  const std::vector<std::string> lost = KeysBelow("data/");
  WriteSource("b", RandomBytes(100'000, 2));
  const auto taken = Take(*node, source());
  ASSERT_TRUE(taken.ok());
  FlipByte(KeysBelow("index/").front(), 30);
  for (const std::string& key : lost) Remove(key);
  const auto restored = RestoreSnapshot(*node, AllOf(taken->info.id), nullptr);
  ASSERT_TRUE(restored.ok()) << restored.status().ToString();
  EXPECT_EQ(restored->failed, 1u);
}

TEST_P(Invariant8, SegmentsAreMergedTwiceWhenAPruneIsKilledInBetween) {
  for (int i = 0; i < 40; ++i) {
    WriteSource("file", RandomBytes(5'000, static_cast<uint64_t>(i)));
    ASSERT_TRUE(Take(*Node("writer"), source()).ok());
  }
  const auto before = Objects();
  Prune();
  ASSERT_EQ(KeysBelow("index/").size(), 1u);
  const std::string merged = KeysBelow("index/").front();
  for (const auto& [key, bytes] : before) {
    if (key.starts_with("index/")) Put(key, bytes);
  }
  Prune();
  // That of an encrypted repository has another name each time.
  EXPECT_EQ(Objects().contains(merged), !GetParam());
  EXPECT_EQ(KeysBelow("index/").size(), 1u);
  EXPECT_EQ(Describe(Check({.read_data = true})), "");
}

TEST_P(Invariant8, ASegmentOfAWriterLongGoneMisleadsNobody) {
  // It lists packs that were taken before it came to be.
  WriteSource("file", RandomBytes(3 * kMiB, 1));
  const auto taken = Take(*Node("writer"), source());
  ASSERT_TRUE(taken.ok());
  const auto segments = Objects();
  Forget(taken->info.id);
  Prune();
  for (const auto& [key, bytes] : segments) {
    if (key.starts_with("index/")) Put(key, bytes);
  }
  const auto expected = ScanTree(source());
  const auto again = Take(*Node("victim"), source());
  ASSERT_TRUE(again.ok()) << again.status().ToString();
  EXPECT_GT(again->info.chunks_new, 0u);
  ExpectRestores(again->info.id, expected);
  Prune();
  ExpectClean();
}

TEST_P(Invariant8, ASnapshotCostsAFewSmallRequestsForItsLease) {
  WriteSource("file", RandomBytes(kMiB, 1));
  auto counting = std::make_shared<CountingStore>(store_, std::vector<std::string>{"leases/"});
  const auto node = NodeOf(counting, "writer");
  ASSERT_TRUE(Take(*node, source()).ok());
  counting->Reset();
  ASSERT_TRUE(Take(*node, source()).ok());
  EXPECT_EQ(counting->Counts(StoreOp::kPut, "leases/").requests, 1u);
  EXPECT_EQ(counting->Counts(StoreOp::kList, "leases/").requests, 1u);
  EXPECT_EQ(counting->Counts(StoreOp::kStat, "leases/").requests, 1u);
  EXPECT_EQ(counting->Counts(StoreOp::kDelete, "leases/").requests, 1u);
  EXPECT_EQ(counting->Counts(StoreOp::kGet, "leases/").requests, 0u);
}

TEST_P(Invariant8, ALongWriterRenewsItsLease) {
  auto store = std::make_shared<HookStore>(store_);
  LeaseOptions options{.life = std::chrono::seconds(1), .margin = std::chrono::seconds(0)};
  const auto lease = WriterLease::Take(store.get(), Sealer::Plain(), options);
  ASSERT_TRUE(lease.ok());
  std::this_thread::sleep_for(std::chrono::milliseconds(1500));
  EXPECT_GE(KeysBelow("leases/writer-").size(), 2u);
  EXPECT_FALSE((*lease)->Expired());
  const Result<LeaseFolder> folder = ListLeases(*store_);
  ASSERT_TRUE(folder.ok());
  ASSERT_EQ(folder->writers.size(), 1u);
  EXPECT_EQ(folder->writers.begin()->first, (*lease)->writer());
  EXPECT_GT(folder->writers.begin()->second.ends_ns, WallNanos());
}

TEST_P(Invariant8, NamesThatAreNoLeaseAreNobodysConcern) {
  for (const char* key : {"leases/x", "leases/writer-12-0-1800", "leases/prune-abc",
                          "leases/writer-0123456789abcdef0123456789abcdef-x-1800",
                          "leases/writer-0123456789abcdef0123456789abcdef-000000-"}) {
    Put(key, AsBytes("x"));
  }
  const Result<LeaseFolder> folder = ListLeases(*store_);
  ASSERT_TRUE(folder.ok());
  EXPECT_TRUE(folder->writers.empty());
  EXPECT_TRUE(folder->marks.empty());
}

TEST_P(Invariant8, ADamagedMarkStopsWritersAndPrunesAlike) {
  const Sealer& sealer = repository().sealer();
  const Bytes mark = EncodeMark(sealer, std::vector<CondemnedPack>{{PackKind::kData, PackId()}});
  EXPECT_EQ(DecodeMark(sealer, Sha256::Of(mark), mark)->size(), 1u);
  Put(MarkKey(PackId()).text(), mark);  // of another name than its bytes
  WriteSource("file", "x");
  EXPECT_TRUE(Take(*Node("writer"), source()).status().Is(StatusCode::kCorruption));
  EXPECT_TRUE(TryPrune().status().Is(StatusCode::kCorruption));
}

INSTANTIATE_TEST_SUITE_P(Repository, Invariant8, testing::Bool(), EncryptedOrPlain);

}  // namespace
}  // namespace snapstore
