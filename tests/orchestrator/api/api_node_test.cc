#include <algorithm>
#include <thread>

#include "tests/orchestrator/api/api_fixture.h"

namespace snapstore::spot {
namespace {

using ::testing::Contains;
using ::testing::HasSubstr;
using ::testing::StartsWith;

TEST_F(ApiTest, TheDocumentedBodiesMakeANode) {
  const Answer config = Call("POST", std::string(kConfigs) + "?accountId=act-1", kDocumentedConfig);
  ASSERT_EQ(config.status, 200) << config.body.dump();
  const Answer node = Call("POST", kNodes, NodeBody(config.item()["id"]));
  ASSERT_EQ(node.status, 200) << node.body.dump();
  EXPECT_EQ(node.response()["kind"], "spotinst:aws:ec2:managedInstance");
  EXPECT_EQ(node.item()["name"], "my-node");
  EXPECT_EQ(node.item()["persistence"]["applicationPersistencyConfig"][0], config.item()["id"]);
  EXPECT_TRUE(node.item().contains("createdAt"));
  const std::string id = node.item()["id"];
  EXPECT_EQ(Call("GET", PathOf(id)).item(), node.item());
  EXPECT_EQ(PendingKind(id), OperationKind::kLaunch);
  EXPECT_THAT(Call("POST", kNodes, kDocumentedNode).error(),
              HasSubstr("applicationPersistencyConfig[0]: there is no"));
}

TEST_F(ApiTest, ConfigurationsCanBeMadeReadChangedAndDeleted) {
  const Json bare = Parsed(kDocumentedConfig)["config"];
  const Answer made = Call("POST", kConfigs, bare.dump());
  ASSERT_EQ(made.status, 200) << made.body.dump();
  const std::string path = fmt::format("{}/{}", kConfigs, made.item()["id"].get<std::string>());
  EXPECT_EQ(Call("GET", path).item(), made.item());
  const Answer changed = Call("PUT", path, R"({"config": {"externalFiles": null, "name": "X"}})");
  EXPECT_EQ(changed.item()["name"], "X");
  EXPECT_TRUE(changed.item()["externalFiles"].is_null());
  EXPECT_EQ(changed.item()["runCmd"], bare["runCmd"]);
  EXPECT_THAT(Call("PUT", path, R"({"config": {"runCmd": 5}})").error(),
              StartsWith("CANT_UPDATE_APPLICATION_PERSISTENCY_CONFIG config.runCmd: "));
  EXPECT_EQ(Call("GET", kConfigs).response()["count"], 1);
  EXPECT_EQ(Call("DELETE", path).status, 200);
  EXPECT_THAT(Call("GET", path).error(), StartsWith("APPLICATION_PERSISTENCY_CONFIG_DOESNT_EXIST"));
  EXPECT_THAT(Call("POST", kConfigs, "{}").error(), HasSubstr("config: is required"));
}

TEST_F(ApiTest, ABareConfigurationIsToldWhatItLacks) {
  const Answer answer = Call("POST", kConfigs, R"({"name": "n"})");
  EXPECT_EQ(answer.status, 400);
  EXPECT_THAT(answer.error(), HasSubstr("config.runCmd: is required"));
  // What has nothing of a configuration lacks the root.
  const Json errors = Call("POST", kConfigs, R"({"conf": {}})").response()["errors"];
  EXPECT_THAT(errors.dump(), HasSubstr(R"("config: is required","field":"config")"));
}

TEST_F(ApiTest, AConfigurationInUseIsNotDeleted) {
  const std::string config = NewConfig();
  EXPECT_EQ(Call("POST", kNodes, NodeBody(config)).status, 200);
  EXPECT_THAT(Call("DELETE", fmt::format("{}/{}", kConfigs, config)).error(),
              HasSubstr("is in use"));
}

TEST_F(ApiTest, TheListSuitsBothKindsOfClients) {
  const std::string id = NewNode();
  const Answer list = Call("GET", kNodes);
  EXPECT_EQ(list.response()["count"], 1);
  EXPECT_EQ(list.item()["id"], id);
  EXPECT_EQ(list.item()["name"], list.item()["config"]["name"]);
}

TEST_F(ApiTest, ListsOfNodesComeByThePageIfThatIsAskedFor) {
  std::vector<std::string> ids;
  ids.reserve(5);
  for (int i = 0; i < 5; ++i) ids.push_back(NewNode());
  std::sort(ids.begin(), ids.end());
  for (const char* const list : {kNodes, "/aws/ec2/managedInstance/status"}) {
    std::vector<std::string> found;
    std::string query = "?limit=2";
    for (int page = 0; page < 3; ++page) {
      const Answer answer = Call("GET", list + query);
      ASSERT_EQ(answer.status, 200) << answer.body.dump();
      EXPECT_EQ(answer.response()["count"], page < 2 ? 2 : 1);
      for (const Json& item : answer.response()["items"]) found.push_back(item["id"]);
      query = "?limit=2&after=" + found.back();
    }
    EXPECT_EQ(found, ids);
    EXPECT_EQ(Call("GET", list + ("?after=" + ids[1])).response()["count"], 3);
    EXPECT_EQ(Call("GET", list + ("?after=" + ids[4])).response()["items"], Json::array());
    EXPECT_EQ(Call("GET", list).response()["count"], 5);
    EXPECT_THAT(Call("GET", list + std::string("?limit=0")).error(),
                HasSubstr("limit: must be between 1 and 1000"));
    EXPECT_THAT(Call("GET", list + std::string("?after=me")).error(),
                StartsWith("CANT_PARSE_QUERY after: "));
  }
}

TEST_F(ApiTest, AnAnswerFollowsEveryChange) {
  const std::string id = NewNode();
  for (const char* const name : {"a", "b"}) {
    const std::string body = fmt::format(R"({{"managedInstance": {{"name": "{}"}}}})", name);
    ASSERT_EQ(Call("PUT", PathOf(id), body).status, 200);
    EXPECT_EQ(Call("GET", PathOf(id)).item()["name"], name);
    EXPECT_EQ(Call("GET", PathOf(id, "/status")).item()["name"], name);
    EXPECT_EQ(Call("GET", kNodes).item()["config"]["name"], name);
  }
}

TEST_F(ApiTest, OneCallTellsTheStatusOfAllNodes) {
  EXPECT_EQ(Call("GET", PathOf("status")).response()["count"], 0);
  const std::string ids[] = {NewNode(), NewNode()};
  const Answer all = Call("GET", PathOf("status"));
  EXPECT_EQ(all.response()["count"], 2);
  for (const std::string& id : ids) {
    EXPECT_THAT(all.response()["items"], Contains(Call("GET", PathOf(id, "/status")).item()));
  }
  EXPECT_EQ(CallAs(foreign_token_, "GET", PathOf("status")).response()["count"], 0);
}

TEST_F(ApiTest, AnUpdateChangesWhatItNames) {
  const std::string id = NewNode();
  const Answer changed =
      Call("PUT", PathOf(id), R"({"managedInstance": {"healthCheck": {"gracePeriod": 7}}})");
  ASSERT_EQ(changed.status, 200) << changed.body.dump();
  EXPECT_EQ(changed.item()["healthCheck"]["gracePeriod"], 7);
  EXPECT_EQ(changed.item()["healthCheck"]["unhealthyDuration"], 120);
  EXPECT_EQ(state_->GetNode("act-1", id)->generation, 2);
  EXPECT_THAT(Call("PUT", PathOf(id), R"({"managedInstance": {"compute": {"vpcId": 1}}})").error(),
              StartsWith("CANT_UPDATE_MANAGED_INSTANCE managedInstance.compute.vpcId: "));
  EXPECT_THAT(Call("PUT", PathOf(id, "?autoApplyTags=x"), R"({"managedInstance": {}})").error(),
              HasSubstr("autoApplyTags: must be true or false"));
}

TEST_F(ApiTest, TagsThatAreToBeAppliedAreNotForgotten) {
  const std::string id = NewNode();
  const auto apply = [&](int value) {
    const std::string body = fmt::format(
        R"({{"managedInstance": {{"compute": {{"launchSpecification": {{"tags":
            [{{"tagKey": "A", "tagValue": "{}"}}]}}}}}}}})",
        value);
    EXPECT_EQ(Call("PUT", PathOf(id, "?autoApplyTags=true"), body).status, 200);
  };
  const auto is_wanted = [&] { return state_->GetNode("act-1", id)->tags_wanted.value(); };
  apply(1);
  EXPECT_EQ(PendingKind(id), OperationKind::kLaunch);
  EXPECT_TRUE(is_wanted()) << "the launch may have begun with the tags of before";
  CarryOut(id, NodeState::kActive);
  apply(2);
  EXPECT_EQ(PendingKind(id), OperationKind::kApplyTags);
  EXPECT_FALSE(is_wanted());
  apply(3);
  EXPECT_TRUE(is_wanted()) << "the operation may have read the tags of before";
  CarryOut(id, NodeState::kPaused);
  apply(4);
  EXPECT_EQ(PendingKind(id), OperationKind::kApplyTags) << "a paused node has resources too";
}

