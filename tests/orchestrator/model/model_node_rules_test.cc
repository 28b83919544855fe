// Ranges of single fields, and rules between fields, as a table: the document with every field, one
// thing changed, and what is said about it.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "orchestrator/model/node_spec.h"
#include "tests/orchestrator/model/bodies.h"

namespace snapstore::spot {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

struct Case {
  const char* pointer;
  const char* value;  // JSON; empty: the member is removed
  const char* path;   // of the error, without "managedInstance."; empty: it is accepted
  const char* problem;
};

#define LAUNCH "/compute/launchSpecification"
#define LAUNCH_PATH "compute.launchSpecification."

constexpr Case kRanges[] = {
    {"/name", "\"\"", "name", "must not be empty"},
    {"/name", "\"a\\nb\"", "name", "control characters"},
    {"/name", "\"a\\u0000b\"", "name", "NUL"},
    {"/region", "\"moon\"", "region", "must be an AWS region"},
    {"/region", "\"us-gov-west-1\"", "", ""},
    {"/strategy/lifeCycle", "\"Spot\"", "strategy.lifeCycle", "must be one of spot, on_demand"},
    {"/strategy/orientation", "\"x\"", "strategy.orientation", "must be one of"},
    {"/strategy/drainingTimeout", "-1", "strategy.drainingTimeout", "must be between"},
    {"/strategy/drainingTimeout", "99999999999999999999", "strategy.drainingTimeout", "integer"},
    {"/strategy/minimumInstanceLifetime", "2", "strategy.minimumInstanceLifetime", "one of 1, 3"},
    {"/strategy/optimizationWindows/0", "\"Mon:3:00-Wed:02:30\"", "strategy.optimizationWindows[0]",
     "must be a window"},
    {"/strategy/optimizationWindows/0", "\"Mon:24:00-Wed:02:30\"",
     "strategy.optimizationWindows[0]", "must be a window"},
    {"/strategy/optimizationWindows/0", "\"Mon:03:00-Mon:03:00\"",
     "strategy.optimizationWindows[0]", "must be a window"},
    {"/strategy/revertToSpot/performAt", "\"sometimes\"", "strategy.revertToSpot.performAt", "one"},
    {"/persistence/blockDevicesMode", "\"detach\"", "persistence.blockDevicesMode", "one of"},
    {"/persistence/applicationPersistencyConfig/0", "\"smi-1\"",
     "persistence.applicationPersistencyConfig[0]", "must be an id of the form apc-"},
    {"/healthCheck/type", "\"MULTAI_TARGET_SET\"", "healthCheck.type", "must be one of"},
    {"/healthCheck/gracePeriod", "-1", "healthCheck.gracePeriod", "must be between"},
    {"/healthCheck/unhealthyDuration", "-5", "healthCheck.unhealthyDuration", "must be between"},
    {"/compute/subnetIds", "[]", "compute.subnetIds", "must not be empty"},
    {"/compute/subnetIds/1", "\"subnet-1\"", "compute.subnetIds", "twice"},
    {"/compute/subnetIds/1", "\"vpc-1\"", "compute.subnetIds[1]", "form subnet-"},
    {"/compute/vpcId", "\"\"", "compute.vpcId", "form vpc-"},
    {"/compute/elasticIp", "\"52.1.2.3\"", "compute.elasticIp", "form eipalloc-"},
    {"/compute/privateIp", "\"10.0.0\"", "compute.privateIp", "IPv4"},
    {"/compute/privateIp", "\"::1\"", "compute.privateIp", "IPv4"},
    {"/compute/product", "\"BeOS\"", "compute.product", "must be one of Linux/UNIX"},
    {"/compute/volumeAttachments/volumes/0/volumeId", "\"x\"",
     "compute.volumeAttachments.volumes[0].volumeId", "form vol-"},
    {"/compute/volumeAttachments/volumes/0/deviceName", "\"/dev/xvda\"",
     "compute.volumeAttachments.volumes[0].deviceName", "root device"},
    {LAUNCH "/imageId", "\"image\"", LAUNCH_PATH "imageId", "form ami-"},
    {LAUNCH "/instanceTypes/types/1", "\"large\"", LAUNCH_PATH "instanceTypes.types[1]",
     "instance type"},
    {LAUNCH "/securityGroupIds/0", "\"x\"", LAUNCH_PATH "securityGroupIds[0]", "form sg-"},
    {LAUNCH "/iamRole", R"({"arn": "arn:aws:iam::123456789012:role/x"})", LAUNCH_PATH "iamRole.arn",
     "arn:aws:iam::123456789012:instance-profile/x"},
    {LAUNCH "/iamRole", R"({"arn": "arn:aws:iam::12:instance-profile/x"})",
     LAUNCH_PATH "iamRole.arn", "12 digits"},
    {LAUNCH "/iamRole", R"({"arn": "arn:aws:s3:::bucket"})", LAUNCH_PATH "iamRole.arn",
     "instance profile"},
    {LAUNCH "/userData", "\"not base64!\"", LAUNCH_PATH "userData", "must be base64"},
    {LAUNCH "/userData", "\"aGVsbG8\"", LAUNCH_PATH "userData", "must be base64"},
    {LAUNCH "/userData", "\"====\"", LAUNCH_PATH "userData", "must be base64"},
    {LAUNCH "/shutdownScript", "\"aGVsbG8=\"", LAUNCH_PATH "shutdownScript", "begins with #!"},
    {LAUNCH "/tags/0/tagKey", "\"aws:x\"", LAUNCH_PATH "tags[0].tagKey", "reserved"},
    {LAUNCH "/tags/0/tagKey", "\"snapstore:node\"", LAUNCH_PATH "tags[0].tagKey",
     "must not begin with snapstore:"},
    {LAUNCH "/tags/0/tagKey", "\"\"", LAUNCH_PATH "tags[0].tagKey", "must not be empty"},
    {LAUNCH "/tenancy", "\"host\"", LAUNCH_PATH "tenancy", "must be one of"},
    {LAUNCH "/creditSpecification/cpuCredits", "\"x\"",
     LAUNCH_PATH "creditSpecification.cpuCredits", "must be one of standard, unlimited"},
    {LAUNCH "/metadataOptions/httpTokens", "\"no\"", LAUNCH_PATH "metadataOptions.httpTokens",
     "must be one of"},
    {LAUNCH "/metadataOptions/httpPutResponseHopLimit", "65",
     LAUNCH_PATH "metadataOptions.httpPutResponseHopLimit", "between 1 and 64"},
    {LAUNCH "/metadataOptions/instanceMetadataTags", "\"DISABLED\"", "", ""},
    {LAUNCH "/metadataOptions/instanceMetadataTags", "\"on\"",
     LAUNCH_PATH "metadataOptions.instanceMetadataTags", "enabled"},
    {LAUNCH "/networkInterfaces/0/deviceIndex", "-1",
     LAUNCH_PATH "networkInterfaces[0].deviceIndex", "must be between"},
    {LAUNCH "/blockDeviceMappings/0/ebs/volumeType", "\"GP3\"", "", ""},
    {LAUNCH "/blockDeviceMappings/0/ebs/volumeType", "\"gp4\"",
     LAUNCH_PATH "blockDeviceMappings[0].ebs.volumeType", "must be one of"},
    {LAUNCH "/blockDeviceMappings/0/ebs/volumeSize", "0",
     LAUNCH_PATH "blockDeviceMappings[0].ebs.volumeSize", "must be between"},
    {LAUNCH "/blockDeviceMappings/0/ebs/iops", "-1", LAUNCH_PATH "blockDeviceMappings[0].ebs.iops",
     "must be between"},
    {LAUNCH "/blockDeviceMappings/0/ebs/throughput", "124",
     LAUNCH_PATH "blockDeviceMappings[0].ebs.throughput", "between 125 and 1000"},
    {LAUNCH "/blockDeviceMappings/0/ebs/snapshotId", "\"x\"",
     LAUNCH_PATH "blockDeviceMappings[0].ebs.snapshotId", "form snap-"},
    {"/scheduling/tasks/0/taskType", "\"stop\"", "scheduling.tasks[0].taskType", "must be one of"},
    {"/scheduling/tasks/0/cronExpression", "\"0 3 * *\"", "scheduling.tasks[0].cronExpression", ""},
    {"/scheduling/tasks/0/cronExpression", "\"@daily\"", "scheduling.tasks[0].cronExpression",
     "five fields"},
    {"/scheduling/tasks/1/frequency", "\"yearly\"", "scheduling.tasks[1].frequency", "one of"},
    {"/scheduling/tasks/1/startTime", "\"noon\"", "scheduling.tasks[1].startTime", "a time"},
    {"/integrations/loadBalancersConfig/loadBalancers/0/type", "\"NLB\"",
     "integrations.loadBalancersConfig.loadBalancers[0].type", "must be one of"},
    {"/integrations/route53/domains/0/recordSetType", "\"mx\"",
     "integrations.route53.domains[0].recordSetType", "must be one of a, cname"},
};

constexpr Case kRequired[] = {
    {"/name", "", "name", "is required"},
    {"/region", "", "region", "is required"},
    {"/compute", "", "compute", "is required"},
    {"/compute/subnetIds", "", "compute.subnetIds", "is required"},
    {"/compute/vpcId", "", "compute.vpcId", "is required"},
    {LAUNCH, "", "compute.launchSpecification", "is required"},
    {LAUNCH "/imageId", "", LAUNCH_PATH "imageId", "is required"},
    {LAUNCH "/instanceTypes", "", LAUNCH_PATH "instanceTypes", "is required"},
    {LAUNCH "/metadataOptions/httpTokens", "", LAUNCH_PATH "metadataOptions.httpTokens",
     "required"},
    {LAUNCH "/networkInterfaces/0/deviceIndex", "", LAUNCH_PATH "networkInterfaces[0].deviceIndex",
     "is required"},
    {LAUNCH "/blockDeviceMappings/0/deviceName", "",
     LAUNCH_PATH "blockDeviceMappings[0].deviceName", "is required"},
    {LAUNCH "/tags/0/tagKey", "", LAUNCH_PATH "tags[0].tagKey", "is required"},
    {LAUNCH "/tags/0/tagValue", "", LAUNCH_PATH "tags[0].tagValue", "is required"},
    {"/scheduling/tasks/0/taskType", "", "scheduling.tasks[0].taskType", "is required"},
    {"/integrations/route53/domains/0/hostedZoneId", "",
     "integrations.route53.domains[0].hostedZoneId", "is required"},
    {"/integrations/route53/domains/0/recordSets", "", "integrations.route53.domains[0].recordSets",
     "is required"},
    {"/compute/volumeAttachments/volumes/0/volumeId", "",
     "compute.volumeAttachments.volumes[0].volumeId", "is required"},
    {"/healthCheck", "", "", ""},
    {"/strategy", "", "", ""},
    {"/scheduling", "", "", ""},
};

constexpr Case kCombinations[] = {
    {"/strategy/optimizationWindows", "[]", "strategy.optimizationWindows", "timeWindow"},
    {"/persistence", R"({"persistApplication": true})", "persistence.applicationPersistencyConfig",
     "must not be empty when persistApplication"},
    {"/persistence", R"({"persistApplication": false, "applicationPersistencyConfig": ["apc-1"]})",
     "persistence", "must turn on at least one"},
    {"/persistence", R"({"persistRootDevice": true, "applicationPersistencyConfig": ["apc-1"]})",
     "", ""},
    {"/integrations", "{}", "healthCheck.type", "no load balancer of type CLASSIC"},
    {"/healthCheck/type", "\"TARGET_GROUP\"", "healthCheck.type", "no load balancer of that type"},
    {"/compute/privateIps", R"(["10.0.0.9"])", "compute.privateIps", "together with privateIp"},
    {LAUNCH "/instanceTypes/preferredType", "\"m4.large\"",
     LAUNCH_PATH "instanceTypes.preferredType", "must be one of types"},
    {LAUNCH "/instanceTypes/preferredTypes", "[\"m5.large\"]",
     LAUNCH_PATH "instanceTypes.preferredTypes", "together with preferredType"},
    {LAUNCH "/instanceTypes", R"({"types": ["a.b"], "preferredTypes": ["c.d"]})",
     LAUNCH_PATH "instanceTypes.preferredTypes", "among types"},
    {LAUNCH "/instanceTypes", "{}", LAUNCH_PATH "instanceTypes.types", "at least one"},
    {LAUNCH "/instanceTypes/resourceRequirements",
     R"({"requiredVCpu": {"minimum": 1}, "requiredMemory": {"maximum": 2}})",
     LAUNCH_PATH "instanceTypes.resourceRequirements", "together with types"},
    {LAUNCH "/instanceTypes",
     R"({"resourceRequirements": {"requiredVCpu": {"minimum": 9, "maximum": 2},
                                  "requiredMemory": {"maximum": 2}}})",
     LAUNCH_PATH "instanceTypes.resourceRequirements.requiredVCpu", "minimum above its maximum"},
    {LAUNCH "/instanceTypes",
     R"({"resourceRequirements": {"requiredVCpu": {"maximum": 65}, "requiredMemory": {}}})",
     LAUNCH_PATH "instanceTypes.resourceRequirements.requiredVCpu", "between 1 and 64"},
    {LAUNCH "/iamRole", "{}", LAUNCH_PATH "iamRole.arn", "is required, or name"},
    {LAUNCH "/iamRole/arn", "\"arn:aws:iam::123456789012:instance-profile/x\"",
     LAUNCH_PATH "iamRole.arn", "together with name"},
    {LAUNCH "/tags/1", R"({"tagKey": "k", "tagValue": "v"})", LAUNCH_PATH "tags", "'k' twice"},
    {LAUNCH "/networkInterfaces/1", R"({"deviceIndex": 0})", LAUNCH_PATH "networkInterfaces",
     "twice"},
    {LAUNCH "/networkInterfaces/0/deviceIndex", "1",
     LAUNCH_PATH "networkInterfaces[0].associatePublicIpAddress", "device index 0 only"},
    {LAUNCH "/networkInterfaces/0/networkInterfaceId", "\"eni-1\"",
     LAUNCH_PATH "networkInterfaces[0].associatePublicIpAddress", "together with"},
    {LAUNCH "/blockDeviceMappings/1/deviceName", "\"/dev/sdg\"", LAUNCH_PATH "blockDeviceMappings",
     "twice"},
    {LAUNCH "/blockDeviceMappings/0/ebs", R"({"volumeType": "io2"})",
     LAUNCH_PATH "blockDeviceMappings[0].ebs.iops", "is required when"},
    {LAUNCH "/blockDeviceMappings/0/ebs", R"({"volumeType": "gp2", "iops": 100})",
     LAUNCH_PATH "blockDeviceMappings[0].ebs.iops", "io1, io2 and gp3 only"},
    {LAUNCH "/blockDeviceMappings/0/ebs", R"({"volumeType": "gp2", "iops": 0, "throughput": 125})",
     "", ""},
    {LAUNCH "/blockDeviceMappings/0/ebs", R"({"encrypted": false, "kmsKeyId": "k"})",
     LAUNCH_PATH "blockDeviceMappings[0].ebs.encrypted", "kmsKeyId"},
    {"/compute/volumeAttachments/volumes/1", R"({"volumeId": "vol-1", "deviceName": "/dev/sdz"})",
     "compute.volumeAttachments.volumes", "twice"},
    {"/scheduling/tasks/0/frequency", "\"daily\"", "scheduling.tasks[0].frequency",
     "together with cronExpression"},
    {"/scheduling/tasks/1/startTime", "", "scheduling.tasks[1].startTime",
     "is required with frequency"},
    {"/scheduling/tasks/1/frequency", "", "", ""},
    {"/scheduling/tasks/0/cronExpression", "", "scheduling.tasks[0].cronExpression", "is required"},
    {"/integrations/loadBalancersConfig/loadBalancers/0/name", "",
     "integrations.loadBalancersConfig.loadBalancers[0].name", "when type is CLASSIC"},
    {"/integrations/loadBalancersConfig/loadBalancers/1",
     R"({"type": "TARGET_GROUP", "name": "x"})",
     "integrations.loadBalancersConfig.loadBalancers[1].arn", "when type is TARGET_GROUP"},
    {"/integrations/route53/domains/0/recordSets", "[]",
     "integrations.route53.domains[0].recordSets", "must not be empty"},
};

