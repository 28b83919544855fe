// Two agents for one application, damaged checkpoints, and a store that fails: with processes.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <future>
#include <set>

#include "agent/checkpoint_reader.h"
#include "agent/supervisor.h"
#include "engine/repository_impl.h"
#include "snapstore/inspect.h"
#include "tests/agent/agent_fixture.h"
#include "uploader/directory_store.h"
#include "uploader/fault_store.h"

namespace snapstore::agent {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;

// An agent with a machine of its own, as far as the repository can tell.
struct FencedAgent {
  std::shared_ptr<FaultStore> faults;
  std::unique_ptr<Repository> repository;
  std::unique_ptr<Supervisor> supervisor;
  std::future<Status> running;

  ~FencedAgent() { (void)End(); }
  Status End() {
    if (supervisor == nullptr || !running.valid()) return Status::Ok();
    (void)supervisor->RequestStop(/*checkpoint=*/false);
    return running.get();
  }
  CheckpointRecord Take() const { return supervisor->RequestCheckpoint(); }
};

class FencingTest : public CriuFixture {
 protected:
  void SetUp() override {
    CriuFixture::SetUp();
    if (IsSkipped()) return;
    const Status made = Repository::Init({.location = Path("repo"), .memory_limit = 128 << 20});
    ASSERT_TRUE(made.ok()) << made.ToString();
    // Every page differs from the others, and some change all the time.
    script_ = Write("app.py", R"(
import os, random, sys, time
random.seed(1)
memory = bytearray(random.randbytes(4 << 20))
n = 0
os.close(os.open(sys.argv[1], os.O_CREAT | os.O_WRONLY))
while True:
    n += 1
    memory[(n * 4096) % len(memory)] = n % 251
    time.sleep(0.01)
)");
    sigset_t set;
    sigemptyset(&set);
    for (const int number : {SIGTERM, SIGINT, SIGQUIT}) sigaddset(&set, number);
    pthread_sigmask(SIG_BLOCK, &set, nullptr);
  }

  std::unique_ptr<FencedAgent> Start(const std::string& name, bool run_on = false,
                                     bool outlive = false) {
    auto agent = std::make_unique<FencedAgent>();
    auto store = OpenDirectoryStore(Path("repo"));
    EXPECT_TRUE(store.ok()) << store.status().ToString();
    agent->faults = std::make_shared<FaultStore>(std::move(*store), 1);
    RepositoryOptions options;
    options.location = Path("repo");
    options.cache_dir = Path("cache-" + name);
    options.memory_limit = 128 << 20;
    auto opened =
        RepositoryImpl::OpenWithStore(std::make_unique<FaultStore>(agent->faults, 1), options);
    EXPECT_TRUE(opened.ok()) << opened.status().ToString();
    agent->repository = std::move(*opened);
    auto config = AppConfig::Parse(fmt::format(
        R"({{"name":"app","runCmd":"python3 {} {}","snapshotDestination":"fs-0123abcd",
            "snapshotScheduler":"0 0 1 1 *"}})",
        script_, Path("started")));
    EXPECT_TRUE(config.ok()) << config.status().ToString();
    auto supervisor = Supervisor::Create({.config = *config,
                                          .state_directory = Path("state-" + name),
                                          .arena_limit = 512ull << 20,
                                          .outlive = outlive,
                                          .run_on_when_superseded = run_on},
                                         agent->repository.get(), criu_.get());
    EXPECT_TRUE(supervisor.ok()) << supervisor.status().ToString();
    agent->supervisor = std::move(*supervisor);
    agent->running =
        std::async(std::launch::async, [raw = agent->supervisor.get()] { return raw->Run(); });
    EXPECT_TRUE(Eventually([&] {
      const AppState state = agent->supervisor->status().state;
      return state == AppState::kEnded ||
             (state == AppState::kRunning && fs::exists(Path("started")));
    }));
    return agent;
  }

  void TearDown() override {
    EXPECT_TRUE(EndLeftCell(Path("state-a")).ok());
    CriuFixture::TearDown();
  }

  static std::vector<std::string> Stored(const FencedAgent& agent) {
    std::vector<std::string> ids;
    const auto stored = agent.supervisor->StoredCheckpoints();
    EXPECT_TRUE(stored.ok()) << stored.status().ToString();
    if (!stored.ok()) return ids;
    for (const SnapshotInfo& one : *stored) ids.push_back(one.id);
    return ids;
  }
  std::set<std::string> Packs() const {
    std::set<std::string> packs;
    if (!fs::exists(Path("repo/data"))) return packs;
    for (const auto& entry : fs::recursive_directory_iterator(Path("repo/data"))) {
      if (entry.is_regular_file()) packs.insert(entry.path());
    }
    return packs;
  }
  static bool Verified(const FencedAgent& agent, const std::string& id) {
    return Eventually([&] { return agent.supervisor->status().kept.verified.contains(id); });
  }
  static bool Damaged(const FencedAgent& agent, const std::string& id) {
    return Eventually([&] { return agent.supervisor->status().kept.damaged.contains(id); });
  }
  static void FlipMiddle(const std::string& path) {
    fs::permissions(path, fs::perms::owner_write, fs::perm_options::add);
    std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
    const auto at = static_cast<std::streamoff>(fs::file_size(path) / 2);
    file.seekg(at);
    const int byte = file.get();
    file.seekp(at);
    file.put(static_cast<char>(byte ^ 1));
    ASSERT_TRUE(file.good());
  }
  void ExpectWhole(const FencedAgent& agent, const std::string& id) {
    const auto report =
        CheckRepository(*agent.repository, {.read_data = true, .snapshots = {id}}, nullptr);
    ASSERT_TRUE(report.ok()) << report.status().ToString();
    EXPECT_TRUE(report->problems.empty()) << report->problems.front().message;
  }

  std::string script_;
};

