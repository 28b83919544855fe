#include "snapstore/copy.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>

#include "base/random.h"
#include "tests/engine/fixture.h"
#include "uploader/counting_store.h"
#include "uploader/fault_store.h"
#include "uploader/memory_store.h"

namespace snapstore {
namespace {

class CopyTest : public EngineFixture {
 protected:
  // The destination; `like`: with the secrets of the source.
  void MakeSecond(bool like, bool encrypt = false) {
    second_store_ = NewMemoryStore();
    second_key_.reset();
    if (encrypt) second_key_ = TestKeyFile('2');
    InitOptions init;
    init.encrypt = encrypt;
    if (like) init.like = &repository();
    const Status made =
        RepositoryImpl::InitStore(*second_store_, {.credential = second_key_}, init);
    ASSERT_TRUE(made.ok()) << made.ToString();
    OpenSecond(std::make_unique<CountingStore>(second_store_));
  }
  void OpenSecond(std::unique_ptr<ObjectStore> through) {
    second_.reset();
    RepositoryOptions options;
    options.cache_dir = folder_.File("second-cache");
    options.memory_limit = 128ull << 20;
    options.threads = 2;
    options.credential = second_key_;
    Result<std::unique_ptr<RepositoryImpl>> opened =
        RepositoryImpl::OpenWithStore(std::move(through), options);
    ASSERT_TRUE(opened.ok()) << opened.status().ToString();
    second_ = std::move(*opened);
  }

  CopySummary Copy(const CopyRequest& request = {}) {
    copied_.clear();
    const Result<CopySummary> summary = CopySnapshots(
        repository(), *second_, request,
        [&](const CopiedSnapshot& copied) {
          copied_.push_back(copied);
          return Status();
        },
        &observer_);
    EXPECT_TRUE(summary.ok()) << summary.status().ToString();
    return summary.ok() ? *summary : CopySummary();
  }

  // Restores from both repositories and compares.
  void ExpectSame(const std::string& id, const std::string& copy) {
    std::filesystem::remove_all(target());
    RestoreAll(id);
    auto original = ScanTree(target());
    original.erase("");  // the target itself is no part of a snapshot
    std::filesystem::remove_all(target());
    RestoreRequest request = AllOf(copy);
    const Result<RestoreSummary> restored = RestoreSnapshot(*second_, request, nullptr);
    ASSERT_TRUE(restored.ok()) << restored.status().ToString();
    EXPECT_EQ(restored->failed, 0u);
    auto copied = ScanTree(target());
    copied.erase("");
    EXPECT_EQ(copied, original);
    std::filesystem::remove_all(target());
  }
  std::string CheckSecond() {
    const Result<CheckReport> report = CheckRepository(*second_, {.read_data = true}, nullptr);
    return report.ok() ? Describe(*report) : report.status().ToString();
  }
  uint64_t SecondBytes() {
    uint64_t bytes = 0;
    EXPECT_TRUE(second_store_
                    ->List("",
                           [&](const ObjectInfo& object) {
                             bytes += object.size;
                             return Status();
                           })
                    .ok());
    return bytes;
  }

