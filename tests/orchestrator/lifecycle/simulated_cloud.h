// SimulatedCloud: EC2, its load balancers and its names in memory, with a virtual clock, for tests
// that live through years: what the life-cycle relies on, and what it has to bear.
//
//   SimulatedClock clock;
//   SimulatedCloud cloud(&clock, seed);
//   cloud.rates.interrupted = 0.2;          // what happens by itself
//   cloud.faults.answer_lost = 0.01;        // what happens to calls
//   cloud.Advance(clock.now_ms() + 60'000); // the time passes
//   EXPECT_EQ(cloud.Violations(), "");
//
// After each call that changes something, and after each event, what must always hold is checked;
// what does not is kept with the seed, the virtual time and the node's last calls. The seed decides
// everything. Times are milliseconds. Error codes: "Error codes for the Amazon EC2 API".
//
// Thread safety: belongs to one thread.
#ifndef SNAPSTORE_TESTS_ORCHESTRATOR_LIFECYCLE_SIMULATED_CLOUD_H_
#define SNAPSTORE_TESTS_ORCHESTRATOR_LIFECYCLE_SIMULATED_CLOUD_H_

#include <fmt/format.h>

#include <deque>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <tuple>
#include <vector>

#include "base/random.h"
#include "orchestrator/ec2/ec2_api.h"
#include "orchestrator/ec2/elb_api.h"
#include "orchestrator/ec2/route53_api.h"
#include "tests/orchestrator/lifecycle/simulated_things.h"

namespace snapstore::spot {

class SimulatedCloud : public Ec2Api, public ElbApi, public Route53Api {
 public:
  static constexpr const char* kRegion = "us-east-1";
  static constexpr const char* kVpc = "vpc-sim";
  static constexpr const char* kImage = "ami-base";  // one root device, /dev/xvda

  // `clock` must outlive it.
  SimulatedCloud(SimulatedClock* clock, uint64_t seed);

  CloudFaults faults;
  CloudRates rates;
  size_t account_lines = 50;  // that are kept of each node

  // Before (`after` false) and after each call; may throw.
  std::function<void(const char* action, bool changes, bool after)> on_call = nullptr;
  // The code that a call about that resource, or node, is refused with; empty: none.
  std::function<std::string(const std::string& action, const std::string& about)> refuses = nullptr;
  // Whether the newest copy of a node's data may go.
  std::function<bool(const std::string& kind, const std::string& id, const std::string& node)>
      may_delete = nullptr;
  // Something goes: by a call, or by itself with its instance.
  std::function<void(const std::string& kind, const std::string& id, bool by_itself)> on_delete =
      nullptr;
  // A node's instance begins to write to a device whose data is older, by so much, than what was
  // written there before.
  std::function<void(const std::string& node, const std::string& device, int64_t lost_ms)> on_loss =
      nullptr;
  std::vector<Ec2ReservedInstances> reservations = {};

  // The time passes; what is due happens.
  void Advance(int64_t to_ms);
  int64_t NextEventMs() const { return events_.empty() ? INT64_MAX : events_.begin()->first; }
  // Changes whenever something happens that nobody asked for by a call.
  uint64_t changes() const { return changes_; }

  // The next calls of that name (after `skip` of them) fail so: "throttle", "lose" (the answer), or
  // an error code, or "code: message".
  void Script(const std::string& action, int skip, const std::string& fault);

  // "" when all is well; else an account of the first violations.
  std::string Violations() const;
  void Violate(const std::string& node, const std::string& what);
  uint64_t calls() const { return calls_; }
  // The node's last calls and events.
  std::string Account(const std::string& node) const;
  void Note(const std::string& node, const std::string& text);

