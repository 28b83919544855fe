// The agent's main job with real processes, CRIU and a real repository.
#include "agent/supervisor.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <future>
#include <set>
#include <thread>

#include "agent/checkpoint_reader.h"
#include "agent/control_json.h"
#include "agent/log_keeper.h"
#include "agent/process_tree.h"
#include "snapstore/inspect.h"
#include "snapstore/repository.h"
#include "tests/agent/agent_fixture.h"

namespace snapstore::agent {
namespace {

using ::testing::HasSubstr;

class SupervisorTest : public CriuFixture {
 protected:
  void SetUp() override {
    CriuFixture::SetUp();
    if (IsSkipped()) return;
    repository_options_.location = Path("repo");
    repository_options_.cache_dir = Path("cache");
    repository_options_.memory_limit = 128 << 20;
    const Status made = Repository::Init(repository_options_);
    ASSERT_TRUE(made.ok()) << made.ToString();
    auto repository = Repository::Open(repository_options_);
    ASSERT_TRUE(repository.ok()) << repository.status().ToString();
    repository_ = std::move(*repository);
    script_ = WriteCounter(16 << 20);
    StopEarly();
  }
  void TearDown() override {
    (void)EndAgent();
    repository_.reset();
    CriuFixture::TearDown();
  }

  static void StopEarly() {
    // The supervisor takes these from a descriptor.
    sigset_t set;
    sigemptyset(&set);
    for (const int number : {SIGTERM, SIGINT, SIGQUIT}) sigaddset(&set, number);
    pthread_sigmask(SIG_BLOCK, &set, nullptr);
  }

  AppConfig Config(const std::string& cron = "0 0 1 1 *") {
    auto config = AppConfig::Parse(fmt::format(
        R"({{"name":"counter","runCmd":"python3 {} {}","snapshotDestination":"fs-0123abcd",
            "snapshotScheduler":"{}","externalFiles":["{}"]}})",
        script_, Path("log"), cron, Path("log")));
    EXPECT_TRUE(config.ok()) << config.status().ToString();
    return *config;
  }

  void StartAgent(AppConfig config) {
    auto supervisor = Supervisor::Create({.config = std::move(config),
                                          .state_directory = Path("state"),
                                          .arena_limit = 512ull << 20,
                                          .adaptive = adaptive_,
                                          .hooks = hooks_},
                                         repository_.get(), criu_.get());
    ASSERT_TRUE(supervisor.ok()) << supervisor.status().ToString();
    supervisor_ = std::move(*supervisor);
    running_ = std::async(std::launch::async, [this] { return supervisor_->Run(); });
  }

  Status EndAgent() {
    if (supervisor_ == nullptr) return Status::Ok();
    (void)supervisor_->RequestStop(/*checkpoint=*/false);
    Status ended = running_.get();
    supervisor_.reset();
    return ended;
  }

  int Counter() {
    const auto lines = Lines(Path("log"));
    return lines.empty() || lines.back().empty() ? 0 : std::stoi(lines.back());
  }
  bool CounterPasses(int value) {
    return Eventually([&] { return Counter() > value; });
  }
  // Memory and log agree exactly when no number is missing and none is there twice.
  void ExpectLogIsWhole() {
    const auto lines = Lines(Path("log"));
    for (size_t i = 0; i < lines.size(); ++i) {
      ASSERT_EQ(lines[i], std::to_string(i + 1)) << "a line is lost or doubled";
    }
  }

  RepositoryOptions repository_options_;
  std::unique_ptr<Repository> repository_;
  HookOptions hooks_;
  AdaptiveTrigger::Options adaptive_;
  std::unique_ptr<Supervisor> supervisor_;
  std::future<Status> running_;
  std::string script_;
};

TEST_F(SupervisorTest, AKilledApplicationWithWipedFilesGoesOnFromItsCheckpoint) {
  StartAgent(Config());
  ASSERT_TRUE(CounterPasses(10));
  EXPECT_THAT(supervisor_->status().start_reason, HasSubstr("no checkpoint"));
  std::vector<CheckpointRecord> records;
  for (int i = 0; i < 3; ++i) {
    records.push_back(supervisor_->RequestCheckpoint());
    const CheckpointRecord& record = records.back();
    ASSERT_TRUE(record.status.ok()) << record.status.ToString();
    EXPECT_GT(record.frozen_ms, 0);
    EXPECT_GT(record.bytes_external, 0u);
    EXPECT_EQ(record.bytes_grown_frozen, 0u);
    ASSERT_TRUE(CounterPasses(Counter() + 5)) << "it must run on";
  }
  EXPECT_EQ(records[2].parent_id, records[1].snapshot_id);
  EXPECT_LT(records[2].bytes_new, records[0].bytes_new / 4) << "memory is compared page by page";
  const int at_kill = Counter();
  ASSERT_TRUE(EndAgent().ok());

  std::filesystem::remove(Path("log"));
  std::filesystem::remove_all(Path("state"));
  StartAgent(Config());
  ASSERT_TRUE(Eventually([&] { return supervisor_->status().state == AppState::kRunning; }));
  EXPECT_EQ(supervisor_->status().restored_from, records[2].snapshot_id)
      << supervisor_->status().start_reason;
  ASSERT_TRUE(CounterPasses(at_kill));
  ExpectLogIsWhole();

  const CheckpointRecord again = supervisor_->RequestCheckpoint();
  ASSERT_TRUE(again.status.ok()) << again.status.ToString();
  EXPECT_EQ(again.parent_id, records[2].snapshot_id);
}

