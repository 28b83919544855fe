#include "tests/conformance/store_conformance.h"

#include <fmt/format.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <map>
#include <thread>

#include "base/clock.h"
#include "base/random.h"

namespace snapstore {

void StoreConformance::SetUp() {
  place_ = GetParam().make();
  Result<std::shared_ptr<ObjectStore>> store = place_->Open();
  ASSERT_TRUE(store.ok()) << store.status().ToString();
  store_ = std::move(store).value();
}

PutOutcome StoreConformance::Put(const std::string& key, ByteSpan bytes) {
  const std::array<ByteSpan, 1> parts = {bytes};
  const Result<PutOutcome> outcome = store_->PutIfAbsent(ObjectKey(key), parts);
  EXPECT_TRUE(outcome.ok()) << outcome.status().ToString();
  return outcome.ok() ? *outcome : PutOutcome::kExisted;
}

std::vector<std::string> StoreConformance::Keys(std::string_view prefix) {
  std::vector<std::string> keys;
  const Status status = store_->List(prefix, [&](const ObjectInfo& info) {
    const Result<ObjectInfo> single = store_->Stat(ObjectKey(info.key));
    EXPECT_TRUE(single.ok());
    if (single.ok()) {
      EXPECT_EQ(single->size, info.size);
    }
    keys.push_back(info.key);
    return Status::Ok();
  });
  EXPECT_TRUE(status.ok()) << status.ToString();
  std::sort(keys.begin(), keys.end());
  EXPECT_EQ(std::adjacent_find(keys.begin(), keys.end()), keys.end()) << "a key listed twice";
  return keys;
}

namespace {

Bytes RandomBytes(size_t size, uint64_t seed) {
  SplitMix64 random(seed);
  Bytes bytes(size);
  size_t at = 0;
  for (; at + 8 <= size; at += 8) StoreLe(&bytes[at], random.Next());
  for (; at < size; ++at) bytes[at] = static_cast<uint8_t>(random.Next());
  return bytes;
}

TEST_P(StoreConformance, ReturnsWhatWasPutAtEverySize) {
  constexpr size_t kMiB = 1 << 20;
  for (const size_t size : {size_t{0}, size_t{1}, size_t{4095}, size_t{4097}, 64 * kMiB}) {
    const std::string key = fmt::format("sizes/{}", size);
    const Bytes bytes = RandomBytes(size, size);
    EXPECT_EQ(Put(key, bytes), PutOutcome::kCreated);
    const Result<Bytes> got = store_->Get(ObjectKey(key), size);
    ASSERT_TRUE(got.ok()) << got.status().ToString();
    EXPECT_TRUE(*got == bytes) << size;
    const Result<ObjectInfo> info = store_->Stat(ObjectKey(key));
    ASSERT_TRUE(info.ok());
    EXPECT_EQ(info->size, size);
    EXPECT_EQ(info->key, key);
  }
}

TEST_P(StoreConformance, JoinsTheParts) {
  const Bytes bytes = RandomBytes(300'000, 1);
  std::vector<ByteSpan> parts;
  size_t at = 0;
  for (size_t length = 0; at < bytes.size(); length = length % 251 + 1) {  // an empty part first
    parts.push_back(ByteSpan(bytes).subspan(at, std::min(length, bytes.size() - at)));
    at += parts.back().size();
  }
  ASSERT_GT(parts.size(), 2000u);  // more than one writev takes
  const Result<PutOutcome> outcome = store_->PutIfAbsent(ObjectKey("parts"), parts);
  ASSERT_TRUE(outcome.ok()) << outcome.status().ToString();
  EXPECT_TRUE(*store_->Get(ObjectKey("parts"), bytes.size()) == bytes);
  ASSERT_TRUE(store_->PutIfAbsent(ObjectKey("no-parts"), {}).ok());
  EXPECT_EQ(store_->Stat(ObjectKey("no-parts"))->size, 0u);
}

TEST_P(StoreConformance, ReadsRanges) {
  const Bytes bytes = RandomBytes(100'000, 2);
  Put("a/b", bytes);
  const ObjectKey key("a/b");
  for (const auto& [offset, length] :
       std::map<uint64_t, size_t>{{0, 100'000}, {1, 1}, {4095, 4098}, {99'999, 1}, {100'000, 0}}) {
    Bytes out(length);
    const Status status = store_->GetRange(key, offset, out);
    ASSERT_TRUE(status.ok()) << status.ToString();
    EXPECT_TRUE(std::equal(out.begin(), out.end(), bytes.begin() + static_cast<long>(offset)));
  }
}

TEST_P(StoreConformance, CallsAnObjectThatEndsTooEarlyDamaged) {
  Put("short", RandomBytes(1000, 3));
  Bytes out(10);
  const ObjectKey key("short");
  for (const uint64_t offset : {uint64_t{991}, uint64_t{1000}, uint64_t{5000}, ~uint64_t{0}}) {
    EXPECT_TRUE(store_->GetRange(key, offset, out).Is(StatusCode::kCorruption)) << offset;
  }
}

TEST_P(StoreConformance, RefusesToReturnMoreThanAllowed) {
  Put("big", RandomBytes(1000, 4));
  const Result<Bytes> got = store_->Get(ObjectKey("big"), 999);
  ASSERT_FALSE(got.ok());
  EXPECT_TRUE(got.status().Is(StatusCode::kInvalidArgument)) << got.status().ToString();
}

TEST_P(StoreConformance, SaysNotFoundForWhatWasNeverPut) {
  Put("folder/there", AsBytes("x"));
  Bytes out(1);
  for (const char* text : {"nothing", "folder/nothing", "no/such/folder", "folder"}) {
    const ObjectKey key(text);
    EXPECT_TRUE(store_->Get(key, 10).status().Is(StatusCode::kNotFound)) << text;
    EXPECT_TRUE(store_->GetRange(key, 0, out).Is(StatusCode::kNotFound)) << text;
    EXPECT_TRUE(store_->Stat(key).status().Is(StatusCode::kNotFound)) << text;
  }
  EXPECT_TRUE(store_->Delete(ObjectKey("nothing")).Is(StatusCode::kNotFound));
  EXPECT_TRUE(store_->Delete(ObjectKey("no/such/folder")).Is(StatusCode::kNotFound));
}

TEST_P(StoreConformance, TellsWhenAnObjectWasPutByOneClock) {
  Put("time/1", AsBytes("x"));
  std::this_thread::sleep_for(std::chrono::milliseconds(1100));  // HTTP's dates have whole seconds
  Put("time/2", AsBytes("x"));
  std::map<std::string, int64_t> listed;
  ASSERT_TRUE(store_
                  ->List("time/",
                         [&](const ObjectInfo& info) {
                           listed[info.key] = info.modified_ns;
                           return Status::Ok();
                         })
                  .ok());
  ASSERT_EQ(listed.size(), 2u);
  EXPECT_GT(listed["time/1"], *ParseTime("2020-01-01T00:00:00Z"));
  EXPECT_GT(listed["time/2"], listed["time/1"]);
  EXPECT_LT(listed["time/2"] - listed["time/1"], 60 * kNanosPerSecond);
  for (const auto& [key, modified] : listed) {
    const Result<ObjectInfo> single = store_->Stat(ObjectKey(key));
    ASSERT_TRUE(single.ok()) << single.status().ToString();
    EXPECT_LT(std::abs(single->modified_ns - modified), kNanosPerSecond) << key;
  }
  // A put that finds the object there does not make it younger.
  EXPECT_EQ(Put("time/1", AsBytes("x")), PutOutcome::kExisted);
  EXPECT_LT(std::abs(store_->Stat(ObjectKey("time/1"))->modified_ns - listed["time/1"]),
            kNanosPerSecond);
}

TEST_P(StoreConformance, NeverReplacesAnObject) {
  EXPECT_EQ(Put("once", AsBytes("first")), PutOutcome::kCreated);
  EXPECT_EQ(Put("once", AsBytes("second, longer")), PutOutcome::kExisted);
  EXPECT_EQ(AsText(*store_->Get(ObjectKey("once"), 100)), "first");
}

TEST_P(StoreConformance, DeletesForGoodAndAllowsANewPut) {
  Put("d/x", AsBytes("one"));
  Put("d/y", AsBytes("two"));
  ASSERT_TRUE(store_->Delete(ObjectKey("d/x")).ok());
  EXPECT_TRUE(store_->Stat(ObjectKey("d/x")).status().Is(StatusCode::kNotFound));
  EXPECT_TRUE(store_->Delete(ObjectKey("d/x")).Is(StatusCode::kNotFound));
  EXPECT_EQ(Keys("d/"), std::vector<std::string>{"d/y"});
  EXPECT_EQ(Put("d/x", AsBytes("three")), PutOutcome::kCreated);
  EXPECT_EQ(AsText(*store_->Get(ObjectKey("d/x"), 100)), "three");
}

TEST_P(StoreConformance, DeletesManyAtOnceAndTakesMissingOnesForDeleted) {
  // More than one request of S3's takes.
  constexpr int kObjects = 1100;
  std::vector<ObjectKey> doomed;
  for (int n = 0; n < kObjects; ++n) {
    doomed.emplace_back(fmt::format("d/{}", n));
    if (n % 50 == 0) Put(doomed.back().text(), AsBytes("x"));
  }
  Put("stays", AsBytes("x"));
  const Status status = store_->DeleteMany(doomed);
  EXPECT_TRUE(status.ok()) << status.ToString();
  EXPECT_EQ(Keys(""), std::vector<std::string>{"stays"});
  EXPECT_TRUE(store_->DeleteMany({}).ok());
}

TEST_P(StoreConformance, FindsNoUnfinishedUploadsWhereNobodyDied) {
  Put("whole", RandomBytes(100, 1));
  const Result<uint64_t> aborted = store_->AbortUploads(std::chrono::seconds(0));
  ASSERT_TRUE(aborted.ok()) << aborted.status().ToString();
  EXPECT_EQ(*aborted, 0u);
  EXPECT_EQ(Keys(""), std::vector<std::string>{"whole"});
}

TEST_P(StoreConformance, ListsByPrefixOfTheWholeKey) {
  for (const char* key : {"packs/aa/1", "packs/aa/2", "packs/ab/1", "packs-old/1", "pack", "z",
                          "packs/aaa", ".hidden/x"}) {
    Put(key, AsBytes(key));
  }
  using Strings = std::vector<std::string>;
  EXPECT_EQ(Keys("packs/aa/"), Strings({"packs/aa/1", "packs/aa/2"}));
  EXPECT_EQ(Keys("packs/aa"), Strings({"packs/aa/1", "packs/aa/2", "packs/aaa"}));
  EXPECT_EQ(Keys("packs/a"), Strings({"packs/aa/1", "packs/aa/2", "packs/aaa", "packs/ab/1"}));
  EXPECT_EQ(Keys("packs/"), Strings({"packs/aa/1", "packs/aa/2", "packs/aaa", "packs/ab/1"}));
  EXPECT_EQ(Keys("pack").size(), 6u);
  EXPECT_EQ(Keys("packs/aa/1"), Strings({"packs/aa/1"}));
  EXPECT_EQ(Keys("packs/aa/12"), Strings());
  EXPECT_EQ(Keys("").size(), 8u);
  for (const char* prefix : {"y", "no/such/", "/", "//", "../", "packs/../", "PACKS/", "z/"}) {
    EXPECT_EQ(Keys(prefix), Strings()) << prefix;
  }
}

TEST_P(StoreConformance, ListsManyObjectsOnceEachWhileOthersComeAndGo) {
  std::vector<std::string> expected;
  for (size_t i = 0; i < place_->ManyObjects(); ++i) {
    expected.push_back(fmt::format("many/{:02x}/{:04}", i % 7, i));
    Put(expected.back(), AsBytes("x"));
  }
  std::sort(expected.begin(), expected.end());
  EXPECT_EQ(Keys("many/"), expected);
  // The visitor of prune deletes while it lists.
  std::vector<std::string> seen;
  const Status status = store_->List("many/", [&](const ObjectInfo& info) {
    seen.push_back(info.key);
    return store_->Delete(ObjectKey(info.key));
  });
  ASSERT_TRUE(status.ok()) << status.ToString();
  std::sort(seen.begin(), seen.end());
  EXPECT_EQ(seen, expected);
  EXPECT_TRUE(Keys("many/").empty());
}

TEST_P(StoreConformance, ListStopsWithTheVisitorsError) {
  for (const char* key : {"a", "b", "c"}) Put(key, AsBytes(key));
  int visits = 0;
  const Status status = store_->List("", [&](const ObjectInfo&) {
    return ++visits == 2 ? Status::Cancelled("enough") : Status::Ok();
  });
  EXPECT_TRUE(status.Is(StatusCode::kCancelled));
  EXPECT_EQ(visits, 2);
}

TEST_P(StoreConformance, KeepsObjectsWhenOpenedAgain) {
  Put("kept/1", AsBytes("still here"));
  Result<std::shared_ptr<ObjectStore>> again = place_->Open();
  ASSERT_TRUE(again.ok()) << again.status().ToString();
  EXPECT_EQ(AsText(*(*again)->Get(ObjectKey("kept/1"), 100)), "still here");
  EXPECT_FALSE(store_->Describe().empty());
}

TEST_P(StoreConformance, HoldsTheLongestAndTheOddestKeys) {
  std::vector<std::string> keys = {"a", "0", "-", "_", "...", "_-/--/_.-", ".a/..b/c..", "tmp/x"};
  keys.push_back(std::string(ObjectKey::kLengthMax, 'k'));
  std::string deep;
  while (deep.size() + 2 < ObjectKey::kLengthMax) deep += "d/";
  keys.push_back(deep + "e");
  for (const std::string& key : keys) EXPECT_EQ(Put(key, AsBytes(key)), PutOutcome::kCreated);
  std::sort(keys.begin(), keys.end());
  EXPECT_EQ(Keys(""), keys);
  for (const std::string& key : keys) EXPECT_EQ(AsText(*store_->Get(ObjectKey(key), 300)), key);
}

TEST_P(StoreConformance, ARaceLeavesTheWholeObjectOfOneWriter) {
  constexpr size_t kThreads = 6;
  constexpr size_t kRounds = 10;
  const auto content = [](size_t thread, size_t round) {
    return RandomBytes(10'000 + thread * 100, thread * kRounds + round);
  };
  std::vector<std::thread> threads;
  std::array<std::atomic<int>, kRounds> created{};
  for (size_t thread = 0; thread < kThreads; ++thread) {
    threads.emplace_back([&, thread] {
      for (size_t round = 0; round < kRounds; ++round) {
        const Bytes bytes = content(thread, round);
        const std::array<ByteSpan, 1> parts = {bytes};
        const Result<PutOutcome> outcome =
            store_->PutIfAbsent(ObjectKey(fmt::format("race/{}", round)), parts);
        ASSERT_TRUE(outcome.ok()) << outcome.status().ToString();
        if (*outcome == PutOutcome::kCreated) ++created[round];
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (size_t round = 0; round < kRounds; ++round) {
    EXPECT_GE(created[round], 1) << round;
    const Result<Bytes> got = store_->Get(ObjectKey(fmt::format("race/{}", round)), 100'000);
    ASSERT_TRUE(got.ok()) << got.status().ToString();
    size_t thread = 0;
    while (thread < kThreads && *got != content(thread, round)) ++thread;
    EXPECT_LT(thread, kThreads) << round;
  }
}

TEST_P(StoreConformance, OnlyOneOfManyThreadsCreates) {
  if (!place_->PutsAreAtomic()) GTEST_SKIP() << "several may believe so on this server";
  constexpr size_t kThreads = 8;
  constexpr size_t kRounds = 40;
  std::array<std::atomic<int>, kRounds> created{};
  std::array<std::atomic<size_t>, kRounds> winner{};
  const auto content = [](size_t thread, size_t round) {
    return RandomBytes(10'000 + thread * 100, thread * kRounds + round);
  };
  std::vector<std::thread> threads;
  for (size_t thread = 0; thread < kThreads; ++thread) {
    threads.emplace_back([&, thread] {
      for (size_t round = 0; round < kRounds; ++round) {
        const ObjectKey key(fmt::format("race/{}", round));
        const Bytes bytes = content(thread, round);
        const std::array<ByteSpan, 1> parts = {bytes};
        const Result<PutOutcome> outcome = store_->PutIfAbsent(key, parts);
        ASSERT_TRUE(outcome.ok()) << outcome.status().ToString();
        if (*outcome == PutOutcome::kCreated) {
          ++created[round];
          winner[round] = thread;
        }
        // Whoever won, the object is whole from here on.
        const Result<ObjectInfo> info = store_->Stat(key);
        ASSERT_TRUE(info.ok()) << info.status().ToString();
        EXPECT_GE(info->size, 10'000u);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (size_t round = 0; round < kRounds; ++round) {
    EXPECT_EQ(created[round], 1) << round;
    const Result<Bytes> got = store_->Get(ObjectKey(fmt::format("race/{}", round)), 100'000);
    ASSERT_TRUE(got.ok());
    EXPECT_TRUE(*got == content(winner[round], round)) << round;
  }
}

TEST_P(StoreConformance, OnlyOneOfManyProcessesCreates) {
  if (!place_->PutsAreAtomic()) GTEST_SKIP() << "several may believe so on this server";
  if (!place_->SharedBetweenProcesses()) GTEST_SKIP() << "one process only";
  constexpr uint8_t kProcesses = 5;
  constexpr size_t kRounds = 30;
  int ends[2];
  ASSERT_EQ(::pipe(ends), 0);
  std::vector<pid_t> children;
  for (uint8_t process = 0; process < kProcesses; ++process) {
    const pid_t child = ::fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
      Result<std::shared_ptr<ObjectStore>> mine = place_->Open();
      if (!mine.ok()) ::_exit(1);
      for (size_t round = 0; round < kRounds; ++round) {
        const Bytes bytes(20'000, process);
        const std::array<ByteSpan, 1> parts = {bytes};
        const ObjectKey key(fmt::format("race/{}/x", round));
        const Result<PutOutcome> outcome = (*mine)->PutIfAbsent(key, parts);
        if (!outcome.ok()) ::_exit(2);
        const uint8_t report[2] = {static_cast<uint8_t>(round), process};
        if (*outcome == PutOutcome::kCreated && ::write(ends[1], report, 2) != 2) ::_exit(3);
      }
      ::_exit(0);
    }
    children.push_back(child);
  }
  ::close(ends[1]);
  std::map<size_t, std::vector<uint8_t>> winners;
  uint8_t report[2];
  while (::read(ends[0], report, 2) == 2) winners[report[0]].push_back(report[1]);
  ::close(ends[0]);
  for (const pid_t child : children) {
    int state = 0;
    ASSERT_EQ(::waitpid(child, &state, 0), child);
    EXPECT_EQ(state, 0);
  }
  ASSERT_EQ(winners.size(), kRounds);
  for (const auto& [round, processes] : winners) {
    ASSERT_EQ(processes.size(), 1u) << round;
    const Result<Bytes> got = store_->Get(ObjectKey(fmt::format("race/{}/x", round)), 100'000);
    ASSERT_TRUE(got.ok());
    EXPECT_TRUE(*got == Bytes(20'000, processes[0])) << round;
  }
}

TEST_P(StoreConformance, ServesReadersWritersAndListersAtOnce) {
  const size_t objects = std::min<size_t>(60, place_->ManyObjects() / 10);
  constexpr size_t kThreads = 4;
  std::vector<std::thread> threads;
  for (size_t thread = 0; thread < kThreads; ++thread) {
    threads.emplace_back([&, thread] {
      for (size_t i = 0; i < objects; ++i) {
        const ObjectKey key(fmt::format("t{}/{}", thread, i));
        const Bytes bytes = RandomBytes(i * 100, i);
        const std::array<ByteSpan, 1> parts = {bytes};
        ASSERT_TRUE(store_->PutIfAbsent(key, parts).ok());
        const Result<Bytes> got = store_->Get(key, 100'000);
        ASSERT_TRUE(got.ok()) << got.status().ToString();
        EXPECT_TRUE(*got == bytes);
        if (i % 3 == 0) {
          ASSERT_TRUE(store_->Delete(key).ok());
        }
        if (i % 10 == 0) {
          ASSERT_TRUE(store_->List("", [](const ObjectInfo&) { return Status::Ok(); }).ok());
        }
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(Keys("").size(), kThreads * objects * 2 / 3);
}

}  // namespace
}  // namespace snapstore