TEST_F(ApiTest, AnAddressThatIsKeptIsNotChanged) {
  const std::string id = NewNode();
  CarryOut(id, NodeState::kActive);
  ASSERT_TRUE(state_
                  ->ChangeNode("act-1", id,
                               [](ControllerState::NodeChange* change) {
                                 change->node.spec.persistence.persist_private_ip = true;
                                 change->node.runtime.resources.private_ip = "10.0.0.5";
                                 return Status::Ok();
                               })
                  .ok());
  const auto put = [&](const char* address) {
    return Call(
        "PUT", PathOf(id),
        fmt::format(R"({{"managedInstance": {{"compute": {{"privateIp": "{}"}}}}}})", address));
  };
  EXPECT_EQ(put("10.0.0.5").status, 200);
  EXPECT_EQ(put("10.0.0.6").status, 400);
  EXPECT_THAT(put("10.0.0.6").error(),
              HasSubstr("privateIp: cannot be changed: persistPrivateIp keeps the node's address "
                        "10.0.0.5"));
  EXPECT_EQ(Call("GET", PathOf(id)).item()["compute"]["privateIp"], "10.0.0.5");
}

TEST_F(ApiTest, ANodesLifeAsAskedFor) {
  const std::string id = NewNode();
  EXPECT_THAT(
      Call("PUT", PathOf(id, "/pause")).error(),
      StartsWith("CANT_PAUSE_MANAGED_INSTANCE : cannot pause a stateful node that is RESUME"));
  CarryOut(id, NodeState::kActive);
  EXPECT_THAT(Call("PUT", PathOf(id, "/resume")).error(), StartsWith("CANT_RESUME_"));
  const Answer paused = Call("PUT", PathOf(id, "/pause"));
  EXPECT_EQ(paused.status, 200);
  EXPECT_FALSE(paused.response().contains("items"));
  EXPECT_EQ(Call("GET", PathOf(id, "/status")).item()["status"], "PAUSE");
  EXPECT_EQ(PendingKind(id), OperationKind::kPause);
  CarryOut(id, NodeState::kPaused);
  EXPECT_EQ(Call("PUT", PathOf(id, "/recycle")).status, 200);
  CarryOut(id, NodeState::kActive);
  const Answer deleted =
      Call("DELETE", PathOf(id), R"({"deallocationConfig": {"shouldDeleteVolumes": true}})");
  EXPECT_EQ(deleted.status, 200) << deleted.body.dump();
  EXPECT_EQ(PendingKind(id), OperationKind::kDeallocate);
  const auto record = state_->GetNode("act-1", id);
  EXPECT_EQ(OperationJournal(state_.get())
                .Get(*record->operation_id)
                ->input["deallocationConfig"]["shouldDeleteVolumes"],
            true);
  EXPECT_THAT(Call("DELETE", PathOf(id)).error(), StartsWith("CANT_DELETE_MANAGED_INSTANCE"));
  EXPECT_THAT(Call("PUT", PathOf(id), R"({"managedInstance": {}})").error(), HasSubstr("deleted"));
  CarryOut(id, NodeState::kDeallocated);
  EXPECT_THAT(Call("GET", PathOf(id)).error(), StartsWith("MANAGED_INSTANCE_DOESNT_EXIST"));
}

