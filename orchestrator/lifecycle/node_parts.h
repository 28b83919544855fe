// The two halves of every life-cycle operation: an instance is let go, with everything that is to
// survive it kept (Release), and a new one takes it up (Launch).
//
// Release: leaves its load balancers, drains, takes the final checkpoints, runs the shutdown
// script, makes sure that nothing that is kept goes with the instance, terminates it, waits until
// volumes and interface are free, snapshots, registers the root's image, drops what is outdated.
// Launch: chooses a market, launches with the image, the snapshots and the interface that were
// kept, attaches volumes, moves the address, registers, has the applications restored.
//
// Both are made of journalled steps: see operation_run.h.
//
// Thread safety: as OperationRun.
#ifndef SNAPSTORE_ORCHESTRATOR_LIFECYCLE_NODE_PARTS_H_
#define SNAPSTORE_ORCHESTRATOR_LIFECYCLE_NODE_PARTS_H_

#include <optional>
#include <string>

#include "orchestrator/lifecycle/markets.h"
#include "orchestrator/lifecycle/operation_run.h"

namespace snapstore::spot {

// What an operation found when it began; the same on every try.
struct Beginning {
  std::string instance_id;          // empty: there was none
  std::vector<SubnetZone> subnets;  // of the specification
  std::vector<std::string> cidrs;   // of these
  std::string problem;              // why no instance can be launched, as far as it is known
  int64_t deadline_ms = 0;          // the instance is taken away then; 0: nobody takes it away

  // Volumes may have to follow the node to another zone.
  bool ManyZones(const NodeSpec& spec) const;
};

// Where a specification has a node run, as the cloud knows it.
struct Places {
  std::vector<SubnetZone> subnets;
  std::vector<std::string> cidrs;  // of these
  std::string problem;             // why the node cannot run there
};
Flow<Places> FindPlaces(const Services& services, const NodeSpec& spec);

// The first step of every operation on a node: its state from now on, the specification it works
// with.
Flow<Beginning> Begin(OperationRun* run, NodeState state);

// Steps are named "<prefix>/…". Goes on whatever is refused: it only waits and retries.
Flow<Done> ReleaseInstance(OperationRun* run, const Beginning& beginning,
                           const std::string& prefix);

// Its part that copies: snapshots of the free volumes, the root's image; drops what is outdated.
Flow<Done> MakeFinalCopies(OperationRun* run, const Beginning& beginning,
                           const std::string& prefix);

// The elastic address of that allocation, if it is associated with anything; Retry.
Flow<std::optional<Ec2Address>> FindAssociated(const Services& services,
                                               const std::string& allocation_id);

// Whether a snapshot with the node's tag is one that the controller asked for. Services that make
// snapshots of a volume by themselves may copy its tags.
bool IsOwnSnapshot(const Ec2Snapshot& snapshot, const std::string& node_id);
// The name of an image that a step makes, and whether an image has such a name: tags are copied by
// services that make images of their own.
std::string ImageName(const std::string& node_id, const std::string& client_token);
bool IsOwnImage(const Ec2Image& image, const std::string& node_id);
// Whether a step made it: nobody else gives its token.
bool HasToken(const Ec2Tags& tags);
// A token may have been copied with the tags of an instance, but not what it was launched with.
bool IsOwnInstance(const Ec2Instance& instance);

// Takes the instance out of its load balancers; no answer of theirs keeps a node alive.
Flow<Done> LeaveBalancers(OperationRun* run, const std::string& instance_id,
                          const std::string& step);
// The node's instance costs nothing any more.
Flow<Done> CloseUsage(OperationRun* run, const std::string& step);
// A resource of that node that no record names any more; `goes` after the retention.
RetainedRecord Retain(const Services& services, const NodeRecord& node, const char* kind,
                      const std::string& id, bool goes);
// What the specification does not keep (any more) leaves the record, for the retained list: it goes
// after the retention, unless the specification keeps the volume itself.
void LetGoOfUnkept(const Services& services, const NodeSpec& spec,
                   ControllerState::NodeChange* change);

// How a launch ended.
struct Launched {
  std::string instance_id;
  bool lost = false;  // gone before it was ready: to be replaced like any other
};
Flow<Launched> LaunchInstance(OperationRun* run, const Beginning& beginning);
// What comes once the instance runs: volumes, address, load balancers, applications.
Flow<Launched> EquipInstance(OperationRun* run, const std::string& instance_id);

// Shared by both.
KeptDevice* FindDevice(KeptResources* kept, const std::string& device_name);
const KeptSnapshot* NewestCompleted(const KeptDevice& device);
// In the order of their times.
void AddSnapshot(KeptDevice* device, const KeptSnapshot& snapshot);
// Whether a device survives its instance.
bool IsKept(const NodeSpec& spec, const KeptDevice& device);
// Takes the instance's devices over into `kept`: volumes, zones, which one is the root.
void MergeDevices(const Ec2Instance& instance, const NodeSpec& spec, KeptResources* kept);
// The same with its primary interface, if its address is kept.
void MergeInterface(const Ec2Instance& instance, const NodeSpec& spec, KeptResources* kept);
std::vector<Device> ShownDevices(const KeptResources& kept);
// The instance; nothing: EC2 does not know it (any more).
Flow<std::optional<Ec2Instance>> FindInstance(const Services& services, const std::string& id);
bool IsAlive(const Ec2Instance& instance);
// Succeeds too when there is no such thing (any more).
template <typename T>
Flow<Done> Tolerate(const Ec2Result<T>& result) {
  if (result.ok() || result.status().Is(StatusCode::kNotFound)) return Done{};
  return RetryLater(result.status());
}
// Of an "image", "snapshot", "volume" or "interface".
Flow<Done> DeleteResource(const Services& services, const std::string& kind, const std::string& id);
Ec2Tags TagsOfNode(const NodeRecord& node, const std::string& token);

}  // namespace snapstore::spot

#endif  // SNAPSTORE_ORCHESTRATOR_LIFECYCLE_NODE_PARTS_H_
