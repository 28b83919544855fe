#include "tests/orchestrator/api/api_fixture.h"

namespace snapstore::spot {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

constexpr const char* kMigrations = "/aws/ec2/managedInstance/migration";
constexpr const char* kGroups = "/aws/ec2/statefulMigrationGroup";

TEST_F(ApiTest, AMigrationIsRecordedAndFound) {
  const Answer made =
      Call("POST", kMigrations,
           R"({"migration": {"originalInstanceId": "i-1", "region": "us-east-1"}})");
  ASSERT_EQ(made.status, 200) << made.body.dump();
  EXPECT_EQ(made.item()["state"], "MIGRATE_START");
  EXPECT_EQ(made.item()["data"]["originalInstanceId"], "i-1");
  const std::string id = made.item()["migrationId"];
  const Json status = Call("GET", fmt::format("{}/{}", kMigrations, id)).item();
  EXPECT_EQ(status["managedInstanceId"], made.item()["managedInstanceId"]);
  const std::string search = std::string(kMigrations) + "/search";
  EXPECT_EQ(Call("POST", search, fmt::format(R"({{"migrationIds": ["{}"]}})", id)).item(), status);
  EXPECT_THAT(Call("POST", search, R"({"migrationIds": ["smg-0"]})").error(),
              StartsWith("MANAGED_INSTANCE_MIGRATION_DOESNT_EXIST"));
  EXPECT_EQ(Call("POST", search, R"({"migrationIds": []})").status, 400);
  EXPECT_THAT(Call("POST", kMigrations, R"({"migration": {}})").error(),
              HasSubstr("migration.originalInstanceId: is required"));
}

TEST_F(ApiTest, ABulkMigrationNamesItsFailures) {
  const Answer bulk = Call("POST", std::string(kMigrations) + "/bulk",
                           R"({"migrations": [
      {"originalInstanceId": "i-1", "region": "us-east-1", "managedInstanceName": "one"},
      {"originalInstanceId": "i-2"}, 5]})");
  ASSERT_EQ(bulk.status, 200) << bulk.body.dump();
  EXPECT_EQ(bulk.response()["count"], 1);
  EXPECT_EQ(bulk.item()["data"]["managedInstanceName"], "one");
  ASSERT_EQ(bulk.response()["failures"].size(), 2);
  EXPECT_EQ(bulk.response()["failures"][0]["resourceId"], "i-2");
  EXPECT_THAT(bulk.response()["failures"][0]["errorMessage"].get<std::string>(),
              HasSubstr("migrations[1].region: is required"));
}

TEST_F(ApiTest, AMigrationIntoAnotherRegionIsRefusedAtOnce) {
  Serve({.region = "us-east-1"});
  const auto body = [](const char* root, const char* more) {
    return fmt::format(R"({{"{}": {{"originalInstanceId": "i-1", "region": "eu-west-1"{}}}}})",
                       root, more);
  };
  const Answer single = Call("POST", kMigrations, body("migration", ""));
  EXPECT_EQ(single.status, 400);
  EXPECT_THAT(single.error(), HasSubstr("migration.region: must be us-east-1"));
  const Answer group =
      Call("POST", kGroups,
           body("statefulMigrationGroup", R"(, "name": "n", "shouldKeepPrivateIp": false)"));
  EXPECT_EQ(group.status, 400);
  EXPECT_THAT(group.error(), HasSubstr("statefulMigrationGroup.region: must be us-east-1"));
  const Answer bulk = Call("POST", std::string(kMigrations) + "/bulk", R"({"migrations": [
      {"originalInstanceId": "i-1", "region": "eu-west-1"},
      {"originalInstanceId": "i-2", "region": "us-east-1"}]})");
  ASSERT_EQ(bulk.response()["failures"].size(), 1);
  EXPECT_THAT(bulk.response()["failures"][0]["errorMessage"].get<std::string>(),
              HasSubstr("migrations[0].region: must be us-east-1"));
  EXPECT_EQ(bulk.response()["count"], 1);
}

