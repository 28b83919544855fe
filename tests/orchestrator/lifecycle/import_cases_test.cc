// Imports, and what the source of one must never suffer.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <optional>
#include <utility>

#include "tests/orchestrator/lifecycle/life_cycle_cases.h"

namespace snapstore::spot {
namespace {

using ::testing::HasSubstr;

class ImportCases : public LifeCycleCases {
 protected:
  std::string Source() {
    std::string id = world_.cloud.LaunchByHand('a', "m5.large");
    Pass(2 * kMinuteMs);
    EXPECT_EQ(At(id).shown.state, "running");
    return id;
  }
  SimInstance& At(const std::string& id) { return *world_.cloud.instances().Find(id); }
  SimInterface& InterfaceOf(const std::string& source) {
    return *world_.cloud.interfaces().Find(At(source).shown.interfaces.front().id);
  }
  // The source is terminated, and its address is kept.
  static MigrationRequest Wanted(const std::string& source) {
    MigrationRequest request;
    request.original_instance_id = source;
    request.region = SimulatedCloud::kRegion;
    request.should_keep_private_ip = true;
    request.should_terminate_instance = true;
    request.spot_instance_types = kTypes;
    return request;
  }
  MigrationRecord Begun(const MigrationRequest& request, bool as_group = false) {
    const auto migration = world_.Import(request, as_group);
    EXPECT_TRUE(migration.ok());
    return *migration;
  }
  MigrationRecord Now(const MigrationRecord& migration) {
    return *world_.state().GetMigration(Simulation::kAccount, migration.id);
  }
  MigrationRecord Ended(const MigrationRecord& migration) {
    EXPECT_TRUE(world_.RunUntilIdle(12 * kHourMs)) << Now(migration).state;
    return Now(migration);
  }
  MigrationRecord Imported(const MigrationRequest& request) { return Ended(Begun(request)); }
  NodeRecord ImportedNode(const MigrationRequest& request) {
    const MigrationRecord migration = Imported(request);
    EXPECT_EQ(migration.state, "MIGRATE_FINISH") << migration.state_description.value_or("");
    ExpectActive(migration.node_id);
    return Record(migration.node_id);
  }
  // Calls `heed` before each call of that name.
  void Before(const std::string& action, const std::function<void()>& heed) {
    const auto before = world_.cloud.on_call;
    world_.cloud.on_call = [before, action, heed](const char* name, bool changes, bool after) {
      if (!after && action == name) heed();
      before(name, changes, after);
    };
  }
  bool Shows(const MigrationRecord& migration, const std::string& state) {
    return Until(4 * kHourMs, kSecondMs, [&] { return Now(migration).state == state; });
  }
  std::string Events(const std::string& node) {
    std::string text;
    const auto events = world_.state().ListEvents(Simulation::kAccount, node, 0, 1000);
    for (const Event& event : *events) text += event.type + " " + event.message + "\n";
    return text;
  }
  void ExpectUntouched(const std::string& source) {
    const SimInstance* const instance = world_.cloud.instances().Find(source);
    ASSERT_NE(instance, nullptr);
    EXPECT_EQ(instance->shown.state, "running");
    for (const Ec2InstanceDevice& device : instance->shown.devices) {
      EXPECT_EQ(world_.cloud.volumes().Find(device.volume_id)->shown.state, "in-use");
    }
    // Neither an image nor a snapshot of it.
    EXPECT_EQ(world_.cloud.images().all().size(), 1);
    EXPECT_EQ(world_.cloud.snapshots().all().size(), 1);
  }
  // It ends before anything is done.
  void ExpectRefused(const MigrationRequest& request, const std::string& why) {
    const MigrationRecord migration = Imported(request);
    EXPECT_EQ(migration.state, "MIGRATE_ERROR");
    EXPECT_THAT(migration.state_description.value_or(""), HasSubstr(why));
    EXPECT_FALSE(world_.cloud.happened().contains("call CreateImage"));
    EXPECT_FALSE(world_.Node(migration.node_id));
    ExpectUntouched(request.original_instance_id);
    ExpectAllIsWell();
  }
  void ExpectCancelled(const MigrationRecord& migration, const std::string& source) {
    EXPECT_EQ(Ended(migration).state, "MIGRATE_CANCEL");
    ExpectAllIsWell();
    ExpectUntouched(source);
    EXPECT_TRUE(world_.state().ListRetained()->empty());
  }
};

// What is checked before.

TEST_P(ImportCases, AnotherRegionIsRefusedBeforeAnythingIsDone) {
  MigrationRequest request = Wanted(Source());
  request.region = "eu-west-1";
  ExpectRefused(request, "eu-west-1");
}

TEST_P(ImportCases, TypesThatDoNotExistAreRefusedBeforeAnythingIsDone) {
  MigrationRequest request = Wanted(Source());
  request.spot_instance_types = {"m9z.large"};
  ExpectRefused(request, "spotInstanceTypes: none of the instance types exists");
}

TEST_P(ImportCases, UnknownSubnetsAreRefusedBeforeAnythingIsDone) {
  MigrationRequest request = Wanted(Source());
  request.should_keep_private_ip = false;
  request.availability_zones = {{"us-east-1a", {"subnet-nowhere"}}};
  ExpectRefused(request, "subnet-nowhere");
}

TEST_P(ImportCases, MoreTagsThanANodeCanHaveAreRefusedBeforeAnythingIsDone) {
  const std::string source = Source();
  for (int i = 0; i < 48; ++i) At(source).shown.tags[fmt::format("tag-{}", i)] = "x";
  ExpectRefused(Wanted(source), "48 tags");
}

TEST_P(ImportCases, AnInstanceOfANodeIsRefused) {
  const std::string node = Active(Spec("onLaunch", one_zone_, true));
  const MigrationRecord migration = Imported(Wanted(world_.cloud.InstancesOf(node).front()));
  EXPECT_EQ(migration.state, "MIGRATE_ERROR");
  EXPECT_THAT(migration.state_description.value_or(""), HasSubstr("a stateful node already"));
  ExpectActive(node);
}

TEST_P(ImportCases, ASourceMayHaveTheTagThatAPolicyWants) {
  const std::string source = Source();
  world_.cloud.instances().Tag(source, {{NodeTag::kNode, "wanted"}}, false);
  world_.Disown(source);
  (void)ImportedNode(Wanted(source));
  ExpectAllIsWell();
}

// What comes along.

TEST_P(ImportCases, ALongNameIsCut) {
  const std::string source = Source();
  At(source).shown.tags["Name"] = std::string(256, 'x');
  EXPECT_EQ(ImportedNode(Wanted(source)).spec.name, std::string(255, 'x'));
  ExpectAllIsWell();
}

TEST_P(ImportCases, ANameIsCutBetweenCharacters) {
  const std::string source = Source();
  std::string name;
  for (int i = 0; i < 128; ++i) name += "é";
  At(source).shown.tags["Name"] = name;
  EXPECT_EQ(ImportedNode(Wanted(source)).spec.name, name.substr(0, 254));
  ExpectAllIsWell();
}

TEST_P(ImportCases, PlatformsThatAreNoProductsAreTakenForTheirSystem) {
  const std::vector<std::pair<std::string, std::string>> platforms = {
      {"Ubuntu Pro", "Linux/UNIX"},
      {"Windows BYOL", "Windows"},
      {"Red Hat Enterprise Linux with HA", "Red Hat Enterprise Linux"},
      {"SQL Server Web", "Linux/UNIX"}};
  for (const auto& [platform, product] : platforms) {
    const std::string source = Source();
    At(source).shown.platform_details = platform;
    EXPECT_EQ(ImportedNode(Wanted(source)).spec.compute.product, product) << platform;
  }
  ExpectAllIsWell();
}

TEST_P(ImportCases, AllMetadataOptionsComeAlong) {
  const std::string source = Source();
  At(source).shown.metadata = {"required", 3, "enabled"};
  MigrationRequest request = Wanted(source);
  request.should_keep_metadata_options = true;
  const NodeRecord node = ImportedNode(request);
  const Ec2MetadataOptions& metadata = At(*node.runtime.instance_id).shown.metadata;
  EXPECT_EQ(metadata.http_tokens, "required");
  EXPECT_EQ(metadata.http_put_response_hop_limit, 3);
  EXPECT_EQ(metadata.instance_metadata_tags, "enabled");
}

TEST_P(ImportCases, AKeyPairThatIsGoneIsLeftOut) {
  const std::string source = Source();
  At(source).shown.key_name = "old";
  const NodeRecord node = ImportedNode(Wanted(source));
  EXPECT_FALSE(node.spec.compute.launch_specification.key_pair);
  EXPECT_THAT(Events(node.id), HasSubstr("KEY_PAIR_LOST there is no key pair old"));
}

TEST_P(ImportCases, ThatThePublicAddressIsLostIsSaid) {
  const std::string source = Source();
  At(source).shown.public_ip = "203.0.113.9";
  const NodeRecord node = ImportedNode(Wanted(source));
  EXPECT_THAT(Events(node.id),
              HasSubstr("PUBLIC_ADDRESS_LOST the source's public address 203.0.113.9"));
}

TEST_P(ImportCases, AnInterfaceThatOutlivesItsSourceIsTakenOver) {
  const std::string source = Source();
  const std::string interface = InterfaceOf(source).shown.id;
  const std::string address = At(source).shown.private_ip;
  InterfaceOf(source).shown.delete_on_termination = false;
  At(source).shown.interfaces.front().delete_on_termination = false;
  NodeRecord node = ImportedNode(Wanted(source));
  EXPECT_EQ(node.runtime.resources.interface_id, interface);
  EXPECT_EQ(node.runtime.private_ip, address);
  Do(node.id, NodeAction::kRecycle);
  node = Record(node.id);
  EXPECT_EQ(node.runtime.resources.interface_id, interface);
  EXPECT_EQ(node.runtime.private_ip, address);
  ExpectAllIsWell();
  Do(node.id, NodeAction::kDeallocate, kAllFlags);
  EXPECT_EQ(world_.cloud.interfaces().Find(interface), nullptr);
  ExpectAllIsWell();
}

TEST_P(ImportCases, AnInterfaceThatIsToldToStayInTheMeantimeIsTakenOver) {
  const std::string source = Source();
  const std::string interface = InterfaceOf(source).shown.id;
  const MigrationRecord migration = Begun(Wanted(source));
  ASSERT_TRUE(Shows(migration, "MIGRATE_AWAIT_FOR_IMAGE"));
  InterfaceOf(source).shown.delete_on_termination = false;
  EXPECT_EQ(Ended(migration).state, "MIGRATE_FINISH");
  EXPECT_EQ(Record(migration.node_id).runtime.resources.interface_id, interface);
  ExpectAllIsWell();
}

// Cancelling.

TEST_P(ImportCases, ACancelWhileTheImageIsMadeLeavesNothing) {
  const std::string source = Source();
  const MigrationRecord migration = Begun(Wanted(source), /*as_group=*/true);
  ASSERT_TRUE(Shows(migration, "MIGRATE_AWAIT_FOR_IMAGE"));
  EXPECT_TRUE(world_.CancelImport(migration.id).ok());
  ExpectCancelled(migration, source);
}

TEST_P(ImportCases, ACancelLeavesNoImageWhoseAnswerWasLost) {
  const std::string source = Source();
  const MigrationRecord migration = Begun(Wanted(source), /*as_group=*/true);
  world_.cloud.faults.late = 1;
  world_.cloud.Script("CreateImage", 0, "lose");
  After("CreateImage", [&] { (void)world_.CancelImport(migration.id); });
  ExpectCancelled(migration, source);
}

TEST_P(ImportCases, ACancelEndsThoughWhatWasMadeMayNotBeDeleted) {
  const std::string source = Source();
  MigrationRequest request = Wanted(source);
  request.should_terminate_instance = false;
  const MigrationRecord migration = Begun(request, /*as_group=*/true);
  ASSERT_TRUE(Shows(migration, "MIGRATE_AWAIT_USER_ACTION"));
  Deny({"DeregisterImage", "DeleteSnapshot"});
  EXPECT_TRUE(world_.CancelImport(migration.id).ok());
  EXPECT_EQ(Ended(migration).state, "MIGRATE_CANCEL");
  EXPECT_EQ(world_.state().ListRetained()->size(), 2);  // the image and its snapshot
  ExpectAllIsWell();
  world_.cloud.refuses = nullptr;
  Pass(5 * kDayMs);
  ExpectCancelled(migration, source);
}

TEST_P(ImportCases, ACancelWhileTheOwnerIsAwaitedLeavesNothing) {
  const std::string source = Source();
  MigrationRequest request = Wanted(source);
  request.should_terminate_instance = false;
  const MigrationRecord migration = Begun(request, /*as_group=*/true);
  ASSERT_TRUE(Shows(migration, "MIGRATE_AWAIT_USER_ACTION"));
  EXPECT_TRUE(world_.CancelImport(migration.id).ok());
  ExpectCancelled(migration, source);
}

TEST_P(ImportCases, ACancelAfterTheOwnerEndedTheSourceKeepsItsImage) {
  const std::string source = Source();
  MigrationRequest request = Wanted(source);
  request.should_terminate_instance = false;
  const MigrationRecord migration = Begun(request, /*as_group=*/true);
  ASSERT_TRUE(Shows(migration, "MIGRATE_AWAIT_USER_ACTION"));
  EXPECT_TRUE(world_.CancelImport(migration.id).ok());
  world_.cloud.TakeAway(source, "Client.UserInitiatedShutdown", "by hand");
  EXPECT_EQ(Ended(migration).state, "MIGRATE_CANCEL");
  ExpectAllIsWell();
  const auto retained = world_.state().ListRetained();
  ASSERT_EQ(retained->size(), 1);
  EXPECT_FALSE(retained->front().delete_at_ms);
  EXPECT_NE(world_.cloud.images().Find(retained->front().id), nullptr);
}

TEST_P(ImportCases, ThereIsNoWayBackOnceTheSourceIsBeingTerminated) {
  const std::string source = Source();
  const MigrationRecord migration = Begun(Wanted(source), /*as_group=*/true);
  std::vector<Status> answers;
  const auto cancel = [&] { answers.push_back(world_.CancelImport(migration.id)); };
  Before("TerminateInstances", cancel);
  world_.cloud.Script("TerminateInstances", 0, "lose");
  After("TerminateInstances", cancel);
  ASSERT_TRUE(Shows(migration, "MIGRATE_AWAIT_INSTANCE_TERMINATION"));
  cancel();
  EXPECT_EQ(Ended(migration).state, "MIGRATE_FINISH");
  ASSERT_GE(answers.size(), 4);
  for (const Status& answer : answers) {
    EXPECT_THAT(answer.message(), HasSubstr("the migration goes on to its end"));
  }
  ExpectActive(migration.node_id);
  ExpectAllIsWell();
}

TEST_P(ImportCases, ACancelThatIsFirstKeepsTheSource) {
  const std::string source = Source();
  const MigrationRecord migration = Begun(Wanted(source), /*as_group=*/true);
  ASSERT_TRUE(Shows(migration, "MIGRATE_AWAIT_FOR_IMAGE"));
  // Between the look at the cancel and the call.
  bool asked = false;
  After("DescribeInstanceTypeOfferings", [&] {
    if (asked) return;
    asked = true;
    EXPECT_TRUE(world_.CancelImport(migration.id).ok());
  });
  ExpectCancelled(migration, source);
  EXPECT_TRUE(asked);
  EXPECT_FALSE(world_.cloud.happened().contains("call TerminateInstances"));
}

TEST_P(ImportCases, ASourceThatMayNotBeTerminatedCanBeCancelled) {
  const std::string source = Source();
  const MigrationRecord migration = Begun(Wanted(source), /*as_group=*/true);
  for (int i = 0; i < 1000; ++i) {
    world_.cloud.Script("TerminateInstances", 0, "UnauthorizedOperation");
  }
  ASSERT_TRUE(Shows(migration, "MIGRATE_TERMINATE_INSTANCE"));
  Pass(10 * kMinuteMs);
  EXPECT_THAT(Now(migration).state_description.value_or(""), HasSubstr("UnauthorizedOperation"));
  EXPECT_TRUE(world_.CancelImport(migration.id).ok());
  ExpectCancelled(migration, source);
}

TEST_P(ImportCases, WithoutCapacityItIsTriedOnAfterTheSourcesEnd) {
  const std::string source = Source();
  const MigrationRecord migration = Begun(Wanted(source), /*as_group=*/true);
  for (const std::string& type : kTypes) {
    for (const bool spot : {true, false}) {
      world_.cloud.SetDrought(type, "us-east-1a", spot, world_.clock.now_ms() + 5 * kHourMs);
    }
  }
  ASSERT_TRUE(Shows(migration, "MIGRATE_LAUNCH_INSTANCE"));
  Pass(kHourMs);
  EXPECT_FALSE(world_.CancelImport(migration.id).ok());
  EXPECT_EQ(Ended(migration).state, "MIGRATE_FINISH");
  ExpectActive(migration.node_id);
  ExpectAllIsWell();
}

TEST_P(ImportCases, ANodeThatIsDeletedMeanwhileEndsItsImport) {
  const MigrationRecord migration = Begun(Wanted(Source()));
  for (const std::string& type : kTypes) {
    for (const bool spot : {true, false}) {
      world_.cloud.SetDrought(type, "us-east-1a", spot, world_.clock.now_ms() + 5 * kHourMs);
    }
  }
  ASSERT_TRUE(Shows(migration, "MIGRATE_LAUNCH_INSTANCE"));
  Do(migration.node_id, NodeAction::kDeallocate, kAllFlags);
  EXPECT_EQ(Now(migration).state, "MIGRATE_CANCEL");
  ExpectAllIsWell();
}

INSTANTIATE_TEST_SUITE_P(Seeds, ImportCases, ::testing::Values(1, 2));

// Deaths of the controller.

using Kind = CrashPoint::Kind;

// An import of a source whose interface outlives it; cancelled, or not.
class ImportCrashes : public ::testing::TestWithParam<bool> {
 protected:
  // The calls and the commits of it.
  std::pair<uint64_t, uint64_t> Run(const std::string& what,
                                    const std::optional<CrashPoint>& point) {
    SCOPED_TRACE(what);
    SetLogLevel(LogLevel::kError);
    Simulation world({.seed = 3, .restart_ms_max = kSecondMs});
    const std::string source = world.cloud.LaunchByHand('a', "m5.large");
    world.RunUntil(world.clock.now_ms() + kMinuteMs);
    const std::string interface = world.cloud.instances().Find(source)->shown.interfaces.front().id;
    world.cloud.interfaces().Find(interface)->shown.delete_on_termination = false;
    MigrationRequest request;
    request.original_instance_id = source;
    request.should_keep_private_ip = true;
    request.should_terminate_instance = !GetParam();
    request.spot_instance_types = kTypes;
    const auto migration = world.Import(request, /*as_group=*/true);
    EXPECT_TRUE(migration.ok());
    world.Arm(point);
    const auto state = [&] {
      return world.state().GetMigration(Simulation::kAccount, migration->id)->state;
    };
    if (GetParam()) {
      for (int i = 0; i < 4000 && state() != "MIGRATE_AWAIT_USER_ACTION"; ++i) {
        world.RunUntil(world.clock.now_ms() + kSecondMs);
      }
      EXPECT_TRUE(world.CancelImport(migration->id).ok());
    }
    EXPECT_TRUE(world.RunUntilIdle(4 * kHourMs));
    const std::pair<uint64_t, uint64_t> counted = {world.counted_calls(), world.counted_commits()};
    world.RunUntil(world.clock.now_ms() + 2 * kHourMs);
    EXPECT_EQ(world.Problems(), "");
    EXPECT_EQ(world.Leaks(), "");
    EXPECT_EQ(state(), GetParam() ? "MIGRATE_CANCEL" : "MIGRATE_FINISH");
    const auto node = world.Node(migration->node_id);
    if (GetParam()) {
      EXPECT_FALSE(node);
      EXPECT_EQ(world.cloud.images().all().size(), 1);
      EXPECT_EQ(world.cloud.snapshots().all().size(), 1);
      const SimInstance* const instance = world.cloud.instances().Find(source);
      EXPECT_TRUE(instance != nullptr && instance->shown.state == "running");
    } else {
      EXPECT_TRUE(node && node->state == NodeState::kActive &&
                  node->runtime.resources.interface_id == interface);
    }
    return counted;
  }
};

TEST_P(ImportCrashes, AreSurvivedAtEachInstant) {
  const auto [calls, commits] = Run("undisturbed", std::nullopt);
  EXPECT_GT(commits, 5);
  const auto at = [&](const char* name, Kind kind, uint64_t count) {
    for (uint64_t i = 0; i < count && !HasFailure(); ++i) {
      (void)Run(fmt::format("{} {}", name, i), CrashPoint{kind, i});
    }
  };
  at("before call", Kind::kBeforeCall, calls);
  at("after call", Kind::kAfterCall, calls);
  at("before commit", Kind::kBeforeCommit, commits);
  at("after commit", Kind::kAfterCommit, commits);
}

INSTANTIATE_TEST_SUITE_P(All, ImportCrashes, ::testing::Bool());

}  // namespace
}  // namespace snapstore::spot
