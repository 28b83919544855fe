#include "agent/cell.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/wait.h>

#include "agent/process_tree.h"
#include "tests/agent/agent_fixture.h"

namespace snapstore::agent {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

class CellTest : public AgentFixture {
 protected:
  std::unique_ptr<Cell> Start(std::vector<std::string> argv) {
    auto cell = Cell::Create(Options(std::move(argv)));
    EXPECT_TRUE(cell.ok()) << cell.status().ToString();
    if (!cell.ok()) return nullptr;
    const Status started = (*cell)->StartApplication();
    EXPECT_TRUE(started.ok()) << started.ToString();
    return started.ok() ? std::move(*cell) : nullptr;
  }

  // Host pids whose command line contains `mark`.
  static std::vector<int> ProcessesWith(const std::string& mark) {
    std::vector<int> pids;
    for (const auto& entry : std::filesystem::directory_iterator("/proc")) {
      const std::string name = entry.path().filename();
      if (name.find_first_not_of("0123456789") != std::string::npos) continue;
      if (Read(entry.path() / "cmdline").find(mark) != std::string::npos) {
        pids.push_back(std::stoi(name));
      }
    }
    return pids;
  }
};

TEST_F(CellTest, ApplicationSeesOnlyItsOwnProcesses) {
  auto cell = Start({"sh", "-c", "echo pid $$; ls -d /proc/[0-9]* | wc -l; cat /proc/1/comm"});
  ASSERT_NE(cell, nullptr);
  ASSERT_EQ(cell->WaitForExit(seconds(10)), 0);
  const auto lines = Lines(Path("app.log"));
  ASSERT_EQ(lines.size(), 3u);
  EXPECT_EQ(lines[0], "pid 2");
  EXPECT_LE(std::stoi(lines[1]), 4);
  EXPECT_EQ(lines[2], "snapstore-cell");
}

TEST_F(CellTest, ApplicationInheritsNothingButItsThreeFiles) {
  const int leaked = open("/dev/null", O_RDONLY);
  // No pipeline: the shell itself would hold its ends for a moment.
  auto cell = Start({"sh", "-c", "ls /proc/$$/fd; readlink /proc/$$/fd/0; readlink /proc/$$/fd/1"});
  ASSERT_NE(cell, nullptr);
  ASSERT_EQ(cell->WaitForExit(seconds(10)), 0);
  close(leaked);
  EXPECT_THAT(Lines(Path("app.log")), ElementsAre("0", "1", "2", "/dev/null", Path("app.log")));
}

TEST_F(CellTest, ReportsHowTheApplicationEnded) {
  auto failing = Start({"sh", "-c", "exit 7"});
  ASSERT_NE(failing, nullptr);
  const auto status = failing->WaitForExit(seconds(10));
  ASSERT_TRUE(status.has_value());
  EXPECT_EQ(DescribeWaitStatus(*status), "exit code 7");

  auto killed = Start({"sh", "-c", "kill -9 $$"});
  ASSERT_NE(killed, nullptr);
  const auto signalled = killed->WaitForExit(seconds(10));
  ASSERT_TRUE(signalled.has_value());
  EXPECT_EQ(DescribeWaitStatus(*signalled), "signal 9 (Killed)");
}

TEST_F(CellTest, AnExitIsNotReportedBeforeItHappens) {
  auto cell = Start({"sleep", "600"});
  ASSERT_NE(cell, nullptr);
  EXPECT_FALSE(cell->WaitForExit(milliseconds(50)).has_value());
}

TEST_F(CellTest, SaysWhatCannotBeStarted) {
  EXPECT_EQ(Cell::Create(Options({"no-such-program"})).status().message(),
            "program no-such-program: not found in PATH");
  EXPECT_THAT(Cell::Create(Options({"/no/such/program"})).status().message(),
              HasSubstr("/no/such/program"));
  EXPECT_THAT(Cell::Create(Options({"/etc/passwd"})).status().message(),
              HasSubstr("not an executable"));
  const std::string garbage = Write("garbage", "\x01\x02\x03");
  std::filesystem::permissions(garbage, std::filesystem::perms::all);
  auto cell = Cell::Create(Options({garbage}));
  ASSERT_TRUE(cell.ok());
  const Status started = (*cell)->StartApplication();
  ASSERT_FALSE(started.ok());
  EXPECT_THAT(started.message(), HasSubstr("garbage: execute"));

  auto options = Options({"true"});
  options.log_path = "/no/such/directory/log";
  auto no_log = Cell::Create(options);
  ASSERT_TRUE(no_log.ok());
  EXPECT_THAT((*no_log)->StartApplication().message(),
              HasSubstr("open the log file /no/such/directory/log"));
}

TEST_F(CellTest, KillTakesDetachedDescendantsWithIt) {
  const std::string mark = "61" + std::to_string(getpid());
  auto cell = Start({"sh", "-c", "setsid setsid sleep " + mark + " & exec sleep " + mark});
  ASSERT_NE(cell, nullptr);
  ASSERT_TRUE(Eventually([&] { return ProcessesWith(mark).size() == 2; }));
  cell->Kill();
  EXPECT_TRUE(ProcessesWith(mark).empty());
}

TEST_F(CellTest, NothingIsLeftWhenItsMakerIsKilled) {
  const std::string mark = "62" + std::to_string(getpid());
  const pid_t maker = fork();
  ASSERT_GE(maker, 0);
  if (maker == 0) {
    auto cell = Cell::Create(Options({"sleep", mark}));
    if (!cell.ok() || !(*cell)->StartApplication().ok()) _exit(1);
    pause();
  }
  const bool started = Eventually([&] { return !ProcessesWith(mark).empty(); });
  kill(maker, SIGKILL);
  waitpid(maker, nullptr, 0);
  ASSERT_TRUE(started);
  EXPECT_TRUE(Eventually([&] { return ProcessesWith(mark).empty(); }));
}

TEST_F(CellTest, ASecondCellDoesNotKeepTheFirstAlive) {
  const std::string mark = "63" + std::to_string(getpid());
  auto first = Start({"sleep", mark});
  auto second = Start({"sleep", "600"});
  ASSERT_NE(first, nullptr);
  ASSERT_NE(second, nullptr);
  first.reset();
  EXPECT_TRUE(ProcessesWith(mark).empty());
  EXPECT_FALSE(second->WaitForExit(milliseconds(20)).has_value());
}

TEST_F(CellTest, ProcessesThatStandStillAreFoundByEitherWay) {
  auto cell = Start({"python3", "-c", R"(
import os, threading, time
def child():
    if os.fork() == 0:
        if os.fork() == 0:
            pass
        time.sleep(600)
child()
threading.Thread(target=child).start()
time.sleep(600))"});
  ASSERT_NE(cell, nullptr);
  std::vector<pid_t> all;
  ASSERT_TRUE(Eventually([&] { return (all = *DescendantsOf(cell->init_pid())).size() == 5; }));
  auto found = FrozenDescendantsOf(cell->init_pid());
  ASSERT_TRUE(found.ok()) << found.status().ToString();
  EXPECT_THAT(*found, ::testing::UnorderedElementsAreArray(all));
}

TEST_F(CellTest, SpawnedProgramsRunInsideAndReportTheirExit) {
  auto cell = Start({"sleep", "600"});
  ASSERT_NE(cell, nullptr);
  const int output = open(Path("out").c_str(), O_WRONLY | O_CREAT | O_APPEND, 0600);
  auto process = cell->Spawn({"/bin/sh", "-c", "cat /proc/2/comm; [ \"$MORE\" = x ] && exit 5"},
                             output, {"MORE=x"});
  close(output);
  ASSERT_TRUE(process.ok()) << process.status().ToString();
  EXPECT_EQ(process->Wait(), 5);
  EXPECT_EQ(Read(Path("out")), "sleep\n");
}

TEST_F(CellTest, PidsBelowTheRaisedOneAreLeftFree) {
  auto cell = Cell::Create(Options({"sh", "-c", "echo $$"}));
  ASSERT_TRUE(cell.ok());
  ASSERT_TRUE((*cell)->PrepareRestore(20000, 2).ok());
  ASSERT_TRUE((*cell)->StartApplication().ok());
  EXPECT_EQ((*cell)->root_pid(), 20001);
}

}  // namespace
}  // namespace snapstore::agent
