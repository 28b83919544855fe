#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "orchestrator/model/persistency_config.h"
#include "orchestrator/model/records.h"
#include "orchestrator/model/requests.h"
#include "tests/orchestrator/model/bodies.h"

namespace snapstore::spot {
namespace {

using ::testing::HasSubstr;

struct WrongRequest {
  const char* json;
  const char* problem;
};

TEST(PersistencyConfig, TheDocumentedBodyIsAcceptedAndPrinted) {
  FieldErrors errors;
  const auto config = ParsePersistencyConfig(Parsed(kDocumentedConfig)["config"], &errors);
  ASSERT_TRUE(config) << errors.ToStatus().message();
  const Json printed = PersistencyConfigJson("apc-7f3a90c2", *config);
  EXPECT_EQ(printed.dump(),
            R"({"id":"apc-7f3a90c2","name":"BI",)"
            R"("runCmd":"python3 /home/ec2-user/myapp/print_datetime_app.py",)"
            R"("externalFiles":["/home/ec2-user/myapp/datetime_log.txt"],)"
            R"("snapshotScheduler":"*/3 * * * *","snapshotDestination":"my-bucket"})");
}

TEST(PersistencyConfig, NoExternalFilesAreNull) {
  FieldErrors errors;
  const auto config = ParsePersistencyConfig(
      Json::parse(R"({"name": "a", "runCmd": "/bin/x", "snapshotDestination": "fs-01234567",
                      "snapshotScheduler": "* * * * *", "externalFiles": null})"),
      &errors);
  ASSERT_TRUE(config) << errors.ToStatus().message();
  EXPECT_TRUE(PersistencyConfigJson("apc-1", *config)["externalFiles"].is_null());
}

TEST(PersistencyConfig, EveryFieldHasItsRules) {
  const WrongRequest cases[] = {
      {R"({"name": ""})", "config.name: must not be empty"},
      {R"({"name": null})", "config.name: is required"},
      {R"({"name": 5})", "config.name: must be a string"},
      {R"({"runCmd": ""})", "config.runCmd: "},
      {R"({"runCmd": "a | b"})", "config.runCmd: "},
      {R"({"runCmd": null})", "config.runCmd: is required"},
      {R"({"snapshotDestination": "<YOUR_S3_BUCKET_NAME>"})", "config.snapshotDestination: "},
      {R"({"snapshotDestination": "ab"})", "neither an S3 bucket name"},
      {R"({"snapshotDestination": null})", "config.snapshotDestination: is required"},
      {R"({"snapshotScheduler": "* * * *"})", "config.snapshotScheduler: "},
      {R"({"snapshotScheduler": "0 0 30 2 *"})", "config.snapshotScheduler: "},
      {R"({"snapshotScheduler": 3})", "config.snapshotScheduler: must be a string"},
      {R"({"externalFiles": "/a"})", "config.externalFiles: must be a list"},
      {R"({"externalFiles": ["a"]})", "config.externalFiles[0]: 'a' is not an absolute path"},
      {R"({"externalFiles": ["/a", "/a"]})", "config.externalFiles: has '/a' twice"},
      {R"({"externalFiles": ["/a/../b"]})", "config.externalFiles[0]: "},
      {R"({"externalFiles": [1]})", "config.externalFiles[0]: must be a string"},
      {R"({"runCommand": "x"})", "config.runCommand: is not a known field"}};
  FieldErrors none;
  const auto good = ParsePersistencyConfig(Parsed(kDocumentedConfig)["config"], &none);
  ASSERT_TRUE(good);
  for (const WrongRequest& wrong : cases) {
    Json document = Parsed(kDocumentedConfig)["config"];
    document.update(Json::parse(wrong.json));
    FieldErrors errors;
    EXPECT_FALSE(ParsePersistencyConfig(document, &errors)) << wrong.json;
    EXPECT_THAT(errors.ToStatus().message(), HasSubstr(wrong.problem)) << wrong.json;
    FieldErrors update_errors;
    EXPECT_FALSE(UpdatePersistencyConfig(*good, Json::parse(wrong.json), &update_errors));
  }
}

TEST(Deallocation, HasDefaultsAndBothRootsAreOptional) {
  for (const char* body : {"null", "{}", R"({"deallocationConfig": null})",
                           R"({"managedInstanceId": "smi-1", "amiBackup": {}})"}) {
    FieldErrors errors;
    const auto parsed = ParseDeallocation(Json::parse(body), &errors);
    ASSERT_TRUE(parsed) << body;
    EXPECT_TRUE(parsed->config.should_terminate_instance.value());
    EXPECT_FALSE(parsed->config.should_delete_volumes.value());
  }
  for (const WrongRequest& wrong :
       {WrongRequest{"[]", "must be an object"},
        WrongRequest{R"({"deallocationConfig": 1})", "must be an object"},
        WrongRequest{R"({"deallocationConfig": {"shouldDeleteImages": "true"}})",
                     "deallocationConfig.shouldDeleteImages: must be true or false"},
        WrongRequest{R"({"other": {}})", "other: is not a known field"}}) {
    FieldErrors errors;
    EXPECT_FALSE(ParseDeallocation(Json::parse(wrong.json), &errors)) << wrong.json;
    EXPECT_THAT(errors.ToStatus().message(), HasSubstr(wrong.problem));
  }
}

TEST(StateChanges, AreAListOfIdsAndStates) {
  FieldErrors none;
  const auto good = ParseStateChanges(
      Json::parse(R"([{"id": "smi-1", "state": "PAUSE"}, {"id": "smi-2", "state": "RESUME"}])"),
      &none);
  ASSERT_TRUE(good);
  EXPECT_EQ((*good)[1].state, WantedState::kResume);
  for (const WrongRequest& wrong :
       {WrongRequest{"[]", "managedInstanceStates: must not be empty"},
        WrongRequest{"{}", "managedInstanceStates: must be a list"},
        WrongRequest{R"([{"id": "smi-1"}])", "managedInstanceStates[0].state: is required"},
        WrongRequest{R"([{"id": "x", "state": "PAUSE"}])",
                     "[0].id: must be an id of the form smi-"},
        WrongRequest{R"([{"id": "smi-1", "state": "pause"}])",
                     "[0].state: must be one of PAUSE, RESUME"},
        WrongRequest{R"([{"id": "smi-1", "state": "PAUSE"}, {"id": "smi-1", "state": "RESUME"}])",
                     "'smi-1' twice"}}) {
    FieldErrors errors;
    EXPECT_FALSE(ParseStateChanges(Json::parse(wrong.json), &errors)) << wrong.json;
    EXPECT_THAT(errors.ToStatus().message(), HasSubstr(wrong.problem));
  }
}

TEST(Migration, HasItsRules) {
  FieldErrors none;
  const auto parsed =
      ParseMigration(Json::parse(R"({"originalInstanceId": "i-1", "region": "us-east-1",
                      "managedInstanceName": "n", "product": "linux/unix",
                      "spotInstanceTypes": ["m5.large"], "shouldKeepPrivateIp": true,
                      "shouldTerminateInstance": true, "shouldKeepMetadataOptions": true})"),
                     "migration", &none);
  ASSERT_TRUE(parsed) << none.ToStatus().message();
  EXPECT_EQ(parsed->product, "Linux/UNIX");
  for (const WrongRequest& wrong :
       {WrongRequest{R"({"region": "us-east-1"})", "migration.originalInstanceId: is required"},
        WrongRequest{R"({"originalInstanceId": "i-1"})", "migration.region: is required"},
        WrongRequest{R"({"originalInstanceId": "x", "region": "us-east-1"})", "form i-"},
        WrongRequest{
            R"({"originalInstanceId": "i-1", "region": "us-east-1", "shouldKeepPrivateIp": true})",
            "migration.shouldTerminateInstance: must be true when"},
        WrongRequest{
            R"({"originalInstanceId": "i-1", "region": "us-east-1", "shouldKeepPrivateIp": true,
                  "shouldTerminateInstance": true, "availabilityZones": [{"name": "us-east-1a"}]})",
            "migration.availabilityZones: must not be given"},
        WrongRequest{R"({"originalInstanceId": "i-1", "region": "us-east-1",
                  "availabilityZones": [{"name": "us-east-1", "subnetIds": ["x"]}]})",
                     "migration.availabilityZones[0].subnetIds[0]"}}) {
    FieldErrors errors;
    EXPECT_FALSE(ParseMigration(Json::parse(wrong.json), "migration", &errors)) << wrong.json;
    EXPECT_THAT(errors.ToStatus().message(), HasSubstr(wrong.problem));
  }
  FieldErrors errors;
  EXPECT_FALSE(ParseGroupMigration(Json::parse(R"({"originalInstanceId": "i-1"})"), &errors));
  EXPECT_THAT(errors.ToStatus().message(), HasSubstr("statefulMigrationGroup.name: is required"));
}