TEST_F(SupervisorTest, AMissingExternalFileFailsThatCheckpointAndNothingElse) {
  StartAgent(Config());
  ASSERT_TRUE(CounterPasses(5));
  const CheckpointRecord first = supervisor_->RequestCheckpoint();
  ASSERT_TRUE(first.status.ok()) << first.status.ToString();
  std::filesystem::rename(Path("log"), Path("away"));
  const CheckpointRecord second = supervisor_->RequestCheckpoint();
  ASSERT_FALSE(second.status.ok());
  EXPECT_EQ(second.status.code(), StatusCode::kNotFound);
  EXPECT_THAT(second.status.message(), HasSubstr("external file " + Path("log")));
  std::filesystem::rename(Path("away"), Path("log"));
  ASSERT_TRUE(CounterPasses(Counter() + 5)) << "it must run on";
  const CheckpointRecord third = supervisor_->RequestCheckpoint();
  ASSERT_TRUE(third.status.ok()) << third.status.ToString();
  EXPECT_EQ(third.parent_id, first.snapshot_id);
  EXPECT_EQ(supervisor_->status().failed, 1u);
  const auto stored = supervisor_->StoredCheckpoints();
  ASSERT_TRUE(stored.ok());
  ASSERT_EQ(stored->size(), 2u);
  EXPECT_EQ(stored->front().id, third.snapshot_id);
}

TEST_F(SupervisorTest, FilesThatNobodySavesAreNamedInEachRecord) {
  AppConfig config = Config();
  config.external_files.clear();
  StartAgent(config);
  ASSERT_TRUE(CounterPasses(5));
  const CheckpointRecord record = supervisor_->RequestCheckpoint();
  ASSERT_TRUE(record.status.ok()) << record.status.ToString();
  EXPECT_EQ(record.unlisted_files, std::vector<std::string>{Path("log")});
  EXPECT_THAT(StatusJson(supervisor_->status()), HasSubstr("\"unlisted_files\":[\"" + Path("log")));
  ASSERT_TRUE(EndAgent().ok());

  StartAgent(Config());
  ASSERT_TRUE(Eventually([&] { return supervisor_->status().state == AppState::kRunning; }));
  const CheckpointRecord listed = supervisor_->RequestCheckpoint();
  ASSERT_TRUE(listed.status.ok()) << listed.status.ToString();
  EXPECT_TRUE(listed.unlisted_files.empty()) << listed.unlisted_files.front();
}

TEST_F(SupervisorTest, WhatWouldTakeTooLongToStoreIsCheckpointed) {
  // Megabytes at a megabyte a second, and a fifth of a second to store them in.
  adaptive_.budget_seconds = 0.2;
  adaptive_.interval_seconds_min = 0.1;
  adaptive_.initial_bytes_per_second = 1 << 20;
  StartAgent(Config());
  ASSERT_TRUE(Eventually([&] { return supervisor_->status().taken >= 2; }));
  const auto records = supervisor_->records();
  EXPECT_EQ(records[0].trigger, "adaptive") << "all of it was new";
  EXPECT_EQ(records[1].trigger, "adaptive") << "pages that it wrote meanwhile";
  EXPECT_TRUE(supervisor_->status().dirty_bytes.has_value());
}

