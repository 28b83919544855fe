// The templates of SimulatedCloud that its source files share. For these only.
#ifndef SNAPSTORE_TESTS_ORCHESTRATOR_LIFECYCLE_SIMULATED_CALL_H_
#define SNAPSTORE_TESTS_ORCHESTRATOR_LIFECYCLE_SIMULATED_CALL_H_

#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "tests/orchestrator/lifecycle/simulated_cloud.h"

namespace snapstore::spot {

template <typename T, typename Act>
Ec2Result<T> SimulatedCloud::Call(const char* action, const std::string& about, bool changes,
                                  const Act& act) {
  ++calls_;
  ++happened_[std::string("call ") + action];
  if (on_call) on_call(action, changes, false);
  // What is about something that the call removes is looked up before.
  const std::string node = NodeOf(about);
  bool loses_answer = false;
  if (auto fault = FaultOf(action, changes, &loses_answer)) {
    Note(node, fmt::format("{} {}: {}", action, about, fault->status.message()));
    return *std::move(fault);
  }
  const std::string refused = refuses ? refuses(action, about) : "";
  Ec2Result<T> result = refused.empty() ? act() : Refuse(refused, about);
  if (changes || !result.ok()) {
    Note(node,
         fmt::format("{} {}: {}{}", action, about, result.ok() ? "done" : result.status().message(),
                     loses_answer ? ", the answer is lost" : ""));
  }
  if (on_call) on_call(action, changes, true);
  if (loses_answer) return AwsFailure{.status = Status::Io(std::string(action) + ": no answer")};
  return result;
}

template <typename Thing, typename Shown>
Ec2Result<std::vector<Shown>> SimulatedCloud::Describe(
    Shelf<Thing>* shelf, const Ec2Query& query, const char* not_found,
    const std::function<std::optional<std::string>(const Shown&, const std::string&)>& fact) {
  std::vector<Shown> found;
  const auto look = [&](const Thing& thing) {
    if (thing.visible_ms > Now()) return;
    const bool passes = query.filters.empty() ||
                        Passes(query.filters, thing.shown.tags,
                               [&](const auto& filter) { return fact(thing.shown, filter); });
    if (passes) found.push_back(thing.shown);
  };
  const auto some = [&](const auto& ids) {
    for (const std::string& id : ids) {
      if (const Thing* thing = shelf->Find(id)) look(*thing);
    }
  };
  const auto filter = [&](const std::string& name) { return query.filters.find(name); };
  const auto none = query.filters.end();
  if (!query.ids.empty()) {
    for (const std::string& id : query.ids) {
      const Thing* const thing = shelf->Find(id);
      if (thing == nullptr || thing->visible_ms > Now()) {
        return Refuse(not_found, fmt::format("The ID '{}' does not exist", id));
      }
      look(*thing);
    }
  } else if (const auto node = filter(std::string("tag:") + NodeTag::kNode); node != none) {
    for (const std::string& value : node->second) some(shelf->OfNode(value));
  } else if (const auto token = filter(std::string("tag:") + NodeTag::kToken); token != none) {
    for (const std::string& value : token->second) some(shelf->OfToken(value));
  } else if (const auto ids = filter("snapshot-id"); ids != none) {
    some(ids->second);
  } else if (const auto volumes = filter("volume-id");
             std::is_same_v<Thing, SimVolume> && volumes != none) {
    some(volumes->second);
  } else if (const auto names = filter("name"); names != none) {
    for (const std::string& name : names->second) {
      const auto known = image_names_.find(name);
      if (known == image_names_.end()) continue;
      if (const Thing* thing = shelf->Find(known->second)) look(*thing);
    }
  } else if (const auto ips = filter("addresses.private-ip-address"); ips != none) {
    for (const std::string& ip : ips->second) {
      const auto known = used_ips_.find(ip);
      if (known == used_ips_.end()) continue;
      if (const Thing* thing = shelf->Find(known->second)) look(*thing);
    }
  } else {
    for (const auto& [id, thing] : shelf->all()) look(thing);
  }
  return found;
}

}  // namespace snapstore::spot

#endif  // SNAPSTORE_TESTS_ORCHESTRATOR_LIFECYCLE_SIMULATED_CALL_H_
