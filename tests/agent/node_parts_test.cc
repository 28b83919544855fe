// The parts of a node's agent that need neither root nor CRIU.
#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <chrono>
#include <fstream>
#include <thread>

#include "agent/node_controller.h"
#include "agent/node_metadata.h"
#include "agent/node_report.h"
#include "agent/node_reporter.h"
#include "agent/node_script.h"
#include "agent/token_server.h"
#include "tests/agent/node_fakes.h"
#include "tests/base/temp_folder.h"

namespace snapstore::agent {
namespace {

using std::chrono::milliseconds;
using ::testing::HasSubstr;
using ::testing::StartsWith;

bool Eventually(const std::function<bool()>& condition) {
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(10);
  while (!condition()) {
    if (std::chrono::steady_clock::now() > deadline) return false;
    std::this_thread::sleep_for(milliseconds(5));
  }
  return true;
}

NodeCheckpointReport Checkpoint(const std::string& id) {
  NodeCheckpointReport checkpoint;
  checkpoint.config_id = "apc-1";
  checkpoint.checkpoint_id = id;
  checkpoint.time = "2026-03-01T09:15:00Z";
  return checkpoint;
}

// `curl -X POST` sends a request like that.
TEST(TokenServer, ARequestWithoutALengthHasNoBody) {
  TokenServer::Options options;
  options.address = {"127.0.0.1", 0};
  const auto server = TokenServer::Start(options, [](httplib::Server* http) {
    http->Post("/checkpoint", [](const httplib::Request& request, httplib::Response& response) {
      Reply(&response, 200, request.body.empty() ? "empty" : "full");
    });
  });
  ASSERT_TRUE(server.ok()) << server.status().ToString();
  const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  address.sin_port = htons(static_cast<uint16_t>((*server)->address().port));
  ASSERT_EQ(connect(fd, reinterpret_cast<sockaddr*>(&address), sizeof(address)), 0);
  const std::string request = "POST /checkpoint HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
  ASSERT_EQ(write(fd, request.data(), request.size()), static_cast<ssize_t>(request.size()));
  const auto start = std::chrono::steady_clock::now();
  std::string answer;
  char buffer[4096];
  for (ssize_t n = 0; (n = read(fd, buffer, sizeof(buffer))) > 0;) answer.append(buffer, n);
  close(fd);
  EXPECT_THAT(answer, StartsWith("HTTP/1.1 200 "));
  EXPECT_THAT(answer, HasSubstr("empty"));
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(3));
}

TEST(NodeMetadata, RenewsATokenThatIsRefused) {
  FakeMetadata fake;
  fake.Up();
  NodeMetadata metadata(fake.url());
  EXPECT_EQ(metadata.Get("instance-id").value(), "i-1");
  EXPECT_EQ(metadata.Get("local-ipv4").value(), "127.0.0.1");
  EXPECT_EQ(fake.tokens_given, 1);
  fake.ForgetTokens();
  EXPECT_EQ(metadata.Get("instance-id").value(), "i-1");
  EXPECT_EQ(fake.tokens_given, 2);
  EXPECT_FALSE(metadata.Get("no-such-entry").value().has_value());
}

TEST(NodeMetadata, TakesVersionOneOnlyWhereThereIsNoVersionTwo) {
  FakeMetadata fake;
  fake.has_tokens = false;
  fake.Up();
  NodeMetadata metadata(fake.url());
  EXPECT_EQ(metadata.Get("instance-id").value(), "i-1");
  EXPECT_EQ(fake.tokens_given, 0);
  fake.Down();
  EXPECT_TRUE(metadata.Get("instance-id").status().Is(StatusCode::kIo));
}

TEST(NodeMetadata, UnderstandsNotices) {
  FakeMetadata fake;
  fake.Up();
  NodeMetadata metadata(fake.url());
  EXPECT_FALSE(metadata.Interruption().value().has_value());
  EXPECT_FALSE(metadata.Rebalance().value().has_value());
  fake.Set("events/recommendations/rebalance", R"({"noticeTime": "2026-03-01T09:15:00Z"})");
  EXPECT_EQ(metadata.Rebalance().value(), (NodeNotice{"rebalance", "2026-03-01T09:15:00Z"}));
  // Stays there although nothing happened.
  fake.Set("spot/termination-time", "2016-03-01T09:15:00Z");
  EXPECT_FALSE(metadata.Interruption().value().has_value());
  fake.Set("spot/termination-time", "2216-03-01T09:15:00Z");
  EXPECT_EQ(metadata.Interruption().value(), (NodeNotice{"terminate", "2216-03-01T09:15:00Z"}));
  fake.Set("spot/instance-action", R"({"action": "stop", "time": "2026-03-01T09:15:00Z"})");
  EXPECT_EQ(metadata.Interruption().value(), (NodeNotice{"stop", "2026-03-01T09:15:00Z"}));
  fake.Set("spot/instance-action", "no JSON");
  EXPECT_EQ(metadata.Interruption().value(), (NodeNotice{"terminate", ""}));
}

TEST(NodeReport, TextsFitTheController) {
  EXPECT_EQ(OneLine("a\nb\tc\x7f", 100), "a b c ");
  EXPECT_EQ(OneLine("abc", 2), "ab");
  EXPECT_EQ(OneLine("ä", 1), "");
  EXPECT_EQ(OneLine("\xff", 10), "\xef\xbf\xbd");
  NodeHeartbeat heartbeat;
  heartbeat.applications.emplace_back().error = std::string(5000, 'x');
  heartbeat.checkpoints.push_back(Checkpoint(""));
  heartbeat.notice = NodeNotice{"hibernate", "soon"};
  const json text = json::parse(HeartbeatText(heartbeat))["heartbeat"];
  EXPECT_EQ(text["applications"][0]["error"].get<std::string>().size(), 2000u);
  EXPECT_TRUE(text["applications"][0]["checkpointId"].is_null());
  EXPECT_TRUE(text["checkpoints"][0]["checkpointId"].is_null());
  EXPECT_EQ(text["checkpoints"][0]["error"], "failed");
  EXPECT_TRUE(text["notice"]["time"].is_null());
}

TEST(NodeReport, AnswersThatAreNoneAreRefused) {
  const json good = json::parse(R"({"response": {"items": [{"managedInstanceId": "smi-1",
      "applicationsWanted": true, "intervalSeconds": 0, "applications": [{"id": "apc-1",
      "config": {"name": "x"}, "repository": "s3://bucket/a"}]}]}})");
  const auto orders = ParseOrders(good.dump());
  ASSERT_TRUE(orders.ok()) << orders.status().ToString();
  EXPECT_EQ(orders->applications[0].config, R"({"config":{"name":"x"}})");
  EXPECT_EQ(orders->interval_seconds, 0.1) << "nobody is asked without a pause";
  EXPECT_FALSE(orders->applications[0].keeps_address) << "an older controller does not say";
  const std::pair<const char*, json> changes[] = {
      {"/response/items", json::array()},
      {"/response/items/0/managedInstanceId", 1},
      {"/response/items/0/applicationsWanted", "yes"},
      {"/response/items/0/intervalSeconds", json()},
      {"/response/items/0/applications", 7},
      {"/response/items/0/applications/0/id", "apc-../../etc"},
      {"/response/items/0/applications/0/id", "apc-"},
      {"/response/items/0/applications/0/config", json::array()},
      {"/response/items/0/applications/0/repository", "/etc"}};
  for (const auto& [path, value] : changes) {
    json bad = good;
    bad[json::json_pointer(path)] = value;
    EXPECT_TRUE(ParseOrders(bad.dump()).status().Is(StatusCode::kIo)) << path;
  }
  EXPECT_FALSE(ParseOrders("no JSON").ok());
}

