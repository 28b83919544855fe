// The nodes that controller_scale makes.
//
// Thread safety: free functions and values only.
#ifndef SNAPSTORE_BENCH_SCALE_NODE_H_
#define SNAPSTORE_BENCH_SCALE_NODE_H_

#include <fmt/format.h>

#include <nlohmann/json.hpp>

namespace snapstore::bench {

// What is left of a node that is deleted: nothing.
inline constexpr const char* kDeleteAll =
    R"({"deallocationConfig": {"shouldTerminateInstance": true,
        "shouldDeleteImages": true, "shouldDeleteSnapshots": true,
        "shouldDeleteVolumes": true, "shouldDeleteNetworkInterfaces": true}})";

// The body of a create call. Kinds take turns: root and data from snapshots; data and address kept;
// data from snapshots in two zones; data kept.
inline nlohmann::json NodeBody(int index) {
  const int kind = index % 4;
  nlohmann::json persistence = {{"persistRootDevice", kind == 0},
                                {"persistBlockDevices", true},
                                {"persistPrivateIp", kind == 1},
                                {"blockDevicesMode", kind % 2 == 1 ? "reattach" : "onLaunch"}};
  nlohmann::json subnets = {"subnet-a"};
  if (kind == 2) subnets.push_back("subnet-b");
  nlohmann::json tags = nlohmann::json::array();
  for (int i = 0; i < 4; ++i) {
    tags.push_back(
        {{"tagKey", fmt::format("key-{}", i)}, {"tagValue", fmt::format("value-{}", i)}});
  }
  nlohmann::json launch = {
      {"imageId", "ami-base"},
      {"securityGroupIds", {"sg-sim"}},
      {"instanceTypes",
       {{"types", {"m5.large", "c5.large", "r5.large"}}, {"preferredTypes", {"m5.large"}}}},
      {"userData", std::string(512, 'a')},
      {"tags", std::move(tags)},
      {"blockDeviceMappings",
       {{{"deviceName", "/dev/sdf"}, {"ebs", {{"volumeSize", 100}, {"volumeType", "gp3"}}}}}}};
  return {{"managedInstance",
           {{"name", fmt::format("node-{}", index)},
            {"description", "of controller_scale"},
            {"region", "us-east-1"},
            {"strategy", {{"lifeCycle", "spot"}, {"orientation", "balanced"}}},
            {"persistence", std::move(persistence)},
            {"compute",
             {{"vpcId", "vpc-sim"},
              {"subnetIds", std::move(subnets)},
              {"launchSpecification", std::move(launch)}}}}}};
}

}  // namespace snapstore::bench

#endif  // SNAPSTORE_BENCH_SCALE_NODE_H_
