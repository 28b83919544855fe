#include "orchestrator/model/node_change.h"

#include <fmt/format.h>

#include <algorithm>

namespace snapstore::spot {
namespace {

// Of changes of which none was carried out; the oldest are forgotten.
constexpr size_t kFormerMax = 200;

template <typename T>
void Bound(std::vector<T>* list) {
  if (list->size() <= kFormerMax) return;
  list->erase(list->begin(), list->end() - static_cast<std::ptrdiff_t>(kFormerMax));
}

bool HasTag(const std::vector<Tag>& tags, const Tag& tag) {
  return std::any_of(tags.begin(), tags.end(),
                     [&](const Tag& one) { return one.key == tag.key && one.value == tag.value; });
}

void RememberFormer(const NodeSpec& before, const NodeSpec& after, FormerSettings* former) {
  const std::vector<Tag>& tags = after.compute.launch_specification.tags;
  for (const Tag& tag : before.compute.launch_specification.tags) {
    if (!HasTag(former->tags, tag)) former->tags.push_back(tag);
  }
  std::erase_if(former->tags, [&](const Tag& tag) { return HasTag(tags, tag); });
  Bound(&former->tags);
  const auto& address = after.compute.elastic_ip;
  std::vector<std::string>& addresses = former->elastic_ips;
  if (before.compute.elastic_ip) {
    std::erase(addresses, *before.compute.elastic_ip);
    addresses.push_back(*before.compute.elastic_ip);
  }
  if (address) std::erase(addresses, *address);
  Bound(&addresses);
}

// An interface that is kept has its address for ever.
void CheckPrivateIp(const NodeRecord& node, const NodeSpec& after, FieldErrors* errors) {
  const auto& wanted = after.compute.private_ip;
  if (!wanted || !after.persistence.persist_private_ip.value()) return;
  if (wanted == node.spec.compute.private_ip && node.spec.persistence.persist_private_ip.value()) {
    return;
  }
  const NodeRuntime& runtime = node.runtime;
  std::string has = runtime.resources.private_ip;
  if (has.empty() && runtime.instance_id) has = runtime.private_ip.value_or("");
  const bool launches = node.state == NodeState::kResuming || node.state == NodeState::kRecycling;
  if (has == *wanted || (has.empty() && !launches)) return;
  constexpr const char* kField = "managedInstance.compute.privateIp";
  if (has.empty()) {
    errors->Add(kField,
                "cannot be changed while the node is launched with another address, which "
                "persistPrivateIp keeps");
    return;
  }
  errors->Add(kField,
              fmt::format("cannot be changed: persistPrivateIp keeps the node's address {}. "
                          "Without it, an address takes effect at the next replacement",
                          has));
}

}  // namespace

bool ChangeNodeSpec(NodeRecord* node, const Json& change, FieldErrors* errors) {
  auto spec = UpdateNodeSpec(node->spec, change, errors);
  if (!spec) return false;
  CheckPrivateIp(*node, *spec, errors);
  if (!errors->empty()) return false;
  RememberFormer(node->spec, *spec, &node->former);
  node->spec = *std::move(spec);
  ++node->generation;
  return true;
}

}  // namespace snapstore::spot
