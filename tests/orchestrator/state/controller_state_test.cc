#include "orchestrator/state/controller_state.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <thread>

#include "orchestrator/state/operation_journal.h"
#include "orchestrator/state/rocks_state_store.h"
#include "tests/base/temp_folder.h"
#include "tests/orchestrator/model/bodies.h"

namespace snapstore::spot {
namespace {

using ::testing::HasSubstr;

class ControllerStateTest : public ::testing::Test {
 protected:
  void SetUp() override {
    auto store = RocksStateStore::Open(folder_.path());
    ASSERT_TRUE(store.ok()) << store.status().ToString();
    store_ = *std::move(store);
    state_ = std::make_unique<ControllerState>(store_.get());
  }
  void TearDown() override {
    state_.reset();
    store_.reset();
  }

  ConfigRecord NewConfig(const std::string& account = "act-1") {
    FieldErrors errors;
    const auto config = ParsePersistencyConfig(Parsed(kDocumentedConfig)["config"], &errors);
    return *state_->CreateConfig(account, *config);
  }
  static NodeSpec Spec(const std::vector<std::string>& configs = {}) {
    FieldErrors errors;
    Json document = Parsed(kOtherNode);
    document["persistence"]["applicationPersistencyConfig"] = configs;
    return *ParseNodeSpec(document, &errors);
  }
  NodeRecord NewNode(const std::vector<std::string>& configs = {}) {
    FieldErrors errors;
    auto node = state_->CreateNode("act-1", Spec(configs), &errors);
    EXPECT_TRUE(node.ok()) << node.status().ToString() << errors.ToStatus().message();
    return *std::move(node);
  }
  // What the life-cycle does once the instance runs.
  void FinishOperation(const NodeRecord& node, NodeState state) {
    const Status finished = OperationJournal(state_.get())
                                .Finish(*node.operation_id, OperationState::kDone, "",
                                        [state](ControllerState::NodeChange* change) {
                                          change->node.state = state;
                                          return Status::Ok();
                                        });
    ASSERT_TRUE(finished.ok()) << finished.ToString();
  }
  int64_t UsersOf(const ConfigRecord& config) {
    return state_->GetConfig("act-1", config.id)->users;
  }

