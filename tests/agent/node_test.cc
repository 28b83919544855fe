// `snapstore-agent node` as a process, with real applications, CRIU and repositories; the metadata
// service and the controller are the test's.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <spawn.h>
#include <sys/wait.h>

#include "base/base64.h"
#include "base/clock.h"
#include "base/tls_certificate.h"
#include "tests/agent/agent_fixture.h"
#include "tests/agent/node_fakes.h"

namespace snapstore::agent {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

class NodeTest : public CriuFixture {
 protected:
  void SetUp() override {
    CriuFixture::SetUp();
    if (IsSkipped()) return;
    metadata_.Up();
    controller_.Answer(false, json::array());
    controller_.Up();
    Write("token", FakeController::kToken);
    std::filesystem::create_directories(Path("efs/fs-0123abcd"));
    script_ = WriteCounter(1 << 20);
  }
  void TearDown() override {
    Kill();
    // Without it they end by themselves, but not at once.
    for (const pid_t child : children_) kill(child, SIGKILL);
    for (const pid_t child : children_) {
      EXPECT_TRUE(Eventually([&] { return IsGone(child); })) << child;
    }
    EXPECT_TRUE(EndLeftCell(Path("state/apc-1")).ok());
    if (HasFailure()) std::cout << Read(Path("node.log")) << Read(Path("state/apc-1/agent.log"));
  }

  json Application(const std::string& cmd, const std::string& files = "") {
    json config = {{"name", "counter"},
                   {"runCmd", cmd},
                   {"snapshotDestination", "fs-0123abcd"},
                   {"snapshotScheduler", "0 0 1 1 *"},
                   {"externalFiles", json()}};
    if (!files.empty()) config["externalFiles"] = {files};
    return {
        {"id", "apc-1"}, {"config", config}, {"repository", "efs://fs-0123abcd/act-1/smi-1/apc-1"}};
  }
  json Counting() {
    return json::array(
        {Application(fmt::format("python3 {} {}", script_, Path("log")), Path("log"))});
  }

  pid_t Spawn() {
    std::vector<std::string> arguments = {
        SNAPSTORE_AGENT_BIN, "node",          "--controller",   controller_.url(),
        "--account",         "act-1",         "--token-file",   Path("token"),
        "--listen",          "127.0.0.1:0",   "--state-dir",    Path("state"),
        "--metadata-url",    metadata_.url(), "--poll-seconds", "0.1"};
    arguments.insert(arguments.end(), more_arguments_.begin(), more_arguments_.end());
    std::vector<std::string> environment = {
        "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:"
        "/sbin:/bin",
        "SNAPSTORE_EFS_ROOT=" + Path("efs"), "SPOTINST_TOKEN=hidden-from-applications"};
    std::vector<char*> argv;
    argv.reserve(arguments.size() + 1);
    std::vector<char*> variables;
    variables.reserve(environment.size() + 1);
    for (std::string& text : arguments) argv.push_back(text.data());
    for (std::string& text : environment) variables.push_back(text.data());
    argv.push_back(nullptr);
    variables.push_back(nullptr);
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, 2, Path("node.log").c_str(),
                                     O_WRONLY | O_CREAT | O_APPEND, 0600);
    pid_t pid = 0;
    EXPECT_EQ(
        posix_spawn(&pid, SNAPSTORE_AGENT_BIN, &actions, nullptr, argv.data(), variables.data()),
        0);
    posix_spawn_file_actions_destroy(&actions);
    return pid;
  }
  void Start() {
    node_ = Spawn();
    const size_t before = controller_.heartbeats().size();
    ASSERT_TRUE(Eventually([&] { return controller_.heartbeats().size() > before; }));
  }
  void StartCounting() {
    controller_.Answer(true, Counting());
    Start();
    ASSERT_TRUE(Eventually([&] { return controller_.State() == "running"; }));
    ASSERT_TRUE(CounterPasses(Counter() + 5));
    (void)Child();
  }
  static bool IsGone(pid_t pid) {
    // Nobody may have waited for it yet.
    return kill(pid, 0) != 0 ||
           Read(fmt::format("/proc/{}/stat", pid)).find(") Z ") != std::string::npos;
  }
  static int Wait(pid_t pid) {
    int status = -1;
    EXPECT_TRUE(Eventually([&] { return waitpid(pid, &status, WNOHANG) == pid; }));
    return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
  }
  // The exit code.
  int End(int number) {
    kill(node_, number);
    const int code = Wait(node_);
    node_ = 0;
    return code;
  }
  void Kill() {
    if (node_ == 0) return;
    kill(node_, SIGKILL);
    (void)Wait(node_);
    node_ = 0;
  }
  // The process of the application's agent.
  pid_t Child() {
    const json file = json::parse(Read(Path("state/apc-1/agent.json")), nullptr, false);
    const pid_t child = file.is_object() ? file.value("pid", 0) : 0;
    if (child != 0) children_.push_back(child);
    return child;
  }