TEST_F(ApiTest, AGroupsTwinsActOnTheSameNode) {
  const Answer made = Call("POST", kGroups, R"({"statefulMigrationGroup": {
      "originalInstanceId": "i-1", "name": "n", "shouldKeepPrivateIp": false}})");
  ASSERT_EQ(made.status, 200) << made.body.dump();
  const std::string id = made.item()["id"];
  const std::string group = made.item()["groupId"];
  const std::string path = fmt::format("{}/{}", kGroups, id);
  EXPECT_EQ(Call("GET", path).item()["statefulMigrationId"], id);
  EXPECT_EQ(Call("POST", path + "/userAction", R"({"userAction": {"type": "terminate"}})").status,
            200);
  EXPECT_TRUE(state_->GetMigration("act-1", id)->termination_confirmed.value());
  EXPECT_EQ(Call("POST", path + "/userAction", R"({"userAction": {"type": "x"}})").status, 400);

  const std::string instances = fmt::format("/aws/ec2/group/{}/statefulInstance", group);
  EXPECT_EQ(Call("GET", instances).response()["count"], 0);
  FieldErrors errors;
  const auto record = state_->GetMigration("act-1", id);
  ASSERT_TRUE(
      state_->CreateImportedNode(*record, *ParseNodeSpec(Parsed(kOtherNode), &errors)).ok());
  CarryOut(record->node_id, NodeState::kActive);
  const std::string instance = Call("GET", instances).item()["id"];
  EXPECT_EQ(instance, record->stateful_instance_id);
  EXPECT_THAT(Call("PUT", instances + "/ssi-0/pause").error(),
              StartsWith("STATEFUL_INSTANCE_DOESNT_EXIST"));
  EXPECT_EQ(Call("PUT", fmt::format("{}/{}/pause", instances, instance)).status, 200);
  EXPECT_EQ(state_->GetNode("act-1", record->node_id)->state, NodeState::kPause);
  EXPECT_EQ(Call("PUT", fmt::format("{}/{}/deallocate", instances, instance)).status, 200);
  EXPECT_EQ(PendingKind(record->node_id), OperationKind::kDeallocate);
  EXPECT_THAT(Call("GET", "/aws/ec2/group/sig-0/statefulInstance").error(),
              StartsWith("GROUP_DOESNT_EXIST"));
}

TEST_F(ApiTest, AGroupsMigrationCannotBeCancelledOnceItsSourceEnds) {
  const Answer made = Call("POST", kGroups, R"({"statefulMigrationGroup": {
      "originalInstanceId": "i-1", "name": "n", "shouldKeepPrivateIp": false}})");
  const std::string id = made.item()["id"];
  ASSERT_TRUE(state_
                  ->ChangeMigration("act-1", id,
                                    [](MigrationRecord* record) {
                                      record->state = "MIGRATE_TERMINATE_INSTANCE";
                                      record->source_ends = true;
                                      return Status::Ok();
                                    })
                  .ok());
  const Answer refused = Call("DELETE", fmt::format("{}/{}", kGroups, id));
  EXPECT_EQ(refused.status, 400);
  EXPECT_THAT(refused.error(), HasSubstr("i-1 is terminated, or being terminated: the migration "
                                         "goes on to its end"));
  EXPECT_FALSE(state_->GetMigration("act-1", id)->cancel_requested.value());
}

TEST_F(ApiTest, AGroupsMigrationCanBeCancelledUntilItIsOver) {
  const Answer made = Call("POST", kGroups, R"({"statefulMigrationGroup": {
      "originalInstanceId": "i-1", "name": "n", "shouldKeepPrivateIp": false}})");
  const std::string id = made.item()["id"];
  const std::string path = fmt::format("{}/{}", kGroups, id);
  EXPECT_EQ(Call("DELETE", path).status, 200);
  EXPECT_TRUE(state_->GetMigration("act-1", id)->cancel_requested.value());
  ASSERT_TRUE(state_
                  ->ChangeMigration("act-1", id,
                                    [](MigrationRecord* record) {
                                      record->state = "MIGRATE_CANCEL";
                                      return Status::Ok();
                                    })
                  .ok());
  EXPECT_THAT(Call("DELETE", path).error(), HasSubstr("over already"));
  EXPECT_THAT(Call("DELETE", std::string(kGroups) + "/smg-0").error(),
              StartsWith("STATEFUL_MIGRATION_GROUP_DOESNT_EXIST"));
}

}  // namespace
}  // namespace snapstore::spot
