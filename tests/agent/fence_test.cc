// Who may commit checkpoints, in which order they count, and when they are due: without processes.
#include "agent/fence.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <filesystem>
#include <functional>

#include "agent/checkpoint_metadata.h"
#include "agent/checkpoint_order.h"
#include "agent/checkpoint_reader.h"
#include "agent/ticker.h"
#include "base/random.h"
#include "snapstore/maintain.h"
#include "snapstore/snapshot.h"
#include "tests/engine/prune_fixture.h"
#include "uploader/fault_store.h"
#include "uploader/memory_store.h"

namespace snapstore::agent {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

class FenceTest : public PruneFixture {
 protected:
  // An agent on a machine of its own; `before` sees what it does to the store.
  struct Agent {
    std::unique_ptr<RepositoryImpl> repository;
    std::unique_ptr<Fence> fence;
    std::vector<std::string> began_with;
    std::atomic<bool> told = false;
  };
  std::unique_ptr<Agent> Start(const std::string& name, const HookStore::Hook& before = nullptr) {
    auto agent = std::make_unique<Agent>();
    agent->repository = Node(name, before);
    agent->fence = MakeFence(agent.get(), name);
    const auto checkpoints = agent->fence->Enter(/*running=*/false);
    EXPECT_TRUE(checkpoints.ok()) << checkpoints.status().ToString();
    if (checkpoints.ok()) agent->began_with = IdsOf(*checkpoints);
    return agent;
  }
  std::unique_ptr<Fence> MakeFence(Agent* agent, const std::string& name) {
    const std::string state = folder_.File("state-" + name);
    std::filesystem::create_directories(state);
    return std::make_unique<Fence>(
        agent->repository.get(),
        Fence::Options{"db", state, [agent] { agent->told = true; }, std::chrono::seconds(1)});
  }
  static std::vector<std::string> IdsOf(const std::vector<SnapshotInfo>& checkpoints) {
    std::vector<std::string> ids;
    ids.reserve(checkpoints.size());
    for (const SnapshotInfo& one : checkpoints) ids.push_back(one.id);
    return ids;
  }
  std::vector<std::string> Stored(std::vector<SnapshotInfo>* superseded = nullptr) {
    const auto listed = ListCheckpoints(&repository(), "db", superseded);
    EXPECT_TRUE(listed.ok()) << listed.status().ToString();
    return listed.ok() ? IdsOf(*listed) : std::vector<std::string>();
  }
  // As the checkpointer does it.
  static Result<std::string> Take(Agent* agent) {
    Bytes bytes(64 << 10);
    SecureRandom(bytes);
    SnapshotRequest request;
    request.images.push_back({.name = "memory/1", .size = bytes.size(), .extents = {{0, bytes}}});
    request.tags = {{kAppTag, "db"}, {kKindTag, kCheckpointKind}};
    request.tags.merge(agent->fence->NextTags());
    request.parent = "none";
    request.before_commit = [agent] { return agent->fence->Check(); };
    const auto taken = TakeSnapshot(*agent->repository, request, nullptr);
    if (!taken.ok()) return taken.status();
    if (Status fenced = agent->fence->Check(); !fenced.ok()) return fenced;
    return taken->info.id;
  }
};

TEST_F(FenceTest, TheOlderOneCommitsNothing) {
  const auto a = Start("a");
  EXPECT_EQ(a->fence->epoch(), 1u);
  const auto first = Take(a.get());
  ASSERT_TRUE(first.ok()) << first.status().ToString();
  const auto b = Start("b");
  EXPECT_EQ(b->fence->epoch(), 2u);
  EXPECT_THAT(b->began_with, ElementsAre(*first));
  const auto refused = Take(a.get());
  EXPECT_EQ(refused.status().code(), StatusCode::kConflict);
  EXPECT_THAT(refused.status().message(), HasSubstr("superseded by the agent on "));
  EXPECT_THAT(refused.status().message(), HasSubstr(" since 20"));
  EXPECT_EQ(a->fence->superseded(), refused.status().message());
  EXPECT_THAT(Stored(), ElementsAre(*first)) << "nothing was committed";
  const auto second = Take(b.get());
  ASSERT_TRUE(second.ok()) << second.status().ToString();
  EXPECT_THAT(Stored(), ElementsAre(*second, *first));
}

TEST_F(FenceTest, ItIsNoticedBetweenCheckpointsToo) {
  const auto a = Start("a");
  const auto b = Start("b");
  for (int i = 0; i < 1000 && !a->told; ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  EXPECT_TRUE(a->told);
  EXPECT_FALSE(a->fence->superseded().empty());
  EXPECT_TRUE(b->fence->superseded().empty());
}

// The other one takes over between the look before the commit and the commit: it has either seen
// the checkpoint and gone on from it, or it never counts.
TEST_F(FenceTest, WhatIsCommittedAfterAnotherBeganNeverCounts) {
  std::unique_ptr<Agent> b;
  std::atomic<bool> armed = false;
  const auto a = Start("a", [&](StoreOp op, const std::string& key) {
    if (op != StoreOp::kPut || !key.starts_with("snapshots/") || !armed.exchange(false)) return;
    b = Start("b");
  });
  const auto first = Take(a.get());
  ASSERT_TRUE(first.ok()) << first.status().ToString();
  armed = true;
  const auto late = Take(a.get());
  EXPECT_EQ(late.status().code(), StatusCode::kConflict) << "found after the commit";
  ASSERT_NE(b, nullptr);
  EXPECT_THAT(b->began_with, ElementsAre(*first));
  std::vector<SnapshotInfo> superseded;
  EXPECT_THAT(Stored(&superseded), ElementsAre(*first));
  EXPECT_EQ(superseded.size(), 1u) << "it is there, and harmless";
  // Nor for whoever comes next, although nothing of the second's is there.
  const auto c = Start("c");
  EXPECT_THAT(c->began_with, ElementsAre(*first));
}

TEST_F(FenceTest, WhatWasCommittedBeforeTheOtherLookedCounts) {
  const auto a = Start("a");
  Result<std::string> last = Status::Internal("not taken");
  std::unique_ptr<Agent> b = std::make_unique<Agent>();
  std::atomic<bool> done = false;
  // Just before the claim is put: what the first is told to be committed must not be lost.
  b = Start("b", [&](StoreOp op, const std::string& key) {
    if (op != StoreOp::kPut || !key.starts_with("claims/") || done.exchange(true)) return;
    last = Take(a.get());
  });
  ASSERT_TRUE(last.ok()) << last.status().ToString();
  EXPECT_THAT(b->began_with, ElementsAre(*last));
}

TEST_F(FenceTest, ThatItCannotBeToldPreventsACommit) {
  auto faults = std::make_shared<FaultStore>(store_, 1);
  Agent agent;
  agent.repository = NodeOf(faults, "a");
  agent.fence = MakeFence(&agent, "a");
  ASSERT_TRUE(agent.fence->Enter(/*running=*/false).ok());
  faults->Add({.kind = FaultKind::kFail, .op = StoreOp::kList, .key_prefix = "claims/"});
  EXPECT_EQ(Take(&agent).status().code(), StatusCode::kIo);
  EXPECT_TRUE(agent.fence->superseded().empty());
  EXPECT_THAT(Stored(), IsEmpty());
  faults->Clear();
  EXPECT_TRUE(Take(&agent).ok());
}

TEST_F(FenceTest, TheClaimIsTakenUpByTheNextAgentOfTheSameState) {
  auto a = Start("a");
  const auto first = Take(a.get());
  ASSERT_TRUE(first.ok());
  a->fence = MakeFence(a.get(), "a");
  const auto adopted = a->fence->Enter(/*running=*/true);
  ASSERT_TRUE(adopted.ok()) << adopted.status().ToString();
  EXPECT_EQ(a->fence->epoch(), 1u);
  const auto second = Take(a.get());
  ASSERT_TRUE(second.ok()) << second.status().ToString();
  EXPECT_THAT(Stored(), ElementsAre(*second, *first)) << "the numbers go on";
  const auto b = Start("b");
  a->fence = MakeFence(a.get(), "a");
  EXPECT_EQ(a->fence->Enter(/*running=*/true).status().code(), StatusCode::kConflict);
  EXPECT_THAT(a->fence->superseded(), HasSubstr("epoch 2"));
  Agent other;
  other.repository = Node("other");
  other.fence = MakeFence(&other, "other");
  ASSERT_TRUE(other.fence->Enter(/*running=*/true).ok());
  EXPECT_EQ(other.fence->epoch(), 3u) << "nothing says by which claim it runs";
  // Started again by the same agent.
  ASSERT_TRUE(other.fence->Enter(/*running=*/false).ok());
  EXPECT_EQ(other.fence->epoch(), 3u);
}

TEST_F(FenceTest, CheckpointsOfACopyAreOlderThanWhatIsTakenThere) {
  for (const char* name : {"a", "b", "c"}) {
    const auto agent = Start(name);
    ASSERT_TRUE(Take(agent.get()).ok());
  }
  // A copy has the tags, and no claims.
  for (const std::string& key : KeysBelow("claims/")) Remove(key);
  const auto d = Start("d");
  EXPECT_EQ(d->fence->epoch(), 4u);
  EXPECT_EQ(d->began_with.size(), 3u);
}

TEST_F(FenceTest, CheckpointsOfProgramsWithoutEpochsCount) {
  SnapshotRequest request;
  const Bytes bytes(4096, 1);
  request.images.push_back({.name = "memory/1", .size = bytes.size(), .extents = {{0, bytes}}});
  request.tags = {{kAppTag, "db"}, {kKindTag, kCheckpointKind}};
  request.parent = "none";
  const std::string old = Snapshot(request);
  const auto a = Start("a");
  EXPECT_THAT(a->began_with, ElementsAre(old));
  const auto first = Take(a.get());
  ASSERT_TRUE(first.ok());
  EXPECT_THAT(Stored(), ElementsAre(*first, old));
}

SnapshotInfo Info(const std::string& id, uint64_t epoch, uint64_t sequence, int64_t hours,
                  const std::string& repaired_from = "") {
  SnapshotInfo info;
  info.id = id;
  info.time_ns = hours * 3600 * 1'000'000'000;
  info.repaired_from = repaired_from;
  if (epoch > 0) info.tags[kEpochTag] = fmt::format("{}", epoch);
  if (sequence > 0) info.tags[kSequenceTag] = fmt::format("{}", sequence);
  return info;
}

std::vector<std::string> IdsOf(const std::vector<SnapshotInfo>& checkpoints) {
  std::vector<std::string> ids;
  ids.reserve(checkpoints.size());
  for (const SnapshotInfo& one : checkpoints) ids.push_back(one.id);
  return ids;
}

TEST(CheckpointOrderTest, ClocksDoNotMatter) {
  // The first node's clock is days ahead and jumps; the second one's is right.
  const std::vector<SnapshotInfo> all = {Info("a1", 1, 1, 1000), Info("a2", 1, 2, 900),
                                         Info("a3", 1, 3, 1100), Info("b1", 2, 1, 500),
                                         Info("b2", 2, 2, 480),  Info("old", 0, 0, 2000),
                                         Info("older", 0, 0, 1), Info("late", 1, 4, 490)};
  const OrderedCheckpoints ordered =
      OrderCheckpoints(all, {.epoch = 2, .snapshots = {"a1", "a2", "a3", "old", "older"}});
  EXPECT_THAT(IdsOf(ordered.valid), ElementsAre("b2", "b1", "a3", "a2", "a1", "old", "older"));
  EXPECT_THAT(IdsOf(ordered.superseded), ElementsAre("late"));
}

TEST(CheckpointOrderTest, ARepairedOneStandsForTheDamagedOne) {
  const OrderedCheckpoints ordered = OrderCheckpoints(
      {Info("mended", 1, 1, 1, "a1"), Info("a2", 1, 2, 2)}, {.epoch = 2, .snapshots = {"a1"}});
  EXPECT_THAT(IdsOf(ordered.valid), ElementsAre("mended"));
}

TEST(CheckpointOrderTest, WhatIsNoNumberIsNone) {
  SnapshotInfo odd = Info("odd", 0, 0, 1);
  odd.tags[kEpochTag] = "12x";
  EXPECT_EQ(EpochOf(odd), 0u);
  odd.tags[kEpochTag] = "99999999999999999999999";
  EXPECT_EQ(EpochOf(odd), 0u);
}

TEST(CheckpointOrderTest, WhatIsKnownToBeDamagedIsTriedLast) {
  const std::vector<SnapshotInfo> valid = {Info("c", 1, 3, 3), Info("b", 1, 2, 2),
                                           Info("a", 1, 1, 1)};
  EXPECT_THAT(IdsOf(RestoreOrder(valid, {"c"})), ElementsAre("b", "a", "c"));
  EXPECT_THAT(IdsOf(RestoreOrder(valid, {})), ElementsAre("c", "b", "a"));
}

class TickerTest : public ::testing::Test {
 protected:
  static constexpr int64_t kNow = 1'700'000'040;  // a full minute
  static constexpr int64_t kHour = 3600;
  Ticker ticker_{CronSchedule::Parse("*/3 * * * *").value(), kNow};
};

TEST_F(TickerTest, TicksAsTheScheduleSays) {
  const int64_t first = ticker_.next();
  EXPECT_EQ(first % 180, 0);
  EXPECT_FALSE(ticker_.IsDue(first - 1));
  EXPECT_TRUE(ticker_.IsDue(first));
  EXPECT_EQ(ticker_.Handled(first, 2, first + 2), 0u);
  EXPECT_EQ(ticker_.next(), first + 180);
  // A little is the clock being corrected.
  EXPECT_FALSE(ticker_.IsDue(first - 1));
  EXPECT_EQ(ticker_.next(), first + 180);
}

TEST_F(TickerTest, TicksThatComeWhileOneIsHandledAreCounted) {
  const int64_t first = ticker_.next();
  EXPECT_TRUE(ticker_.IsDue(first));
  EXPECT_EQ(ticker_.Handled(first, 400, first + 400), 2u);
  EXPECT_EQ(ticker_.next(), first + 540);
}

TEST_F(TickerTest, AClockThatIsSetBackByHoursPutsNothingOff) {
  const int64_t first = ticker_.next();
  EXPECT_FALSE(ticker_.IsDue(first - 10 - 5 * kHour));
  EXPECT_LE(ticker_.next(), first - 5 * kHour + 180);
  // The same while one is handled.
  const int64_t due = ticker_.next();
  EXPECT_TRUE(ticker_.IsDue(due));
  EXPECT_EQ(ticker_.Handled(due, 2, due - 3 * kHour), 0u);
  EXPECT_LE(ticker_.next(), due - 3 * kHour + 180);
}

TEST_F(TickerTest, AClockThatIsSetAheadByHoursMakesOneTickDue) {
  const int64_t ahead = ticker_.next() + 7 * kHour + 20;
  EXPECT_TRUE(ticker_.IsDue(ahead));
  EXPECT_EQ(ticker_.Handled(ahead, 1, ahead + 1), 0u) << "none came while it was handled";
  EXPECT_GT(ticker_.next(), ahead);
  EXPECT_LE(ticker_.next(), ahead + 180);
  // And back again.
  EXPECT_FALSE(ticker_.IsDue(ahead - 7 * kHour));
  EXPECT_LE(ticker_.next(), ahead - 7 * kHour + 180);
}

}  // namespace
}  // namespace snapstore::agent