  // Of the control interface: the status, and the document.
  std::pair<int, json> Call(const std::string& method, const std::string& path,
                            const std::string& body = "", bool with_token = true) {
    const json newest = controller_.newest();
    httplib::Client client(Url(newest));
    CertificatePin pin;
    Pin(newest, &pin, &client);
    client.set_read_timeout(30);
    httplib::Request request;
    request.method = method;
    request.path = path;
    request.body = body;
    if (with_token) {
      request.set_header("Authorization", "Bearer " + newest["controlToken"].get<std::string>());
    }
    const auto answer = client.send(request);
    if (!answer) return {0, json()};
    return {answer->status, json::parse(answer->body, nullptr, false)};
  }

  static std::string Url(const json& heartbeat) {
    return fmt::format("https://127.0.0.1:{}", heartbeat["port"].get<int>());
  }
  // As the controller does.
  static void Pin(const json& heartbeat, CertificatePin* pin, httplib::Client* client) {
    pin->fingerprint = heartbeat["tlsFingerprint"].get<std::string>();
    client->enable_server_certificate_verification(false);
    PinCertificate(client->ssl_context(), pin);
  }

  std::string Metrics() {
    const json newest = controller_.newest();
    httplib::Client client(Url(newest));
    CertificatePin pin;
    Pin(newest, &pin, &client);
    client.set_bearer_token_auth(newest["controlToken"].get<std::string>());
    const auto answer = client.Get("/metrics");
    return answer ? answer->body : "";
  }

  int Counter() {
    const auto lines = Lines(Path("log"));
    return lines.empty() || lines.back().empty() ? 0 : std::stoi(lines.back());
  }
  bool CounterPasses(int value) {
    return Eventually([&] { return Counter() > value; });
  }
  bool CounterStands() {
    return Eventually([&] {
      const int before = Counter();
      std::this_thread::sleep_for(std::chrono::milliseconds(200));
      return Counter() == before;
    });
  }
  // Memory and log agree exactly when no number is missing and none is there twice.
  void ExpectLogIsWhole() {
    const auto lines = Lines(Path("log"));
    for (size_t i = 0; i < lines.size(); ++i) {
      ASSERT_EQ(lines[i], std::to_string(i + 1)) << "a line is lost or doubled";
    }
  }

  FakeMetadata metadata_;
  FakeController controller_;
  std::string script_;
  std::vector<std::string> more_arguments_;
  pid_t node_ = 0;
  std::vector<pid_t> children_;
};

