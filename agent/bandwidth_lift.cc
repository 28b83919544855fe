#include "agent/bandwidth_lift.h"

#include <chrono>
#include <utility>

namespace snapstore::agent {
namespace {

constexpr std::chrono::milliseconds kAskEvery{100};

}  // namespace

BandwidthLift::BandwidthLift(Repository* repository, std::function<bool()> wanted)
    : repository_(repository), wanted_(std::move(wanted)) {
  if (wanted_()) {
    repository_->LiftBandwidthLimits(true);
  } else {
    thread_ = std::thread([this] { Watch(); });
  }
}

BandwidthLift::~BandwidthLift() {
  {
    const std::lock_guard lock(mutex_);
    ending_ = true;
  }
  changed_.notify_all();
  if (thread_.joinable()) thread_.join();
  repository_->LiftBandwidthLimits(false);
}

void BandwidthLift::Watch() {
  std::unique_lock lock(mutex_);
  while (!changed_.wait_for(lock, kAskEvery, [this] { return ending_; })) {
    if (wanted_()) return repository_->LiftBandwidthLimits(true);
  }
}

}  // namespace snapstore::agent
