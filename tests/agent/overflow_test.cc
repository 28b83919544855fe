// Checkpoints of applications larger than the agent's memory for them.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <future>

#include "agent/supervisor.h"
#include "snapstore/repository.h"
#include "tests/agent/agent_fixture.h"
#include "tests/base/memory_folder.h"

namespace snapstore::agent {
namespace {

using ::testing::HasSubstr;

class OverflowTest : public CriuFixture {
 protected:
  void SetUp() override {
    CriuFixture::SetUp();
    if (IsSkipped()) return;
    RepositoryOptions options;
    options.location = Path("repo");
    options.cache_dir = Path("cache");
    options.memory_limit = 128 << 20;
    ASSERT_TRUE(Repository::Init(options).ok());
    auto repository = Repository::Open(options);
    ASSERT_TRUE(repository.ok()) << repository.status().ToString();
    repository_ = std::move(*repository);
    Write("sum.py", R"(
import os, sys, time, zlib
memory = bytearray(os.urandom(24 << 20))
n = 0
while True:
    n += 1
    with open(sys.argv[1], "w") as out:
        out.write(f"{zlib.crc32(memory)} {n}\n")
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

  void Start(const SpoolOptions& spool) {
    auto config = AppConfig::Parse(fmt::format(
        R"({{"name":"sum","runCmd":"python3 {} {}","snapshotDestination":"fs-0123abcd",
            "snapshotScheduler":"0 0 1 1 *"}})",
        Path("sum.py"), Path("out")));
    ASSERT_TRUE(config.ok());
    auto supervisor = Supervisor::Create({.config = std::move(*config),
                                          .state_directory = Path("state"),
                                          .arena_limit = 8 << 20,
                                          .spool = spool},
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

  // The next whole line that it writes: "sum count".
  std::string NextLine() {
    std::filesystem::remove(Path("out"));
    std::string line;
    EXPECT_TRUE(Eventually([&] { return (line = Read(Path("out"))).ends_with('\n'); }));
    return line;
  }
  std::string NextSum() {
    const std::string line = NextLine();
    return line.substr(0, line.find(' '));
  }

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

TEST_F(OverflowTest, WithoutASpoolTheArenaIsTheLimit) {
  Start({"", 0});
  (void)NextSum();
  const CheckpointRecord record = supervisor_->RequestCheckpoint();
  EXPECT_EQ(record.status.code(), StatusCode::kNoSpace);
  EXPECT_THAT(record.status.message(), HasSubstr("(--arena-limit)"));
  (void)NextSum();
}

}  // namespace
}  // namespace snapstore::agent
