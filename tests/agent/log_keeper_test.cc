// Logs that are cut while somebody writes to them.
#include "agent/log_keeper.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/mount.h>
#include <unistd.h>

#include <atomic>
#include <filesystem>

#include "base/file.h"
#include "base/log.h"
#include "tests/agent/agent_fixture.h"

namespace snapstore::agent {
namespace {

using ::testing::HasSubstr;

constexpr uint64_t kSmall = 64 << 10;

// The lines "1", "2", … into a descriptor as an application's, until it is ended.
class Writer {
 public:
  explicit Writer(const std::string& path) : fd_(OpenLog(path)) {
    thread_ = std::thread([this] {
      while (!end_) {
        const std::string line = fmt::format("{:>40}\n", ++count_);
        if (write(fd_.get(), line.data(), line.size()) != static_cast<ssize_t>(line.size())) return;
      }
    });
  }
  ~Writer() { (void)End(); }
  int End() {
    end_ = true;
    if (thread_.joinable()) thread_.join();
    return count_;
  }

 private:
  static UniqueFd OpenLog(const std::string& path) {
    return UniqueFd(open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND, 0600));
  }
  UniqueFd fd_;
  std::atomic<bool> end_ = false;
  std::atomic<int> count_ = 0;
  std::thread thread_;
};

class LogKeeperTest : public AgentFixture {
 protected:
  // All that is there, oldest first, without zeros.
  std::string Whole(const std::string& path) const {
    std::string text;
    for (size_t number = 200; number > 0; --number) {
      text += Read(fmt::format("{}.{}", path, number));
    }
    text += Read(path);
    std::erase(text, '\0');
    return text;
  }
  static std::string Expected(int count) {
    std::string text;
    for (int i = 1; i <= count; ++i) text += fmt::format("{:>40}\n", i);
    return text;
  }
  // Cuts again and again while it is written to.
  void CutWhileWriting(const std::string& path) {
    Writer writer(path);
    int cuts = 0;
    ASSERT_TRUE(Eventually([&] {
      const auto cut = CutHeldLog(path, kSmall, 200);
      EXPECT_TRUE(cut.ok()) << cut.status().ToString();
      if (cut.ok() && *cut) ++cuts;
      return cuts >= 20 || !cut.ok();
    }));
    const int count = writer.End();
    EXPECT_EQ(Whole(path), Expected(count)) << "a line is lost or doubled";
    EXPECT_EQ(Read(fmt::format("{}.1", path)).find('\0'), std::string::npos);
  }
};

TEST_F(LogKeeperTest, NoLineIsLostWhileAnApplicationWrites) { CutWhileWriting(Path("app.log")); }

TEST_F(LogKeeperTest, NorWhereTheBeginningBecomesAHole) {
  const std::string mount_point = Path("tmpfs");
  std::filesystem::create_directory(mount_point);
  if (mount("tmpfs", mount_point.c_str(), "tmpfs", 0, "size=64m") != 0) GTEST_SKIP() << "no tmpfs";
  CutWhileWriting(mount_point + "/app.log");
  struct stat info {};
  EXPECT_EQ(stat((mount_point + "/app.log").c_str(), &info), 0);
  EXPECT_LT(info.st_blocks * 512, info.st_size) << "its space is given back";
  EXPECT_EQ(umount2(mount_point.c_str(), MNT_DETACH), 0);
}

TEST_F(LogKeeperTest, OnlySoManyOldPartsStay) {
  const std::string path = Path("app.log");
  for (int round = 1; round <= 5; ++round) {
    std::ofstream(path, std::ios::app) << std::string(kSmall, static_cast<char>('0' + round));
    const auto cut = CutHeldLog(path, kSmall, 2);
    ASSERT_TRUE(cut.ok()) << cut.status().ToString();
    EXPECT_TRUE(*cut);
  }
  EXPECT_THAT(Read(path + ".1"), HasSubstr("5555"));
  EXPECT_THAT(Read(path + ".2"), HasSubstr("4444"));
  EXPECT_FALSE(std::filesystem::exists(path + ".3"));
  const auto small = CutHeldLog(path, kSmall, 2);
  ASSERT_TRUE(small.ok());
  EXPECT_FALSE(*small) << "it is small";
  const auto none = CutHeldLog(Path("none"), kSmall, 2);
  ASSERT_TRUE(none.ok()) << none.status().ToString();
  EXPECT_FALSE(*none);
}

TEST_F(LogKeeperTest, WhatACutThatWasNotFinishedSavedIsKept) {
  const std::string path = Path("app.log");
  Write("app.log.cutting", "all there is\n");
  Write("app.log", std::string(kSmall, 'x'));
  const auto cut = CutHeldLog(path, kSmall, 3);
  ASSERT_TRUE(cut.ok()) << cut.status().ToString();
  EXPECT_TRUE(*cut);
  EXPECT_EQ(Read(path + ".2"), "all there is\n");
}

// Before there is any thread: one of another test that did not would die of the signal.
const bool kHangupIsBlocked = [] {
  sigset_t hangup;
  sigemptyset(&hangup);
  sigaddset(&hangup, SIGHUP);
  return pthread_sigmask(SIG_BLOCK, &hangup, nullptr) == 0;
}();

// Standard error is this process's own: each of these tests puts it back.
class OwnLogTest : public LogKeeperTest {
 protected:
  void SetUp() override {
    LogKeeperTest::SetUp();
    ASSERT_TRUE(kHangupIsBlocked);
    standard_error_.Reset(dup(STDERR_FILENO));
  }
  void TearDown() override {
    keeper_.reset();
    dup2(standard_error_.get(), STDERR_FILENO);
    LogKeeperTest::TearDown();
  }
  void Start(LogOptions options) {
    auto keeper = LogKeeper::Start(std::move(options));
    ASSERT_TRUE(keeper.ok()) << keeper.status().ToString();
    keeper_ = std::move(*keeper);
  }

  UniqueFd standard_error_;
  std::unique_ptr<LogKeeper> keeper_;
};

TEST_F(OwnLogTest, IsOpenedAnewAtSighup) {
  Start({.own_log = Path("agent.log"), .application_log = ""});
  LogInfo("first");
  std::filesystem::rename(Path("agent.log"), Path("moved"));
  kill(getpid(), SIGHUP);
  ASSERT_TRUE(Eventually([&] { return std::filesystem::exists(Path("agent.log")); }));
  LogInfo("second");
  EXPECT_THAT(Read(Path("moved")), HasSubstr("first"));
  EXPECT_THAT(Read(Path("agent.log")), HasSubstr("second"));
}

TEST_F(OwnLogTest, IsRenamedWhenItIsLargeAndSoIsTheApplications) {
  Write("app.log", std::string(kSmall, 'x'));
  Start({.own_log = Path("agent.log"), .application_log = Path("app.log"), .bytes_max = kSmall});
  LogInfo("{}", std::string(kSmall, 'y'));
  ASSERT_TRUE(Eventually([&] {
    return std::filesystem::exists(Path("agent.log.1")) &&
           std::filesystem::exists(Path("app.log.1")) && std::filesystem::exists(Path("agent.log"));
  }));
  LogInfo("after");
  EXPECT_THAT(Read(Path("agent.log")), HasSubstr("after"));
}

TEST_F(OwnLogTest, ALogThatCannotBeOpenedIsAnError) {
  EXPECT_FALSE(LogKeeper::Start({.own_log = Path("no/such/folder"), .application_log = ""}).ok());
}

}  // namespace
}  // namespace snapstore::agent
