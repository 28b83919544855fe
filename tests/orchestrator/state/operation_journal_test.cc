#include "orchestrator/state/operation_journal.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <iterator>
#include <map>
#include <random>
#include <set>

#include "orchestrator/state/rocks_state_store.h"
#include "tests/base/temp_folder.h"
#include "tests/orchestrator/model/bodies.h"

namespace snapstore::spot {
namespace {

constexpr int kSteps = 60;

NodeSpec Spec() {
  FieldErrors errors;
  return *ParseNodeSpec(Parsed(kOtherNode), &errors);
}

std::string StepName(int i) { return fmt::format("step-{}", i); }

TEST(OperationJournal, AStepBegunAgainIsTheSame) {
  const TempFolder temporary;
  const std::string& folder = temporary.path();
  {
    const auto store = *RocksStateStore::Open(folder);
    ControllerState state(store.get());
    OperationJournal journal(&state);
    const NodeRecord node = *state.CreateNode("act-1", Spec(), nullptr);
    const std::string id = *node.operation_id;
    const StepRecord first = *journal.BeginStep(id, "launch", {{"imageId", "ami-1"}});
    EXPECT_FALSE(first.client_token.empty());
    EXPECT_EQ(journal.Get(id)->state, OperationState::kRunning);
    ASSERT_TRUE(journal.FailStep(id, "launch", "no capacity").ok());
    const StepRecord second = *journal.BeginStep(id, "launch", {{"imageId", "ami-2"}});
    EXPECT_EQ(second.client_token, first.client_token);
    EXPECT_EQ(second.input["imageId"], "ami-1");
    EXPECT_EQ(second.attempts, 2);
    EXPECT_EQ(second.error, "no capacity");
    ASSERT_TRUE(journal.FinishStep(id, "launch", {{"instanceId", "i-1"}}).ok());
    const StepRecord third = *journal.BeginStep(id, "launch", Json());
    EXPECT_EQ(third.state, StepState::kDone);
    EXPECT_EQ(third.output["instanceId"], "i-1");
    EXPECT_FALSE(journal.FinishStep(id, "never-begun", Json()).ok());

    ASSERT_TRUE(journal.Finish(id, OperationState::kDone, "", nullptr).ok());
    EXPECT_TRUE(journal.Active()->empty());
    EXPECT_TRUE(journal.BeginStep(id, "late", Json()).status().Is(StatusCode::kNotFound));
    const auto finished = journal.Finished("act-1", node.id);
    ASSERT_EQ(finished->size(), 1);
    EXPECT_EQ((*finished)[0].steps[0].output["instanceId"], "i-1");
  }
}

// Carries the operation on, as a controller does; what each step does to the world is a line in a
// file. After so many lines of its own it waits to be killed. Never returns.
[[noreturn]] void RunController(const std::string& folder, const std::string& world,
                                int lines_until_it_waits) {
  auto store = RocksStateStore::Open(folder + "/state");
  // The one that was killed may not be gone quite yet.
  for (int i = 0; i < 100 && !store.ok(); ++i) {
    usleep(10'000);
    store = RocksStateStore::Open(folder + "/state");
  }
  if (!store.ok()) _exit(3);
  ControllerState state(store->get());
  OperationJournal journal(&state);
  const auto active = journal.Active();
  if (!active.ok() || active->size() > 1) _exit(4);
  if (active->empty()) _exit(0);
  const std::string id = (*active)[0].id;
  const int fd = open(world.c_str(), O_WRONLY | O_CREAT | O_APPEND, 0600);
  for (int i = 0; i < kSteps; ++i) {
    const auto step = journal.BeginStep(id, StepName(i), {{"number", i}});
    if (!step.ok()) _exit(5);
    if (step->state == StepState::kDone) continue;
    const std::string line = fmt::format("{} {}\n", i, step->client_token);
    if (write(fd, line.data(), line.size()) != static_cast<ssize_t>(line.size())) _exit(6);
    if (--lines_until_it_waits == 0) pause();
    if (!journal.FinishStep(id, StepName(i), {{"token", step->client_token}}).ok()) _exit(7);
  }
  const Status finished =
      journal.Finish(id, OperationState::kDone, "", [](ControllerState::NodeChange* change) {
        change->node.state = NodeState::kActive;
        return Status::Ok();
      });
  _exit(finished.ok() ? 0 : 8);
}

int LinesOf(const std::string& file) {
  std::ifstream in(file);
  return static_cast<int>(std::count(std::istreambuf_iterator<char>(in), {}, '\n'));
}

// Returns when `world` has that many lines or the process has ended, which it leaves to be waited
// for.
void AwaitLines(pid_t pid, const std::string& world, int lines) {
  siginfo_t ended = {};
  while (LinesOf(world) < lines && waitid(P_PID, pid, &ended, WEXITED | WNOHANG | WNOWAIT) == 0 &&
         ended.si_pid == 0) {
    usleep(1'000);
  }
}

constexpr const char* kChildFolder = "SNAPSTORE_TEST_JOURNAL_FOLDER";
constexpr const char* kChildWaitsAfter = "SNAPSTORE_TEST_JOURNAL_WAITS_AFTER";

// The controller's process: RocksDB's threads do not survive a bare fork.
TEST(OperationJournalController, RunsInAProcessOfItsOwn) {
  const char* folder = getenv(kChildFolder);
  if (folder == nullptr) GTEST_SKIP() << "started by the test of kills";
  const char* waits_after = getenv(kChildWaitsAfter);
  RunController(folder, std::string(folder) + "/world",
                waits_after == nullptr ? 0 : std::stoi(waits_after));
}

TEST(OperationJournal, AControllerThatIsKilledAgainAndAgainGoesOnWhereItWas) {
  const TempFolder temporary;
  const std::string& folder = temporary.path();
  const std::string world = folder + "/world";
  NodeRecord node;
  {
    const auto store = *RocksStateStore::Open(folder + "/state");
    ControllerState state(store.get());
    node = *state.CreateNode("act-1", Spec(), nullptr);
  }
  const unsigned seed = std::random_device()();
  SCOPED_TRACE(fmt::format("seed {}", seed));
  std::mt19937 random(seed);
  int kills = 0;
  bool finished = false;
  for (int run = 0; run < 200 && !finished; ++run) {
    const int lines = std::uniform_int_distribution(0, 6)(random);
    const pid_t pid = fork();
    if (pid == 0) {
      setenv(kChildFolder, folder.c_str(), 1);
      // The first would be done before its death came, where the machine is quick.
      if (run == 0) setenv(kChildWaitsAfter, std::to_string(lines + 1).c_str(), 1);
      execl("/proc/self/exe", "controller", "--gtest_filter=OperationJournalController.*", nullptr);
      _exit(9);
    }
    // Some die while they open the store, some between steps, some within one. By what it has done,
    // not by the clock alone: a controller may need a second to start.
    if (lines > 0) AwaitLines(pid, world, LinesOf(world) + lines);
    usleep(std::uniform_int_distribution<useconds_t>(0, lines > 0 ? 5'000 : 100'000)(random));
    kill(pid, SIGKILL);
    int status = 0;
    waitpid(pid, &status, 0);
    if (WIFEXITED(status)) {
      ASSERT_EQ(WEXITSTATUS(status), 0);
      finished = true;
    } else {
      ++kills;
    }
  }
  ASSERT_TRUE(finished);
  EXPECT_GT(kills, 0);

  std::map<int, std::set<std::string>> tokens;
  std::ifstream lines(world);
  int number = 0;
  std::string token;
  int last = -1;
  while (lines >> number >> token) {
    tokens[number].insert(token);
    EXPECT_TRUE(number == last || number == last + 1) << "steps are in order, repeated at most";
    last = number;
  }
  EXPECT_EQ(tokens.size(), kSteps);
  const auto store = RocksStateStore::Open(folder + "/state");
  ASSERT_TRUE(store.ok()) << store.status().ToString();
  ControllerState state(store->get());
  const auto done = OperationJournal(&state).Finished("act-1", node.id);
  ASSERT_EQ(done->size(), 1);
  ASSERT_EQ((*done)[0].steps.size(), kSteps);
  for (int i = 0; i < kSteps; ++i) {
    // However often it was tried, the cloud saw one token, and that is the one recorded.
    EXPECT_EQ(tokens[i], std::set<std::string>{(*done)[0].steps[i].client_token});
    EXPECT_EQ((*done)[0].steps[i].output["token"], (*done)[0].steps[i].client_token);
  }
  EXPECT_EQ(state.GetNode("act-1", node.id)->state, NodeState::kActive);
}

}  // namespace
}  // namespace snapstore::spot