TEST(Records, SurviveTheStore) {
  FieldErrors errors;
  NodeRecord node;
  node.id = "smi-1";
  node.account_id = "act-1";
  node.spec = *ParseNodeSpec(Parsed(kFullNode), &errors);
  node.state = NodeState::kRecycling;
  node.operation_id = "op-1";
  node.runtime.instance_id = "i-1";
  node.runtime.devices.push_back({"/dev/sdf", "vol-1", "snap-1"});
  KeptDevice device{.device_name = "/dev/sdf", .volume_id = "vol-1", .zone = "us-east-1a"};
  device.snapshots.push_back({"snap-1", "vol-1", 1, true});
  device.facts = VolumeFacts{"vol-1", "io2", 200, 0, true, "key-1", {{"Owner", "ada"}}};
  node.runtime.resources.image_id = "ami-1";
  node.runtime.resources.devices.push_back(device);
  const std::string text = EncodeRecord(node);
  const auto read = DecodeRecord<NodeRecord>(text, "node");
  ASSERT_TRUE(read.ok()) << read.status().ToString();
  EXPECT_EQ(EncodeRecord(*read), text);
  EXPECT_EQ(read->state, NodeState::kRecycling);
  EXPECT_EQ(read->runtime.devices[0].snapshot_id, "snap-1");
  const auto& facts = read->runtime.resources.devices[0].facts;
  ASSERT_TRUE(facts);
  EXPECT_EQ(facts->iops, 200);
  EXPECT_EQ(facts->tags.at(0).value, "ada");
  // An earlier version's record has no facts.
  Json older = Json::parse(text);
  older["runtime"]["resources"]["devices"][0].erase("facts");
  EXPECT_FALSE(DecodeRecord<NodeRecord>(older.dump(), "node")->runtime.resources.devices[0].facts);
  // A later version's member is no damage, a record of something else is.
  Json newer = Json::parse(text);
  newer["added"] = 1;
  EXPECT_TRUE(DecodeRecord<NodeRecord>(newer.dump(), "node").ok());
  EXPECT_TRUE(DecodeRecord<NodeRecord>("{}", "node").status().Is(StatusCode::kCorruption));
  EXPECT_TRUE(DecodeRecord<NodeRecord>("{", "node").status().Is(StatusCode::kCorruption));
}

TEST(Records, ActionsFitTheirStates) {
  using S = NodeState;
  using A = NodeAction;
  const std::pair<A, std::set<S>> allowed[] = {
      {A::kPause, {S::kActive}},
      {A::kResume, {S::kPaused, S::kError}},
      {A::kRecycle, {S::kActive, S::kPaused, S::kError}},
      {A::kDeallocate,
       {S::kActive, S::kPause, S::kPausing, S::kPaused, S::kResume, S::kResuming, S::kRecycle,
        S::kRecycling, S::kError}}};
  for (const auto& [action, states] : allowed) {
    for (int i = 0; i <= static_cast<int>(S::kError); ++i) {
      const auto state = static_cast<S>(i);
      EXPECT_EQ(CheckAction(state, action).ok(), states.contains(state))
          << NodeActionName(action) << " " << NodeStateName(state);
    }
  }
}

}  // namespace
}  // namespace snapstore::spot