TEST_F(FencingTest, TheOlderOfTwoAgentsEndsItsApplicationAndCommitsNothing) {
  const auto a = Start("a");
  const CheckpointRecord first = a->Take();
  ASSERT_TRUE(first.status.ok()) << first.status.ToString();
  const auto b = Start("b");
  EXPECT_EQ(b->supervisor->status().restored_from, first.snapshot_id)
      << b->supervisor->status().start_reason;
  EXPECT_EQ(b->supervisor->status().epoch, 2u);
  const CheckpointRecord refused = a->Take();
  EXPECT_EQ(refused.status.code(), StatusCode::kConflict) << refused.status.ToString();
  EXPECT_THAT(refused.status.message(), HasSubstr("superseded by the agent on "));
  const Status ended = a->running.get();
  EXPECT_EQ(ended.code(), StatusCode::kConflict) << ended.ToString();
  EXPECT_EQ(a->supervisor->status().state, AppState::kEnded);
  EXPECT_FALSE(a->supervisor->status().ended_by_itself);
  EXPECT_THAT(a->supervisor->status().superseded, HasSubstr("epoch 2"));
  const CheckpointRecord second = b->Take();
  ASSERT_TRUE(second.status.ok()) << second.status.ToString();
  EXPECT_THAT(Stored(*b), ::testing::ElementsAre(second.snapshot_id, first.snapshot_id));
  EXPECT_EQ(b->supervisor->status().superseded, "");
}

TEST_F(FencingTest, TheOlderOneMayBeToldToRunOnWithoutCheckpoints) {
  const auto a = Start("a", /*run_on=*/true);
  const auto b = Start("b");
  EXPECT_EQ(a->Take().status.code(), StatusCode::kConflict);
  EXPECT_EQ(a->Take().frozen_ms, 0) << "not even frozen";
  EXPECT_EQ(a->supervisor->status().state, AppState::kRunning);
  EXPECT_TRUE(Stored(*b).empty());
  EXPECT_TRUE(a->End().ok());
}