class ReporterTest : public ::testing::Test {
 protected:
  void SetUp() override {
    fake_.Answer(false, json::array(), 10);
    fake_.Up();
    controller_ = *NodeController::Create(fake_.url(), "act-1", FakeController::kToken, "");
    reporter_ = std::make_unique<NodeReporter>(
        controller_.get(),
        NodeReporter::Hooks{[] {
                              NodeHeartbeat heartbeat;
                              heartbeat.instance_id = "i-1";
                              return heartbeat;
                            },
                            [this](const NodeOrders&) { ++answers_; }, [this] { ++failures_; }});
  }

  std::atomic<int> answers_ = 0;
  std::atomic<int> failures_ = 0;
  FakeController fake_;
  std::unique_ptr<NodeController> controller_;
  std::unique_ptr<NodeReporter> reporter_;
};

TEST_F(ReporterTest, ChangesAreToldAtOnceAndCheckpointsOnce) {
  reporter_->Start();
  ASSERT_TRUE(Eventually([&] { return answers_ == 1; }));
  std::this_thread::sleep_for(milliseconds(300));
  EXPECT_EQ(answers_, 1) << "the interval is ten seconds";
  reporter_->AddCheckpoint(Checkpoint("c1"));
  reporter_->Changed();
  ASSERT_TRUE(Eventually([&] { return answers_ == 2; }));
  reporter_->Changed();
  ASSERT_TRUE(Eventually([&] { return answers_ == 3; }));
  ASSERT_EQ(fake_.checkpoints().size(), 1u);
  EXPECT_EQ(fake_.checkpoints()[0]["checkpointId"], "c1");
  EXPECT_EQ(reporter_->standing().node_id, "smi-1");
  EXPECT_EQ(reporter_->standing().error, "");
}