TEST_F(NodeTest, ApplicationsStartOnceTheyAreWanted) {
  controller_.Answer(false, Counting());
  controller_.refusals = 2;
  Start();
  ASSERT_TRUE(Eventually([&] { return controller_.heartbeats().size() >= 3; }));
  const json waiting = controller_.newest();
  EXPECT_EQ(waiting["instanceId"], "i-1");
  EXPECT_EQ(waiting["privateIp"], "127.0.0.1");
  EXPECT_GT(waiting["port"], 0);
  EXPECT_EQ(waiting["controlToken"].get<std::string>().size(), 64u);
  EXPECT_FALSE(waiting["cpuFeatures"].empty());
  EXPECT_TRUE(waiting["applications"].empty());
  EXPECT_TRUE(waiting["notice"].is_null());
  EXPECT_FALSE(std::filesystem::exists(Path("log"))) << "it must not run yet";
  controller_.Answer(true, Counting(), 10);
  ASSERT_TRUE(Eventually([&] { return controller_.State() == "running"; }));
  (void)Child();
  ASSERT_TRUE(CounterPasses(5));
  const json application = controller_.newest()["applications"][0];
  EXPECT_EQ(application["configId"], "apc-1");
  EXPECT_TRUE(application["restoredFrom"].is_null());
  EXPECT_THAT(application["reason"], HasSubstr("no checkpoint"));
  EXPECT_EQ(Read(fmt::format("/proc/{}/environ", Child())).find("SPOTINST_TOKEN"),
            std::string::npos);
  // That it is wanted no more changes nothing.
  controller_.Answer(false, json::array());
  ASSERT_TRUE(CounterPasses(Counter() + 20));
}

TEST_F(NodeTest, IsCheckpointedAndStoppedByItsControlInterface) {
  StartCounting();
  EXPECT_EQ(Call("GET", "/status", "", /*with_token=*/false).first, 200);
  for (const auto& [method, path] :
       {std::pair("POST", "/checkpoint"), std::pair("POST", "/stop"), std::pair("GET", "/metrics"),
        std::pair("POST", "/shutdown-script"), std::pair("GET", "/shutdown-script")}) {
    EXPECT_EQ(Call(method, path, "", /*with_token=*/false).first, 401) << path;
  }
  for (const auto& [path, body] :
       {std::pair("/checkpoint", "{"), std::pair("/checkpoint", R"({"trigger": ""})"),
        std::pair("/checkpoint", R"({"trigger": 1})"), std::pair("/checkpoint", R"({"x": 1})"),
        std::pair("/stop", R"({"checkpoint": 1})"), std::pair("/stop", R"({"deadlineSeconds": 0})"),
        std::pair("/stop", R"({"deadlineSeconds": "1"})"), std::pair("/shutdown-script", "{}"),
        std::pair("/shutdown-script", R"({"script": "IyE"})"),
        std::pair("/shutdown-script", R"({"script": "aGVsbG8="})")}) {
    EXPECT_EQ(Call("POST", path, body).first, 400) << path << " " << body;
  }

  const auto [code, taken] = Call("POST", "/checkpoint", R"({"trigger": "by-hand"})");
  ASSERT_EQ(code, 200) << taken.dump();
  const std::string id = taken["applications"][0].value("checkpointId", "");
  EXPECT_FALSE(id.empty()) << taken.dump();
  ASSERT_TRUE(Eventually([&] { return controller_.checkpoints().size() == 1; }));
  const json told = controller_.checkpoints()[0];
  EXPECT_EQ(told["checkpointId"], id);
  EXPECT_EQ(told["configId"], "apc-1");
  EXPECT_EQ(told["trigger"], "by-hand");
  EXPECT_GT(told["frozenMs"], 0);
  EXPECT_GT(told["bytesCaptured"], 0);
  const json application = controller_.newest()["applications"][0];
  EXPECT_EQ(application["checkpointId"], id);
  EXPECT_EQ(application["cpuFeatures"], controller_.newest()["cpuFeatures"]);
  ASSERT_TRUE(CounterPasses(Counter() + 5)) << "it must run on";

  const auto [stop_code, stopped] =
      Call("POST", "/stop", R"({"checkpoint": true, "deadlineSeconds": 30})");
  ASSERT_EQ(stop_code, 200) << stopped.dump();
  const std::string last = stopped["applications"][0].value("checkpointId", "");
  EXPECT_FALSE(last.empty()) << stopped.dump();
  EXPECT_NE(last, id);
  EXPECT_TRUE(IsGone(children_.back())) << "its process has ended";
  EXPECT_EQ(Call("POST", "/stop").second, stopped) << "asked again: the same answer";
  ASSERT_TRUE(Eventually([&] { return controller_.State() == "ended"; }));
  EXPECT_EQ(controller_.checkpoints().back()["checkpointId"], last);
  EXPECT_EQ(controller_.checkpoints().size(), 2u);
  const json status = Call("GET", "/status").second;
  EXPECT_EQ(status["stopped"], true);
  EXPECT_EQ(status["node_id"], "smi-1");
  EXPECT_EQ(status["applications"][0]["checkpoints_taken"], 2);
  EXPECT_THAT(Metrics(), AllOf(HasSubstr("snapstore_agent_node_applications 1\n"),
                               HasSubstr("snapstore_agent_node_applications_up 0\n"),
                               HasSubstr("snapstore_agent_node_checkpoints_total 2\n")));

  // The agent that comes after it does not start them on an instance that is on its way out.
  Kill();
  Start();
  const size_t before = controller_.heartbeats().size();
  ASSERT_TRUE(Eventually([&] { return controller_.heartbeats().size() > before + 2; }));
  EXPECT_TRUE(controller_.newest()["applications"].empty());
  EXPECT_EQ(Call("GET", "/status").second["stopped"], true);
  EXPECT_EQ(End(SIGTERM), 0);
}

