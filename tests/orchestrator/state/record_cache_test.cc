#include "orchestrator/state/internal/record_cache.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <thread>

#include "tests/orchestrator/state/memory_state_store.h"

namespace snapstore::spot {
namespace {

UsageRecord Usage(const std::string& instance) {
  UsageRecord usage;
  usage.instance_id = instance;
  return usage;
}

TEST(RecordCache, ATextIsDecodedOnce) {
  RecordCache<UsageRecord> cache;
  const std::string text = EncodeRecord(Usage("i-1"));
  const auto first = cache.Decode("a", text);
  ASSERT_TRUE(first.ok()) << first.status().ToString();
  EXPECT_EQ((*first)->instance_id, "i-1");
  EXPECT_EQ(*cache.Decode("a", text), *first);
  const std::string other = EncodeRecord(Usage("i-2"));
  EXPECT_EQ((*cache.Decode("a", other))->instance_id, "i-2");
  EXPECT_EQ((*cache.Decode("a", text))->instance_id, "i-1");
}

TEST(RecordCache, WhatWasWrittenIsNotDecoded) {
  RecordCache<UsageRecord> cache;
  const UsageRecord usage = Usage("i-1");
  // A text that no record has: only who remembers it can know it.
  cache.Remember("a", "written", usage);
  EXPECT_EQ((*cache.Decode("a", "written"))->instance_id, "i-1");
  // A commit that failed, or that somebody else overwrote.
  EXPECT_EQ((*cache.Decode("a", EncodeRecord(Usage("i-2"))))->instance_id, "i-2");
  EXPECT_TRUE(cache.Decode("a", "written").status().Is(StatusCode::kCorruption));
  cache.Remember("a", "written", usage);
  cache.Forget("a");
  EXPECT_TRUE(cache.Decode("a", "written").status().Is(StatusCode::kCorruption));
}

TEST(RecordCache, DamageIsNotRemembered) {
  RecordCache<UsageRecord> cache;
  const auto damaged = cache.Decode("usage/1", "{");
  ASSERT_TRUE(damaged.status().Is(StatusCode::kCorruption));
  EXPECT_NE(damaged.status().message().find("usage/1"), std::string::npos);
  EXPECT_TRUE(cache.Decode("usage/1", EncodeRecord(Usage("i-1"))).ok());
}

// What is alive: the caller holds none.
TEST(RecordCache, HoldsABoundedNumber) {
  RecordCache<UsageRecord> cache;
  std::vector<std::weak_ptr<const UsageRecord>> records;
  const std::string text = EncodeRecord(Usage("i-1"));
  const auto always = *cache.Decode("always", text);
  for (int i = 0; i < 10'000; ++i) {
    records.push_back(*cache.Decode(fmt::format("key{}", i), text));
    if (i % 100 == 0) {
      EXPECT_EQ(*cache.Decode("always", text), always) << "what is looked at stays";
    }
  }
  const auto alive =
      std::count_if(records.begin(), records.end(), [](const auto& one) { return !one.expired(); });
  EXPECT_LE(alive, 2048);
  EXPECT_GE(alive, 1024);
}

TEST(RecordCache, AListingStaysWhole) {
  MemoryStateStore store(std::make_shared<StateMemory>());
  constexpr int kRecords = 3000;
  for (int i = 0; i < kRecords; ++i) {
    Transaction put;
    put.Put(fmt::format("usage/{:04}", i), EncodeRecord(Usage(fmt::format("i-{}", i))));
    ASSERT_TRUE(store.Commit(put).ok());
  }
  RecordCache<UsageRecord> cache;
  ASSERT_TRUE(cache.List(&store, "usage/", 500).ok());
  const auto first = cache.List(&store, "usage/", 500);
  ASSERT_EQ(first->size(), size_t{kRecords});
  EXPECT_EQ((*first)[2999]->instance_id, "i-2999");
  Transaction change;
  change.Put("usage/0007", EncodeRecord(Usage("i-new")));
  change.Delete("usage/0008");
  ASSERT_TRUE(store.Commit(change).ok());
  const auto second = cache.List(&store, "usage/", 500);
  ASSERT_EQ(second->size(), size_t{kRecords - 1});
  EXPECT_EQ((*second)[7]->instance_id, "i-new");
  EXPECT_EQ((*second)[8], (*first)[9]);
  EXPECT_EQ(*cache.Decode("usage/2999", EncodeRecord(Usage("i-2999"))), (*first)[2999]);
}

TEST(RecordCache, ManyThreadsSeeWhatTheyAskedFor) {
  RecordCache<UsageRecord> cache;
  std::vector<std::thread> threads;
  threads.reserve(4);
  std::atomic<int> wrong = 0;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&cache, &wrong, t] {
      for (int i = 0; i < 2000; ++i) {
        const std::string instance = fmt::format("i-{}-{}", t, i);
        const auto usage = cache.Decode(fmt::format("key{}", i % 7), EncodeRecord(Usage(instance)));
        if (!usage.ok() || (*usage)->instance_id != instance) ++wrong;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(wrong, 0);
}

}  // namespace
}  // namespace snapstore::spot
