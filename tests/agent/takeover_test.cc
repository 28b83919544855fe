// An agent that dies or lets go, at any moment: the application runs on, and the next agent takes
// it over. With real processes.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <httplib.h>
#include <spawn.h>
#include <sys/wait.h>

#include <cstdlib>
#include <nlohmann/json.hpp>
#include <random>

#include "agent/process_tree.h"
#include "agent/state_files.h"
#include "base/listen_address.h"
#include "tests/agent/agent_fixture.h"

namespace snapstore::agent {
namespace {

using nlohmann::json;
using std::chrono::milliseconds;
using ::testing::HasSubstr;

class TakeoverTest : public CriuFixture {
 protected:
  void SetUp() override {
    CriuFixture::SetUp();
    if (IsSkipped()) return;
    script_ = WriteCounter(32 << 20);
    WriteConfig(fmt::format("python3 {} {}", script_, Path("log")));
  }
  void TearDown() override {
    Kill();
    EXPECT_TRUE(EndLeftCell(Path("state")).ok());
    if (HasFailure()) std::cout << Read(Path("agent.log"));
    CriuFixture::TearDown();
  }

  void WriteConfig(const std::string& run_cmd) {
    const json config = {{"name", "counter"},
                         {"runCmd", run_cmd},
                         {"snapshotDestination", "fs-0123abcd"},
                         {"snapshotScheduler", "0 0 1 1 *"},
                         {"externalFiles", {Path("log")}}};
    Write("config.json", config.dump());
    if (Lines(Path("log")).empty()) Write("log", "");
  }

  void Spawn(std::vector<std::string> more = {}) {
    std::vector<std::string> words = {
        SNAPSTORE_AGENT_BIN, "run",    "--config", Path("config.json"), "--repo",
        Path("repo"),        "--init", "--listen", "127.0.0.1:0",       "--state-dir",
        Path("state")};
    for (std::string& word : more) words.push_back(std::move(word));
    std::vector<char*> argv;
    argv.reserve(words.size() + 1);
    for (std::string& word : words) argv.push_back(word.data());
    argv.push_back(nullptr);
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, 2, Path("agent.log").c_str(),
                                     O_WRONLY | O_CREAT | O_APPEND, 0600);
    ASSERT_EQ(posix_spawn(&agent_, SNAPSTORE_AGENT_BIN, &actions, nullptr, argv.data(), environ),
              0);
    posix_spawn_file_actions_destroy(&actions);
  }
  void Start() {
    Spawn();
    ASSERT_TRUE(Eventually([&] { return Get("/status").value("state", "") == "running"; }));
  }
  // The exit code, or minus the signal.
  int Wait() {
    int status = -1;
    EXPECT_TRUE(Eventually([&] { return waitpid(agent_, &status, WNOHANG) == agent_; }));
    agent_ = 0;
    return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
  }
  void Kill() {
    if (agent_ == 0) return;
    kill(agent_, SIGKILL);
    (void)Wait();
  }

  json Call(bool post, const std::string& path, const std::string& body) {
    const auto file = ReadAgentFile(Path("state"));
    if (!file.ok() || file->pid != agent_) return json::object();
    const auto address = ListenAddress::Parse(file->listen);
    httplib::Client client(address->host, address->port);
    client.set_read_timeout(20);
    const auto answer = post ? client.Post(path, body, "application/json") : client.Get(path);
    return answer ? json::parse(answer->body, nullptr, false) : json::object();
  }
  json Get(const std::string& path) { return Call(false, path, ""); }
  json Post(const std::string& path, const std::string& body = "") {
    return Call(true, path, body);
  }

  int Counter() {
    const auto lines = Lines(Path("log"));
    return lines.empty() || lines.back().empty() ? 0 : std::stoi(lines.back());
  }
  bool CounterPasses(int value) {
    return Eventually([&] { return Counter() > value; });
  }
  void ExpectLogIsWhole() {
    const auto lines = Lines(Path("log"));
    for (size_t i = 0; i + 1 < lines.size(); ++i) {
      ASSERT_EQ(lines[i], std::to_string(i + 1)) << "a line is lost or doubled";
    }
  }