TEST_F(ApiTest, BulkStatesAreAllOrNothing) {
  const std::string first = NewNode();
  const std::string second = NewNode();
  CarryOut(first, NodeState::kActive);
  const auto body = [&](const std::string& other) {
    return fmt::format(R"({{"managedInstanceStates": [{{"id": "{}", "state": "PAUSE"}},
                           {{"id": "{}", "state": "PAUSE"}}]}})",
                       first, other);
  };
  const std::string path = std::string(kNodes) + "/state";
  EXPECT_THAT(Call("PUT", path, body(second)).error(), HasSubstr(second));
  EXPECT_THAT(Call("PUT", path, body("smi-0")).error(),
              StartsWith("MANAGED_INSTANCE_DOESNT_EXIST"));
  EXPECT_EQ(state_->GetNode("act-1", first)->state, NodeState::kActive);
  CarryOut(second, NodeState::kActive);
  EXPECT_EQ(Call("PUT", path, body(second)).status, 200);
  EXPECT_EQ(state_->GetNode("act-1", first)->state, NodeState::kPause);
  EXPECT_EQ(state_->GetNode("act-1", second)->state, NodeState::kPause);
}

TEST_F(ApiTest, StatusShowsWhatTheLifeCycleFound) {
  const std::string id = NewNode();
  EXPECT_TRUE(Call("GET", PathOf(id, "/status")).item()["instanceId"].is_null());
  ASSERT_TRUE(state_
                  ->ChangeNode("act-1", id,
                               [](ControllerState::NodeChange* change) {
                                 change->node.runtime.instance_id = "i-1";
                                 change->node.runtime.launched_at_ms = 1'000;
                                 change->node.runtime.life_cycle = LifeCycle::kOnDemand;
                                 change->node.runtime.availability_zone = "us-east-1b";
                                 change->node.runtime.devices = {{"/dev/xvda", "vol-1", {}}};
                                 change->node.state_reason = "no spot capacity";
                                 return Status::Ok();
                               })
                  .ok());
  const Json status = Call("GET", PathOf(id, "/status")).item();
  EXPECT_EQ(status["instanceId"], "i-1");
  EXPECT_EQ(status["launchedAt"], "1970-01-01T00:00:01.000Z");
  EXPECT_EQ(status["lifeCycle"], "on_demand");
  EXPECT_EQ(status["availabilityZone"], "us-east-1b");
  EXPECT_EQ(status["stateReason"], "no spot capacity");
  EXPECT_EQ(status["devices"].dump(),
            R"([{"deviceName":"/dev/xvda","volumeId":"vol-1","snapshotId":null}])");
}

