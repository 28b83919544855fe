// Cloud: an EC2-compatible cloud on this machine.
//
// Calls change records (call.h); workers make the machine follow: they take on every record that is
// on its way somewhere ("pending", "creating", "detaching", …), so that a cloud that was killed
// goes on where it was. Instances outlive the server and are found again.
//
// All that it makes has names of its own: files below its folder, the network namespace
// "slc-<id>", the interface "slc<id>", control groups "snapstore-localcloud-<id>", loop devices of
// its files. Destroy removes exactly that.
//
// Thread safety: all calls may run concurrently.
#ifndef SNAPSTORE_ORCHESTRATOR_LOCALCLOUD_CLOUD_H_
#define SNAPSTORE_ORCHESTRATOR_LOCALCLOUD_CLOUD_H_

#include <atomic>
#include <condition_variable>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "orchestrator/localcloud/authentication.h"
#include "orchestrator/localcloud/call.h"
#include "orchestrator/localcloud/hosted_zones.h"
#include "orchestrator/localcloud/imds.h"
#include "orchestrator/localcloud/machine/control_groups.h"
#include "orchestrator/localcloud/machine/fabric.h"
#include "orchestrator/localcloud/machine/instance_process.h"
#include "orchestrator/localcloud/machine/volume_files.h"

namespace snapstore::localcloud {

struct CloudOptions {
  std::string folder = {};                 // absolute; made if there is none
  std::string region = "us-east-1";        // of a new cloud
  std::string program = "/proc/self/exe";  // that is started for instances
  // Shared file systems that instances have from now on, besides those of earlier runs: id
  // ("fs-0123abcd") and the folder of this machine, absolute, that stands for it.
  std::map<std::string, std::string> file_systems = {};
};

class Cloud {
 public:
  // Needs root. Conflict: a server has this folder already.
  static Result<std::unique_ptr<Cloud>> Open(const CloudOptions& options);
  // Lets what is at work end. Instances go on.
  ~Cloud();
  Cloud(const Cloud&) = delete;
  Cloud& operator=(const Cloud&) = delete;

  // Ends all instances and removes everything a cloud made, the folder included if nothing else is
  // in it. No server may have it open (Conflict). NotFound: there is no cloud in it.
  static Status Destroy(const std::string& folder);

  // `version` is that of one of the query services, EC2's if empty. The error kAnswerLost: it took
  // effect, and the caller is to hear nothing of it.
  ApiResult<Json> Query(const std::string& version, const std::string& action,
                        const Parameters& parameters);
  // Of Route 53; the answer's XML. kAnswerLost as above.
  ApiResult<std::string> HostedZones(const HostedZoneCall& call);
  // EBS direct APIs; `first` is empty for all blocks of `snapshot_id`. The answers' JSON.
  ApiResult<Json> ListBlocks(const std::string& first, const std::string& snapshot_id,
                             const Parameters& query);
  ApiResult<Bytes> ReadBlock(const std::string& snapshot_id, const std::string& index,
                             const std::string& token);
  // What an administrator does: capacity, price, interrupt, rebalance, fail. InvalidArgument says
  // what is wrong with the arguments.
  Result<Json> Admin(const std::string& verb, const Json& arguments);

  const CloudFacts& facts() const { return facts_; }
  const CloudKeys& keys() const { return keys_; }
  std::string HostAddress() const { return fabric_->HostAddress(); }
  void StopServingInstances();

 private:
  struct Task {
    std::string id;
    std::function<void()> run;
  };

  explicit Cloud(CloudOptions options);
  Status Prepare();
  Status MakeFirstRecords(Records::Transaction* tx);
  void Adopt();

  // Scanning and workers (cloud_work.cc). Those that begin with Find need the mutex.
  void Scan();
  void Work();
  void FindTasks();
  void FindInstanceTask(const std::string& id);
  void FindVolumeTask(const std::string& id);
  void FindAddressTask(const std::string& id);
  void FindAttachmentTask(const std::string& id);  // cloud_interfaces.cc
  void FindHealthTasks();
  void Enqueue(const std::string& id, std::function<void()> run);
  bool Commit(Records::Transaction* tx);
  std::optional<Json> Read(const std::string& id);

  // What workers do (cloud_instances.cc, cloud_interfaces.cc, cloud_power.cc, cloud_volumes.cc).
  void LaunchInstance(const std::string& id);
  Result<InstanceProcess> StartOnMachine(const Json& instance, const std::vector<Json>& volumes,
                                         const std::vector<Json>& interfaces);
  void FinishLaunch(const std::string& id, const Result<InstanceProcess>& process);
  void EndInstanceWork(const std::string& id);
  void StopInstanceWork(const std::string& id);
  void RebootInstanceWork(const std::string& id);
  // Ends all that an instance has on the machine; records stay as they are. False: try again.
  bool PowerOff(const Json& instance);
  // Public addresses have to be routed again. Those that nobody allocated may go with it.
  void ForgetRoutes(Records::Transaction* tx, const Json& instance, bool own_addresses_go);
  void ReleaseVolumes(const Json& instance);
  void ReleaseInterfaces(const Json& instance);
  void ApplyAddress(const std::string& interface_id);
  void ChangeAttachmentWork(const std::string& interface_id);
  // Into an instance that runs.
  Status Plug(const Json& instance, const Json& interface);
  void ServeMetadata(const Json& instance, pid_t pid);
  void MakeVolume(const std::string& id);
  void DeleteVolumeWork(const std::string& id);
  void AttachVolumeWork(const std::string& id);
  void DetachVolumeWork(const std::string& id);
  void StoreSnapshot(const std::string& id);
  void ForgetStored(const std::string& key);
  void Capture(const std::vector<std::string>& snapshot_ids);
  ImdsView ViewForMetadata(const std::string& id);

  void CheckHealth(const std::string& balancer_key, const std::string& id);  // cloud_health.cc

  // Admin verbs (cloud_admin.cc).
  Result<Json> AdminMarket(const std::string& verb, const Json& arguments);
  Result<Json> AdminInterrupt(const Json& arguments);
  Result<Json> AdminRebalance(const Json& arguments);
  Result<Json> AdminFail(const Json& arguments);
  Result<Json> AdminDelay(const Json& arguments);
  struct Fault {
    ApiError error = {};
    bool answer_lost = false;
  };
  // What the administrator wants of this call. Returns after the delay that was asked for.
  Fault TakeFault(const std::string& action);

  const CloudOptions options_;
  CloudFacts facts_;
  CloudKeys keys_;
  std::map<std::string, std::string> file_systems_;
  std::unique_ptr<Fabric> fabric_;
  std::unique_ptr<ControlGroups> groups_;
  std::unique_ptr<VolumeFiles> volumes_;

  std::mutex mutex_;  // guards what follows
  std::unique_ptr<Records> records_;
  std::set<std::string> busy_;                    // ids that a worker is at
  std::map<std::string, int64_t> retry_ns_;       // ids not to be taken on before that time
  std::map<std::string, int64_t> next_check_ns_;  // by balancer and instance
  std::deque<Task> tasks_;
  bool stopping_ = false;
  std::condition_variable wake_scan_;
  std::condition_variable wake_work_;
  std::condition_variable wake_delayed_;

  std::mutex imds_mutex_;  // guards imds_
  std::map<std::string, std::unique_ptr<ImdsServer>> imds_;

  std::vector<std::thread> threads_;
};

}  // namespace snapstore::localcloud

#endif  // SNAPSTORE_ORCHESTRATOR_LOCALCLOUD_CLOUD_H_
