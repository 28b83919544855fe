// Checkpoints of applications larger than the agent's memory for them.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <future>

#include "agent/supervisor.h"
#include "snapstore/repository.h"
#include "tests/agent/agent_fixture.h"
#include "tests/agent/new_repository.h"
#include "tests/base/memory_folder.h"

namespace snapstore::agent {
namespace {

using ::testing::HasSubstr;

class OverflowTest : public CriuFixture {
 protected:
  void SetUp() override {
    CriuFixture::SetUp();
    if (IsSkipped()) return;
    auto repository = NewRepository(directory_, 128 << 20);
    ASSERT_TRUE(repository.ok()) << repository.status().ToString();
    repository_ = std::move(*repository);
    Write("sum.py", R"(
import os, sys, time, zlib
memory = bytearray(os.urandom(24 << 20))
out = open(sys.argv[1], "a", buffering=1)
while True:
    out.write(f"{zlib.crc32(memory)}\n")
    time.sleep(0.02)
)");
    sigset_t set;
    sigemptyset(&set);
    for (const int number : {SIGTERM, SIGINT, SIGQUIT}) sigaddset(&set, number);
    pthread_sigmask(SIG_BLOCK, &set, nullptr);
  }
  void TearDown() override {
    End();
    CriuFixture::TearDown();
  }

  void Start(const SpoolOptions& spool, const std::string& script = "sum.py",
             const std::string& files = "") {
    auto config = AppConfig::Parse(fmt::format(
        R"({{"name":"sum","runCmd":"python3 {} {}","snapshotDestination":"fs-0123abcd",
            "snapshotScheduler":"0 0 1 1 *","externalFiles":[{}]}})",
        Path(script), Path("out"), files));
    ASSERT_TRUE(config.ok());
    auto supervisor = Supervisor::Create({.config = std::move(*config),
                                          .state_directory = Path("state"),
                                          .arena_limit = 8 << 20,
                                          .spool = spool,
                                          .outlive = false,
                                          .hooks = hooks_},
                                         repository_.get(), criu_.get());
    ASSERT_TRUE(supervisor.ok()) << supervisor.status().ToString();
    supervisor_ = std::move(*supervisor);
    running_ = std::async(std::launch::async, [this] { return supervisor_->Run(); });
  }
  void End() {
    if (supervisor_ == nullptr) return;
    (void)supervisor_->RequestStop(/*checkpoint=*/false);
    running_.wait();
    supervisor_.reset();
  }

  // The next sum of its memory that it writes, and begins after this call.
  std::string NextSum() {
    const size_t now = Lines(Path("out")).size();
    EXPECT_TRUE(Eventually([&] { return Lines(Path("out")).size() > now + 2; }));
    return Lines(Path("out"))[now + 1];
  }

  HookOptions hooks_;  // of agents that are started from now on
  std::unique_ptr<Repository> repository_;
  std::unique_ptr<Supervisor> supervisor_;
  std::future<Status> running_;
};

TEST_F(OverflowTest, AnApplicationLargerThanTheArenaIsCheckpointedThroughTheSpool) {
  Start({});
  const std::string sum = NextSum();
  for (int i = 0; i < 2; ++i) {
    const CheckpointRecord record = supervisor_->RequestCheckpoint();
    ASSERT_TRUE(record.status.ok()) << record.status.ToString();
    EXPECT_GT(record.bytes_captured, 24u << 20);
    EXPECT_EQ(record.bytes_grown_frozen, 0u) << "the spool was ready before the freeze";
    EXPECT_EQ(NextSum(), sum);
  }
  EXPECT_TRUE(std::filesystem::is_empty(Path("state/spool")));
  End();
  Start({});
  EXPECT_EQ(NextSum(), sum);
  // It may have answered before the supervisor has taken note.
  ASSERT_TRUE(Eventually([&] { return supervisor_->status().state == AppState::kRunning; }));
  EXPECT_NE(supervisor_->status().restored_from, "") << supervisor_->status().start_reason;
}

