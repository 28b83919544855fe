// One suite for every state store.
#include "orchestrator/state/state_store.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <thread>

#include "orchestrator/state/rocks_state_store.h"
#include "tests/base/temp_folder.h"
#include "tests/orchestrator/state/etcd_process.h"
#include "tests/orchestrator/state/memory_state_store.h"

namespace snapstore::spot {
namespace {

using std::chrono::milliseconds;
using ::testing::ElementsAre;

constexpr milliseconds kSoon{300};
constexpr milliseconds kLong{10'000};

class StateStoreTest : public ::testing::TestWithParam<const char*> {
 protected:
  static void TearDownTestSuite() { etcd_.reset(); }

  void SetUp() override {
    if (std::string(GetParam()) == "etcd") {
      if (!EtcdProcess::Installed()) GTEST_SKIP() << "etcd-server is not installed";
      if (!etcd_) etcd_ = std::make_unique<EtcdProcess>();
    }
    Reopen();
  }

  void Reopen() {
    store_.reset();
    auto store = Open();
    ASSERT_TRUE(store.ok()) << store.status().ToString();
    store_ = *std::move(store);
  }
  Result<std::unique_ptr<StateStore>> Open() {
    if (std::string(GetParam()) == "etcd") return etcd_->Open(folder_.path() + "/");
    if (std::string(GetParam()) == "memory") {
      return std::unique_ptr<StateStore>(std::make_unique<MemoryStateStore>(memory_));
    }
    return RocksStateStore::Open(folder_.path());
  }

  uint64_t Put(const std::string& key, const std::string& value) {
    Transaction put;
    put.Put(key, value);
    const auto revision = store_->Commit(put);
    EXPECT_TRUE(revision.ok()) << revision.status().ToString();
    return revision.ok() ? *revision : 0;
  }
  std::string ValueOf(const std::string& key) {
    const auto entry = store_->Get(key);
    return entry.ok() ? entry->value : entry.status().ToString();
  }
  std::vector<std::string> Keys(const std::string& prefix, const std::string& after = "",
                                size_t limit = 100) {
    const auto listing = store_->List(prefix, after, limit);
    std::vector<std::string> keys;
    if (!listing.ok()) return {listing.status().ToString()};
    for (const StateEntry& entry : listing->entries) keys.push_back(entry.key);
    return keys;
  }

  const TempFolder folder_;
  const std::shared_ptr<StateMemory> memory_ = std::make_shared<StateMemory>();
  std::unique_ptr<StateStore> store_;
  static std::unique_ptr<EtcdProcess> etcd_;
};
std::unique_ptr<EtcdProcess> StateStoreTest::etcd_;

INSTANTIATE_TEST_SUITE_P(All, StateStoreTest, ::testing::Values("rocksdb", "etcd", "memory"),
                         [](const auto& test) { return std::string(test.param); });

TEST_P(StateStoreTest, WhatWasPutIsThereAlsoAfterReopening) {
  const std::string value("with\0NUL and \xff", 14);
  const uint64_t revision = Put("a/1", value);
  EXPECT_GT(revision, 0);
  Reopen();
  const auto entry = store_->Get("a/1");
  ASSERT_TRUE(entry.ok()) << entry.status().ToString();
  EXPECT_EQ(entry->value, value);
  EXPECT_EQ(entry->revision, revision);
  EXPECT_TRUE(store_->Get("a/2").status().Is(StatusCode::kNotFound));
  EXPECT_GT(Put("a/1", ""), revision);
  EXPECT_EQ(ValueOf("a/1"), "");
}

TEST_P(StateStoreTest, ListsInOrderAndInPages) {
  for (const char* key : {"b/2", "a/9", "b/10", "b/1", "c/1", "b"}) Put(key, key);
  EXPECT_THAT(Keys("b/"), ElementsAre("b/1", "b/10", "b/2"));
  EXPECT_THAT(Keys("b/", "b/1"), ElementsAre("b/10", "b/2"));
  EXPECT_THAT(Keys("b/", "b/2"), ElementsAre());
  EXPECT_THAT(Keys("x/"), ElementsAre());
  const auto page = store_->List("b/", "", 2);
  ASSERT_TRUE(page.ok());
  EXPECT_TRUE(page->more);
  EXPECT_EQ(page->entries.size(), 2);
  EXPECT_FALSE(store_->List("b/", "", 3)->more);
}

TEST_P(StateStoreTest, ATransactionHappensAsAWholeOrNotAtAll) {
  const uint64_t seen = Put("k", "1");
  Transaction change;
  change.Require("k", seen);
  change.Require("new", 0);
  change.Put("k", "2");
  change.Put("new", "x");
  const auto first = store_->Commit(change);
  ASSERT_TRUE(first.ok()) << first.status().ToString();
  EXPECT_EQ(store_->Get("k")->revision, *first);
  EXPECT_EQ(store_->Get("new")->revision, *first);
  // The same again: both conditions are wrong now, and nothing of it happens.
  change.changes[0].value = "3";
  change.Put("other", "y");
  EXPECT_TRUE(store_->Commit(change).status().Is(StatusCode::kConflict));
  EXPECT_EQ(ValueOf("k"), "2");
  EXPECT_TRUE(store_->Get("other").status().Is(StatusCode::kNotFound));
}

TEST_P(StateStoreTest, DeletedKeysAreGoneAndCanBeMadeAnew) {
  Put("k", "1");
  Transaction remove;
  remove.Delete("k");
  remove.Delete("never-was");
  ASSERT_TRUE(store_->Commit(remove).ok());
  EXPECT_TRUE(store_->Get("k").status().Is(StatusCode::kNotFound));
  Transaction create;
  create.Require("k", 0);
  create.Put("k", "2");
  EXPECT_TRUE(store_->Commit(create).ok());
  EXPECT_EQ(ValueOf("k"), "2");
}

TEST_P(StateStoreTest, LimitsAreKept) {
  Transaction twice;
  twice.Put("k", "1");
  twice.Put("k", "2");
  EXPECT_TRUE(store_->Commit(twice).status().Is(StatusCode::kInvalidArgument));
  Transaction large;
  large.Put("k", std::string(kStateValueBytesMax + 1, 'x'));
  EXPECT_TRUE(store_->Commit(large).status().Is(StatusCode::kInvalidArgument));
  Transaction many;
  for (size_t i = 0; i <= kTransactionStepsMax; ++i) many.Put(fmt::format("k{}", i), "");
  EXPECT_TRUE(store_->Commit(many).status().Is(StatusCode::kInvalidArgument));
  many.changes.pop_back();
  EXPECT_TRUE(store_->Commit(many).ok());
  Transaction largest;
  largest.Put("k", std::string(kStateValueBytesMax, 'x'));
  EXPECT_TRUE(store_->Commit(largest).ok());
  EXPECT_EQ(store_->Get("k")->value.size(), kStateValueBytesMax);
}

TEST_P(StateStoreTest, ConcurrentIncrementsLoseNothing) {
  Put("counter", "0");
  constexpr int kThreads = 8;
  constexpr int kEach = 25;
  std::atomic<int> conflicts{0};
  std::vector<std::thread> threads(kThreads);
  for (int t = 0; t < kThreads; ++t) {
    threads[t] = std::thread([&] {
      for (int i = 0; i < kEach;) {
        const auto entry = store_->Get("counter");
        ASSERT_TRUE(entry.ok());
        Transaction add;
        add.Require("counter", entry->revision);
        add.Put("counter", std::to_string(std::stoi(entry->value) + 1));
        const auto done = store_->Commit(add);
        if (done.ok()) {
          ++i;
        } else {
          ASSERT_TRUE(done.status().Is(StatusCode::kConflict)) << done.status().ToString();
          ++conflicts;
        }
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(ValueOf("counter"), std::to_string(kThreads * kEach));
  // In memory a thread may be through before the next has begun.
  if (std::string(GetParam()) != "memory") {
    EXPECT_GT(conflicts, 0);
  }
}

TEST_P(StateStoreTest, AWatchTellsEveryChangeInOrder) {
  const uint64_t start = store_->List("", "", 1)->revision;
  Put("w/1", "a");
  Put("elsewhere", "b");
  Transaction both;
  both.Put("w/2", "c");
  both.Delete("w/1");
  ASSERT_TRUE(store_->Commit(both).ok());
  std::vector<std::string> seen;
  uint64_t revision = start;
  while (seen.size() < 3) {
    const auto changes = store_->Watch("w/", revision, kLong);
    ASSERT_TRUE(changes.ok()) << changes.status().ToString();
    ASSERT_FALSE(changes->changes.empty());
    for (const StoreChange& change : changes->changes) {
      seen.push_back(change.key + (change.deleted ? " deleted" : "=" + change.value));
    }
    EXPECT_GT(changes->revision, revision);
    revision = changes->revision;
  }
  EXPECT_EQ(seen[0], "w/1=a");
  EXPECT_THAT((std::vector<std::string>{seen[1], seen[2]}),
              ::testing::UnorderedElementsAre("w/2=c", "w/1 deleted"));
  const auto nothing = store_->Watch("w/", revision, kSoon);
  ASSERT_TRUE(nothing.ok()) << nothing.status().ToString();
  EXPECT_TRUE(nothing->changes.empty());
}

TEST_P(StateStoreTest, AWatchWaitsForAChange) {
  const uint64_t start = Put("w/1", "a");
  std::thread writer([&] {
    std::this_thread::sleep_for(kSoon);
    Put("elsewhere", "x");
    Put("w/2", "b");
  });
  const auto changes = store_->Watch("w/", start, kLong);
  writer.join();
  ASSERT_TRUE(changes.ok()) << changes.status().ToString();
  ASSERT_EQ(changes->changes.size(), 1);
  EXPECT_EQ(changes->changes[0].key, "w/2");
}

TEST_P(StateStoreTest, AWatchGoesOnAfterReopening) {
  const uint64_t start = Put("w/1", "a");
  Put("w/2", "b");
  Reopen();
  const auto changes = store_->Watch("w/", start, kLong);
  ASSERT_TRUE(changes.ok()) << changes.status().ToString();
  ASSERT_EQ(changes->changes.size(), 1);
  EXPECT_EQ(changes->changes[0].value, "b");
}

TEST_P(StateStoreTest, ALeaderCanWriteWithItsFence) {
  auto leader = store_->Campaign("one", kLong);
  ASSERT_TRUE(leader.ok()) << leader.status().ToString();
  EXPECT_TRUE((*leader)->Held());
  Transaction change;
  change.Put("k", "v");
  (*leader)->Fence(&change);
  EXPECT_TRUE(store_->Commit(change).ok());
}

TEST(EtcdLeader, ThereIsOneAndAnotherFollowsIt) {
  if (!EtcdProcess::Installed()) GTEST_SKIP() << "etcd-server is not installed";
  const EtcdProcess etcd;
  auto first_store = etcd.Open("/l/");
  auto second_store = etcd.Open("/l/");
  ASSERT_TRUE(first_store.ok() && second_store.ok());
  auto first = (*first_store)->Campaign("first", kLong);
  ASSERT_TRUE(first.ok()) << first.status().ToString();
  EXPECT_TRUE((*second_store)->Campaign("second", kSoon).status().Is(StatusCode::kTimeout));
  // It outlives its lease, which is two seconds.
  std::this_thread::sleep_for(std::chrono::seconds(3));
  EXPECT_TRUE((*first)->Held());
  Transaction late;
  late.Put("k", "v");
  (*first)->Fence(&late);
  first->reset();
  auto second = (*second_store)->Campaign("second", kLong);
  ASSERT_TRUE(second.ok()) << second.status().ToString();
  // What the first had prepared comes too late.
  EXPECT_TRUE((*first_store)->Commit(late).status().Is(StatusCode::kConflict));
}

TEST(EtcdLeader, IsNoneOnceItsServerIsGone) {
  if (!EtcdProcess::Installed()) GTEST_SKIP() << "etcd-server is not installed";
  EtcdProcess etcd;
  auto store = etcd.Open("/l/");
  ASSERT_TRUE(store.ok()) << store.status().ToString();
  auto leader = (*store)->Campaign("one", kLong);
  ASSERT_TRUE(leader.ok()) << leader.status().ToString();
  Status watched;
  std::thread watcher([&] { watched = (*store)->Watch("k/", 1'000, kLong).status(); });
  std::this_thread::sleep_for(kSoon);
  etcd.Kill();
  watcher.join();
  // Not that nothing happened.
  EXPECT_TRUE(watched.Is(StatusCode::kIo)) << watched.ToString();
  const auto deadline = std::chrono::steady_clock::now() + kLong;
  while ((*leader)->Held() && std::chrono::steady_clock::now() < deadline) {
    std::this_thread::sleep_for(kSoon);
  }
  EXPECT_FALSE((*leader)->Held());
  Transaction change;
  change.Put("k", "v");
  EXPECT_FALSE((*store)->Commit(change).ok());
}

TEST(EtcdEndpoints, OneThatIsDownIsPassedOver) {
  if (!EtcdProcess::Installed()) GTEST_SKIP() << "etcd-server is not installed";
  const EtcdProcess etcd;
  ASSERT_TRUE(etcd.Open("/e/").ok());
  auto store = etcd.Open("/e/", /*before=*/"http://127.0.0.1:9");
  ASSERT_TRUE(store.ok()) << store.status().ToString();
  Transaction change;
  change.Put("k/1", "v");
  ASSERT_TRUE((*store)->Commit(change).ok());
  EXPECT_EQ((*store)->Watch("k/", 1, kLong)->changes.size(), 1);
}

TEST(RocksState, IsOpenOnce) {
  const TempFolder temporary;
  const std::string& path = temporary.path();
  {
    const auto first = RocksStateStore::Open(path);
    ASSERT_TRUE(first.ok());
    EXPECT_TRUE(RocksStateStore::Open(path).status().Is(StatusCode::kConflict));
  }
  EXPECT_TRUE(RocksStateStore::Open(path).ok());
  // What cannot be opened for another reason is not in use.
  std::filesystem::remove(path + "/LOCK");
  std::filesystem::create_directory(path + "/LOCK");
  EXPECT_TRUE(RocksStateStore::Open(path).status().Is(StatusCode::kIo));
}

TEST(RocksState, OldHistoryIsDroppedAndSaysSo) {
  const TempFolder temporary;
  const std::string& path = temporary.path();
  {
    auto store = RocksStateStore::Open(path);
    ASSERT_TRUE(store.ok());
    // Many threads share each fsync.
    std::vector<std::thread> threads(48);
    for (int t = 0; t < 48; ++t) {
      threads[t] = std::thread([&, t] {
        for (int i = 0; i < 460; ++i) {
          Transaction put;
          put.Put(fmt::format("k/{}", t), std::to_string(i));
          ASSERT_TRUE((*store)->Commit(put).ok());
        }
      });
    }
    for (std::thread& thread : threads) thread.join();
    EXPECT_TRUE((*store)->Watch("k/", 1, kSoon).status().Is(StatusCode::kNotFound));
    const auto recent = (*store)->Watch("k/", 48 * 460 - 5, kSoon);
    ASSERT_TRUE(recent.ok()) << recent.status().ToString();
    EXPECT_EQ(recent->changes.size(), 5);
  }
  auto again = RocksStateStore::Open(path);
  ASSERT_TRUE(again.ok());
  EXPECT_TRUE((*again)->Watch("k/", 1, kSoon).status().Is(StatusCode::kNotFound));
}

}  // namespace
}  // namespace snapstore::spot