  // By hand.
  std::string SubnetOf(char zone) const { return fmt::format("subnet-{}", zone); }
  void AddTargetGroup(const std::string& arn) { balancers_[arn]; }
  void AddBalancer(const std::string& name) { balancers_[name]; }
  void AddZone(const std::string& zone_id) { zones_.insert(zone_id); }
  // Of nobody; its id.
  std::string MakeVolumeByHand(char zone);
  // EC2 recommends to leave it.
  void RecommendRebalance(const std::string& instance);
  // What was written to the root (or to what is not the root) is worth nothing any more.
  void ForgetWritten(const std::string& node, bool root);
  std::string LaunchByHand(char zone, const std::string& type);
  void Interrupt(const std::string& instance, int64_t notice_ms);
  void StopInstance(const std::string& instance);
  void StartInstance(const std::string& instance);
  void Impair(const std::string& instance, bool impaired);
  void TakeAway(const std::string& instance, const std::string& code, const std::string& message);
  void SetDrought(const std::string& type, const std::string& zone, bool spot, int64_t until_ms);
  void DeleteByHand(const std::string& volume);
  // A new volume at that device of a running instance; its id. `like`: size, type, tags, ….
  std::string AttachByHand(const std::string& instance, const std::string& device,
                           const Ec2Volume& like);

  // For judges.
  int64_t VersionOf(const SimVolume& volume) const;
  const Shelf<SimInstance>& instances() const { return instances_; }
  Shelf<SimInstance>& instances() { return instances_; }
  Shelf<SimVolume>& volumes() { return volumes_; }
  Shelf<SimSnapshot>& snapshots() { return snapshots_; }
  Shelf<SimImage>& images() { return images_; }
  Shelf<SimInterface>& interfaces() { return interfaces_; }
  const Shelf<SimVolume>& volumes() const { return volumes_; }
  const Shelf<SimSnapshot>& snapshots() const { return snapshots_; }
  const Shelf<SimImage>& images() const { return images_; }
  const Shelf<SimInterface>& interfaces() const { return interfaces_; }
  const std::map<std::string, Ec2Address>& addresses() const { return addresses_; }
  std::set<std::string> TargetsOf(const std::string& balancer) const {
    const auto found = balancers_.find(balancer);
    return found == balancers_.end() ? std::set<std::string>() : found->second;
  }
  using SimNames = std::map<std::tuple<std::string, std::string, std::string>, Route53Record>;
  const SimNames& names() const { return names_; }  // by zone, name and type
  const std::map<std::string, uint64_t>& happened() const { return happened_; }
  // Alive ones of the node.
  std::vector<std::string> InstancesOf(const std::string& node) const;
  double OnDemandPrice(const std::string& type) const;

