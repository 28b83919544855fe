// Request bodies for tests: those of the service's documentation with its placeholders filled in,
// and two that have every field between them.
#ifndef SNAPSTORE_TESTS_ORCHESTRATOR_MODEL_BODIES_H_
#define SNAPSTORE_TESTS_ORCHESTRATOR_MODEL_BODIES_H_

#include <string>

#include "orchestrator/model/json.h"

namespace snapstore::spot {

inline constexpr const char* kDocumentedConfig = R"({
  "config": {
      "name": "BI",
      "runCmd": "python3 /home/ec2-user/myapp/print_datetime_app.py",
      "snapshotDestination": "my-bucket",
      "snapshotScheduler": "*/3 * * * *",
      "externalFiles": ["/home/ec2-user/myapp/datetime_log.txt"]
  }
})";

inline constexpr const char* kDocumentedNode = R"({
   "managedInstance":{
      "name":"my-node",
      "region":"us-east-1",
      "strategy":{"revertToSpot":{"performAt":"always"}},
      "persistence":{
         "persistPrivateIp":true,
         "persistRootDevice":false,
         "blockDevicesMode":null,
         "persistApplication":true,
         "applicationPersistencyConfig":["apc-123456789"]
      },
      "healthCheck":{"type":"EC2","autoHealing":true,"gracePeriod":120,"unhealthyDuration":120},
      "compute":{
         "subnetIds":["subnet-123456789"],
         "vpcId":"vpc-123456789",
         "launchSpecification":{
            "instanceTypes":{
               "preferredType":"t2.medium",
               "types":["t3a.medium","m3.large","t2.medium","m1.large","t3.medium"]
            },
            "securityGroupIds":["sg-123456789"],
            "iamRole":{
               "name":null,
               "arn":"arn:aws:iam::123456789012:instance-profile/snapshots"
            },
            "imageId":"ami-123456789",
            "keyPair":"my-key",
            "tags":[{"tagKey":"creator","tagValue":"someone@example.com"}],
            "userData":"IyEvYmluL3NoCmVjaG8gaGkK",
            "shutdownScript":null,
            "networkInterfaces":[{"deviceIndex":0,"associateIpv6Address":false}],
            "creditSpecification":{"cpuCredits":"standard"}
         },
         "privateIp":null,
         "product":"Linux/UNIX"
      },
      "integrations":{
      },
      "scheduling":{
      }
   }
})";

// As printed in the documentation: the role's ARN has no name, which makes it no JSON.
inline constexpr const char* kUnrepairedRole =
    R"({"managedInstance":{"iamRole":{"name":null,"arn:aws:iam::1:instance-profile/x"}}})";

inline constexpr const char* kFullNode = R"({
  "name": "full", "description": "every field", "region": "eu-west-2",
  "strategy": {"lifeCycle": "spot", "orientation": "balanced", "drainingTimeout": 120,
    "fallbackToOd": false, "utilizeReservedInstances": true, "utilizeCommitments": true,
    "optimizationWindows": ["Mon:03:00-Wed:02:30", "Sat:23:00-Sun:01:00"],
    "revertToSpot": {"performAt": "timeWindow"}, "minimumInstanceLifetime": 6},
  "persistence": {"persistRootDevice": true, "persistBlockDevices": true,
    "blockDevicesMode": "reattach", "persistPrivateIp": true, "persistApplication": true,
    "applicationPersistencyConfig": ["apc-1", "apc-2"]},
  "healthCheck": {"type": "ELB", "autoHealing": false, "gracePeriod": 60, "unhealthyDuration": 0},
  "compute": {
    "subnetIds": ["subnet-1", "subnet-2"], "vpcId": "vpc-1", "elasticIp": "eipalloc-1",
    "privateIp": "10.0.0.7", "product": "Linux/UNIX",
    "volumeAttachments": {"volumes": [{"volumeId": "vol-1", "deviceName": "/dev/sdf"}]},
    "launchSpecification": {
      "instanceTypes": {"preferredType": "m5.large", "types": ["m5.large", "c5.xlarge"]},
      "imageId": "ami-1", "securityGroupIds": ["sg-1"], "keyPair": "key",
      "iamRole": {"name": "profile"}, "userData": "aGVsbG8=", "shutdownScript": "IyEvYmluL3NoCg==",
      "tags": [{"tagKey": "k", "tagValue": ""}],
      "resourceTagSpecification": {"volumes": {"shouldTag": true}, "snapshots": {"shouldTag": false},
        "enis": {"shouldTag": true}, "amis": {"shouldTag": false}},
      "ebsOptimized": true, "monitoring": true, "tenancy": "dedicated",
      "creditSpecification": {"cpuCredits": "unlimited"},
      "metadataOptions": {"httpTokens": "required", "httpPutResponseHopLimit": 2,
        "instanceMetadataTags": "Enabled"},
      "networkInterfaces": [{"deviceIndex": 0, "associatePublicIpAddress": true,
        "associateIpv6Address": true}],
      "blockDeviceMappings": [{"deviceName": "/dev/sdg", "ebs": {"volumeType": "gp3",
        "volumeSize": 20, "iops": 4000, "throughput": 250, "deleteOnTermination": true,
        "encrypted": true, "kmsKeyId": "alias/key", "snapshotId": "snap-1"}},
        {"deviceName": "/dev/sdh", "noDevice": "", "virtualName": "ephemeral0"}]}},
  "scheduling": {"tasks": [{"taskType": "recycle", "isEnabled": false,
      "cronExpression": "0 3 * * *"},
    {"taskType": "resume", "frequency": "daily", "startTime": "2026-03-01T09:15:00Z"}]},
  "integrations": {
    "loadBalancersConfig": {"loadBalancers": [{"type": "CLASSIC", "name": "lb"}]},
    "route53": {"domains": [{"hostedZoneId": "Z1", "spotinstAccountId": "act-1",
      "recordSetType": "cname", "recordSets": [{"name": "a.example.com", "usePublicIp": true,
      "usePublicDns": true}]}]}}
})";

// What excludes something of the one above.
inline constexpr const char* kOtherNode = R"({
  "name": "other", "region": "us-east-1",
  "persistence": {"persistPrivateIp": true},
  "healthCheck": {"type": "TARGET_GROUP"},
  "compute": {
    "subnetIds": ["subnet-1"], "vpcId": "vpc-1", "privateIps": ["10.0.0.7", "10.0.0.8"],
    "launchSpecification": {
      "instanceTypes": {"resourceRequirements": {"requiredVCpu": {"minimum": 1, "maximum": 64},
        "requiredMemory": {"minimum": 1, "maximum": 512}, "requiredGpu": {"minimum": 1,
        "maximum": 16}, "excludedInstanceTypes": ["m5.large"], "excludedInstanceFamilies": ["t2"],
        "excludedInstanceGenerations": ["1"]}},
      "imageId": "ami-1",
      "iamRole": {"arn": "arn:aws-cn:iam::123456789012:instance-profile/path/name"},
      "networkInterfaces": [{"deviceIndex": 1, "networkInterfaceId": "eni-1"}]}},
  "integrations": {"loadBalancersConfig": {"loadBalancers": [{"type": "TARGET_GROUP",
    "arn": "arn:aws:elasticloadbalancing:us-east-1:123456789012:targetgroup/x/1"}]}}
})";

inline Json Parsed(const char* text) { return Json::parse(text); }

}  // namespace snapstore::spot

#endif  // SNAPSTORE_TESTS_ORCHESTRATOR_MODEL_BODIES_H_