  std::string script_;
  pid_t agent_ = 0;
};

TEST_F(TakeoverTest, AKilledAgentsApplicationIsTakenOverAsItIs) {
  Start();
  ASSERT_TRUE(CounterPasses(5));
  const json before = Get("/status");
  Kill();
  ASSERT_TRUE(CounterPasses(Counter() + 5)) << "it runs on";
  Start();
  const json after = Get("/status");
  EXPECT_EQ(after["taken_over"], true);
  EXPECT_EQ(after["pid"], before["pid"]);
  EXPECT_EQ(after["started"], before["started"]);
  ASSERT_TRUE(Post("/checkpoint").contains("id"));
  ASSERT_TRUE(Post("/stop").contains("state"));
  EXPECT_EQ(Wait(), 0);
  const int at_end = Counter();
  Start();
  EXPECT_EQ(Get("/status")["taken_over"], false);
  ASSERT_TRUE(CounterPasses(at_end + 5)) << "the final checkpoint is restored";
  ExpectLogIsWhole();
}

TEST_F(TakeoverTest, LetGoItRunsOn) {
  Start();
  EXPECT_EQ(Post("/detach").value("state", ""), "detached");
  EXPECT_EQ(Wait(), 0);
  ASSERT_TRUE(CounterPasses(Counter() + 5));
  Spawn({"--fresh"});
  EXPECT_NE(Wait(), 0) << "a second one beside it";
  EXPECT_THAT(Read(Path("agent.log")), HasSubstr("an agent before has left it"));
  Start();
  kill(agent_, SIGUSR1);
  EXPECT_EQ(Wait(), 0);
  ASSERT_TRUE(CounterPasses(Counter() + 5));
  ExpectLogIsWhole();
}

TEST_F(TakeoverTest, AnEndWithoutAnAgentIsReportedByTheNext) {
  WriteConfig(fmt::format("sh -c 'while [ ! -e {} ]; do sleep 0.02; done; exit 7'", Path("go")));
  Start();
  const pid_t init = Get("/status")["pid"];
  Kill();
  Write("go", "");
  ASSERT_TRUE(Eventually([&] { return DescendantsOf(init)->empty(); }));
  Spawn();
  EXPECT_EQ(Wait(), 1);
  EXPECT_THAT(Read(Path("agent.log")), HasSubstr("exit code 7"));
}

// SNAPSTORE_TEST_KILLS: how often.
TEST_F(TakeoverTest, TheAgentMayBeKilledAtAnyMoment) {
  const char* wanted = getenv("SNAPSTORE_TEST_KILLS");
  const int rounds = wanted != nullptr ? std::stoi(wanted) : 6;
  std::mt19937 random(11);
  Start();
  for (int round = 0; round < rounds; ++round) {
    const milliseconds delay(std::uniform_int_distribution(0, 250)(random));
    const bool final = round % 3 == 2;
    SCOPED_TRACE(fmt::format("round {}: killed after {} ms{}", round, delay.count(),
                             final ? " of a final checkpoint" : ""));
    std::thread checkpoint([&] { (void)Post(final ? "/stop" : "/checkpoint"); });
    std::this_thread::sleep_for(delay);
    kill(agent_, SIGKILL);
    checkpoint.join();
    // Unless the stop was quicker.
    const bool ended = Wait() != -SIGKILL;
    const int at_kill = Counter();
    ASSERT_TRUE(ended || CounterPasses(at_kill + 3)) << "it runs on";
    Start();
    if (HasFailure()) return;
    ASSERT_TRUE(CounterPasses(at_kill + 3));
  }
  ASSERT_TRUE(Post("/checkpoint").contains("id"));
  ExpectLogIsWhole();
}

TEST_F(TakeoverTest, AnApplicationThatDiesOfADumpIsStartedAgain) {
  Start();
  ASSERT_TRUE(Post("/checkpoint").contains("id"));
  const int at_checkpoint = Counter();
  ASSERT_TRUE(CounterPasses(at_checkpoint + 5));
  const pid_t init = Get("/status")["pid"];
  std::thread killer([&] {
    // The application and CRIU, as when the second dies within the first.
    std::vector<pid_t> criu;
    (void)Eventually([&] {
      criu.clear();
      const auto descendants = DescendantsOf(agent_);
      for (const pid_t pid : *descendants) {
        const std::string words = Read(fmt::format("/proc/{}/cmdline", pid));
        if (words.find("--leave-running") != std::string::npos) criu.push_back(pid);
      }
      return !criu.empty();
    });
    const auto application = DescendantsOf(init);
    for (const pid_t pid : *application) kill(pid, SIGKILL);
    for (const pid_t pid : criu) kill(pid, SIGKILL);
  });
  EXPECT_FALSE(Post("/checkpoint").contains("id"));
  killer.join();
  // For a moment after the answer the status is still that of before.
  json status;
  ASSERT_TRUE(Eventually([&] {
    status = Get("/status");
    return status.value("state", "") == "running" && status["pid"] != init;
  }));
  EXPECT_NE(status.value("restored_from", ""), "");
  ASSERT_TRUE(CounterPasses(at_checkpoint + 10));
  ExpectLogIsWhole();
}

}  // namespace
}  // namespace snapstore::agent