// An application that outlived its agent, and another agent has started it elsewhere meanwhile.
TEST_F(FencingTest, WhoTakesOverARunningApplicationGoesByItsClaim) {
  auto a = Start("a", /*run_on=*/false, /*outlive=*/true);
  const CheckpointRecord first = a->Take();
  ASSERT_TRUE(first.status.ok()) << first.status.ToString();
  ASSERT_TRUE(a->supervisor->RequestDetach().ok());
  ASSERT_TRUE(a->running.get().ok());
  a.reset();
  a = Start("a", /*run_on=*/false, /*outlive=*/true);
  EXPECT_TRUE(a->supervisor->status().taken_over);
  EXPECT_EQ(a->supervisor->status().epoch, 1u);
  const CheckpointRecord second = a->Take();
  ASSERT_TRUE(second.status.ok()) << second.status.ToString();
  EXPECT_EQ(Stored(*a).front(), second.snapshot_id);
  ASSERT_TRUE(a->supervisor->RequestDetach().ok());
  ASSERT_TRUE(a->running.get().ok());
  a.reset();

  const auto b = Start("b");
  EXPECT_EQ(b->supervisor->status().epoch, 2u);
  a = Start("a", /*run_on=*/false, /*outlive=*/true);
  EXPECT_EQ(a->running.get().code(), StatusCode::kConflict);
  EXPECT_THAT(a->supervisor->status().superseded, HasSubstr("epoch 2"));
  EXPECT_FALSE(Cell::Adopt(CellSocketOf(Path("state-a"))).ok()) << "its application is ended";
}

// Deleted or changed between two checkpoints: the second is found damaged, the third is whole.
TEST_F(FencingTest, TheNextCheckpointAfterDamageIsWhole) {
  for (const bool flip : {false, true}) {
    SCOPED_TRACE(flip ? "flipped" : "deleted");
    const std::string name = flip ? "f" : "d";
    const std::set<std::string> before = Packs();
    auto agent = Start(name);
    const CheckpointRecord first = agent->Take();
    ASSERT_TRUE(first.status.ok()) << first.status.ToString();
    ASSERT_TRUE(Verified(*agent, first.snapshot_id));
    for (const std::string& pack : Packs()) {
      if (before.contains(pack)) continue;
      if (flip) {
        FlipMiddle(pack);
      } else {
        fs::remove(pack);
      }
    }
    // What was read is not read again for a day; a restart forgets that.
    if (flip) {
      ASSERT_TRUE(agent->End().ok());
      agent.reset();
      fs::remove(Path("state-" + name) + "/verified.json");
      agent = Start(name);
      EXPECT_NE(agent->supervisor->status().restored_from, first.snapshot_id);
      EXPECT_THAT(agent->supervisor->status().start_reason, HasSubstr("is damaged"));
    } else {
      const CheckpointRecord second = agent->Take();
      ASSERT_TRUE(second.status.ok()) << second.status.ToString();
      EXPECT_EQ(second.parent_id, first.snapshot_id);
      ASSERT_TRUE(Damaged(*agent, second.snapshot_id));
    }
    ASSERT_TRUE(Damaged(*agent, first.snapshot_id)) << "its parent has lost the same";
    const CheckpointRecord third = agent->Take();
    ASSERT_TRUE(third.status.ok()) << third.status.ToString();
    EXPECT_NE(third.parent_id, first.snapshot_id);
    ASSERT_TRUE(Verified(*agent, third.snapshot_id));
    ExpectWhole(*agent, third.snapshot_id);
    ASSERT_TRUE(agent->End().ok());
    agent.reset();
    // Known to be damaged or not, the whole one is what it goes on from.
    agent = Start(name);
    EXPECT_EQ(agent->supervisor->status().restored_from, third.snapshot_id)
        << agent->supervisor->status().start_reason;
    ASSERT_TRUE(agent->End().ok());
  }
}

TEST_F(FencingTest, WhatIsKnownToBeDamagedIsNotTriedFirst) {
  auto agent = Start("a");
  const CheckpointRecord first = agent->Take();
  ASSERT_TRUE(first.status.ok()) << first.status.ToString();
  ASSERT_TRUE(Verified(*agent, first.snapshot_id));
  const std::set<std::string> before = Packs();
  const CheckpointRecord second = agent->Take();
  ASSERT_TRUE(second.status.ok()) << second.status.ToString();
  ASSERT_TRUE(Verified(*agent, second.snapshot_id));
  for (const std::string& pack : Packs()) {
    if (!before.contains(pack)) fs::remove(pack);
  }
  const CheckpointRecord third = agent->Take();
  ASSERT_TRUE(third.status.ok()) << third.status.ToString();
  ASSERT_TRUE(Damaged(*agent, third.snapshot_id));
  ASSERT_TRUE(Damaged(*agent, second.snapshot_id));
  ASSERT_TRUE(Verified(*agent, first.snapshot_id));
  ASSERT_TRUE(agent->End().ok());
  agent.reset();
  agent = Start("a");
  EXPECT_EQ(agent->supervisor->status().restored_from, first.snapshot_id);
  EXPECT_THAT(agent->supervisor->status().start_reason, Not(HasSubstr("damaged")))
      << "the others were not tried";
}

