#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "orchestrator/model/node_spec.h"
#include "tests/orchestrator/model/bodies.h"

namespace snapstore::spot {
namespace {

using ::testing::HasSubstr;

// A value somewhere in a document: how a client and how a pointer names it.
struct Place {
  std::string path;
  Json::json_pointer pointer;
};

void CollectPlaces(const Json& value, const Place& here, std::vector<Place>* places) {
  if (!here.pointer.empty()) places->push_back(here);
  if (value.is_object()) {
    for (const auto& [name, member] : value.items()) {
      CollectPlaces(member, {here.path + "." + name, here.pointer / name}, places);
    }
  } else if (value.is_array()) {
    for (size_t i = 0; i < value.size(); ++i) {
      CollectPlaces(value[i], {fmt::format("{}[{}]", here.path, i), here.pointer / i}, places);
    }
  }
}

std::vector<Place> PlacesOf(const Json& document) {
  std::vector<Place> places;
  CollectPlaces(document, {"managedInstance", Json::json_pointer()}, &places);
  return places;
}

bool HasErrorAt(const FieldErrors& errors, const std::string& path) {
  for (const FieldError& error : errors.all()) {
    if (error.path == path) return true;
  }
  return false;
}

class NodeSpecTest : public ::testing::TestWithParam<const char*> {};
INSTANTIATE_TEST_SUITE_P(Full, NodeSpecTest, ::testing::Values(kFullNode, kOtherNode));

TEST_P(NodeSpecTest, PrintsWhatItRead) {
  FieldErrors errors;
  const auto spec = ParseNodeSpec(Parsed(GetParam()), &errors);
  ASSERT_TRUE(spec) << errors.ToStatus().message();
  // Without regard to the order of members.
  EXPECT_EQ(nlohmann::json(NodeSpecJson(*spec)), nlohmann::json::parse(GetParam()));
}

TEST_P(NodeSpecTest, EveryFieldRefusesEveryOtherType) {
  const Json document = Parsed(GetParam());
  const std::vector<Json> values = {true, 7, 1.5, "x y", Json::array({5}), Json::object()};
  int tried = 0;
  for (const Place& place : PlacesOf(document)) {
    const Json& good = document[place.pointer];
    for (const Json& bad : values) {
      if (bad.type() == good.type()) continue;
      if (bad.is_number_integer() && good.is_number_integer()) continue;
      Json changed = document;
      changed[place.pointer] = bad;
      FieldErrors errors;
      EXPECT_FALSE(ParseNodeSpec(changed, &errors)) << place.path << " = " << bad.dump();
      EXPECT_TRUE(HasErrorAt(errors, place.path))
          << place.path << " = " << bad.dump() << ": " << errors.ToStatus().message();
      ++tried;
    }
  }
  EXPECT_GT(tried, 100);
}

TEST_P(NodeSpecTest, EveryObjectRefusesAnUnknownField) {
  const Json document = Parsed(GetParam());
  std::vector<Place> places = PlacesOf(document);
  places.push_back({"managedInstance", Json::json_pointer()});
  for (const Place& place : places) {
    if (!document[place.pointer].is_object()) continue;
    Json changed = document;
    changed[place.pointer]["suprise"] = 1;
    FieldErrors errors;
    EXPECT_FALSE(ParseNodeSpec(changed, &errors)) << place.path;
    EXPECT_TRUE(HasErrorAt(errors, place.path + ".suprise")) << errors.ToStatus().message();
  }
}

TEST_P(NodeSpecTest, NullIsAsGoodAsAbsent) {
  const Json document = Parsed(GetParam());
  for (const Place& place : PlacesOf(document)) {
    if (document[place.pointer.parent_pointer()].is_array()) continue;
    Json with_null = document;
    with_null[place.pointer] = nullptr;
    Json without = document;
    without[place.pointer.parent_pointer()].erase(place.pointer.back());
    FieldErrors null_errors;
    FieldErrors absent_errors;
    const auto null_spec = ParseNodeSpec(with_null, &null_errors);
    const auto absent_spec = ParseNodeSpec(without, &absent_errors);
    ASSERT_EQ(null_spec.has_value(), absent_spec.has_value()) << place.path;
    EXPECT_EQ(null_errors.all(), absent_errors.all()) << place.path;
    if (!null_spec) continue;
    EXPECT_EQ(NodeSpecJson(*null_spec), NodeSpecJson(*absent_spec));
  }
}

TEST(NodeSpec, TheDocumentedBodyIsAccepted) {
  FieldErrors errors;
  const auto spec = ParseNodeSpec(Parsed(kDocumentedNode)["managedInstance"], &errors);
  ASSERT_TRUE(spec) << errors.ToStatus().message();
  EXPECT_EQ(spec->strategy.revert_to_spot.perform_at.value(), PerformAt::kAlways);
  EXPECT_FALSE(spec->persistence.persist_block_devices.value());
  EXPECT_EQ(spec->persistence.block_devices_mode.value(), BlockDevicesMode::kOnLaunch);
  EXPECT_EQ(spec->persistence.application_persistency_configs,
            std::vector<std::string>{"apc-123456789"});
  EXPECT_EQ(spec->compute.launch_specification.instance_types.types.size(), 5);
  EXPECT_FALSE(spec->compute.launch_specification.shutdown_script);
}

TEST(NodeSpec, DefaultsAreUsedAndNotShown) {
  FieldErrors errors;
  Json document = Parsed(kOtherNode);
  document["healthCheck"] = nullptr;
  const auto spec = ParseNodeSpec(document, &errors);
  ASSERT_TRUE(spec) << errors.ToStatus().message();
  EXPECT_EQ(spec->strategy.life_cycle.value(), LifeCycle::kSpot);
  EXPECT_EQ(spec->strategy.orientation.value(), Orientation::kAvailabilityOriented);
  EXPECT_TRUE(spec->strategy.fallback_to_on_demand.value());
  EXPECT_FALSE(spec->strategy.utilize_reserved_instances.value());
  EXPECT_EQ(spec->strategy.revert_to_spot.perform_at.value(), PerformAt::kNever);
  EXPECT_EQ(spec->health_check.type.value(), HealthCheckType::kEc2);
  EXPECT_TRUE(spec->health_check.auto_healing.value());
  EXPECT_EQ(spec->health_check.grace_period_seconds.value(), 120);
  EXPECT_EQ(spec->health_check.unhealthy_duration_seconds.value(), 120);
  const LaunchSpecification& launch = spec->compute.launch_specification;
  EXPECT_FALSE(launch.resource_tags.volumes.should_tag.value());
  EXPECT_TRUE(launch.resource_tags.snapshots.should_tag.value());
  EXPECT_FALSE(launch.resource_tags.enis.should_tag.value());
  EXPECT_TRUE(launch.resource_tags.amis.should_tag.value());
  EXPECT_EQ(launch.tenancy.value(), Tenancy::kDefault);
  EXPECT_EQ(OperatingSystemOf(*spec), OperatingSystem::kLinux);
  EXPECT_FALSE(NodeSpecJson(*spec).contains("strategy"));
}

TEST(NodeSpec, ReadOnlyAndLegacyFieldsAreIgnored) {
  Json document = Parsed(kFullNode);
  document["id"] = 5;
  document["createdAt"] = "yesterday";
  document["updatedAt"] = Json::array();
  document["integrations"]["loadBalancersConfig"]["loadBalancers"][0]["balancerId"] = "lb-1";
  FieldErrors errors;
  const auto spec = ParseNodeSpec(document, &errors);
  ASSERT_TRUE(spec) << errors.ToStatus().message();
  EXPECT_FALSE(NodeSpecJson(*spec).contains("id"));
}

TEST(NodeSpec, ProductIsComparedWithoutCaseAndSpelledAsEc2Does) {
  struct Product {
    const char* given;
    const char* shown;
    OperatingSystem system;
  };
  const Product products[] = {
      {"Linux/Unix", "Linux/UNIX", OperatingSystem::kLinux},
      {"SUSE Linux (amazon VPC)", "SUSE Linux (Amazon VPC)", OperatingSystem::kSuse},
      {"windows", "Windows", OperatingSystem::kWindows},
      {"Red Hat Enterprise Linux", "Red Hat Enterprise Linux", OperatingSystem::kRedHat}};
  for (const auto& [product, shown, system] : products) {
    Json document = Parsed(kFullNode);
    document["compute"]["product"] = product;
    FieldErrors errors;
    const auto spec = ParseNodeSpec(document, &errors);
    ASSERT_TRUE(spec) << errors.ToStatus().message();
    EXPECT_EQ(OperatingSystemOf(*spec), system);
    EXPECT_EQ(NodeSpecJson(*spec)["compute"]["product"], shown);
    // One that an earlier version stored is spelled anew too.
    const auto stored = StoredNodeSpec(document);
    ASSERT_TRUE(stored.ok());
    EXPECT_EQ(stored->compute.product, shown);
  }
}

NodeSpec Full() {
  FieldErrors errors;
  auto spec = ParseNodeSpec(Parsed(kFullNode), &errors);
  EXPECT_TRUE(spec) << errors.ToStatus().message();
  return *std::move(spec);
}

TEST(NodeSpecUpdate, ChangesWhatItNamesOnly) {
  FieldErrors errors;
  const auto updated =
      UpdateNodeSpec(Full(), Json::parse(R"({"name": "new", "healthCheck": {"gracePeriod": 5},
                              "compute": {"subnetIds": ["subnet-9"]},
                              "strategy": {"drainingTimeout": null}})"),
                     &errors);
  ASSERT_TRUE(updated) << errors.ToStatus().message();
  Json expected = NodeSpecJson(Full());
  expected["name"] = "new";
  expected["healthCheck"]["gracePeriod"] = 5;
  expected["compute"]["subnetIds"] = {"subnet-9"};
  expected["strategy"].erase("drainingTimeout");
  EXPECT_EQ(nlohmann::json(NodeSpecJson(*updated)), nlohmann::json(expected));
}

TEST(NodeSpecUpdate, NullBringsTheDefaultBack) {
  FieldErrors errors;
  const auto updated =
      UpdateNodeSpec(Full(), Json::parse(R"({"strategy": null, "description": null})"), &errors);
  ASSERT_TRUE(updated) << errors.ToStatus().message();
  EXPECT_TRUE(updated->strategy.fallback_to_on_demand.value());
  EXPECT_FALSE(updated->description);
}

TEST(NodeSpecUpdate, ClientsThatDoNotKnowApplicationsCannotWipeThem) {
  FieldErrors errors;
  const auto updated = UpdateNodeSpec(
      Full(), Json::parse(R"({"persistence": {"persistRootDevice": false}})"), &errors);
  ASSERT_TRUE(updated);
  EXPECT_TRUE(updated->persistence.persist_application.value());
  EXPECT_EQ(updated->persistence.application_persistency_configs.size(), 2);
}

TEST(NodeSpecUpdate, RefusesWhatCannotBeChangedAndWhatBreaksARule) {
  const std::pair<const char*, const char*> cases[] = {
      {R"({"region": "us-east-1"})", "managedInstance.region: cannot be changed"},
      {R"({"region": null})", "managedInstance.region: is required"},
      {R"({"compute": {"product": "Windows"}})", "managedInstance.compute.product: cannot be"},
      {R"({"compute": {"subnetIds": []}})", "managedInstance.compute.subnetIds: must not be empty"},
      {R"({"compute": null})", "managedInstance.compute: is required"},
      {R"({"persistence": null})", "managedInstance.persistence: must turn on"},
      {R"({"name": 5})", "managedInstance.name: must be a string"},
      {R"({"nmae": "x"})", "managedInstance.nmae: is not a known field; did you mean 'name'?"},
      {R"([])", "managedInstance: must be an object"}};
  for (const auto& [change, problem] : cases) {
    FieldErrors errors;
    EXPECT_FALSE(UpdateNodeSpec(Full(), Json::parse(change), &errors)) << change;
    EXPECT_THAT(errors.ToStatus().message(), HasSubstr(problem)) << change;
  }
  FieldErrors errors;
  EXPECT_TRUE(UpdateNodeSpec(
      Full(), Json::parse(R"({"region": "eu-west-2", "compute": {"product": "LINUX/UNIX"}})"),
      &errors));
}

}  // namespace
}  // namespace snapstore::spot