TEST_F(ApiTest, StatusShowsTheNewestCheckpoint) {
  const std::string id = NewNode();
  EXPECT_TRUE(Call("GET", PathOf(id, "/status")).item()["lastCheckpoint"].is_null());
  CheckpointReport report;
  report.config_id = "apc-1";
  report.checkpoint_id = "c1";
  report.time_ms = 1'000;
  report.frozen_ms = 12.5;
  report.bytes_stored = 4096;
  ASSERT_TRUE(state_->AddCheckpoint("act-1", id, report).ok());
  const Json first = Call("GET", PathOf(id, "/status")).item()["lastCheckpoint"];
  EXPECT_EQ(first["time"], "1970-01-01T00:00:01.000Z");
  EXPECT_EQ(first["frozenMs"], 12.5);
  EXPECT_EQ(first["bytesStored"], 4096);
  EXPECT_TRUE(first["error"].is_null());
  report.checkpoint_id.clear();
  report.error = "the disk is full";
  ASSERT_TRUE(state_->AddCheckpoint("act-1", id, report).ok());
  EXPECT_EQ(Call("GET", PathOf("status")).item()["lastCheckpoint"]["error"], "the disk is full");
}

TEST_F(ApiTest, CostsAreSummedOverTheTimeAskedFor) {
  const std::string id = NewNode();
  constexpr int64_t kHour = 3'600'000;
  ASSERT_TRUE(state_->PutUsage("act-1", id, {"i-1", 0, 4 * kHour, 1.0, {}, 4.0}).ok());
  const std::vector<PriceChange> later = {{31 * kHour, 3.0}};
  ASSERT_TRUE(state_->PutUsage("act-1", id, {"i-2", 30 * kHour, 32 * kHour, 1.0, later, 4.0}).ok());
  const Json costs =
      Call("GET", PathOf(id, "/costs?fromDate=1970-01-01T02:00:00Z&toDate=1970-01-03&x=1")).item();
  EXPECT_EQ(costs["running"]["value"], 4.0);
  EXPECT_EQ(costs["running"]["unit"], "hours");
  EXPECT_EQ(costs["costs"]["actual"], 6.0);
  EXPECT_EQ(costs["costs"]["potential"], 16.0);
  EXPECT_EQ(costs["savings"]["value"], 62.5);
  // A date at the end is all of that day, an instant is just that.
  const auto hours = [&](const char* from, const char* to) -> double {
    return Call("GET", PathOf(id, fmt::format("/costs?fromDate={}&toDate={}", from, to)))
        .item()["running"]["value"];
  };
  EXPECT_EQ(hours("1970-01-01", "1970-01-01"), 4.0);
  EXPECT_EQ(hours("1970-01-01", "1970-01-02"), 6.0);
  EXPECT_EQ(hours("1970-01-01", "1970-01-02T00:00:00Z"), 4.0);
  EXPECT_EQ(hours("1970-01-02T06:00:00Z", "1970-01-02T07:00:00Z"), 1.0);
  EXPECT_THAT(Call("GET", PathOf(id, "/costs?fromDate=1970-01-03&toDate=1970-01-02")).error(),
              HasSubstr("fromDate: must not be later"));
  EXPECT_THAT(Call("GET", PathOf(id, "/costs?toDate=1970-01-03")).error(),
              HasSubstr("fromDate: is required"));
  EXPECT_THAT(Call("GET", PathOf(id, "/costs?fromDate=x&toDate=1970-01-03")).error(),
              HasSubstr("fromDate: must be a date"));
}

