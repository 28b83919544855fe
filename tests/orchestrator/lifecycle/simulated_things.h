// What a simulated cloud holds: resources as EC2 shows them and what only the simulation knows.
//
// Times are milliseconds. A data version is how long a volume, and those that its content came
// from, were written to by instances that ran: what was lost is the difference. Copies of one
// content share a lineage, which is the id of the first volume.
//
// Thread safety: values; a SimulatedClock belongs to one thread.
#ifndef SNAPSTORE_TESTS_ORCHESTRATOR_LIFECYCLE_SIMULATED_THINGS_H_
#define SNAPSTORE_TESTS_ORCHESTRATOR_LIFECYCLE_SIMULATED_THINGS_H_

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "orchestrator/ec2/ec2_types.h"
#include "orchestrator/lifecycle/services.h"

namespace snapstore::spot {

inline constexpr int64_t kSecondMs = 1000;
inline constexpr int64_t kMinuteMs = 60 * kSecondMs;
inline constexpr int64_t kHourMs = 60 * kMinuteMs;
inline constexpr int64_t kDayMs = 24 * kHourMs;

// The node that a resource is tagged with; empty: none.
inline std::string NodeOfTags(const Ec2Tags& tags) {
  const auto node = tags.find(NodeTag::kNode);
  return node == tags.end() ? "" : node->second;
}

class SimulatedClock {
 public:
  static constexpr int64_t kStartMs = 1'767'225'600'000;  // 2026-01-01, a Thursday

  int64_t now_ms() const { return now_ms_; }
  // Never back.
  void Set(int64_t now_ms) { now_ms_ = now_ms > now_ms_ ? now_ms : now_ms_; }

 private:
  int64_t now_ms_ = kStartMs;
};

struct SimInstance {
  Ec2Instance shown = {};
  int64_t visible_ms = 0;
  bool impaired = false;
  int64_t ran_at_ms = 0;        // when it began to run; 0: it does not
  int64_t taken_at_ms = 0;      // of an interruption that was announced
  int64_t rebalance_at_ms = 0;  // when it was recommended to leave it; 0: it was not
  bool by_hand = false;         // started by nobody's node: the source of an import
  std::string user_data = {};
};

struct SimVolume {
  Ec2Volume shown = {};
  int64_t visible_ms = 0;
  std::string lineage = {};
  int64_t version = 0;           // when the last writer stopped
  int64_t written_since_ms = 0;  // 0: nobody writes
};

struct SimSnapshot {
  Ec2Snapshot shown = {};
  int64_t visible_ms = 0;
  std::string lineage = {};
  int64_t version = 0;
  std::set<std::string> images = {};  // that use it
  bool is_foreign = false;            // of another account, which shares the image only
};

struct SimImage {
  Ec2Image shown = {};
  int64_t visible_ms = 0;
};

struct SimInterface {
  Ec2NetworkInterface shown = {};
  int64_t visible_ms = 0;
};

// What a node's instances wrote to one of its devices.
struct SimDeviceData {
  std::string lineage = {};
  int64_t highest = 0;
};

// Resources of one kind, by id, and by the tags that the life-cycle looks for.
template <typename Thing>
class Shelf {
 public:
  Thing* Find(const std::string& id) {
    const auto found = all_.find(id);
    return found == all_.end() ? nullptr : &found->second;
  }
  Thing& Add(Thing thing) {
    const std::string id = thing.shown.id;
    Thing& added = all_.emplace(id, std::move(thing)).first->second;
    Index(added, true);
    return added;
  }
  void Remove(const std::string& id) {
    Thing* const thing = Find(id);
    if (thing == nullptr) return;
    Index(*thing, false);
    all_.erase(id);
  }
  void Tag(const std::string& id, const Ec2Tags& tags, bool remove) {
    Thing* const thing = Find(id);
    Index(*thing, false);
    for (const auto& [key, value] : tags) {
      if (remove) {
        // An empty value: whatever it says.
        const auto tag = thing->shown.tags.find(key);
        const bool same = tag != thing->shown.tags.end() && (value.empty() || tag->second == value);
        if (same) thing->shown.tags.erase(tag);
      } else {
        thing->shown.tags[key] = value;
      }
    }
    Index(*thing, true);
  }
  const std::map<std::string, Thing>& all() const { return all_; }
  std::map<std::string, Thing>& all() { return all_; }
  const std::set<std::string>& OfNode(const std::string& node) const { return In(nodes_, node); }
  const std::set<std::string>& OfToken(const std::string& token) const {
    return In(tokens_, token);
  }

 private:
  using TagIndex = std::map<std::string, std::set<std::string>>;

  static const std::set<std::string>& In(const TagIndex& index, const std::string& value) {
    static const std::set<std::string> kNone;
    const auto found = index.find(value);
    return found == index.end() ? kNone : found->second;
  }
  static void Put(TagIndex* index, const Thing& thing, const char* key, bool add) {
    const auto tag = thing.shown.tags.find(key);
    if (tag == thing.shown.tags.end()) return;
    std::set<std::string>& ids = (*index)[tag->second];
    if (add) {
      ids.insert(thing.shown.id);
    } else {
      ids.erase(thing.shown.id);
      if (ids.empty()) index->erase(tag->second);
    }
  }
  void Index(const Thing& thing, bool add) {
    Put(&nodes_, thing, NodeTag::kNode, add);
    Put(&tokens_, thing, NodeTag::kToken, add);
  }

  std::map<std::string, Thing> all_;
  TagIndex nodes_;
  TagIndex tokens_;
};

struct SimType {
  const char* name;
  uint64_t vcpus;
  uint64_t memory_mib;
  double usd_per_hour;
  bool burstable;
};

// A type in one zone.
struct SimMarket {
  const SimType* type = nullptr;
  double price = 0;
  std::vector<Ec2SpotPrice> history = {};  // the oldest first
  int64_t drought_until_ms = 0;            // of spot
  int64_t on_demand_drought_until_ms = 0;
  int64_t spot_capacity = -1;  // without limit
  int64_t on_demand_capacity = -1;
  int64_t spot_taken = 0;
  int64_t on_demand_taken = 0;
};

// Chances per call.
struct CloudFaults {
  double throttled = 0;    // before it has an effect
  double internal = 0;     // as well
  double answer_lost = 0;  // after it had one
  double late = 0;         // that something new is not described at first
  int64_t late_ms_max = 20'000;
};

// How often things happen, per instance and day; droughts per market and day.
struct CloudRates {
  double interrupted = 0;          // with two minutes' notice
  double interrupted_at_once = 0;  // with a few seconds' notice
  double interrupted_silently = 0;
  double rebalance = 0;  // it is recommended to leave it
  double hardware = 0;   // status checks fail
  double stopped = 0;    // by hand; started again an hour later
  double terminated = 0;
  double volume_attached = 0;  // by hand
  double droughts = 0;
  double on_demand_droughts = 0;
};

}  // namespace snapstore::spot

#endif  // SNAPSTORE_TESTS_ORCHESTRATOR_LIFECYCLE_SIMULATED_THINGS_H_
