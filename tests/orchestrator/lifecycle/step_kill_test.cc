// The same operations over RocksDB, by a controller that is killed with SIGKILL: what is on disk
// then is to the byte what a store in memory holds at the same instant, and the next controller
// goes on from there to the end.
//
// The killed one is a process of its own: RocksDB's threads do not survive a bare fork. Both follow
// from the seed alone, so they come to the same instant.
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <map>
#include <sstream>

#include "base/log.h"
#include "orchestrator/state/rocks_state_store.h"
#include "tests/base/temp_folder.h"
#include "tests/orchestrator/lifecycle/simulated_scenarios.h"

namespace snapstore::spot {
namespace {

using Kind = CrashPoint::Kind;

constexpr const char* kVariable = "SNAPSTORE_TEST_STEP_KILL";
constexpr int kNotOpened = 3;
constexpr int kNotBegun = 4;
constexpr int kNotKilled = 5;

std::unique_ptr<StateStore> Open(const std::string& folder) {
  auto store = RocksStateStore::Open(folder);
  if (!store.ok()) {
    LogError("{}: {}", folder, store.status().message());
    return nullptr;
  }
  return *std::move(store);
}

// "<scenario> <kind> <index> <folder>". Does not come back.
[[noreturn]] void RunController(const std::string& what) {
  std::istringstream in(what);
  size_t number = 0;
  int kind = 0;
  CrashPoint point;
  std::string folder;
  in >> number >> kind >> point.index >> folder;
  point.kind = static_cast<Kind>(kind);
  SetLogLevel(LogLevel::kError);
  auto store = Open(folder);
  if (store == nullptr) _exit(kNotOpened);
  const std::vector<Scenario> scenarios = Scenarios();
  ScenarioWorld world(scenarios.at(number),
                      {.open_store = [&] { return std::move(store); }, .kills_process = true});
  if (!world.Begin().empty()) _exit(kNotBegun);
  world.Arm(point);
  (void)world.End();
  _exit(kNotKilled);
}

TEST(StepKillController, RunsInAProcessOfItsOwn) {
  const char* const what = getenv(kVariable);
  if (what == nullptr) GTEST_SKIP() << "started by the test of kills";
  RunController(what);
}

// In memory where there is a file system for it: what is tested is the process's death, not the
// machine's.
std::filesystem::path FastFolder() {
  const std::filesystem::path shared = "/dev/shm";
  return access(shared.c_str(), W_OK) == 0 ? shared : std::filesystem::temp_directory_path();
}

std::map<std::string, std::string> ContentOf(StateStore* store) {
  std::map<std::string, std::string> content;
  std::string after;
  for (bool more = true; more;) {
    constexpr size_t kPage = 500;
    const auto page = store->List("", after, kPage);
    EXPECT_TRUE(page.ok()) << page.status().ToString();
    if (!page.ok()) break;
    for (const StateEntry& entry : page->entries) content[entry.key] = entry.value;
    more = page->more;
    if (more) after = page->entries.back().key;
  }
  return content;
}

class StepKill : public ::testing::TestWithParam<size_t> {
 protected:
  StepKill() : temporary_(FastFolder()) { SetLogLevel(LogLevel::kError); }

  // The status that the controller ended with.
  int RunKilled(const CrashPoint& point, const std::string& folder) {
    const std::string what =
        fmt::format("{} {} {} {}", GetParam(), static_cast<int>(point.kind), point.index, folder);
    const pid_t pid = fork();
    if (pid == 0) {
      setenv(kVariable, what.c_str(), 1);
      execl("/proc/self/exe", "controller", "--gtest_filter=StepKillController.*", nullptr);
      _exit(127);
    }
    int status = 0;
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR) {
    }
    return status;
  }

  void DieAt(const CrashPoint& point) {
    const std::string folder =
        temporary_.File(fmt::format("{}-{}", static_cast<int>(point.kind), point.index));
    const int status = RunKilled(point, folder);
    ASSERT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL) << "status " << status;

    ScenarioWorld world(scenario_, {});
    ASSERT_EQ(world.Begin(), "");
    world.on_death = [&](HookedStateStore* memory) {
      auto disk = Open(folder);
      ASSERT_NE(disk, nullptr);
      EXPECT_EQ(ContentOf(disk.get()), ContentOf(memory));
      memory->Use(std::move(disk));
    };
    world.Arm(point);
    EXPECT_EQ(world.End(), "");
    EXPECT_EQ(world.crashes(), 1);
    std::error_code ignored;
    std::filesystem::remove_all(folder, ignored);
  }

  const std::vector<Scenario> scenarios_ = Scenarios();
  const Scenario& scenario_ = scenarios_.at(GetParam());
  const TempFolder temporary_;
};

TEST_P(StepKill, GoesOnFromWhatIsOnDisk) {
  uint64_t calls = 0;
  uint64_t commits = 0;
  {
    ScenarioWorld world(scenario_, {});
    ASSERT_EQ(world.Begin(), "");
    world.Arm({});
    ASSERT_EQ(world.End(), "");
    calls = world.calls();
    commits = world.commits();
  }
  // About so many of them; SNAPSTORE_EACH_INSTANT=1 takes them all.
  constexpr uint64_t kUsual = 10;
  const uint64_t all = 2 * (calls + commits);
  const uint64_t stride =
      std::getenv("SNAPSTORE_EACH_INSTANT") == nullptr ? std::max<uint64_t>(1, all / kUsual) : 1;
  uint64_t turn = GetParam();
  const auto at = [&](const char* name, Kind kind, uint64_t count) {
    for (uint64_t i = 0; i < count && !HasFailure(); ++i) {
      if (turn++ % stride != 0) continue;
      SCOPED_TRACE(fmt::format("{} {}", name, i));
      DieAt({kind, i});
    }
  };
  at("before call", Kind::kBeforeCall, calls);
  at("after call", Kind::kAfterCall, calls);
  at("before commit", Kind::kBeforeCommit, commits);
  at("after commit", Kind::kAfterCommit, commits);
}

// With everything around the node; the default run takes these, the others are those of StepCrash.
std::vector<size_t> Chosen() {
  std::vector<size_t> chosen;
  const std::vector<Scenario> scenarios = Scenarios();
  for (size_t i = 0; i < scenarios.size(); ++i) {
    const bool usual = scenarios[i].connected || scenarios[i].name == std::string("Import");
    if (usual || std::getenv("SNAPSTORE_EACH_INSTANT") != nullptr) chosen.push_back(i);
  }
  return chosen;
}

INSTANTIATE_TEST_SUITE_P(All, StepKill, ::testing::ValuesIn(Chosen()),
                         [](const auto& test) { return NameOf(Scenarios().at(test.param)); });

}  // namespace
}  // namespace snapstore::spot