TEST_F(ApiTest, EventsTellTheHistory) {
  const std::string id = NewNode();
  CarryOut(id, NodeState::kActive);
  Call("PUT", PathOf(id, "/pause"));
  const Answer events = Call("GET", PathOf(id, "/events"));
  ASSERT_EQ(events.response()["count"], 2);
  EXPECT_EQ(events.item(1)["sequence"], 2);
  EXPECT_EQ(events.item(1)["eventType"], "AWS_EC2_MANAGED_INSTANCE_PAUSING");
  EXPECT_EQ(Call("GET", PathOf(id, "/events?after=1")).response()["count"], 1);
  EXPECT_EQ(Call("GET", PathOf(id, "/events?limit=0")).status, 400);
  EXPECT_THAT(Call("GET", PathOf("smi-0", "/events")).error(), StartsWith("MANAGED_INSTANCE_DOES"));
}

TEST_F(ApiTest, AVolumeIsDeletedByAnOperation) {
  const std::string id = NewNode();
  CarryOut(id, NodeState::kActive);
  EXPECT_THAT(Call("DELETE", PathOf(id, "/volume/vol-1")).error(),
              StartsWith("CANT_DELETE_MANAGED_INSTANCE_VOLUME"));
  ASSERT_TRUE(
      state_
          ->ChangeNode("act-1", id,
                       [](ControllerState::NodeChange* change) {
                         change->node.runtime.devices = {{"/dev/sdf", "vol-1", {}},
                                                         {"/dev/xvda", "vol-0", {}}};
                         change->node.runtime.resources.devices = {
                             {.device_name = "/dev/sdf", .volume_id = "vol-1"},
                             {.device_name = "/dev/xvda", .volume_id = "vol-0", .root = true}};
                         return Status::Ok();
                       })
          .ok());
  EXPECT_THAT(
      Call("DELETE", PathOf(id, "/volume/vol-0")).error(),
      StartsWith("CANT_DELETE_MANAGED_INSTANCE_VOLUME : vol-0 is the stateful node's root"));
  EXPECT_FALSE(state_->GetNode("act-1", id)->operation_id);
  EXPECT_EQ(Call("DELETE", PathOf(id, "/volume/vol-1")).status, 200);
  EXPECT_EQ(PendingKind(id), OperationKind::kDeleteVolume);
}

TEST_F(ApiTest, UnknownNodesAreNamedByEveryCall) {
  const std::pair<const char*, const char*> calls[] = {
      {"GET", ""},
      {"GET", "/status"},
      {"GET", "/costs?fromDate=2026-01-01&toDate=2026-01-02"},
      {"PUT", "/pause"},
      {"PUT", "/resume"},
      {"PUT", "/recycle"},
      {"DELETE", ""},
      {"DELETE", "/volume/vol-1"}};
  for (const auto& [method, rest] : calls) {
    const Answer answer = Call(method, PathOf("smi-0", rest));
    EXPECT_EQ(answer.status, 400) << method << rest;
    EXPECT_THAT(answer.error(), StartsWith("MANAGED_INSTANCE_DOESNT_EXIST")) << method << rest;
  }
  EXPECT_THAT(Call("PUT", PathOf("smi-0"), R"({"managedInstance": {}})").error(),
              StartsWith("MANAGED_INSTANCE_DOESNT_EXIST"));
}

TEST_F(ApiTest, ConcurrentUpdatesLoseNothing) {
  const std::string id = NewNode();
  std::vector<std::thread> threads(6);
  for (int t = 0; t < 6; ++t) {
    threads[t] = std::thread([&, t] {
      const std::string field[] = {"gracePeriod", "unhealthyDuration"};
      for (int i = 0; i < 5; ++i) {
        EXPECT_EQ(Call("PUT", PathOf(id),
                       fmt::format(R"({{"managedInstance": {{"healthCheck": {{"{}": {}}}}}}})",
                                   field[t % 2], 100 + i))
                      .status,
                  200);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(state_->GetNode("act-1", id)->generation, 31);
}

}  // namespace
}  // namespace snapstore::spot