TEST_F(NodeTest, ApplicationsOfANodeThatKeepsItsAddressEndQuietly) {
  const auto arguments = [&] {
    std::string line = Read(fmt::format("/proc/{}/cmdline", Child()));
    std::replace(line.begin(), line.end(), '\0', ' ');
    return line;
  };
  StartCounting();
  EXPECT_THAT(arguments(), HasSubstr("--tcp auto"));
  EXPECT_EQ(End(SIGTERM), 0);
  controller_.keeps_address = true;
  StartCounting();
  EXPECT_THAT(arguments(), HasSubstr("--tcp quiet"));
  EXPECT_EQ(End(SIGTERM), 0);
}

TEST_F(NodeTest, HooksAndLimitsOfTheNodeHoldForItsApplications) {
  Write("hooks.json", fmt::format(R"({{"preFreeze": "cat >> {}"}})", Path("hooks")));
  more_arguments_ = {"--hooks", Path("hooks.json"), "--log-keep", "7", "--arena-limit", "64M"};
  StartCounting();
  EXPECT_EQ(Call("POST", "/checkpoint").first, 200);
  EXPECT_THAT(Read(Path("hooks")), HasSubstr(R"("event":"pre-freeze")"));
  std::string line = Read(fmt::format("/proc/{}/cmdline", Child()));
  std::replace(line.begin(), line.end(), '\0', ' ');
  EXPECT_THAT(line, HasSubstr("--log-keep 7"));
  EXPECT_THAT(line, HasSubstr("--arena-limit 67108864"));
  // The log is opened anew, nothing more.
  std::filesystem::rename(Path("state/apc-1/agent.log"), Path("moved"));
  kill(Child(), SIGHUP);
  kill(node_, SIGHUP);
  EXPECT_TRUE(Eventually([&] { return std::filesystem::exists(Path("state/apc-1/agent.log")); }));
  EXPECT_TRUE(CounterPasses(Counter() + 5));
  EXPECT_EQ(Call("POST", "/checkpoint").first, 200);
}

TEST_F(NodeTest, SpeaksPlainHttpWhenItIsTold) {
  more_arguments_ = {"--plain-http"};
  Start();
  const json newest = controller_.newest();
  EXPECT_FALSE(newest.contains("tlsFingerprint"));
  httplib::Client client("127.0.0.1", newest["port"].get<int>());
  const auto answer = client.Get("/status");
  ASSERT_TRUE(answer);
  EXPECT_EQ(answer->status, 200);
}