TEST_F(ReporterTest, CheckpointsWaitForAControllerThatIsAway) {
  fake_.Down();
  reporter_->Start();
  for (int i = 0; i < 150; ++i) {
    reporter_->AddCheckpoint(Checkpoint("c" + std::to_string(i)));
  }
  ASSERT_TRUE(Eventually([&] { return failures_ >= 2; }));
  EXPECT_EQ(reporter_->standing().checkpoints_waiting, 150u);
  EXPECT_THAT(reporter_->standing().error, HasSubstr(fake_.url()));
  fake_.Up();
  ASSERT_TRUE(Eventually([&] { return fake_.checkpoints().size() >= 150; }));
  const auto all = fake_.checkpoints();
  ASSERT_EQ(all.size(), 150u);
  for (size_t i = 0; i < all.size(); ++i) {
    EXPECT_EQ(all[i]["checkpointId"], "c" + std::to_string(i));
  }
}

TEST_F(ReporterTest, AnInstanceThatIsNotKnownYetTriesAgain) {
  fake_.refusals = 3;
  reporter_->Start();
  ASSERT_TRUE(Eventually([&] { return answers_ == 1; }));
  EXPECT_EQ(failures_, 3);
}

TEST(NodeController, RefusesAddressesThatAreNone) {
  EXPECT_FALSE(NodeController::Create("controller:8080", "act-1", "t", "").ok());
  EXPECT_FALSE(NodeController::Create("ftp://controller", "act-1", "t", "").ok());
  EXPECT_TRUE(NodeController::Create("https://controller:8080/", "act-1", "t", "").ok());
}

class ScriptTest : public ::testing::Test {
 protected:
  NodeScript Script(const std::string& instance = "i-1") {
    return NodeScript(folder_.path(), RunOf(instance),
                      {"PATH=/usr/bin:/bin", "WHERE=" + folder_.path()});
  }
  std::string Read(const std::string& name) {
    std::ifstream in(folder_.File(name));
    return {std::istreambuf_iterator<char>(in), {}};
  }

  const TempFolder folder_;
};

TEST_F(ScriptTest, RunsOnceAndTellsHowItEnded) {
  NodeScript script = Script();
  EXPECT_EQ(script.standing().state, NodeScript::State::kNone);
  ASSERT_TRUE(script
                  .Start("#!/bin/sh\necho once >> $WHERE/ran\n"
                         "while [ ! -e $WHERE/go ]; do sleep 0.02; done\necho err >&2\nexit 7\n")
                  .ok());
  EXPECT_EQ(script.standing().state, NodeScript::State::kRunning);
  ASSERT_TRUE(script.Start("#!/bin/sh\necho twice >> $WHERE/ran\n").ok());
  // The next agent, after this one was killed.
  NodeScript next = Script();
  EXPECT_EQ(next.standing().state, NodeScript::State::kRunning);
  std::ofstream(folder_.File("go")) << "";
  ASSERT_TRUE(Eventually([&] { return next.standing().state == NodeScript::State::kDone; }));
  EXPECT_EQ(next.standing().exit_code, 7);
  ASSERT_TRUE(next.Start("#!/bin/sh\necho twice >> $WHERE/ran\n").ok());
  EXPECT_EQ(next.standing().exit_code, 7);
  EXPECT_EQ(Read("ran"), "once\n");
  EXPECT_EQ(Read("shutdown-script.log"), "err\n");
  // A volume that came to another instance.
  NodeScript other = Script("i-2");
  EXPECT_EQ(other.standing().state, NodeScript::State::kNone);
  ASSERT_TRUE(other.Start("#!/bin/sh\necho other >> $WHERE/ran\n").ok());
  ASSERT_TRUE(Eventually([&] { return other.standing().state == NodeScript::State::kDone; }));
  EXPECT_EQ(Read("ran"), "once\nother\n");
}

TEST_F(ScriptTest, OneThatCannotBeExecutedIsDone) {
  NodeScript script = Script();
  ASSERT_TRUE(script.Start("#!/no/such/interpreter\n").ok());
  ASSERT_TRUE(Eventually([&] { return script.standing().state == NodeScript::State::kDone; }));
  EXPECT_NE(script.standing().exit_code, 0);
}

}  // namespace
}  // namespace snapstore::agent