  // Ec2Api.
  Ec2Result<std::vector<Ec2Instance>> RunInstances(RunInstancesRequest request) override;
  Ec2Result<std::vector<Ec2StateChange>> TerminateInstances(
      const std::vector<std::string>& ids) override;
  Ec2Result<std::vector<Ec2Instance>> DescribeInstances(const Ec2Query& query) override;
  Ec2Result<std::vector<Ec2InstanceStatus>> DescribeInstanceStatus(const Ec2Query& query,
                                                                   bool all) override;
  Ec2Result<std::string> DescribeInstanceAttribute(const std::string& instance_id,
                                                   const std::string& attribute) override;
  Ec2Result<AwsReceipt> ModifyDeleteOnTermination(
      const std::string& instance_id, const std::map<std::string, bool>& by_device) override;
  Ec2Result<Ec2Volume> CreateVolume(CreateVolumeRequest request) override;
  Ec2Result<AwsReceipt> DeleteVolume(const std::string& id) override;
  Ec2Result<std::vector<Ec2Volume>> DescribeVolumes(const Ec2Query& query) override;
  Ec2Result<Ec2VolumeAttachment> AttachVolume(const std::string& volume_id,
                                              const std::string& instance_id,
                                              const std::string& device) override;
  Ec2Result<Ec2VolumeAttachment> DetachVolume(const std::string& volume_id,
                                              const std::string& instance_id, bool force) override;
  Ec2Result<Ec2Snapshot> CreateSnapshot(const std::string& volume_id,
                                        const std::string& description,
                                        const Ec2Tags& tags) override;
  Ec2Result<std::vector<Ec2Snapshot>> CreateSnapshots(
      const std::string& instance_id, bool exclude_root,
      const std::vector<std::string>& exclude_volumes, const std::string& description,
      const Ec2Tags& tags) override;
  Ec2Result<AwsReceipt> DeleteSnapshot(const std::string& id) override;
  Ec2Result<std::vector<Ec2Snapshot>> DescribeSnapshots(const Ec2Query& query) override;
  Ec2Result<std::string> RegisterImage(const RegisterImageRequest& request) override;
  Ec2Result<std::string> CreateImage(const std::string& instance_id, const std::string& name,
                                     bool no_reboot,
                                     const std::map<std::string, Ec2Tags>& tags) override;
  Ec2Result<AwsReceipt> DeregisterImage(const std::string& id) override;
  Ec2Result<std::vector<Ec2Image>> DescribeImages(const Ec2Query& query) override;
  Ec2Result<Ec2NetworkInterface> CreateNetworkInterface(CreateInterfaceRequest request) override;
  Ec2Result<AwsReceipt> DeleteNetworkInterface(const std::string& id) override;
  Ec2Result<AwsReceipt> ModifyInterfaceGroups(const std::string& id,
                                              const std::vector<std::string>& group_ids) override;
  Ec2Result<AwsReceipt> ModifyInterfaceDeleteOnTermination(const std::string& id,
                                                           const std::string& attachment_id,
                                                           bool delete_on_termination) override;
  Ec2Result<AwsReceipt> UnassignPrivateIpAddresses(
      const std::string& id, const std::vector<std::string>& addresses) override;
  Ec2Result<std::vector<Ec2NetworkInterface>> DescribeNetworkInterfaces(
      const Ec2Query& query) override;
  Ec2Result<Ec2Address> AllocateAddress(const Ec2Tags& tags) override;
  Ec2Result<AwsReceipt> ReleaseAddress(const std::string& allocation_id) override;
  Ec2Result<std::string> AssociateAddress(const AssociateAddressRequest& request) override;
  Ec2Result<AwsReceipt> DisassociateAddress(const std::string& association_id) override;
  Ec2Result<std::vector<Ec2Address>> DescribeAddresses(const Ec2Query& query) override;
  Ec2Result<std::vector<Ec2Subnet>> DescribeSubnets(const Ec2Query& query) override;
  Ec2Result<std::vector<Ec2Vpc>> DescribeVpcs(const Ec2Query& query) override;
  Ec2Result<std::vector<Ec2SecurityGroup>> DescribeSecurityGroups(const Ec2Query& query) override;
  Ec2Result<std::vector<Ec2SpotPrice>> DescribeSpotPriceHistory(
      const SpotPriceQuery& query) override;
  Ec2Result<std::vector<Ec2SpotRequest>> DescribeSpotInstanceRequests(
      const Ec2Query& query) override;
  Ec2Result<AwsReceipt> CancelSpotInstanceRequests(const std::vector<std::string>& ids) override;
  Ec2Result<std::vector<Ec2AvailabilityZone>> DescribeAvailabilityZones(
      const Ec2Query& query) override;
  Ec2Result<std::vector<Ec2InstanceType>> DescribeInstanceTypes(const Ec2Query& query) override;
  Ec2Result<std::vector<Ec2InstanceTypeOffering>> DescribeInstanceTypeOfferings(
      const Ec2Query& query) override;
  Ec2Result<std::vector<Ec2ReservedInstances>> DescribeReservedInstances(
      const Ec2Query& query) override;
  Ec2Result<std::vector<Ec2KeyPair>> DescribeKeyPairs(const Ec2Query& query) override;
  Ec2Result<AwsReceipt> CreateTags(const std::vector<std::string>& ids,
                                   const Ec2Tags& tags) override;
  Ec2Result<AwsReceipt> DeleteTags(const std::vector<std::string>& ids,
                                   const Ec2Tags& tags) override;
  Ec2Result<std::vector<Ec2Tag>> DescribeTags(const Ec2Query& query) override;

