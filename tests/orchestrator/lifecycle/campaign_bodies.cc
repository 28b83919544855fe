// What users ask for in a campaign.
#include <fmt/format.h>

#include "tests/orchestrator/lifecycle/campaign.h"
#include "tests/orchestrator/lifecycle/simulated_cloud.h"

namespace snapstore::spot {
namespace {

using Draw = std::function<uint64_t(uint64_t)>;

Json RandomPersistence(const std::string& config, const Draw& draw) {
  while (true) {
    Json persistence = {{"persistRootDevice", draw(2) == 0},
                        {"persistBlockDevices", draw(3) != 0},
                        {"persistPrivateIp", draw(3) == 0}};
    persistence["blockDevicesMode"] = draw(2) == 0 ? "reattach" : "onLaunch";
    if (draw(5) == 0) {
      persistence["persistApplication"] = true;
      persistence["applicationPersistencyConfig"] = {config};
    }
    if (persistence["persistRootDevice"] || persistence["persistBlockDevices"] ||
        persistence["persistPrivateIp"] || persistence.contains("persistApplication")) {
      return persistence;
    }
  }
}

Json RandomStrategy(const Draw& draw) {
  constexpr const char* kOrientations[] = {"availabilityOriented", "balanced", "costOriented",
                                           "cheapest"};
  Json strategy = {{"lifeCycle", draw(8) == 0 ? "on_demand" : "spot"},
                   {"orientation", kOrientations[draw(4)]},
                   {"fallbackToOd", draw(4) != 0}};
  if (draw(3) == 0) {
    strategy["revertToSpot"] = {{"performAt", "always"}};
  } else if (draw(2) == 0) {
    strategy["revertToSpot"] = {{"performAt", "timeWindow"}};
    strategy["optimizationWindows"] = {"Mon:03:00-Wed:02:30", "Sat:23:00-Sun:01:00"};
  }
  if (draw(4) == 0) strategy["drainingTimeout"] = 30;
  return strategy;
}

Json RandomTasks(const Draw& draw) {
  Json tasks = Json::array();
  const uint64_t minute = draw(60);
  switch (draw(6)) {
    case 0:
      tasks.push_back(
          {{"taskType", "pause"}, {"cronExpression", fmt::format("{} 20 * * *", minute)}});
      tasks.push_back(
          {{"taskType", "resume"}, {"cronExpression", fmt::format("{} 6 * * *", minute)}});
      break;
    case 1:
      tasks.push_back(
          {{"taskType", "recycle"}, {"cronExpression", fmt::format("{} 4 * * 0", minute)}});
      break;
    default:
      break;
  }
  return tasks;
}

Json RandomTypes(const Draw& draw) {
  constexpr const char* kTypes[] = {"m5.large", "c5.large", "r5.large", "m6i.large", "t3.medium"};
  Json types = Json::array();
  const size_t first = draw(5);
  for (size_t i = 0; i <= draw(4); ++i) types.push_back(kTypes[(first + i) % 5]);
  return types;
}

Json RandomSubnets(const Draw& draw) {
  Json subnets = Json::array({"subnet-a"});
  if (draw(2) == 0) subnets.push_back("subnet-b");
  if (draw(3) == 0) subnets.push_back("subnet-c");
  return subnets;
}

}  // namespace

Json RandomNode(int index, const std::string& config, const std::string& address,
                const Draw& draw) {
  const Json types = RandomTypes(draw);
  Json launch = {{"imageId", "ami-base"},
                 {"securityGroupIds", {"sg-sim"}},
                 {"instanceTypes", {{"types", types}}},
                 {"tags", {{{"tagKey", "owner"}, {"tagValue", fmt::format("n{}", index)}}}}};
  if (draw(3) == 0) launch["instanceTypes"]["preferredTypes"] = {types[0]};
  if (draw(2) == 0) launch["resourceTagSpecification"] = {{"volumes", {{"shouldTag", true}}}};
  Json devices = Json::array();
  for (uint64_t i = 0; i < draw(3); ++i) {
    devices.push_back({{"deviceName", fmt::format("/dev/sd{}", static_cast<char>('f' + i))},
                       {"ebs", {{"volumeSize", 10}, {"volumeType", "gp3"}}}});
  }
  if (!devices.empty()) launch["blockDeviceMappings"] = std::move(devices);
  Json compute = {{"vpcId", SimulatedCloud::kVpc}, {"subnetIds", RandomSubnets(draw)}};
  if (draw(6) == 0) launch["shutdownScript"] = "IyEvYmluL3NoCg==";
  compute["launchSpecification"] = std::move(launch);
  if (!address.empty()) compute["elasticIp"] = address;
  if (draw(8) == 0) {
    compute["privateIps"] = {fmt::format("10.1.{}.{}", 240 + index / 240 % 15, 10 + index % 240)};
  }
  Json node = {{"name", fmt::format("n{}", index)},
               {"region", SimulatedCloud::kRegion},
               {"strategy", RandomStrategy(draw)},
               {"persistence", RandomPersistence(config, draw)},
               {"compute", std::move(compute)}};
  const Json tasks = RandomTasks(draw);
  if (!tasks.empty()) node["scheduling"] = {{"tasks", tasks}};
  if (draw(4) == 0) {
    node["integrations"] = {
        {"loadBalancersConfig",
         {{"loadBalancers", {{{"type", "TARGET_GROUP"}, {"arn", kCampaignTargets}}}}}}};
    if (draw(2) == 0) node["healthCheck"] = {{"type", "TARGET_GROUP"}};
  }
  if (draw(6) == 0) {
    node["integrations"]["route53"] = {
        {"domains",
         {{{"hostedZoneId", kCampaignZone},
           {"recordSets", {{{"name", fmt::format("n{}.example.com", index)}}}}}}}};
  }
  return node;
}

Json RandomChange(bool at_rest_and_paused, const Draw& draw) {
  constexpr const char* kFlags[] = {"persistRootDevice", "persistBlockDevices", "persistPrivateIp"};
  switch (draw(9)) {
    case 0:
      return {{"strategy", {{"orientation", draw(2) == 0 ? "balanced" : "cheapest"}}}};
    case 1:
      return {{"compute",
               {{"launchSpecification",
                 {{"tags", {{{"tagKey", "owner"}, {"tagValue", "changed"}}}}}}}}};
    case 2:
      return {{"strategy",
               {{"fallbackToOd", draw(2) == 0},
                {"revertToSpot", {{"performAt", draw(2) == 0 ? "always" : "never"}}}}}};
    case 3:
      return {{"persistence", {{"blockDevicesMode", draw(2) == 0 ? "reattach" : "onLaunch"}}}};
    case 4:
      return {{"compute", {{"subnetIds", RandomSubnets(draw)}}}};
    case 5:
      return {
          {"compute",
           {{"launchSpecification",
             {{"instanceTypes", {{"types", RandomTypes(draw)}, {"preferredTypes", nullptr}}}}}}}};
    case 6:
      return {{"scheduling", {{"tasks", RandomTasks(draw)}}}};
    case 7:
      return {{"persistence", {{kFlags[draw(3)], false}}}};
    default:
      // What an instance is launched with does not change under it: what is to be kept is kept from
      // the next one on.
      return {{"persistence", {{kFlags[draw(3)], at_rest_and_paused}}}};
  }
}

}  // namespace snapstore::spot
