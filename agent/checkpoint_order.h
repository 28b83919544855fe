// Which checkpoints of an application count, and in which order.
//
// Each carries the epoch of the agent that took it (snapstore/claim.h) and its number among that
// agent's. They are ordered by these, never by the clocks of the machines that took them; those of
// programs that knew no epochs come last, by their time. What an agent committed after another had
// taken its place is superseded: it is not what the application went on from.
//
// Thread safety: free functions.
#ifndef SNAPSTORE_AGENT_CHECKPOINT_ORDER_H_
#define SNAPSTORE_AGENT_CHECKPOINT_ORDER_H_

#include <cstdint>
#include <set>
#include <string>
#include <vector>

#include "snapstore/claim.h"
#include "snapstore/repository.h"

namespace snapstore::agent {

// Tags of a checkpoint's snapshot; decimal numbers.
inline constexpr const char* kEpochTag = "snapstore.epoch";
inline constexpr const char* kSequenceTag = "snapstore.sequence";

// 0: it has none.
uint64_t EpochOf(const SnapshotInfo& checkpoint);
uint64_t SequenceOf(const SnapshotInfo& checkpoint);

struct OrderedCheckpoints {
  std::vector<SnapshotInfo> valid;       // newest first
  std::vector<SnapshotInfo> superseded;  // likewise
};
OrderedCheckpoints OrderCheckpoints(std::vector<SnapshotInfo> checkpoints, const ClaimBase& base);

// In which order to try them: newest first, but those known to be damaged after all others.
std::vector<SnapshotInfo> RestoreOrder(const std::vector<SnapshotInfo>& valid,
                                       const std::set<std::string>& damaged);

}  // namespace snapstore::agent

#endif  // SNAPSTORE_AGENT_CHECKPOINT_ORDER_H_
