#include <algorithm>
#include <array>

#include "orchestrator/localcloud/action_list.h"

namespace snapstore::localcloud {

#define LOCALCLOUD_ACTION(name) std::pair<std::string_view, Action>(#name, name)

Action FindAction(const std::string& name) {
  static constexpr std::array kActions = {LOCALCLOUD_ACTION(RunInstances),
                                          LOCALCLOUD_ACTION(TerminateInstances),
                                          LOCALCLOUD_ACTION(DescribeInstances),
                                          LOCALCLOUD_ACTION(DescribeInstanceStatus),
                                          LOCALCLOUD_ACTION(DescribeInstanceAttribute),
                                          LOCALCLOUD_ACTION(ModifyInstanceAttribute),
                                          LOCALCLOUD_ACTION(StopInstances),
                                          LOCALCLOUD_ACTION(StartInstances),
                                          LOCALCLOUD_ACTION(RebootInstances),
                                          LOCALCLOUD_ACTION(CreateVolume),
                                          LOCALCLOUD_ACTION(DeleteVolume),
                                          LOCALCLOUD_ACTION(DescribeVolumes),
                                          LOCALCLOUD_ACTION(AttachVolume),
                                          LOCALCLOUD_ACTION(DetachVolume),
                                          LOCALCLOUD_ACTION(CreateSnapshot),
                                          LOCALCLOUD_ACTION(CreateSnapshots),
                                          LOCALCLOUD_ACTION(DeleteSnapshot),
                                          LOCALCLOUD_ACTION(DescribeSnapshots),
                                          LOCALCLOUD_ACTION(RegisterImage),
                                          LOCALCLOUD_ACTION(CreateImage),
                                          LOCALCLOUD_ACTION(DeregisterImage),
                                          LOCALCLOUD_ACTION(DescribeImages),
                                          LOCALCLOUD_ACTION(CreateNetworkInterface),
                                          LOCALCLOUD_ACTION(DeleteNetworkInterface),
                                          LOCALCLOUD_ACTION(DescribeNetworkInterfaces),
                                          LOCALCLOUD_ACTION(ModifyNetworkInterfaceAttribute),
                                          LOCALCLOUD_ACTION(AttachNetworkInterface),
                                          LOCALCLOUD_ACTION(DetachNetworkInterface),
                                          LOCALCLOUD_ACTION(AllocateAddress),
                                          LOCALCLOUD_ACTION(ReleaseAddress),
                                          LOCALCLOUD_ACTION(AssociateAddress),
                                          LOCALCLOUD_ACTION(DisassociateAddress),
                                          LOCALCLOUD_ACTION(DescribeAddresses),
                                          LOCALCLOUD_ACTION(DescribeRegions),
                                          LOCALCLOUD_ACTION(DescribeAvailabilityZones),
                                          LOCALCLOUD_ACTION(DescribeSubnets),
                                          LOCALCLOUD_ACTION(DescribeVpcs),
                                          LOCALCLOUD_ACTION(DescribeSecurityGroups),
                                          LOCALCLOUD_ACTION(CreateSecurityGroup),
                                          LOCALCLOUD_ACTION(DeleteSecurityGroup),
                                          LOCALCLOUD_ACTION(DescribeKeyPairs),
                                          LOCALCLOUD_ACTION(ImportKeyPair),
                                          LOCALCLOUD_ACTION(DeleteKeyPair),
                                          LOCALCLOUD_ACTION(DescribeInstanceTypes),
                                          LOCALCLOUD_ACTION(DescribeInstanceTypeOfferings),
                                          LOCALCLOUD_ACTION(DescribeReservedInstances),
                                          LOCALCLOUD_ACTION(DescribeSpotPriceHistory),
                                          LOCALCLOUD_ACTION(RequestSpotInstances),
                                          LOCALCLOUD_ACTION(DescribeSpotInstanceRequests),
                                          LOCALCLOUD_ACTION(CancelSpotInstanceRequests),
                                          LOCALCLOUD_ACTION(CreateTags),
                                          LOCALCLOUD_ACTION(DeleteTags),
                                          LOCALCLOUD_ACTION(DescribeTags)};
  const auto found = std::find_if(kActions.begin(), kActions.end(),
                                  [&](const auto& action) { return action.first == name; });
  return found == kActions.end() ? nullptr : found->second;
}

#undef LOCALCLOUD_ACTION

}  // namespace snapstore::localcloud