  // ElbApi.
  Ec2Result<std::vector<TargetHealth>> DescribeTargetHealth(
      const std::string& target_group_arn, const std::string& instance_id) override;
  Ec2Result<AwsReceipt> RegisterTarget(const std::string& target_group_arn,
                                       const std::string& instance_id) override;
  Ec2Result<AwsReceipt> DeregisterTarget(const std::string& target_group_arn,
                                         const std::string& instance_id) override;
  Ec2Result<std::vector<TargetHealth>> DescribeInstanceHealth(
      const std::string& name, const std::string& instance_id) override;
  Ec2Result<AwsReceipt> RegisterInstance(const std::string& name,
                                         const std::string& instance_id) override;
  Ec2Result<AwsReceipt> DeregisterInstance(const std::string& name,
                                           const std::string& instance_id) override;

  // Route53Api.
  Ec2Result<AwsReceipt> ChangeRecord(const std::string& zone_id, Route53Change change,
                                     const std::string& name, const std::string& type,
                                     const std::string& value, int64_t ttl_seconds) override;
  Ec2Result<std::vector<Route53Record>> ListRecords(const std::string& zone_id,
                                                    const std::string& name,
                                                    const std::string& type) override;

 private:
  enum class EventKind {
    kRuns,
    kTerminated,
    kForgotten,
    kVolumeReady,
    kAttached,
    kDetached,
    kSnapshotDone,
    kImageDone,
    kTaken,
    kStarts,
    kHeals,
    kRequestForgotten,
    kTokenForgotten,
    kPrices,
    kWorld,
  };
  struct Event {
    EventKind kind = EventKind::kWorld;
    std::string id = {};
  };
  struct Scripted {
    std::string action;
    int skip = 0;
    std::string fault;
  };
  using Filters = std::map<std::string, std::vector<std::string>>;
  // What a filter looks at; nothing: the cloud does not know such a filter.
  using Facts = std::function<std::optional<std::string>(const std::string& filter)>;

  // Calls.
  template <typename T, typename Act>
  Ec2Result<T> Call(const char* action, const std::string& about, bool changes, const Act& act);
  std::optional<AwsFailure> FaultOf(const char* action, bool changes, bool* loses_answer);
  static AwsFailure Refuse(const std::string& code, const std::string& message);
  bool Chance(double probability);
  int64_t Between(int64_t low, int64_t high);
  std::string NewId(const char* prefix);
  int64_t VisibleAt();
  int64_t Now() const { return clock_->now_ms(); }
  void At(int64_t time_ms, EventKind kind, const std::string& id) {
    events_.emplace(time_ms, Event{kind, id});
  }
  std::string NodeOf(const std::string& id);
  bool Passes(const Filters& filters, const Ec2Tags& tags, const Facts& facts);
  template <typename Thing, typename Shown>
  Ec2Result<std::vector<Shown>> Describe(
      Shelf<Thing>* shelf, const Ec2Query& query, const char* not_found,
      const std::function<std::optional<std::string>(const Shown&, const std::string&)>& fact);

  // Events.
  void Happen(const Event& event);
  void HappenToStorage(const Event& event);
  void HappenInTheWorld();
  void HappenToOne(const std::string& victim, double share);
  void MovePrices();
  void Terminated(const std::string& id);
  void BeginTermination(SimInstance* instance, const std::string& code, const std::string& message);
  void BeginRunning(SimInstance* instance);
  void StopWriting(SimInstance* instance);
  void BeginWriting(const SimInstance& instance, const std::string& device, SimVolume* volume);
  void EndWriting(SimVolume* volume);
  void Count(const char* what) { ++happened_[what]; }
  void Goes(const char* kind, const std::string& id, bool by_itself) {
    if (on_delete) on_delete(kind, id, by_itself);
  }

