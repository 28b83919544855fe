#include "agent/checkpoint_order.h"

#include <algorithm>
#include <charconv>
#include <tuple>

namespace snapstore::agent {
namespace {

uint64_t NumberTag(const SnapshotInfo& checkpoint, const char* name) {
  const auto tag = checkpoint.tags.find(name);
  uint64_t value = 0;
  if (tag == checkpoint.tags.end()) return 0;
  const std::string& text = tag->second;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  return error == std::errc() && end == text.data() + text.size() ? value : 0;
}

}  // namespace

uint64_t EpochOf(const SnapshotInfo& checkpoint) { return NumberTag(checkpoint, kEpochTag); }
uint64_t SequenceOf(const SnapshotInfo& checkpoint) { return NumberTag(checkpoint, kSequenceTag); }

OrderedCheckpoints OrderCheckpoints(std::vector<SnapshotInfo> checkpoints, const ClaimBase& base) {
  const auto rank = [](const SnapshotInfo& one) {
    return std::tuple(EpochOf(one), SequenceOf(one), one.time_ns);
  };
  std::stable_sort(checkpoints.begin(), checkpoints.end(),
                   [&](const auto& a, const auto& b) { return rank(a) > rank(b); });
  OrderedCheckpoints ordered;
  for (SnapshotInfo& one : checkpoints) {
    // A repaired one stands for the damaged one.
    const bool counts = EpochOf(one) >= base.epoch || base.snapshots.contains(one.id) ||
                        base.snapshots.contains(one.repaired_from);
    (counts ? ordered.valid : ordered.superseded).push_back(std::move(one));
  }
  return ordered;
}

std::vector<SnapshotInfo> RestoreOrder(const std::vector<SnapshotInfo>& valid,
                                       const std::set<std::string>& damaged) {
  std::vector<SnapshotInfo> order = valid;
  std::stable_partition(order.begin(), order.end(),
                        [&](const SnapshotInfo& one) { return !damaged.contains(one.id); });
  return order;
}

}  // namespace snapstore::agent