class NodeRules : public ::testing::TestWithParam<Case> {};
INSTANTIATE_TEST_SUITE_P(Ranges, NodeRules, ::testing::ValuesIn(kRanges));
INSTANTIATE_TEST_SUITE_P(Required, NodeRules, ::testing::ValuesIn(kRequired));
INSTANTIATE_TEST_SUITE_P(Combinations, NodeRules, ::testing::ValuesIn(kCombinations));

TEST_P(NodeRules, Holds) {
  const Case& rule = GetParam();
  Json document = Parsed(kFullNode);
  // What other cases change would hide it.
  if (std::string_view(rule.pointer) == "/healthCheck") document.erase("healthCheck");
  const Json::json_pointer pointer(rule.pointer);
  if (*rule.value != '\0') {
    document[pointer] = Json::parse(rule.value);
  } else if (document.contains(pointer)) {
    document[pointer.parent_pointer()].erase(pointer.back());
  }
  FieldErrors errors;
  const auto spec = ParseNodeSpec(document, &errors);
  if (*rule.path == '\0') {
    EXPECT_TRUE(spec) << errors.ToStatus().message();
    return;
  }
  ASSERT_FALSE(spec);
  bool named = false;
  for (const FieldError& error : errors.all()) {
    if (error.path != std::string("managedInstance.") + rule.path) continue;
    named = named || error.message.find(rule.problem) != std::string::npos;
  }
  EXPECT_TRUE(named) << errors.ToStatus().message();
}

