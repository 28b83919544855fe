// BandwidthLift: passes over a repository's caps on bandwidth as soon as there is little time.
//
// Thread safety: made and destroyed by one thread; asks in one of its own.
#ifndef SNAPSTORE_AGENT_BANDWIDTH_LIFT_H_
#define SNAPSTORE_AGENT_BANDWIDTH_LIFT_H_

#include <condition_variable>
#include <functional>
#include <mutex>
#include <thread>

#include "snapstore/repository.h"

namespace snapstore::agent {

class BandwidthLift {
 public:
  // From when `wanted`, asked at once and then every 0.1 s, is true, until this is destroyed.
  // `repository` must outlive it.
  BandwidthLift(Repository* repository, std::function<bool()> wanted);
  ~BandwidthLift();
  BandwidthLift(const BandwidthLift&) = delete;
  BandwidthLift& operator=(const BandwidthLift&) = delete;

 private:
  void Watch();

  Repository* const repository_;
  const std::function<bool()> wanted_;
  std::mutex mutex_;  // guards what follows
  std::condition_variable changed_;
  bool ending_ = false;
  std::thread thread_;
};

}  // namespace snapstore::agent

#endif  // SNAPSTORE_AGENT_BANDWIDTH_LIFT_H_
