#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <bit>

#include "base/clock.h"
#include "tests/uploader/put.h"
#include "uploader/counting_store.h"
#include "uploader/fault_store.h"
#include "uploader/memory_store.h"

namespace snapstore {
namespace {

constexpr uint64_t kSeed = 20260301;

class FaultStoreTest : public testing::Test {
 protected:
  const std::shared_ptr<ObjectStore> inner_ = NewMemoryStore();
  FaultStore store_{inner_, kSeed};
};

TEST_F(FaultStoreTest, FailsTheChosenOperationOnly) {
  store_.Add({.kind = FaultKind::kFail,
              .op = StoreOp::kPut,
              .at = 2,
              .error = Status::Throttled("slow down")});
  EXPECT_TRUE(Put(&store_, "a", AsBytes("x")).ok());
  EXPECT_TRUE(store_.Stat(ObjectKey("a")).ok());
  EXPECT_TRUE(Put(&store_, "b", AsBytes("x")).status().Is(StatusCode::kThrottled));
  EXPECT_TRUE(inner_->Stat(ObjectKey("b")).status().Is(StatusCode::kNotFound));
  EXPECT_TRUE(Put(&store_, "b", AsBytes("x")).ok());
  EXPECT_EQ(store_.operations(), 4u);
  EXPECT_EQ(store_.injected(), 1u);
}

TEST_F(FaultStoreTest, LosesTheAnswerOfAnOperationThatWasDone) {
  store_.Add({.kind = FaultKind::kFailAfter, .at = 1});
  EXPECT_TRUE(Put(&store_, "a", AsBytes("x")).status().Is(StatusCode::kIo));
  EXPECT_EQ(*Put(&store_, "a", AsBytes("x")), PutOutcome::kExisted);
}

TEST_F(FaultStoreTest, FlipsExactlyOneBit) {
  const Bytes bytes(1000, 0);
  ASSERT_TRUE(Put(&store_, "a", bytes).ok());
  store_.Add({.kind = FaultKind::kFlipBit});
  Bytes out(1000);
  ASSERT_TRUE(store_.GetRange(ObjectKey("a"), 0, out).ok());
  for (const Bytes& got : {out, *store_.Get(ObjectKey("a"), 1000)}) {
    int bits = 0;
    for (const uint8_t byte : got) bits += std::popcount(byte);
    EXPECT_EQ(bits, 1);
  }
  EXPECT_EQ(*inner_->Get(ObjectKey("a"), 1000), bytes);
}

TEST_F(FaultStoreTest, TruncatesReads) {
  ASSERT_TRUE(Put(&store_, "a", Bytes(100, 1)).ok());
  store_.Add({.kind = FaultKind::kTruncateRead});
  EXPECT_EQ(store_.Get(ObjectKey("a"), 100)->size(), 50u);
  Bytes out(10);
  EXPECT_TRUE(store_.GetRange(ObjectKey("a"), 0, out).Is(StatusCode::kCorruption));
}

TEST_F(FaultStoreTest, LiesAboutPutsAndAbsence) {
  store_.Add({.kind = FaultKind::kClaimCreated, .key_prefix = "packs/"});
  store_.Add({.kind = FaultKind::kClaimExisted, .key_prefix = "segments/"});
  store_.Add({.kind = FaultKind::kHideObject, .key_prefix = "hidden/"});
  EXPECT_EQ(*Put(&store_, "packs/a", AsBytes("x")), PutOutcome::kCreated);
  EXPECT_EQ(*Put(&store_, "segments/a", AsBytes("x")), PutOutcome::kExisted);
  EXPECT_EQ(*Put(&store_, "hidden/a", AsBytes("x")), PutOutcome::kCreated);
  EXPECT_FALSE(inner_->Stat(ObjectKey("packs/a")).ok());
  EXPECT_FALSE(inner_->Stat(ObjectKey("segments/a")).ok());
  EXPECT_TRUE(inner_->Stat(ObjectKey("hidden/a")).ok());
  EXPECT_TRUE(store_.Stat(ObjectKey("hidden/a")).status().Is(StatusCode::kNotFound));
  store_.Clear();
  EXPECT_TRUE(store_.Stat(ObjectKey("hidden/a")).ok());
}

TEST_F(FaultStoreTest, HidesHalfOfAListing) {
  for (const char* key : {"a", "b", "c", "d"}) ASSERT_TRUE(Put(&store_, key, {}).ok());
  store_.Add({.kind = FaultKind::kHideObject, .op = StoreOp::kList});
  int seen = 0;
  ASSERT_TRUE(store_
                  .List("",
                        [&](const ObjectInfo&) {
                          ++seen;
                          return Status::Ok();
                        })
                  .ok());
  EXPECT_EQ(seen, 2);
}

TEST_F(FaultStoreTest, DelaysAndStillAnswers) {
  ASSERT_TRUE(Put(&store_, "a", AsBytes("x")).ok());
  store_.Add({.kind = FaultKind::kDelay, .delay = std::chrono::milliseconds(20)});
  const Stopwatch watch;
  EXPECT_TRUE(store_.Stat(ObjectKey("a")).ok());
  EXPECT_GE(watch.Seconds(), 0.02);
}

TEST_F(FaultStoreTest, StrikesTheSameCallsForTheSameSeed) {
  const auto failures = [this](uint64_t seed) {
    FaultStore store(inner_, seed);
    store.Add({.kind = FaultKind::kFail, .probability = 0.2});
    std::vector<int> failed;
    for (int i = 0; i < 1000; ++i) {
      if (store.List("", [](const ObjectInfo&) { return Status::Ok(); }).Is(StatusCode::kIo)) {
        failed.push_back(i);
      }
    }
    return failed;
  };
  EXPECT_EQ(failures(1), failures(1));
  EXPECT_NE(failures(1), failures(2));
  EXPECT_GT(failures(1).size(), 120u);
  EXPECT_LT(failures(1).size(), 280u);
}

TEST_F(FaultStoreTest, KillsTheProcessAtTheChosenOperation) {
  for (const FaultKind kind : {FaultKind::kKillBefore, FaultKind::kKillAfter}) {
    const pid_t child = ::fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
      store_.Add({.kind = kind, .op = StoreOp::kPut, .at = 2});
      (void)Put(&store_, "a", AsBytes("x"));
      (void)Put(&store_, "b", AsBytes("x"));
      ::_exit(0);
    }
    int state = 0;
    ASSERT_EQ(::waitpid(child, &state, 0), child);
    ASSERT_TRUE(WIFSIGNALED(state));
    EXPECT_EQ(WTERMSIG(state), SIGKILL);
  }
}

TEST(CountingStoreTest, CountsRequestsFailuresAndBytesByPrefix) {
  CountingStore store(NewMemoryStore(), {"packs/", "meta/"});
  ASSERT_TRUE(Put(&store, "packs/a", Bytes(1000)).ok());
  ASSERT_TRUE(Put(&store, "packs/a", Bytes(1000)).ok());  // stores nothing new
  ASSERT_TRUE(Put(&store, "meta/a", Bytes(10)).ok());
  ASSERT_TRUE(Put(&store, "other", Bytes(1)).ok());
  Bytes out(100);
  ASSERT_TRUE(store.GetRange(ObjectKey("packs/a"), 5, out).ok());
  ASSERT_TRUE(store.Get(ObjectKey("meta/a"), 100).ok());
  EXPECT_FALSE(store.Get(ObjectKey("meta/b"), 100).ok());
  EXPECT_FALSE(store.Delete(ObjectKey("none")).ok());
  ASSERT_TRUE(store.List("packs/", [](const ObjectInfo&) { return Status::Ok(); }).ok());

  EXPECT_EQ(store.Counts(StoreOp::kPut).requests, 4u);
  EXPECT_EQ(store.Counts(StoreOp::kPut).bytes, 1011u);
  EXPECT_EQ(store.Counts(StoreOp::kPut, "packs/").requests, 2u);
  EXPECT_EQ(store.Counts(StoreOp::kPut, "packs/").bytes, 1000u);
  EXPECT_EQ(store.Counts(StoreOp::kPut, "").bytes, 1u);
  EXPECT_EQ(store.Counts(StoreOp::kGetRange, "packs/").bytes, 100u);
  EXPECT_EQ(store.Counts(StoreOp::kGet, "meta/").requests, 2u);
  EXPECT_EQ(store.Counts(StoreOp::kGet, "meta/").failures, 1u);
  EXPECT_EQ(store.Counts(StoreOp::kGet, "meta/").bytes, 10u);
  EXPECT_EQ(store.Counts(StoreOp::kDelete).failures, 1u);
  EXPECT_EQ(store.Counts(StoreOp::kList, "packs/").requests, 1u);
  EXPECT_EQ(store.Total().requests, 9u);
  store.Reset();
  EXPECT_EQ(store.Total().requests, 0u);
}

}  // namespace
}  // namespace snapstore
