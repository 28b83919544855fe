#include "tests/orchestrator/api/api_fixture.h"

namespace snapstore::spot {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

constexpr const char* kHeartbeat = "/aws/ec2/managedInstance/agent/heartbeat";

// Time goes on only when it is told to.
class AgentApiTest : public ApiTest {
 protected:
  void SetUp() override {
    ApiTest::SetUp();
    server_.reset();
    StateSources sources;
    sources.now_ms = [this] { return now_ms_.load(); };
    state_ = std::make_unique<ControllerState>(store_.get(), nullptr, sources);
    Serve({});
    node_ = NewNode();
  }

  // What the life-cycle does when it has launched the instance.
  void Launch(const std::string& instance, bool wanted = false) {
    const auto changed =
        state_->ChangeNode("act-1", node_, [&](ControllerState::NodeChange* change) {
          change->SetInstance(instance);
          change->node.state = NodeState::kResuming;
          change->node.runtime.applications_wanted = wanted;
          change->node.spec.persistence.persist_application = true;
          return Status::Ok();
        });
    ASSERT_TRUE(changed.ok()) << changed.status().ToString();
    config_ = changed->spec.persistence.application_persistency_configs.at(0);
  }

  static Json Report(const std::string& instance = "i-1") {
    return {{"instanceId", instance},
            {"port", 9527},
            {"privateIp", "10.0.1.5"},
            {"controlToken", "a-secret-of-the-agent"},
            {"version", "0.1"}};
  }
  Json Application(const std::string& state) const {
    return {{"configId", config_}, {"state", state}};
  }
  Json Checkpoint(const std::string& id) const {
    return {{"configId", config_},   {"checkpointId", id}, {"time", "2026-03-01T09:15:00Z"},
            {"trigger", "schedule"}, {"frozenMs", 12.5},   {"bytesStored", 10}};
  }
  Answer Send(const Json& report) {
    return Call("POST", kHeartbeat, Json({{"heartbeat", report}}).dump());
  }
  AgentRecord Stored() {
    const auto agent = state_->GetAgent("act-1", node_);
    EXPECT_TRUE(agent.ok()) << agent.status().ToString();
    return agent.ok() ? *agent : AgentRecord{};
  }

