// What a node's volumes are (type, speed, size, key, their owner's tags): read when they are looked
// at, used when others are made from their snapshots. And how volumes become the node's own: one
// that was attached by hand gets the node's tags, without which a policy lets nobody delete it.
//
// Sizes are GiB, throughput MiB/s. Errors: a tag that is refused is reported and keeps nothing from
// going on.
//
// Thread safety: as OperationRun.
#ifndef SNAPSTORE_ORCHESTRATOR_LIFECYCLE_VOLUME_FACTS_H_
#define SNAPSTORE_ORCHESTRATOR_LIFECYCLE_VOLUME_FACTS_H_

#include <map>
#include <string>
#include <vector>

#include "orchestrator/lifecycle/operation_run.h"

namespace snapstore::spot {

// Tags that were set in EC2 and in the specification, and ours, which nobody overrules. No more
// than EC2 takes.
Ec2Tags WithUserTags(const Ec2Tags& ours, const std::vector<Tag>& users);

// By id; what is gone is left out.
Ec2Result<std::map<std::string, Ec2Volume>> ReadVolumes(Ec2Api* ec2,
                                                        const std::vector<std::string>& ids);

// Whether the device's volume is looked at: it is the node's, and is kept.
bool HasFacts(const NodeSpec& spec, const KeptDevice& device);

// Tags the volume if it lacks that; what was refused, if anything was. Retry: no answer.
Flow<std::string> AdoptVolume(Ec2Api* ec2, const NodeRecord& node, const KeptDevice& device,
                              Ec2Volume* volume);
// Into the record of its device. Tags that a specification of `node` gave it are not its owner's.
void KeepFacts(const NodeRecord& node, const Ec2Volume& volume, KeptDevice* device);
// An event about tags that were refused.
void ReportRefusedTags(const std::string& refused, ControllerState::NodeChange* change);

// All of the node's volumes, as one step.
Flow<Done> LookAtVolumes(OperationRun* run, const std::string& step);

// What `mapping` does not name itself; never smaller than the volume was.
void TakeFacts(const KeptDevice& device, Ec2BlockDevice* mapping);

}  // namespace snapstore::spot

#endif  // SNAPSTORE_ORCHESTRATOR_LIFECYCLE_VOLUME_FACTS_H_
