// Ticker: when the next scheduled checkpoint is due, on a clock that may be set.
//
// The schedule speaks of wall time. A clock that jumps ahead makes one tick due, not all those that
// it jumped over; one that is set back does not put the next tick off until it has caught up.
//
// Thread safety: none. All times are seconds since the epoch.
#ifndef SNAPSTORE_AGENT_TICKER_H_
#define SNAPSTORE_AGENT_TICKER_H_

#include <algorithm>
#include <cstdint>
#include <utility>

#include "base/cron.h"

namespace snapstore::agent {

class Ticker {
 public:
  Ticker(CronSchedule schedule, int64_t now)
      : schedule_(std::move(schedule)), next_(schedule_.Next(now)), latest_(now) {}

  int64_t next() const { return next_; }

  // To be asked every now and then, a minute apart at most.
  bool IsDue(int64_t now) {
    if (now + kSetBack < latest_) {
      next_ = schedule_.Next(now);
      latest_ = now;
    }
    latest_ = std::max(latest_, now);
    return now >= next_;
  }

  // The tick that was due at `began` is handled, which took `seconds` by a clock that nobody sets;
  // now it is `now`. Returns how many ticks fell due meanwhile.
  uint64_t Handled(int64_t began, int64_t seconds, int64_t now) {
    uint64_t missed = 0;
    for (int64_t tick = schedule_.Next(began); tick <= began + seconds && missed < kMissedMax;
         tick = schedule_.Next(tick)) {
      ++missed;
    }
    next_ = schedule_.Next(now + kSetBack < began ? now : std::max(now, next_));
    latest_ = now;
    return missed;
  }

 private:
  // Less is the clock being corrected, and a tick that was handled stays handled.
  static constexpr int64_t kSetBack = 60;
  static constexpr uint64_t kMissedMax = 100'000;

  const CronSchedule schedule_;
  int64_t next_;
  int64_t latest_;  // that was seen
};

}  // namespace snapstore::agent

#endif  // SNAPSTORE_AGENT_TICKER_H_