TEST_F(SupervisorTest, TheNewestThreeThatAreVerifiedStay) {
  StartAgent(Config());
  ASSERT_TRUE(CounterPasses(5));
  std::vector<std::string> ids;
  for (int i = 0; i < 5; ++i) {
    const CheckpointRecord record = supervisor_->RequestCheckpoint();
    ASSERT_TRUE(record.status.ok()) << record.status.ToString();
    ids.push_back(record.snapshot_id);
  }
  const std::set<std::string> newest(ids.begin() + 2, ids.end());
  ASSERT_TRUE(Eventually([&] { return supervisor_->status().kept.forgotten == 2; }));
  EXPECT_EQ(supervisor_->status().kept.verified, newest);
  const auto stored = supervisor_->StoredCheckpoints();
  ASSERT_TRUE(stored.ok()) << stored.status().ToString();
  EXPECT_EQ(stored->size(), 3u);
  EXPECT_THAT(CheckpointsJson(*stored, {}, supervisor_->status().kept),
              HasSubstr(R"("verified":true)"));
}

TEST_F(SupervisorTest, HooksRunAroundCheckpointAndRestore) {
  for (const HookEvent event : kAllHookEvents) {
    hooks_.Of(event) = {
        fmt::format("cat >> {}; if [ $SNAPSTORE_HOOK = pre-freeze ] && [ -e {} ]; "
                    "then echo no quiet >&2; exit 4; fi",
                    Path("hooks"), Path("refuse"))};
  }
  StartAgent(Config());
  ASSERT_TRUE(CounterPasses(5));
  const CheckpointRecord good = supervisor_->RequestCheckpoint();
  ASSERT_TRUE(good.status.ok()) << good.status.ToString();
  Write("refuse", "");
  const CheckpointRecord bad = supervisor_->RequestCheckpoint();
  ASSERT_FALSE(bad.status.ok());
  EXPECT_THAT(bad.status.message(), HasSubstr("hook pre-freeze"));
  EXPECT_THAT(bad.status.message(), HasSubstr("exit code 4: no quiet"));
  EXPECT_EQ(bad.frozen_ms, 0) << "it was never frozen";
  ASSERT_TRUE(CounterPasses(Counter() + 5)) << "it must run on";
  ASSERT_TRUE(EndAgent().ok());
  const auto told = Lines(Path("hooks"));
  ASSERT_EQ(told.size(), 4u);
  EXPECT_THAT(told[0], HasSubstr(R"("event":"pre-freeze")"));
  EXPECT_THAT(told[1], HasSubstr(R"("event":"post-thaw")"));
  EXPECT_THAT(told[1], HasSubstr(R"("error":null)"));
  EXPECT_THAT(told[3], HasSubstr(R"("event":"post-thaw")"));
  EXPECT_THAT(told[3], HasSubstr("no quiet")) << "also after a checkpoint that failed";

  std::filesystem::remove(Path("hooks"));
  StartAgent(Config());
  ASSERT_TRUE(Eventually([&] { return supervisor_->status().state == AppState::kRunning; }));
  const auto restored = Lines(Path("hooks"));
  ASSERT_EQ(restored.size(), 2u);
  EXPECT_THAT(restored[0], HasSubstr(R"("event":"pre-restore")"));
  EXPECT_THAT(restored[0], HasSubstr(good.snapshot_id));
  EXPECT_THAT(restored[1], HasSubstr(R"("event":"post-restore")"));
}

TEST_F(SupervisorTest, AStopDoesNotWaitForAHookOfAnotherCheckpoint) {
  hooks_.Of(HookEvent::kPreFreeze) = {
      fmt::format("if ! [ -e {0} ]; then touch {0}; sleep 600; fi", Path("first"))};
  hooks_.Of(HookEvent::kPostThaw) = {"echo $SNAPSTORE_HOOK >> " + Path("thawed")};
  hooks_.timeout = std::chrono::minutes(10);
  StartAgent(Config());
  ASSERT_TRUE(CounterPasses(5));
  auto first = std::async(std::launch::async, [this] { return supervisor_->RequestCheckpoint(); });
  ASSERT_TRUE(Eventually([&] { return std::filesystem::exists(Path("first")); }));
  const Status stopped = supervisor_->RequestStop(/*checkpoint=*/true);
  ASSERT_TRUE(stopped.ok()) << stopped.ToString();
  EXPECT_EQ(first.get().status.code(), StatusCode::kCancelled);
  EXPECT_TRUE(running_.get().ok());
  EXPECT_TRUE(supervisor_->records().back().status.ok());
  EXPECT_EQ(Lines(Path("thawed")).size(), 2u);
  supervisor_.reset();
}

TEST_F(SupervisorTest, AHookThatFailsBeforeARestoreIsNoReasonToStartAfresh) {
  StartAgent(Config());
  ASSERT_TRUE(CounterPasses(5));
  ASSERT_TRUE(supervisor_->RequestCheckpoint().status.ok());
  ASSERT_TRUE(EndAgent().ok());
  const std::string log = Read(Path("log"));
  hooks_.Of(HookEvent::kPreRestore) = {"echo the volume is away >&2; exit 1"};
  StartAgent(Config());
  const Status ended = running_.get();
  EXPECT_THAT(ended.message(), HasSubstr("hook pre-restore"));
  EXPECT_THAT(ended.message(), HasSubstr("the volume is away"));
  EXPECT_EQ(Read(Path("log")), log) << "nothing has run";
  supervisor_.reset();
}