  // Parts of a launch.
  struct LaunchPlace {
    std::string subnet_id;
    std::string zone;
  };
  std::optional<AwsFailure> CheckLaunch(const RunInstancesRequest& request, LaunchPlace* place);
  std::optional<AwsFailure> CheckCapacity(const RunInstancesRequest& request,
                                          const LaunchPlace& place);
  std::optional<AwsFailure> PlanDevices(const RunInstancesRequest& request, const SimImage& image,
                                        std::map<std::string, Ec2BlockDevice>* devices);
  void GiveVolumes(const RunInstancesRequest& request,
                   const std::map<std::string, Ec2BlockDevice>& devices, SimInstance* instance);
  void GiveInterfaces(const RunInstancesRequest& request, const LaunchPlace& place,
                      SimInstance* instance);
  Ec2Result<std::vector<Ec2Instance>> Launch(const RunInstancesRequest& request);

  SimVolume MakeVolume(const std::string& zone, const Ec2BlockDevice& wanted, const Ec2Tags& tags);
  std::optional<AwsFailure> CheckVolume(const Ec2BlockDevice& wanted);
  SimSnapshot& MakeSnapshot(const SimVolume& volume, const std::string& description,
                            const Ec2Tags& tags);
  SimInterface& MakeInterface(const std::string& subnet, const std::string& ip,
                              const std::vector<std::string>& groups, const Ec2Tags& tags);
  void RemoveVolume(const std::string& id);
  void RemoveInterface(const std::string& id);
  // A copy of data goes: another that is as new must be left.
  void CheckCopies(const std::string& kind, const std::string& id, const std::string& lineage,
                   int64_t version, const std::string& node);
  void CheckSingle(const std::string& node);
  const Ec2Subnet* FindSubnet(const std::string& id) const;
  std::string FreeAddress(const Ec2Subnet& subnet);
  SimMarket* MarketOf(const std::string& type, const std::string& zone);
  void TakePlace(const SimInstance& instance, int64_t by);
  Ec2Result<std::vector<TargetHealth>> HealthIn(const std::string& balancer, bool classic,
                                                const std::string& instance_id);
  Ec2Result<AwsReceipt> ChangeTargets(const char* action, const std::string& balancer,
                                      const std::string& instance_id, bool add, bool classic);

  SimulatedClock* const clock_;
  const uint64_t seed_;
  SplitMix64 random_;        // of what happens to calls
  SplitMix64 world_random_;  // of what happens by itself
  uint64_t next_id_ = 1;
  uint64_t calls_ = 0;
  uint64_t changes_ = 0;
  std::multimap<int64_t, Event> events_;
  std::deque<Scripted> script_;

  Shelf<SimInstance> instances_;
  Shelf<SimVolume> volumes_;
  Shelf<SimSnapshot> snapshots_;
  Shelf<SimImage> images_;
  Shelf<SimInterface> interfaces_;
  std::set<std::string> running_;  // instances, for those that look at all of them
  std::map<std::string, std::string> image_names_;
  std::map<std::string, Ec2Address> addresses_;  // by allocation
  std::map<std::string, Ec2SpotRequest> requests_;
  std::map<std::string, std::set<std::string>> lineages_;  // their copies: volumes, snapshots
  std::map<std::pair<std::string, std::string>, SimDeviceData> written_;  // by node and device
  std::map<std::string, std::string> used_ips_;                           // whose interface
  std::map<std::string, uint64_t> next_ip_;                               // by subnet
  std::vector<Ec2Subnet> subnets_;
  std::map<std::pair<std::string, std::string>, SimMarket> markets_;
  std::map<std::string, std::set<std::string>> balancers_;
  std::set<std::string> zones_;
  SimNames names_;
  // By client token: what was asked for, and what came of it.
  std::map<std::string, std::pair<std::string, std::string>> tokens_;

  std::map<std::string, std::deque<std::string>> accounts_;  // by node
  std::map<std::string, uint64_t> happened_;
  std::vector<std::string> violations_;
};

}  // namespace snapstore::spot

#endif  // SNAPSTORE_TESTS_ORCHESTRATOR_LIFECYCLE_SIMULATED_CLOUD_H_