  std::atomic<int64_t> now_ms_ = 1'000'000;
  std::string node_;
  std::string config_;
};

TEST_F(AgentApiTest, AnUnknownInstanceIsToTryAgain) {
  const Answer answer = Send(Report());
  EXPECT_EQ(answer.status, 400);
  EXPECT_THAT(answer.error(), StartsWith("INSTANCE_DOESNT_EXIST heartbeat.instanceId: "));
  Launch("i-1");
  EXPECT_EQ(Send(Report()).status, 200);
  // Another account's token does not see it.
  EXPECT_EQ(
      CallAs(foreign_token_, "POST", kHeartbeat, Json({{"heartbeat", Report()}}).dump()).status,
      400);
  // The instance was replaced.
  Launch("i-2");
  EXPECT_THAT(Send(Report()).error(), StartsWith("INSTANCE_DOESNT_EXIST"));
}

TEST_F(AgentApiTest, TheAnswerSaysWhatToRunAndWhen) {
  Launch("i-1");
  const Answer waiting = Send(Report());
  ASSERT_EQ(waiting.status, 200) << waiting.body.dump();
  EXPECT_EQ(waiting.response()["kind"], "spotinst:aws:ec2:managedInstance:agent");
  EXPECT_EQ(waiting.item()["managedInstanceId"], node_);
  EXPECT_EQ(waiting.item()["applicationsWanted"], false);
  EXPECT_EQ(waiting.item()["intervalSeconds"], 0.25);
  EXPECT_EQ(waiting.item()["persistPrivateIp"], true);
  const Json& application = waiting.item()["applications"].at(0);
  EXPECT_EQ(application["id"], config_);
  EXPECT_EQ(application["repository"], fmt::format("s3://my-bucket/act-1/{}/{}", node_, config_));
  EXPECT_EQ(application["config"]["name"], "BI");
  EXPECT_EQ(application["config"]["snapshotScheduler"], "*/3 * * * *");
  EXPECT_FALSE(application["config"].contains("id"));
  Launch("i-1", /*wanted=*/true);
  const Answer wanted = Send(Report());
  EXPECT_EQ(wanted.item()["applicationsWanted"], true);
  EXPECT_EQ(wanted.item()["intervalSeconds"], 10);
  ASSERT_TRUE(state_
                  ->ChangeNode("act-1", node_,
                               [](ControllerState::NodeChange* change) {
                                 change->node.spec.persistence.persist_private_ip = false;
                                 return Status::Ok();
                               })
                  .ok());
  EXPECT_EQ(Send(Report()).item()["persistPrivateIp"], false);
}

TEST_F(AgentApiTest, EfsDestinationsAreEfsRepositories) {
  Launch("i-1");
  ASSERT_EQ(Call("PUT", std::string(kConfigs) + "/" + config_,
                 R"({"config": {"snapshotDestination": "fs-0123abcd"}})")
                .status,
            200);
  EXPECT_EQ(Send(Report()).item()["applications"].at(0)["repository"],
            fmt::format("efs://fs-0123abcd/act-1/{}/{}", node_, config_));
}

TEST_F(AgentApiTest, NodesWithoutApplicationsAreNotHurried) {
  Launch("i-1", /*wanted=*/true);
  ASSERT_TRUE(state_
                  ->ChangeNode("act-1", node_,
                               [](ControllerState::NodeChange* change) {
                                 change->node.spec.persistence.persist_application = false;
                                 return Status::Ok();
                               })
                  .ok());
  const Answer answer = Send(Report());
  EXPECT_EQ(answer.item()["applicationsWanted"], false);
  EXPECT_EQ(answer.item()["intervalSeconds"], 10);
  EXPECT_TRUE(answer.item()["applications"].empty());
}

TEST_F(AgentApiTest, IsWrittenWhenSomethingChangedOrSeldom) {
  Launch("i-1");
  ASSERT_EQ(Send(Report()).status, 200);
  EXPECT_EQ(Stored().seen_at_ms, 1'000'000);
  now_ms_ = 1'029'999;
  ASSERT_EQ(Send(Report()).status, 200);
  EXPECT_EQ(Stored().seen_at_ms, 1'000'000);
  now_ms_ = 1'030'000;
  ASSERT_EQ(Send(Report()).status, 200);
  EXPECT_EQ(Stored().seen_at_ms, 1'030'000);
  now_ms_ = 1'030'001;
  Json report = Report();
  report["notice"] = {{"action", "terminate"}, {"time", "2026-03-01T09:15:00Z"}};
  ASSERT_EQ(Send(report).status, 200);
  EXPECT_EQ(Stored().seen_at_ms, 1'030'001);
  EXPECT_EQ(Stored().notice, "terminate");
}

TEST_F(AgentApiTest, CheckpointsAreAddedOnce) {
  Launch("i-1");
  Json report = Report();
  Json failed = Checkpoint("");
  failed.erase("checkpointId");
  failed["error"] = "a file is missing";
  report["checkpoints"] = {Checkpoint("c1"), failed, Checkpoint("c2")};
  ASSERT_EQ(Send(report).status, 200);
  // The answer was lost.
  report["checkpoints"].push_back(Checkpoint("c3"));
  ASSERT_EQ(Send(report).status, 200);
  ASSERT_EQ(Send(report).status, 200);
  const Answer all = Call("GET", PathOf(node_, "/checkpoints"));
  EXPECT_EQ(all.response()["kind"], "spotinst:aws:ec2:managedInstance:checkpoint");
  ASSERT_EQ(all.response()["count"], 4);
  EXPECT_EQ(all.item(0)["checkpointId"], "c1");
  EXPECT_EQ(all.item(0)["sequence"], 1);
  EXPECT_EQ(all.item(0)["time"], "2026-03-01T09:15:00.000Z");
  EXPECT_EQ(all.item(0)["frozenMs"], 12.5);
  EXPECT_TRUE(all.item(1)["checkpointId"].is_null());
  EXPECT_EQ(all.item(1)["error"], "a file is missing");
  EXPECT_EQ(all.item(3)["checkpointId"], "c3");
  const Answer page = Call("GET", PathOf(node_, "/checkpoints?after=1&limit=2"));
  ASSERT_EQ(page.response()["count"], 2);
  EXPECT_EQ(page.item(1)["checkpointId"], "c2");
  EXPECT_THAT(Call("GET", PathOf(node_, "/checkpoints?limit=1001")).error(),
              StartsWith("CANT_PARSE_QUERY limit: "));
  EXPECT_THAT(Call("GET", PathOf("smi-0", "/checkpoints")).error(),
              StartsWith("MANAGED_INSTANCE_DOESNT_EXIST"));
}

TEST_F(AgentApiTest, IsShownWithoutItsToken) {
  EXPECT_EQ(Call("GET", PathOf(node_, "/agent")).response()["count"], 0);
  Launch("i-1", /*wanted=*/true);
  Json report = Report();
  report["applications"] = {Application("running")};
  ASSERT_EQ(Send(report).status, 200);
  now_ms_ += 120'000;
  Answer shown = Call("GET", PathOf(node_, "/agent"));
  EXPECT_THAT(shown.body.dump(), Not(HasSubstr("a-secret-of-the-agent")));
  EXPECT_EQ(shown.item()["instanceId"], "i-1");
  EXPECT_EQ(shown.item()["address"], "10.0.1.5:9527");
  EXPECT_EQ(shown.item()["healthy"], true);
  EXPECT_EQ(shown.item()["seenAt"], "1970-01-01T00:16:40.000Z");
  EXPECT_TRUE(shown.item()["notice"].is_null());
  EXPECT_EQ(shown.item()["applications"].at(0)["state"], "running");
  now_ms_ += 1;
  EXPECT_EQ(Call("GET", PathOf(node_, "/agent")).item()["healthy"], false);
  EXPECT_THAT(Call("GET", PathOf("smi-0", "/agent")).error(),
              StartsWith("MANAGED_INSTANCE_DOESNT_EXIST"));
}

TEST_F(AgentApiTest, AShorterSilenceIsKeptShort) {
  Serve({.agent_silence_ms = 6'000});
  Launch("i-1", /*wanted=*/true);
  EXPECT_EQ(Send(Report()).item()["intervalSeconds"], 0.5);
  now_ms_ += 1'499;
  ASSERT_EQ(Send(Report()).status, 200);
  EXPECT_EQ(Stored().seen_at_ms, 1'000'000);
  now_ms_ += 1;
  ASSERT_EQ(Send(Report()).status, 200);
  EXPECT_EQ(Stored().seen_at_ms, 1'001'500);
  now_ms_ += 6'000;
  EXPECT_EQ(Call("GET", PathOf(node_, "/agent")).item()["healthy"], true);
  now_ms_ += 1;
  EXPECT_EQ(Call("GET", PathOf(node_, "/agent")).item()["healthy"], false);
}

TEST_F(AgentApiTest, ANewAgentDoesNotMakeTheNewestCheckpointForgotten) {
  Launch("i-1", /*wanted=*/true);
  Json report = Report();
  report["applications"] = {Application("running")};
  report["applications"][0].update({{"checkpointId", "c1"},
                                    {"checkpointAt", "2026-03-01T09:15:00Z"},
                                    {"cpuFeatures", {"avx2"}}});
  ASSERT_EQ(Send(report).status, 200);
  Launch("i-2");
  ASSERT_EQ(Send(Report("i-2")).status, 200);
  ASSERT_EQ(Stored().applications.size(), 1u);
  EXPECT_EQ(Stored().instance_id, "i-2");
  EXPECT_EQ(Stored().applications[0].state, "starting");
  EXPECT_EQ(Stored().applications[0].checkpoint_id, "c1");
  EXPECT_EQ(Stored().applications[0].cpu_features, std::vector<std::string>{"avx2"});
  EXPECT_FALSE(Stored().applications[0].restored_from);
}

TEST_F(AgentApiTest, BadReportsAreRefusedWithTheirFields) {
  Launch("i-1");
  EXPECT_EQ(Call("POST", kHeartbeat, "{").status, 400);
  EXPECT_THAT(Call("POST", kHeartbeat, "{}").error(),
              StartsWith("CANT_REPORT_AGENT heartbeat: heartbeat: is required"));
  Json report = Report();
  report["port"] = "9527";
  EXPECT_THAT(Send(report).error(), StartsWith("CANT_REPORT_AGENT heartbeat.port: "));
  EXPECT_EQ(CallAs("", "POST", kHeartbeat, "{}").status, 401);
}

TEST_F(AgentApiTest, EachInstanceIsCountedByItself) {
  Launch("i-1");
  Serve({.calls_per_minute = 3});
  for (int i = 0; i < 3; ++i) EXPECT_EQ(Send(Report()).status, 200);
  EXPECT_EQ(Send(Report()).status, 429);
  for (int i = 2; i < 12; ++i) EXPECT_EQ(Send(Report(fmt::format("i-{}", i))).status, 400);
  // Those that say no instance are counted together.
  for (const char* body : {"{}", R"({"heartbeat": 1})", R"({"heartbeat": {"instanceId": "x"}})"}) {
    EXPECT_EQ(Call("POST", kHeartbeat, body).status, 400);
  }
  EXPECT_EQ(Call("POST", kHeartbeat, "[]").status, 429);
}

}  // namespace
}  // namespace snapstore::spot
