// OwnerIndex: which records claim which resources, kept up to date commit by commit.
//
// Thread safety: belongs to one thread.
#ifndef SNAPSTORE_TESTS_ORCHESTRATOR_LIFECYCLE_SIMULATION_OWNERS_H_
#define SNAPSTORE_TESTS_ORCHESTRATOR_LIFECYCLE_SIMULATION_OWNERS_H_

#include <map>
#include <set>
#include <string>
#include <utility>

namespace snapstore::spot {

class OwnerIndex {
 public:
  // What the record claims from now on; nothing: it is gone.
  void Claim(const std::string& record, std::set<std::string> ids) {
    std::set<std::string>& before = claims_[record];
    for (const std::string& id : before) {
      if (ids.contains(id)) continue;
      const auto owners = owners_.find(id);
      owners->second.erase(record);
      if (owners->second.empty()) owners_.erase(owners);
    }
    for (const std::string& id : ids) {
      if (!before.contains(id)) owners_[id].insert(record);
    }
    before = std::move(ids);
    if (before.empty()) claims_.erase(record);
  }

  const std::set<std::string>& ClaimsOf(const std::string& record) const {
    return In(claims_, record);
  }
  const std::set<std::string>& OwnersOf(const std::string& id) const { return In(owners_, id); }

 private:
  using Index = std::map<std::string, std::set<std::string>>;

  static const std::set<std::string>& In(const Index& index, const std::string& key) {
    static const std::set<std::string> kNone;
    const auto found = index.find(key);
    return found == index.end() ? kNone : found->second;
  }

  Index claims_;  // by record
  Index owners_;  // by resource
};

}  // namespace snapstore::spot

#endif  // SNAPSTORE_TESTS_ORCHESTRATOR_LIFECYCLE_SIMULATION_OWNERS_H_