TEST_F(NodeTest, ANoticeStopsApplicationsAlsoWithoutAController) {
  StartCounting();
  controller_.Down();
  metadata_.Set(
      "spot/instance-action",
      json({{"action", "terminate"}, {"time", FormatTime(WallNanos() + 120 * kNanosPerSecond, 0)}})
          .dump());
  ASSERT_TRUE(Eventually([&] { return IsGone(children_.back()); }));
  const int at_stop = Counter();
  Kill();
  // On the next instance.
  metadata_.Remove("spot/instance-action");
  std::filesystem::remove_all(Path("state"));
  std::filesystem::remove(Path("log"));
  controller_.Up();
  StartCounting();
  ASSERT_TRUE(CounterPasses(at_stop));
  ExpectLogIsWhole();
  EXPECT_FALSE(controller_.newest()["applications"][0]["restoredFrom"].is_null());
}

TEST_F(NodeTest, ANoticeIsToldAndTheControllerHasItsTurn) {
  StartCounting();
  metadata_.Set("events/recommendations/rebalance", R"({"noticeTime": "2026-03-01T09:15:00Z"})");
  ASSERT_TRUE(Eventually([&] { return controller_.newest()["notice"].is_object(); }));
  EXPECT_EQ(controller_.newest()["notice"]["action"], "rebalance");
  EXPECT_EQ(controller_.newest()["notice"]["time"], "2026-03-01T09:15:00Z");
  ASSERT_TRUE(Eventually([&] { return controller_.checkpoints().size() == 1; }));
  EXPECT_EQ(controller_.checkpoints()[0]["trigger"], "rebalance");
  ASSERT_TRUE(CounterPasses(Counter() + 5)) << "it must run on";

  metadata_.Set("spot/instance-action", R"({"action": "stop", "time": "2216-03-01T09:15:00Z"})");
  const Stopwatch watch;
  ASSERT_TRUE(Eventually([&] { return controller_.newest()["notice"]["action"] == "stop"; }));
  EXPECT_EQ(controller_.State(), "running");
  ASSERT_TRUE(Eventually([&] { return controller_.State() == "ended"; }));
  EXPECT_GT(watch.Seconds(), 2) << "the controller comes first";
  // Which comes late.
  const auto [code, stopped] = Call("POST", "/stop");
  EXPECT_EQ(code, 200);
  EXPECT_EQ(stopped["applications"][0]["checkpointId"],
            controller_.checkpoints().back()["checkpointId"]);
}

TEST_F(NodeTest, ASignalTakesFinalCheckpointsAndTheNextStartGoesOn) {
  StartCounting();
  EXPECT_EQ(End(SIGTERM), 0);
  EXPECT_TRUE(IsGone(children_.back()));
  EXPECT_EQ(controller_.checkpoints().size(), 1u) << "told before it ended";
  const int at_end = Counter();
  StartCounting();
  ASSERT_TRUE(CounterPasses(at_end));
  ExpectLogIsWhole();
  EXPECT_EQ(controller_.newest()["applications"][0]["restoredFrom"],
            controller_.checkpoints()[0]["checkpointId"]);
}

TEST_F(NodeTest, KilledItLeavesItsApplicationsToTheNext) {
  StartCounting();
  Kill();
  ASSERT_TRUE(Eventually([&] { return IsGone(children_.back()); }));
  ASSERT_TRUE(CounterPasses(Counter() + 5)) << "it runs on";
  StartCounting();
  EXPECT_EQ(controller_.newest()["applications"][0]["reason"], "taken over, it was running");
  ASSERT_EQ(Call("POST", "/checkpoint").first, 200);
  ExpectLogIsWhole();
}

TEST_F(NodeTest, LetGoItLeavesItsApplicationsToTheNext) {
  StartCounting();
  EXPECT_EQ(End(SIGUSR1), 0);
  EXPECT_TRUE(IsGone(children_.back()));
  ASSERT_TRUE(CounterPasses(Counter() + 5)) << "it runs on";
  StartCounting();
  EXPECT_EQ(controller_.newest()["applications"][0]["reason"], "taken over, it was running");
  EXPECT_EQ(End(SIGTERM), 0);
  ASSERT_TRUE(CounterStands());
  ExpectLogIsWhole();
}

