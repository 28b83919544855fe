// Instance types, and the markets they are bought in.
#include <array>

#include "orchestrator/localcloud/resources.h"

namespace snapstore::localcloud {
namespace {

// Source: "Amazon EC2 On-Demand Pricing" (us-east-1, Linux), "Amazon EC2 instance types".
constexpr std::array<InstanceType, 20> kTypes = {{
    {"m1.large", 2, 7680, 0.175, false, true},    {"m3.large", 2, 7680, 0.133, false, true},
    {"t2.medium", 2, 4096, 0.0464, true, false},  {"t3.nano", 2, 512, 0.0052, true, false},
    {"t3.micro", 2, 1024, 0.0104, true, false},   {"t3.small", 2, 2048, 0.0208, true, false},
    {"t3.medium", 2, 4096, 0.0416, true, false},  {"t3.large", 2, 8192, 0.0832, true, false},
    {"t3a.medium", 2, 4096, 0.0376, true, false}, {"m5.large", 2, 8192, 0.096, false, false},
    {"m5.xlarge", 4, 16384, 0.192, false, false}, {"m5.2xlarge", 8, 32768, 0.384, false, false},
    {"m6i.large", 2, 8192, 0.096, false, false},  {"m6i.xlarge", 4, 16384, 0.192, false, false},
    {"c5.large", 2, 4096, 0.085, false, false},   {"c5.xlarge", 4, 8192, 0.17, false, false},
    {"c6i.large", 2, 4096, 0.085, false, false},  {"r5.large", 2, 16384, 0.126, false, false},
    {"r5.xlarge", 4, 32768, 0.252, false, false}, {"r6i.large", 2, 16384, 0.126, false, false},
}};
// What spot instances cost of the on-demand price until an admin call says otherwise.
constexpr double kSpotShare = 0.35;

}  // namespace

const InstanceType* FindInstanceType(std::string_view name) {
  for (const InstanceType& type : kTypes) {
    if (type.name == name) return &type;
  }
  return nullptr;
}

std::span<const InstanceType> InstanceTypes() { return kTypes; }

std::string MarketKey(const std::string& type, const std::string& zone) {
  return "!market/" + type + "/" + zone;
}

double SpotPrice(const Records::Transaction& tx, const InstanceType& type,
                 const std::string& zone) {
  const Json* market = tx.Find(MarketKey(std::string(type.name), zone));
  const double usual = type.usd_per_hour * kSpotShare;
  return market == nullptr ? usual : market->value("price", usual);
}

int64_t SpotCapacity(const Records::Transaction& tx, const std::string& type,
                     const std::string& zone, bool spot) {
  const Json* market = tx.Find(MarketKey(type, zone));
  const char* name = spot ? "capacity" : "on_demand_capacity";
  const int64_t most = market == nullptr ? -1 : market->value(name, int64_t{-1});
  if (most < 0) return -1;
  int64_t taken = 0;
  for (const std::string& id : tx.Ids("i-")) {
    const Json& instance = *tx.Find(id);
    const std::string state = StateOf(instance);
    if (state != "pending" && state != "running") continue;
    const bool is_spot = instance.contains("spotInstanceRequestId");
    if (instance.value("instanceType", "") == type && is_spot == spot &&
        instance.at("placement").value("availabilityZone", "") == zone) {
      ++taken;
    }
  }
  return std::max<int64_t>(0, most - taken);
}

}  // namespace snapstore::localcloud