TEST_F(OverflowTest, AFullSpoolDiskFailsTheCheckpointAndNothingElse) {
  const MemoryFolder disk("size=8m");
  if (!disk.mounted()) GTEST_SKIP() << "may not mount";
  Start({disk.path(), 1 << 30});
  const std::string sum = NextSum();
  const CheckpointRecord record = supervisor_->RequestCheckpoint();
  EXPECT_EQ(record.status.code(), StatusCode::kNoSpace) << record.status.ToString();
  EXPECT_THAT(record.status.message(), HasSubstr("spool: reserve"));
  EXPECT_THAT(record.status.message(), HasSubstr(disk.path()));
  EXPECT_EQ(NextSum(), sum) << "it runs on";
}

TEST_F(OverflowTest, ASpoolThatCannotBeReadFailsTheCheckpointAndNothingElse) {
  // After the capture, before anything is stored.
  Write("cut", "");
  hooks_.Of(HookEvent::kPostThaw) = {
      fmt::format("test ! -e {0}/cut || for f in /proc/{1}/fd/*; do case $(readlink $f) in "
                  "{0}/state/spool/*) truncate -s 0 $f;; esac; done",
                  directory_, getpid())};
  Start({});
  const std::string sum = NextSum();
  const CheckpointRecord record = supervisor_->RequestCheckpoint();
  EXPECT_EQ(record.status.code(), StatusCode::kIo) << record.status.ToString();
  EXPECT_THAT(record.status.message(), HasSubstr("state/spool cannot be read"));
  EXPECT_EQ(NextSum(), sum) << "it runs on";
  const auto stored = supervisor_->StoredCheckpoints();
  ASSERT_TRUE(stored.ok());
  EXPECT_TRUE(stored->empty());
  std::filesystem::remove(Path("cut"));
  ASSERT_TRUE(supervisor_->RequestCheckpoint().status.ok());
  End();
  Start({});
  EXPECT_EQ(NextSum(), sum);
}

TEST_F(OverflowTest, WithoutASpoolTheArenaIsTheLimit) {
  Start({"", 0});
  (void)NextSum();
  const CheckpointRecord record = supervisor_->RequestCheckpoint();
  EXPECT_EQ(record.status.code(), StatusCode::kNoSpace);
  EXPECT_THAT(record.status.message(), HasSubstr("(--arena-limit)"));
  (void)NextSum();
}

TEST_F(OverflowTest, OfALogThatGrowsOnlyTheTailIsStored) {
  Write("log.py", R"(
import sys, time
log = open(sys.argv[1] + ".log", "ab", buffering=0)
n = 700000
log.write(b"".join(b"%d\n" % i for i in range(1, n + 1)))
while True:
    log.write(b"".join(b"%d\n" % i for i in range(n + 1, n + 101)))
    n += 100
    time.sleep(0.01)
)");
  const std::string log = Path("out.log");
  const auto grows_past = [&](uint64_t bytes) {
    return Eventually([&] {
      std::error_code error;
      const auto size = std::filesystem::file_size(log, error);
      return !error && size > bytes;
    });
  };
  const auto start = [&] { Start({}, "log.py", fmt::format("\"{}\"", log)); };
  start();
  ASSERT_TRUE(grows_past(4 << 20));
  std::vector<CheckpointRecord> records;
  for (int i = 0; i < 3; ++i) {
    records.push_back(supervisor_->RequestCheckpoint());
    ASSERT_TRUE(records.back().status.ok()) << records.back().status.ToString();
    ASSERT_TRUE(grows_past(std::filesystem::file_size(log)));
  }
  EXPECT_GT(records[0].bytes_read, records[2].bytes_read + (3 << 20));
  EXPECT_GT(records[2].bytes_external, 4u << 20);
  End();
  start();
  ASSERT_TRUE(Eventually([&] { return supervisor_->status().state == AppState::kRunning; }));
  EXPECT_NE(supervisor_->status().restored_from, "") << supervisor_->status().start_reason;
  ASSERT_TRUE(grows_past(std::filesystem::file_size(log)));
  End();
  const auto lines = Lines(log);
  for (size_t i = 0; i + 1 < lines.size(); ++i) ASSERT_EQ(lines[i], std::to_string(i + 1));
}

}  // namespace
}  // namespace snapstore::agent