TEST_F(NodeTest, AnApplicationThatDiesWithItsAgentIsRestored) {
  StartCounting();
  ASSERT_EQ(Call("POST", "/checkpoint").first, 200);
  const pid_t first = children_.back();
  kill(first, SIGKILL);
  ASSERT_TRUE(EndLeftCell(Path("state/apc-1")).ok());
  ASSERT_TRUE(Eventually([&] {
    const pid_t now = Child();
    return now != 0 && now != first && controller_.State() == "running";
  }));
  EXPECT_EQ(controller_.newest()["applications"][0]["restoredFrom"],
            controller_.checkpoints()[0]["checkpointId"]);
  bool failed = false;
  for (const json& heartbeat : controller_.heartbeats()) {
    if (heartbeat["applications"].empty()) continue;
    failed = failed || heartbeat["applications"][0]["state"] == "failed";
  }
  EXPECT_TRUE(failed) << "it is told";
  ASSERT_TRUE(CounterPasses(Counter() + 5));
  ExpectLogIsWhole();
}

TEST_F(NodeTest, AnApplicationThatEndsByItselfIsNotStartedAgain) {
  controller_.Answer(
      true, json::array({Application(fmt::format("sh -c 'echo ran >> {}; exit 3'", Path("log")))}));
  Start();
  ASSERT_TRUE(Eventually([&] { return controller_.State() == "ended"; }));
  EXPECT_EQ(controller_.newest()["applications"][0]["error"], "ended with exit code 3");
  std::this_thread::sleep_for(std::chrono::milliseconds(1500));
  EXPECT_EQ(Read(Path("log")), "ran\n");
  const auto [code, stopped] = Call("POST", "/stop");
  EXPECT_EQ(code, 200);
  EXPECT_THAT(stopped["applications"][0].value("error", ""), HasSubstr("exit code 3"));
  EXPECT_EQ(End(SIGTERM), 0) << "nothing that ran was lost";
}

TEST_F(NodeTest, AnApplicationThatCannotBeRunIsTold) {
  json application = Application("python3 x");
  application["repository"] = "efs://nowhere/x";
  controller_.Answer(true, json::array({application}));
  Start();
  ASSERT_TRUE(Eventually([&] { return controller_.State() == "failed"; }));
  EXPECT_THAT(controller_.newest()["applications"][0]["error"], HasSubstr("nowhere"));
  EXPECT_EQ(End(SIGTERM), 1) << "it has no final checkpoint";
}

TEST_F(NodeTest, TheShutdownScriptRunsOnce) {
  Start();
  EXPECT_EQ(Call("GET", "/shutdown-script").second["state"], "none");
  const std::string text = fmt::format(
      "#!/bin/sh\nid -u >> {0}\necho said\nwhile [ ! -e {1} ]; do sleep 0.05; done\n"
      "exit 4\n",
      Path("ran"), Path("go"));
  const std::string body = json({{"script", Base64Encode(AsBytes(text))}}).dump();
  EXPECT_EQ(Call("POST", "/shutdown-script", body).first, 202);
  EXPECT_EQ(Call("POST", "/shutdown-script", body).first, 202);
  EXPECT_EQ(Call("GET", "/shutdown-script").second["state"], "running");
  // It runs on without the agent.
  Kill();
  Start();
  EXPECT_EQ(Call("GET", "/shutdown-script").second["state"], "running");
  Write("go", "");
  ASSERT_TRUE(
      Eventually([&] { return Call("GET", "/shutdown-script").second["state"] == "done"; }));
  EXPECT_EQ(Call("GET", "/shutdown-script").second["exitCode"], 4);
  EXPECT_EQ(Call("POST", "/shutdown-script", body).first, 202);
  EXPECT_EQ(Read(Path("ran")), "0\n");
  EXPECT_EQ(Read(Path("state/shutdown-script.log")), "said\n");
  EXPECT_EQ(std::filesystem::status(Path("state/shutdown-script")).permissions(),
            std::filesystem::perms::owner_all);
}

TEST_F(NodeTest, OneRunsPerStateDirectory) {
  Start();
  EXPECT_EQ(Wait(Spawn()), 11);
  EXPECT_THAT(Read(Path("node.log")), HasSubstr("another agent is running"));
}

}  // namespace
}  // namespace snapstore::agent