TEST_F(SupervisorTest, AnApplicationWhoseLogWasCutIsRestoredWithoutTheOldPart) {
  script_ = Write("talker.py", R"(
import sys, time
log = open(sys.argv[1], "a")
n = 0
while True:
    n += 1
    print("x" * 1000, flush=True)
    log.write(f"{n}\n")
    log.flush()
    time.sleep(0.002)
)");
  StartAgent(Config());
  const std::string output = Path("state/app.log");
  auto cut_it = [&] {
    return Eventually([&] {
      const auto cut = CutHeldLog(output, 64 << 10, 3);
      EXPECT_TRUE(cut.ok()) << cut.status().ToString();
      return !cut.ok() || *cut;
    });
  };
  ASSERT_TRUE(cut_it());
  const CheckpointRecord record = supervisor_->RequestCheckpoint();
  ASSERT_TRUE(record.status.ok()) << record.status.ToString();
  ASSERT_TRUE(cut_it()) << "so that the log is shorter than it was at the checkpoint";
  ASSERT_TRUE(EndAgent().ok());
  std::filesystem::remove(output + ".1");
  StartAgent(Config());
  ASSERT_TRUE(CounterPasses(Counter() + 5));
  EXPECT_EQ(supervisor_->status().restored_from, record.snapshot_id)
      << supervisor_->status().start_reason;
}

TEST_F(SupervisorTest, AFinalCheckpointLosesNothing) {
  StartAgent(Config());
  ASSERT_TRUE(CounterPasses(20));
  const Status stopped = supervisor_->RequestStop(/*checkpoint=*/true);
  ASSERT_TRUE(stopped.ok()) << stopped.ToString();
  EXPECT_TRUE(running_.get().ok());
  supervisor_.reset();
  const int at_stop = Counter();
  const std::string log = Read(Path("log"));
  StartAgent(Config());
  ASSERT_TRUE(CounterPasses(at_stop));
  EXPECT_EQ(Read(Path("log")).substr(0, log.size()), log) << "nothing ran after the checkpoint";
  ExpectLogIsWhole();
}

// As a machine does that shuts down: every process gets the signal, and this one takes its time.
TEST_F(SupervisorTest, AnApplicationThatWasToldToEndIsNotKept) {
  script_ = Write("slow.py", R"(
import signal, sys, time
told = False
def end(*_):
    global told
    told = True
signal.signal(signal.SIGTERM, end)
n = 0
log = open(sys.argv[1], "a")
while True:
    n += 1
    log.write(f"{n}\n")
    log.flush()
    time.sleep(0.01)
    if told and n % 200 == 0:
        sys.exit(0)
)");
  StartAgent(Config());
  ASSERT_TRUE(CounterPasses(20));
  const CheckpointRecord good = supervisor_->RequestCheckpoint();
  ASSERT_TRUE(good.status.ok()) << good.status.ToString();
  const pid_t init = supervisor_->status().pid;
  const auto inside = DescendantsOf(init);
  ASSERT_TRUE(inside.ok());
  for (const pid_t pid : *inside) kill(pid, SIGTERM);
  kill(init, SIGTERM);
  const CheckpointRecord late = supervisor_->RequestCheckpoint();
  EXPECT_EQ(late.status.code(), StatusCode::kCancelled) << late.status.ToString();
  EXPECT_THAT(late.status.message(), HasSubstr("shutting down"));
  EXPECT_TRUE(running_.get().ok()) << "it ends by itself";
  const auto stored = supervisor_->StoredCheckpoints();
  ASSERT_TRUE(stored.ok());
  ASSERT_EQ(stored->size(), 1u);
  supervisor_.reset();

  StartAgent(Config());
  ASSERT_TRUE(Eventually([&] { return supervisor_->status().state == AppState::kRunning; }));
  EXPECT_EQ(supervisor_->status().restored_from, good.snapshot_id);
  ASSERT_TRUE(CounterPasses(20)) << "it does not go on ending";
}

