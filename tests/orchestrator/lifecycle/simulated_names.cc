// Hosted zones.
// Source: Amazon Route 53 API Reference, 2013-04-01: ChangeResourceRecordSets.
#include "tests/orchestrator/lifecycle/simulated_call.h"

namespace snapstore::spot {

Ec2Result<AwsReceipt> SimulatedCloud::ChangeRecord(const std::string& zone_id, Route53Change change,
                                                   const std::string& name, const std::string& type,
                                                   const std::string& value, int64_t ttl_seconds) {
  return Call<AwsReceipt>("ChangeRecord", name, true, [&]() -> Ec2Result<AwsReceipt> {
    if (!zones_.contains(zone_id)) return Refuse("NoSuchHostedZone", zone_id);
    const auto known = names_.find({zone_id, name, type});
    if (change == Route53Change::kUpsert) {
      names_[{zone_id, name, type}] = {name, type, ttl_seconds, {value}};
      return AwsReceipt{};
    }
    const auto refuse = [&](StatusCode code, const char* why) {
      AwsFailure failure = Refuse("InvalidChangeBatch", name + ": " + why);
      failure.status = Status(code, failure.message);
      return failure;
    };
    if (known == names_.end()) return refuse(StatusCode::kNotFound, "there is no such record");
    if (known->second.values != std::vector<std::string>{value}) {
      return refuse(StatusCode::kConflict, "it has other values");
    }
    names_.erase(known);
    return AwsReceipt{};
  });
}

Ec2Result<std::vector<Route53Record>> SimulatedCloud::ListRecords(const std::string& zone_id,
                                                                  const std::string& name,
                                                                  const std::string& type) {
  return Call<std::vector<Route53Record>>("ListRecords", name, false, [&]() {
    std::vector<Route53Record> found;
    for (const auto& [key, record] : names_) {
      const auto& [zone, its_name, its_type] = key;
      const bool passes = zone == zone_id && (name.empty() || name == its_name) &&
                          (type.empty() || type == its_type);
      if (passes) found.push_back(record);
    }
    return Ec2Result<std::vector<Route53Record>>(std::move(found));
  });
}

}  // namespace snapstore::spot
