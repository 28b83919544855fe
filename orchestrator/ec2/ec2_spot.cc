#include "base/clock.h"
#include "orchestrator/ec2/internal/ec2_request.h"

namespace snapstore {

Ec2Result<std::vector<Ec2SpotPrice>> Ec2Client::DescribeSpotPriceHistory(
    const SpotPriceQuery& query) {
  Parameters p;
  p.List("InstanceType", query.instance_types);
  p.List("ProductDescription", query.products);
  p.Set("AvailabilityZone", query.availability_zone);
  if (query.start_ns != 0) p.Set("StartTime", FormatTime(query.start_ns));
  if (query.end_ns != 0) p.Set("EndTime", FormatTime(query.end_ns));
  return Pages<Ec2SpotPrice>("DescribeSpotPriceHistory", p.Take(), "spotPriceHistorySet");
}

Ec2Result<std::vector<Ec2SpotRequest>> Ec2Client::DescribeSpotInstanceRequests(
    const Ec2Query& query) {
  return Describe<Ec2SpotRequest>("DescribeSpotInstanceRequests", query, "SpotInstanceRequestId",
                                  "spotInstanceRequestSet");
}

Ec2Result<AwsReceipt> Ec2Client::CancelSpotInstanceRequests(const std::vector<std::string>& ids) {
  Parameters p;
  p.List("SpotInstanceRequestId", ids);
  return Order("CancelSpotInstanceRequests", p.Take());
}

Ec2Result<std::vector<Ec2AvailabilityZone>> Ec2Client::DescribeAvailabilityZones(
    const Ec2Query& query) {
  return Describe<Ec2AvailabilityZone>("DescribeAvailabilityZones", query, "ZoneName",
                                       "availabilityZoneInfo");
}

Ec2Result<std::vector<Ec2InstanceType>> Ec2Client::DescribeInstanceTypes(const Ec2Query& query) {
  return Describe<Ec2InstanceType>("DescribeInstanceTypes", query, "InstanceType",
                                   "instanceTypeSet");
}

Ec2Result<std::vector<Ec2InstanceTypeOffering>> Ec2Client::DescribeInstanceTypeOfferings(
    const Ec2Query& query) {
  Ec2Query by_filter = query;
  if (!by_filter.ids.empty()) {
    by_filter.filters["instance-type"] = by_filter.ids;
    by_filter.ids.clear();
  }
  Parameters p;
  p.Set("LocationType", "availability-zone");
  p.Query(by_filter, "");
  return Pages<Ec2InstanceTypeOffering>("DescribeInstanceTypeOfferings", p.Take(),
                                        "instanceTypeOfferingSet");
}

Ec2Result<std::vector<Ec2ReservedInstances>> Ec2Client::DescribeReservedInstances(
    const Ec2Query& query) {
  return Describe<Ec2ReservedInstances>("DescribeReservedInstances", query, "ReservedInstancesId",
                                        "reservedInstancesSet");
}

Ec2Result<std::vector<Ec2KeyPair>> Ec2Client::DescribeKeyPairs(const Ec2Query& query) {
  return Describe<Ec2KeyPair>("DescribeKeyPairs", query, "KeyName", "keySet");
}

}  // namespace snapstore
