// The actions of the EC2 API that this cloud has, by file.
//
// Thread safety: see call.h.
#ifndef SNAPSTORE_ORCHESTRATOR_LOCALCLOUD_ACTION_LIST_H_
#define SNAPSTORE_ORCHESTRATOR_LOCALCLOUD_ACTION_LIST_H_

#include "orchestrator/localcloud/call.h"

namespace snapstore::localcloud {

// action_launch.cc
ApiResult<Json> RunInstances(Call& call);
// action_instances.cc
ApiResult<Json> TerminateInstances(Call& call);
ApiResult<Json> DescribeInstances(Call& call);
ApiResult<Json> DescribeInstanceStatus(Call& call);
ApiResult<Json> DescribeInstanceAttribute(Call& call);
ApiResult<Json> ModifyInstanceAttribute(Call& call);
// action_power.cc
ApiResult<Json> StopInstances(Call& call);
ApiResult<Json> StartInstances(Call& call);
ApiResult<Json> RebootInstances(Call& call);
// action_volumes.cc
ApiResult<Json> CreateVolume(Call& call);
ApiResult<Json> DeleteVolume(Call& call);
ApiResult<Json> DescribeVolumes(Call& call);
ApiResult<Json> AttachVolume(Call& call);
ApiResult<Json> DetachVolume(Call& call);
// action_images.cc
ApiResult<Json> CreateSnapshot(Call& call);
ApiResult<Json> CreateSnapshots(Call& call);
ApiResult<Json> DeleteSnapshot(Call& call);
ApiResult<Json> DescribeSnapshots(Call& call);
ApiResult<Json> RegisterImage(Call& call);
ApiResult<Json> CreateImage(Call& call);
ApiResult<Json> DeregisterImage(Call& call);
ApiResult<Json> DescribeImages(Call& call);
// action_network.cc
ApiResult<Json> CreateNetworkInterface(Call& call);
ApiResult<Json> DeleteNetworkInterface(Call& call);
ApiResult<Json> DescribeNetworkInterfaces(Call& call);
ApiResult<Json> ModifyNetworkInterfaceAttribute(Call& call);
ApiResult<Json> AllocateAddress(Call& call);
ApiResult<Json> ReleaseAddress(Call& call);
ApiResult<Json> AssociateAddress(Call& call);
ApiResult<Json> DisassociateAddress(Call& call);
ApiResult<Json> DescribeAddresses(Call& call);
// action_attachments.cc
ApiResult<Json> AttachNetworkInterface(Call& call);
ApiResult<Json> DetachNetworkInterface(Call& call);
// action_catalogue.cc
ApiResult<Json> DescribeRegions(Call& call);
ApiResult<Json> DescribeAvailabilityZones(Call& call);
ApiResult<Json> DescribeSubnets(Call& call);
ApiResult<Json> DescribeVpcs(Call& call);
ApiResult<Json> DescribeSecurityGroups(Call& call);
ApiResult<Json> CreateSecurityGroup(Call& call);
ApiResult<Json> DeleteSecurityGroup(Call& call);
ApiResult<Json> DescribeKeyPairs(Call& call);
ApiResult<Json> ImportKeyPair(Call& call);
ApiResult<Json> DeleteKeyPair(Call& call);
// action_markets.cc
ApiResult<Json> DescribeInstanceTypes(Call& call);
ApiResult<Json> DescribeInstanceTypeOfferings(Call& call);
ApiResult<Json> DescribeReservedInstances(Call& call);
ApiResult<Json> DescribeSpotPriceHistory(Call& call);
// action_spot_requests.cc
ApiResult<Json> RequestSpotInstances(Call& call);
ApiResult<Json> DescribeSpotInstanceRequests(Call& call);
ApiResult<Json> CancelSpotInstanceRequests(Call& call);
// action_tags.cc
ApiResult<Json> CreateTags(Call& call);
ApiResult<Json> DeleteTags(Call& call);
ApiResult<Json> DescribeTags(Call& call);

}  // namespace snapstore::localcloud

#endif  // SNAPSTORE_ORCHESTRATOR_LOCALCLOUD_ACTION_LIST_H_