TEST(NodeRulesOfSize, LongTextsAndListsAreRefused) {
  Json document = Parsed(kFullNode);
  document["name"] = std::string(256, 'x');
  document["description"] = std::string(200'000, 'x');
  Json& launch = document["compute"]["launchSpecification"];
  launch["userData"] = std::string(21'848 + 4, 'A');
  for (int i = 0; i < 60; ++i) {
    launch["tags"].push_back({{"tagKey", std::to_string(i)}, {"tagValue", "v"}});
  }
  launch["securityGroupIds"] = std::vector<std::string>(1001, "sg-1");
  document["persistence"]["applicationPersistencyConfig"] = Json::array();
  for (int i = 0; i < 21; ++i) {
    document["persistence"]["applicationPersistencyConfig"].push_back("apc-" + std::to_string(i));
  }
  FieldErrors errors;
  EXPECT_FALSE(ParseNodeSpec(document, &errors));
  const std::string text = errors.ToStatus().message();
  EXPECT_THAT(text, StartsWith("managedInstance.name: must be 1 to 255 bytes long, not 256"));
  EXPECT_THAT(text, HasSubstr("description: must be"));
  EXPECT_THAT(text, HasSubstr("userData: must hold at most 16384 bytes"));
  EXPECT_THAT(text, HasSubstr("tags: must have at most 50 entries"));
  EXPECT_THAT(text, HasSubstr("securityGroupIds: must have at most 1000 entries"));
  EXPECT_THAT(text, HasSubstr("applicationPersistencyConfig: must have at most 20 entries"));
}

}  // namespace
}  // namespace snapstore::spot