  const TempFolder folder_;
  std::unique_ptr<StateStore> store_;
  std::unique_ptr<ControllerState> state_;
};

TEST_F(ControllerStateTest, TokensAreFoundUntilTheyExpireOrAreRevoked) {
  const auto token = state_->AddToken({"act-1", "act-2"}, "ci", std::nullopt);
  ASSERT_TRUE(token.ok()) << token.status().ToString();
  EXPECT_EQ(token->text.size(), 64);
  EXPECT_EQ(state_->FindToken(token->text)->accounts[1], "act-2");
  const auto expired = state_->AddToken({"act-1"}, "", std::chrono::seconds(-1));
  EXPECT_TRUE(state_->FindToken(expired->text).status().Is(StatusCode::kPermissionDenied));
  EXPECT_TRUE(state_->FindToken("").status().Is(StatusCode::kPermissionDenied));
  EXPECT_TRUE(state_->FindToken(token->text.substr(1)).status().Is(StatusCode::kPermissionDenied));
  EXPECT_EQ(state_->ListTokens()->size(), 2);
  EXPECT_TRUE(state_->RevokeToken(token->record.id).ok());
  EXPECT_TRUE(state_->FindToken(token->text).status().Is(StatusCode::kPermissionDenied));
  EXPECT_TRUE(state_->RevokeToken(token->record.id).Is(StatusCode::kNotFound));
}

TEST_F(ControllerStateTest, NoTokenIsOnTheDisk) {
  const auto token = state_->AddToken({"act-1"}, "secret", std::nullopt);
  state_.reset();
  store_.reset();
  int files = 0;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(folder_.path())) {
    if (!entry.is_regular_file()) continue;
    std::ifstream file(entry.path(), std::ios::binary);
    const std::string bytes((std::istreambuf_iterator<char>(file)), {});
    EXPECT_EQ(bytes.find(token->text), std::string::npos) << entry.path();
    ++files;
  }
  EXPECT_GT(files, 2);
  store_ = *RocksStateStore::Open(folder_.path());
  state_ = std::make_unique<ControllerState>(store_.get());
  EXPECT_TRUE(state_->FindToken(token->text).ok());
}

TEST_F(ControllerStateTest, AConfigurationInUseStays) {
  const ConfigRecord config = NewConfig();
  const NodeRecord node = NewNode({config.id});
  EXPECT_EQ(UsersOf(config), 1);
  const Status refused = state_->DeleteConfig("act-1", config.id);
  EXPECT_TRUE(refused.Is(StatusCode::kInvalidArgument));
  EXPECT_THAT(refused.message(), HasSubstr("in use: 1 stateful node refers to it"));
  const auto changed =
      state_->ChangeNode("act-1", node.id, [](ControllerState::NodeChange* change) {
        change->node.spec.persistence.application_persistency_configs.clear();
        return Status::Ok();
      });
  ASSERT_TRUE(changed.ok());
  EXPECT_EQ(UsersOf(config), 0);
  EXPECT_TRUE(state_->DeleteConfig("act-1", config.id).ok());
  EXPECT_TRUE(state_->DeleteConfig("act-1", config.id).Is(StatusCode::kNotFound));
}

TEST_F(ControllerStateTest, ADeallocatedNodeIsGoneAndLetsGoOfItsConfiguration) {
  const ConfigRecord config = NewConfig();
  NodeRecord node = NewNode({config.id});
  FinishOperation(node, NodeState::kActive);
  node = *state_->Ask("act-1", node.id, NodeAction::kDeallocate, "api", Json());
  EXPECT_EQ(node.state, NodeState::kDeallocate);
  FinishOperation(node, NodeState::kDeallocated);
  EXPECT_TRUE(state_->GetNode("act-1", node.id).status().Is(StatusCode::kNotFound));
  EXPECT_EQ(UsersOf(config), 0);
  EXPECT_GE(state_->ListEvents("act-1", node.id, 0, 10)->size(), 2);
}

TEST_F(ControllerStateTest, UnknownAndForeignConfigurationsAreNamed) {
  const ConfigRecord mine = NewConfig();
  const ConfigRecord foreign = NewConfig("act-2");
  FieldErrors errors;
  const auto node = state_->CreateNode("act-1", Spec({mine.id, foreign.id}), &errors);
  EXPECT_TRUE(node.status().Is(StatusCode::kInvalidArgument));
  ASSERT_EQ(errors.all().size(), 1);
  EXPECT_EQ(errors.all()[0].path, "managedInstance.persistence.applicationPersistencyConfig[1]");
  EXPECT_EQ(UsersOf(mine), 0);
  EXPECT_TRUE(state_->ListNodes("act-1")->empty());
}

TEST_F(ControllerStateTest, ANewNodeHasItsOperationAndEvent) {
  const NodeRecord node = NewNode();
  EXPECT_EQ(node.state, NodeState::kResume);
  const auto active = OperationJournal(state_.get()).Active();
  ASSERT_EQ(active->size(), 1);
  EXPECT_EQ((*active)[0].id, node.operation_id);
  EXPECT_EQ((*active)[0].kind, OperationKind::kLaunch);
  EXPECT_EQ((*active)[0].node_id, node.id);
  const auto events = state_->ListEvents("act-1", node.id, 0, 10);
  ASSERT_EQ(events->size(), 1);
  EXPECT_EQ((*events)[0].sequence, 1);
  EXPECT_EQ(state_->GetNode("act-1", node.id)->event_sequence, 1);
  EXPECT_TRUE(state_->GetNode("act-2", node.id).status().Is(StatusCode::kNotFound));
}

TEST_F(ControllerStateTest, OneOperationAtATimeButADeallocationSupersedes) {
  NodeRecord node = NewNode();
  for (const NodeAction action : {NodeAction::kPause, NodeAction::kResume, NodeAction::kRecycle}) {
    EXPECT_TRUE(state_->Ask("act-1", node.id, action, "api", Json())
                    .status()
                    .Is(StatusCode::kInvalidArgument));
  }
  const std::string launch = *node.operation_id;
  node = *state_->Ask("act-1", node.id, NodeAction::kDeallocate, "api", {{"x", 1}});
  EXPECT_NE(node.operation_id, launch);
  OperationJournal journal(state_.get());
  EXPECT_EQ(journal.Get(launch)->superseded_by, node.operation_id);
  // The launch ends; the node keeps the operation that superseded it.
  ASSERT_TRUE(journal.Finish(launch, OperationState::kSuperseded, "", nullptr).ok());
  EXPECT_EQ(state_->GetNode("act-1", node.id)->operation_id, node.operation_id);
  EXPECT_EQ(state_->GetNode("act-1", node.id)->state, NodeState::kDeallocate);
  EXPECT_TRUE(state_->Ask("act-1", node.id, NodeAction::kDeallocate, "api", Json())
                  .status()
                  .Is(StatusCode::kInvalidArgument));
}

TEST_F(ControllerStateTest, AVolumesDeletionIsAnOperationOfItsOwn) {
  const NodeRecord node = NewNode();
  FinishOperation(node, NodeState::kActive);
  EXPECT_THAT(state_->AskVolumeDeletion("act-1", node.id, "vol-1").message(),
              HasSubstr("has no volume vol-1"));
  ASSERT_TRUE(state_
                  ->ChangeNode("act-1", node.id,
                               [](ControllerState::NodeChange* change) {
                                 change->node.runtime.devices.push_back({"/dev/sdf", "vol-1", {}});
                                 return Status::Ok();
                               })
                  .ok());
  EXPECT_TRUE(state_->AskVolumeDeletion("act-1", node.id, "vol-1").ok());
  EXPECT_THAT(state_->AskVolumeDeletion("act-1", node.id, "vol-1").message(),
              HasSubstr("operation under way"));
  EXPECT_THAT(state_->Ask("act-1", node.id, NodeAction::kPause, "api", Json()).status().message(),
              HasSubstr("another operation (deleteVolume) is under way"));
}

TEST_F(ControllerStateTest, ConcurrentActionsHappenOnce) {
  const NodeRecord node = NewNode();
  FinishOperation(node, NodeState::kActive);
  std::atomic<int> accepted{0};
  std::vector<std::thread> threads(8);
  for (int i = 0; i < 8; ++i) {
    threads[i] = std::thread([&] {
      if (state_->Ask("act-1", node.id, NodeAction::kPause, "api", Json()).ok()) ++accepted;
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(accepted, 1);
  EXPECT_EQ(OperationJournal(state_.get()).Active()->size(), 1);
}

TEST_F(ControllerStateTest, ConcurrentChangesLoseNothing) {
  const NodeRecord node = NewNode();
  std::vector<std::thread> threads(6);
  std::atomic<int> failures{0};
  for (int t = 0; t < 6; ++t) {
    threads[t] = std::thread([&, t] {
      for (int i = 0; i < 10; ++i) {
        const auto changed =
            state_->ChangeNode("act-1", node.id, [&](ControllerState::NodeChange* change) {
              change->node.generation += 1;
              change->AddEvent("X", Severity::kInfo, fmt::format("{} {}", t, i));
              return Status::Ok();
            });
        if (!changed.ok()) ++failures;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(failures, 0);
  EXPECT_EQ(state_->GetNode("act-1", node.id)->generation, 61);
  const auto events = state_->ListEvents("act-1", node.id, 0, 100);
  ASSERT_EQ(events->size(), 61);
  for (size_t i = 0; i < events->size(); ++i) {
    EXPECT_EQ((*events)[i].sequence, static_cast<int64_t>(i + 1));
  }
}

TEST_F(ControllerStateTest, OldEventsGo) {
  const NodeRecord node = NewNode();
  for (int64_t i = 0; i < kEventsKept + 20; i += 20) {
    ASSERT_TRUE(state_
                    ->ChangeNode("act-1", node.id,
                                 [](ControllerState::NodeChange* change) {
                                   for (int k = 0; k < 20; ++k) {
                                     change->AddEvent("X", Severity::kInfo, "");
                                   }
                                   return Status::Ok();
                                 })
                    .ok());
  }
  const auto events = state_->ListEvents("act-1", node.id, 0, 2000);
  ASSERT_EQ(events->size(), kEventsKept);
  EXPECT_EQ(events->front().sequence, 22);
  EXPECT_EQ(state_->ListEvents("act-1", node.id, 1000, 5)->front().sequence, 1001);
}

TEST_F(ControllerStateTest, AnImportBecomesANode) {
  MigrationRequest request;
  request.original_instance_id = "i-1";
  request.region = "us-east-1";
  const auto migration = state_->CreateMigration("act-1", request, /*as_group=*/true);
  ASSERT_TRUE(migration.ok()) << migration.status().ToString();
  EXPECT_EQ(migration->state, "MIGRATE_START");
  EXPECT_EQ(state_->MigrationOfGroup("act-1", *migration->group_id)->id, migration->id);
  EXPECT_TRUE(
      state_->MigrationOfGroup("act-2", *migration->group_id).status().Is(StatusCode::kNotFound));
  OperationJournal journal(state_.get());
  EXPECT_EQ(journal.Get(migration->operation_id)->kind, OperationKind::kImport);
  const auto node = state_->CreateImportedNode(*migration, Spec());
  ASSERT_TRUE(node.ok()) << node.status().ToString();
  EXPECT_EQ(node->id, migration->node_id);
  EXPECT_EQ(node->stateful_instance_id, migration->stateful_instance_id);
  EXPECT_TRUE(state_->CreateImportedNode(*migration, Spec()).status().Is(StatusCode::kConflict));
  FinishOperation(*node, NodeState::kActive);
  EXPECT_FALSE(state_->GetNode("act-1", node->id)->operation_id);
}

}  // namespace
}  // namespace snapstore::spot
