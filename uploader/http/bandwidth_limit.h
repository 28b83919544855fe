// BandwidthLimit: a token bucket that all transfers of one direction share.
//
// The bucket holds a twentieth of a second, so that a cap of 10 MB/s is one within any tenth of a
// second, not on average over minutes.
//
// Thread safety: all calls may run concurrently.
#ifndef SNAPSTORE_UPLOADER_HTTP_BANDWIDTH_LIMIT_H_
#define SNAPSTORE_UPLOADER_HTTP_BANDWIDTH_LIMIT_H_

#include <chrono>
#include <cstdint>
#include <mutex>

namespace snapstore {

class BandwidthLimit {
 public:
  // 0: no limit.
  explicit BandwidthLimit(uint64_t bytes_per_second = 0) : rate_(bytes_per_second) {}

  // Takes effect at once, for transfers under way too.
  void Set(uint64_t bytes_per_second);

  // How many of `wanted` bytes may move now: at least one, when the time has come for it; waits
  // until then, but not longer than a tenth of a second: then 0.
  size_t Take(size_t wanted);

 private:
  using Clock = std::chrono::steady_clock;

  std::mutex mutex_;  // guards what follows
  uint64_t rate_;
  double tokens_ = 0;  // bytes
  Clock::time_point filled_ = Clock::now();
};

}  // namespace snapstore

#endif  // SNAPSTORE_UPLOADER_HTTP_BANDWIDTH_LIMIT_H_
