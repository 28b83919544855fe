#include "uploader/http/bandwidth_limit.h"

#include <algorithm>
#include <thread>

namespace snapstore {
namespace {

constexpr double kBurstSeconds = 0.05;
constexpr std::chrono::milliseconds kWaitMax{100};
constexpr std::chrono::milliseconds kStep{2};

}  // namespace

void BandwidthLimit::Set(uint64_t bytes_per_second) {
  const std::lock_guard lock(mutex_);
  rate_ = bytes_per_second;
  tokens_ = 0;
  filled_ = Clock::now();
}

size_t BandwidthLimit::Take(size_t wanted) {
  for (const Clock::time_point give_up = Clock::now() + kWaitMax;;) {
    {
      const std::lock_guard lock(mutex_);
      if (rate_ == 0) return wanted;
      const auto rate = static_cast<double>(rate_);
      const Clock::time_point now = Clock::now();
      tokens_ = std::min(tokens_ + rate * std::chrono::duration<double>(now - filled_).count(),
                         std::max(rate * kBurstSeconds, 1.0));
      filled_ = now;
      // Not byte by byte: a fair share of the bucket at a time.
      const double least =
          std::min({static_cast<double>(wanted), rate * kBurstSeconds / 4, 16384.0});
      if (tokens_ >= std::max(least, 1.0)) {
        const size_t taken = std::min(wanted, static_cast<size_t>(tokens_));
        tokens_ -= static_cast<double>(taken);
        return taken;
      }
      if (now >= give_up) return 0;
    }
    std::this_thread::sleep_for(kStep);
  }
}

}  // namespace snapstore