TEST_F(FencingTest, AParentThatSomebodyForgotIsNotMissed) {
  const auto agent = Start("a");
  const CheckpointRecord first = agent->Take();
  ASSERT_TRUE(first.status.ok()) << first.status.ToString();
  fs::remove(Path("repo/snapshots/" + first.snapshot_id));
  const CheckpointRecord second = agent->Take();
  ASSERT_TRUE(second.status.ok()) << second.status.ToString();
  EXPECT_EQ(second.parent_id, "");
  ExpectWhole(*agent, second.snapshot_id);
}

// Whatever is wrong with the store: the application runs on, the earlier checkpoint stays the
// newest, and the next success is whole.
TEST_F(FencingTest, AStoreThatFailsCostsACheckpointAndNothingElse) {
  const auto agent = Start("a");
  CheckpointRecord good = agent->Take();
  ASSERT_TRUE(good.status.ok()) << good.status.ToString();
  const auto fails = [&](const char* what, const std::vector<Fault>& faults, StatusCode code) {
    SCOPED_TRACE(what);
    ASSERT_TRUE(Verified(*agent, good.snapshot_id));
    for (const Fault& fault : faults) agent->faults->Add(fault);
    for (int i = 0; i < 2; ++i) {
      const CheckpointRecord failed = agent->Take();
      EXPECT_EQ(failed.status.code(), code) << failed.status.ToString();
    }
    agent->faults->Clear();
    EXPECT_EQ(agent->supervisor->status().state, AppState::kRunning);
    EXPECT_EQ(agent->supervisor->status().newest_checkpoint->id, good.snapshot_id);
    EXPECT_EQ(Stored(*agent).front(), good.snapshot_id);
    const std::string parent = good.snapshot_id;
    good = agent->Take();
    ASSERT_TRUE(good.status.ok()) << good.status.ToString();
    EXPECT_EQ(good.parent_id, parent);
    ExpectWhole(*agent, good.snapshot_id);
  };
  const Status full = Status::NoSpace("the disk is full");
  fails("full", {{.op = StoreOp::kPut, .key_prefix = "data/", .error = full}},
        StatusCode::kNoSpace);
  fails("full, in the end", {{.op = StoreOp::kPut, .key_prefix = "snapshots/", .error = full}},
        StatusCode::kNoSpace);
  fails("away", {{.kind = FaultKind::kFail}}, StatusCode::kIo);
  fails("away for those who write", {{.op = StoreOp::kPut}}, StatusCode::kIo);
}

TEST_F(FencingTest, ASlowStoreMakesCheckpointsSlow) {
  const auto agent = Start("a");
  agent->faults->Add({.kind = FaultKind::kDelay, .delay = std::chrono::milliseconds(20)});
  const CheckpointRecord record = agent->Take();
  ASSERT_TRUE(record.status.ok()) << record.status.ToString();
  EXPECT_TRUE(Verified(*agent, record.snapshot_id));
}

TEST_F(FencingTest, AStoreThatIsGoneForGoodLetsTheApplicationRunUntilItIsStopped) {
  const auto agent = Start("a");
  const CheckpointRecord good = agent->Take();
  ASSERT_TRUE(good.status.ok()) << good.status.ToString();
  agent->faults->Add({.kind = FaultKind::kFail});
  EXPECT_FALSE(agent->Take().status.ok());
  const Status refused = agent->supervisor->RequestStop(/*checkpoint=*/true);
  EXPECT_THAT(refused.message(), HasSubstr("not stopped, the final checkpoint failed"));
  EXPECT_EQ(agent->supervisor->status().state, AppState::kRunning);
  EXPECT_TRUE(agent->End().ok());
  agent->faults->Clear();
  const auto next = Start("b");
  EXPECT_EQ(next->supervisor->status().restored_from, good.snapshot_id);
}

}  // namespace
}  // namespace snapstore::agent