TEST_F(SupervisorTest, ADamagedNewestCheckpointFallsBackToTheOneBefore) {
  StartAgent(Config());
  ASSERT_TRUE(CounterPasses(5));
  const CheckpointRecord good = supervisor_->RequestCheckpoint();
  ASSERT_TRUE(good.status.ok());
  ASSERT_TRUE(EndAgent().ok());
  // A snapshot that claims to be a newer checkpoint and is none.
  SnapshotRequest request;
  const std::string text = "not a checkpoint";
  MemorySource source;
  source.name = kMetadataName;
  source.size = text.size();
  source.extents = {{0, AsBytes(text)}};
  request.images.push_back(source);
  request.tags = {{kAppTag, "counter"}, {kKindTag, kCheckpointKind}};
  request.parent = "none";
  ASSERT_TRUE(TakeSnapshot(*repository_, request, nullptr).ok());

  StartAgent(Config());
  ASSERT_TRUE(Eventually([&] { return supervisor_->status().state == AppState::kRunning; }));
  EXPECT_EQ(supervisor_->status().restored_from, good.snapshot_id)
      << supervisor_->status().start_reason;
}

TEST_F(SupervisorTest, AnApplicationThatEndsIsReported) {
  auto config = AppConfig::Parse(
      R"({"name":"short","runCmd":"sh -c 'exit 3'","snapshotDestination":"fs-0123abcd",
          "snapshotScheduler":"@hourly"})");
  ASSERT_TRUE(config.ok());
  StartAgent(*config);
  Status ended = running_.get();
  ASSERT_FALSE(ended.ok());
  EXPECT_THAT(ended.message(), HasSubstr("short has ended with exit code 3"));
  EXPECT_THAT(supervisor_->RequestCheckpoint().status.message(), HasSubstr("has ended"));
  supervisor_.reset();
}

TEST_F(SupervisorTest, OnlyOneAgentUsesAStateDirectory) {
  StartAgent(Config());
  auto second =
      Supervisor::Create({Config(), Path("state"), 0, true}, repository_.get(), criu_.get());
  ASSERT_FALSE(second.ok());
  EXPECT_EQ(second.status().code(), StatusCode::kConflict);
}

TEST_F(SupervisorTest, CapturedImagesComeBackFromTheRepositoryByteForByte) {
  auto arena = Arena::Create(256 << 20);
  ASSERT_TRUE(arena.ok());
  auto cell = Cell::Create(Options({"python3", script_, Path("log")}));
  ASSERT_TRUE(cell.ok());
  ASSERT_TRUE((*cell)->StartApplication().ok());
  ASSERT_TRUE(CounterPasses(5));
  std::filesystem::create_directory(Path("criu"));
  std::vector<ArenaFile> files;
  CheckpointRecord record;
  {
    Checkpointer::Options options{Config(), Path("criu"), Path("app.log"), 256 << 20};
    auto checkpointer = Checkpointer::Create(std::move(options), repository_.get(), criu_.get());
    ASSERT_TRUE(checkpointer.ok());
    record = (*checkpointer)->Take(cell->get(), "request", /*leave_stopped=*/true);
    ASSERT_TRUE(record.status.ok()) << record.status.ToString();
  }
  // It stands still, so that a second dump shows the same memory.
  const int stopped_at = Counter();
  std::this_thread::sleep_for(std::chrono::milliseconds(100));
  EXPECT_EQ(Counter(), stopped_at);
  auto dumped = criu_->Dump(cell->get(), Path("criu"), arena->get(), [] { return Status::Ok(); });
  ASSERT_TRUE(dumped.ok()) << dumped.status().ToString();
  auto reader = CheckpointReader::Open(repository_.get(), record.snapshot_id);
  ASSERT_TRUE(reader.ok()) << reader.status().ToString();
  size_t compared = 0;
  for (const ArenaFile& file : dumped->files) {
    if (!file.name.starts_with("pages-")) continue;
    int ends[2];
    ASSERT_EQ(pipe(ends), 0);
    std::thread writer([&] {
      EXPECT_TRUE((*reader)->WriteTo(file.name, ends[1]).ok());
      close(ends[1]);
    });
    std::string expected;
    for (const auto& part : file.parts) expected.append(part.begin(), part.end());
    std::string got;
    char buffer[65536];
    for (ssize_t n; (n = read(ends[0], buffer, sizeof(buffer))) > 0;) got.append(buffer, n);
    close(ends[0]);
    writer.join();
    // The dump itself may leave traces on a stack page.
    ASSERT_EQ(got.size(), expected.size());
    size_t different = 0;
    for (size_t at = 0; at < got.size(); at += kPageBytes) {
      different += got.compare(at, kPageBytes, expected, at, kPageBytes) != 0 ? 1 : 0;
    }
    EXPECT_LE(different, 4u);
    ++compared;
  }
  EXPECT_EQ(compared, 1u);
}

}  // namespace
}  // namespace snapstore::agent
