#include "uploader/retry.h"

#include <fmt/format.h>

#include <algorithm>
#include <thread>

namespace snapstore {
namespace {

constexpr std::chrono::milliseconds kPoll{50};
constexpr int kDoublingsMax = 20;

uint64_t RandomSeed() {
  uint64_t seed;
  SecureRandom({reinterpret_cast<uint8_t*>(&seed), sizeof(seed)});
  return seed;
}

}  // namespace

bool IsTransient(const Status& status) {
  return status.Is(StatusCode::kIo) || status.Is(StatusCode::kTimeout) ||
         status.Is(StatusCode::kThrottled);
}

Backoff::Backoff(const RetryPolicy& policy) : policy_(policy), random_(RandomSeed()) {}

Status Backoff::Wait(const Status& failure, std::chrono::milliseconds at_least) {
  using std::chrono::milliseconds;
  ++attempts_;
  const milliseconds grown = policy_.first_wait * (1LL << std::min(attempts_ - 1, kDoublingsMax));
  const milliseconds ceiling = std::min(policy_.longest_wait, grown);
  milliseconds left{static_cast<int64_t>(random_.Below(ceiling.count() + 1))};
  left = std::max(left, at_least);
  const auto spent = milliseconds(static_cast<int64_t>(watch_.Seconds() * 1000));
  if (spent + left >= policy_.deadline) {
    return failure.WithContext(
        fmt::format("given up after {} attempts in {:.1f} s", attempts_, watch_.Seconds()));
  }
  while (left.count() > 0) {
    if (policy_.cancelled != nullptr && policy_.cancelled()) {
      return Status::Cancelled("interrupted");
    }
    const milliseconds step = std::min(left, kPoll);
    std::this_thread::sleep_for(step);
    left -= step;
  }
  return {};
}

}  // namespace snapstore