  // Small files, a big one of several leaves, holes, links, a change in each.
  void MakeSource() {
    for (int i = 0; i < 60; ++i) WriteSource("d/f" + std::to_string(i), RandomBytes(3000, 10 + i));
    big_ = RandomBytes(24 << 20, 1);
    WriteSource("big", big_);
    WriteSource("sparse", RandomBytes(100'000, 2) + std::string(1 << 20, '\0') + "end");
    WriteSource("empty", "");
    ASSERT_EQ(::symlink("big", source("link").c_str()), 0);
    ASSERT_EQ(::link(source("big").c_str(), source("other").c_str()), 0);
    ids_.push_back(Snapshot());
    big_.replace(12 << 20, 5000, RandomBytes(5000, 3));
    WriteSource("big", big_);
    WriteSource("d/f7", RandomBytes(4000, 4));
    ids_.push_back(Snapshot());
  }

  std::shared_ptr<ObjectStore> second_store_;
  std::optional<Credential> second_key_;
  std::unique_ptr<RepositoryImpl> second_;
  RecordingObserver observer_;
  std::vector<CopiedSnapshot> copied_;
  std::vector<std::string> ids_;
  std::string big_;
};

TEST_F(CopyTest, CopiesAreWholeAndRestoreToTheSameTree) {
  MakeSource();
  for (const bool like : {false, true}) {
    SCOPED_TRACE(like ? "same secret" : "other secret");
    MakeSecond(like);
    const CopySummary summary = Copy();
    EXPECT_EQ(summary.copied, 2u);
    EXPECT_EQ(summary.same_ids, like);
    EXPECT_EQ(CheckSecond(), "");
    ASSERT_EQ(copied_.size(), 2u);
    for (int i = 0; i < 2; ++i) ExpectSame(ids_[i], copied_[i].id);
  }
}

TEST_F(CopyTest, PlainIsCopiedIntoEncrypted) {
  MakeSource();
  for (const bool like : {false, true}) {
    MakeSecond(like, /*encrypt=*/true);
    EXPECT_EQ(Copy().copied, 2u);
    EXPECT_EQ(CheckSecond(), "");
    for (int i = 0; i < 2; ++i) ExpectSame(ids_[i], copied_.at(i).id);
  }
}

TEST_F(CopyTest, WhatASnapshotSaysOfItselfStays) {
  WriteSource("f", "content");
  SnapshotRequest request;
  request.paths = {source()};
  request.host = "elsewhere";
  request.tags = {{"job", "nightly"}};
  const std::string id = Snapshot(request);
  MakeSecond(false);
  Copy();
  const auto original = repository().GetSnapshot(id);
  const auto copy = second_->GetSnapshot(copied_.at(0).id);
  ASSERT_TRUE(original.ok() && copy.ok());
  EXPECT_EQ(copy->time_ns, original->time_ns);
  EXPECT_EQ(copy->host, "elsewhere");
  EXPECT_EQ(copy->tags, original->tags);
  EXPECT_EQ(copy->paths, original->paths);
  EXPECT_EQ(copy->entries, original->entries);
  EXPECT_EQ(copy->bytes_total, original->bytes_total);
  EXPECT_EQ(copy->seconds, original->seconds);
  EXPECT_EQ(copy->original_id, id);
  EXPECT_EQ(copy->original_repository, repository().id());
}

TEST_F(CopyTest, SecondSnapshotCostsItsDifference) {
  MakeSource();
  for (const bool like : {false, true}) {
    SCOPED_TRACE(like ? "same secret" : "other secret");
    MakeSecond(like);
    Copy({.snapshots = {ids_[0]}});
    EXPECT_GT(copied_.at(0).bytes_new, 24u << 20);
    const uint64_t before = SecondBytes();
    Copy({.snapshots = {ids_[1]}});
    EXPECT_LT(copied_.at(0).bytes_new, 200u << 10);
    // Frames are read whole, so a little more than what changed.
    EXPECT_LT(copied_.at(0).bytes_read, 6u << 20);
    EXPECT_LT(SecondBytes() - before, 300u << 10);
    EXPECT_EQ(second_->GetSnapshot(copied_.at(0).id)->parent_id,
              second_->ListSnapshots(nullptr, nullptr)->front().id);
    EXPECT_EQ(CheckSecond(), "");
  }
}

TEST_F(CopyTest, RepeatedCopyCopiesNothing) {
  MakeSource();
  MakeSecond(false);
  Copy();
  const uint64_t before = SecondBytes();
  const CopySummary again = Copy();
  EXPECT_EQ(again.copied, 0u);
  EXPECT_EQ(again.existed, 2u);
  EXPECT_EQ(again.bytes_read, 0u);
  EXPECT_EQ(SecondBytes(), before);
}

TEST_F(CopyTest, CopyOfACopyIsKnownEverywhere) {
  MakeSource();
  MakeSecond(false);
  Copy();
  // Back to where it came from.
  const Result<CopySummary> back = CopySnapshots(*second_, repository(), {}, nullptr, nullptr);
  ASSERT_TRUE(back.ok()) << back.status().ToString();
  EXPECT_EQ(back->existed, 2u);
  EXPECT_EQ(back->copied, 0u);
}

TEST_F(CopyTest, WithTheSameSecretNothingThatIsThereIsRead) {
  MakeSource();
  MakeSecond(true);
  Copy();
  // The destination keeps the data and loses the snapshots.
  std::vector<std::string> manifests;
  ASSERT_TRUE(second_store_
                  ->List(kManifestPrefix,
                         [&](const ObjectInfo& object) {
                           manifests.push_back(object.key);
                           return Status();
                         })
                  .ok());
  for (const std::string& key : manifests) {
    ASSERT_TRUE(second_store_->Delete(ObjectKey(key)).ok());
  }
  auto counting = std::make_unique<CountingStore>(store_, std::vector<std::string>{"data/"});
  CountingStore* const counts = counting.get();
  Reopen(std::move(counting));
  const CopySummary summary = Copy();
  EXPECT_EQ(summary.copied, 2u);
  EXPECT_EQ(summary.chunks_new, 0u);
  EXPECT_EQ(counts->Counts(StoreOp::kGetRange, "data/").requests, 0u);
  EXPECT_EQ(CheckSecond(), "");
}

TEST_F(CopyTest, BrokenOffCopyIsTakenUpAgain) {
  MakeSource();
  for (const bool like : {false, true}) {
    MakeSecond(like);
    auto faulty = std::make_unique<FaultStore>(second_store_, /*seed=*/1);
    faulty->Add({.op = StoreOp::kPut, .key_prefix = "snapshots/", .error = Status::Io("injected")});
    OpenSecond(std::move(faulty));
    EXPECT_FALSE(CopySnapshots(repository(), *second_, {}, nullptr, nullptr).ok());
    OpenSecond(std::make_unique<CountingStore>(second_store_));
    const CopySummary summary = Copy();
    EXPECT_EQ(summary.copied, 2u);
    // Of the first snapshot everything was there already.
    EXPECT_EQ(copied_.at(0).chunks_new, 0u);
    EXPECT_EQ(CheckSecond(), "");
  }
}

TEST_F(CopyTest, DamagedSnapshotIsNotCopiedAndItsLossesAreNamed) {
  WriteSource("a", RandomBytes(50'000, 1));
  const std::string first = Snapshot("none");
  const std::vector<std::string> packs = KeysBelow("data/");
  WriteSource("b", RandomBytes(50'000, 2));
  std::filesystem::remove(source("a"));
  const std::string second = Snapshot("none");
  for (const std::string& key : packs) Remove(key);
  MakeSecond(false);
  const CopySummary summary = Copy();
  EXPECT_EQ(summary.damaged, 1u);
  EXPECT_EQ(summary.copied, 1u);
  ASSERT_EQ(copied_.size(), 2u);
  EXPECT_EQ(copied_[0].outcome, CopiedSnapshot::Outcome::kDamaged);
  EXPECT_EQ(copied_[0].failed, 1u);
  ASSERT_EQ(observer_.warnings.size(), 1u);
  EXPECT_EQ(observer_.warnings[0].item, first + ":" + SourceEntry("a"));
  EXPECT_EQ(copied_[1].source.id, second);
  EXPECT_EQ(CheckSecond(), "");
  EXPECT_EQ(second_->ListSnapshots(nullptr, nullptr)->size(), 1u);
}

// Invariant 9: "could not tell" is never "absent".
TEST_F(CopyTest, Invariant9SourceThatCannotTellEndsTheCopy) {
  WriteSource("a", RandomBytes(50'000, 1));
  Snapshot();
  MakeSecond(false);
  for (const char* prefix : {"data/", "snapshots/"}) {
    auto faulty = std::make_unique<FaultStore>(store_, /*seed=*/1);
    for (const StoreOp op : {StoreOp::kGet, StoreOp::kGetRange}) {
      faulty->Add({.op = op, .key_prefix = prefix, .error = Status::Timeout("injected")});
    }
    Reopen(std::move(faulty));
    const auto summary = CopySnapshots(repository(), *second_, {}, nullptr, nullptr);
    EXPECT_TRUE(summary.status().Is(StatusCode::kTimeout)) << summary.status().ToString();
  }
  EXPECT_EQ(second_->ListSnapshots(nullptr, nullptr)->size(), 0u);
}

TEST_F(CopyTest, SameRepositoryAndUnknownSnapshotsAreRefused) {
  WriteSource("a", "x");
  Snapshot();
  MakeSecond(false);
  const std::unique_ptr<RepositoryImpl> again = OpenRepository();
  EXPECT_TRUE(CopySnapshots(repository(), *again, {}, nullptr, nullptr)
                  .status()
                  .Is(StatusCode::kInvalidArgument));
  EXPECT_TRUE(
      CopySnapshots(repository(), *second_, {.snapshots = {std::string(64, 'a')}}, nullptr, nullptr)
          .status()
          .Is(StatusCode::kNotFound));
}

// Random edits, several snapshots, each copied at once: what the base's leaves give is what the
// source holds.
TEST_F(CopyTest, RandomEditsCopyExactly) {
  const uint64_t seed = 20'25;
  SplitMix64 random(seed);
  for (const bool like : {false, true}) {
    std::filesystem::remove_all(source());
    std::filesystem::create_directories(source());
    std::string content = RandomBytes(6 << 20, random.Next());
    MakeSecond(like);
    for (int round = 0; round < 5; ++round) {
      for (int edit = 0; edit < 4; ++edit) {
        const size_t at = random.Below(content.size());
        const size_t length = random.Below(60'000);
        const std::string fresh =
            random.Below(3) == 0 ? std::string(length, '\0') : RandomBytes(length, random.Next());
        if (random.Below(2) == 0) {
          content.insert(at, fresh);
        } else {
          content.replace(at, std::min(length, content.size() - at), fresh);
        }
      }
      WriteSource("f", content);
      const std::string id = Snapshot();
      Copy({.snapshots = {id}});
      ASSERT_EQ(copied_.size(), 1u);
      ExpectSame(id, copied_[0].id);
    }
    EXPECT_EQ(CheckSecond(), "");
  }
}

}  // namespace
}  // namespace snapstore
