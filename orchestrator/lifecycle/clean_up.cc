#include "orchestrator/lifecycle/clean_up.h"

#include <fmt/format.h>

#include "orchestrator/lifecycle/node_parts.h"

namespace snapstore::spot {

Flow<Done> CleanUp::Delete(const std::string& kind, const std::string& id) {
  const Flow<Done> done = DeleteResource(services_, kind, id);
  if (done.ok()) return Done{};
  const Status& why = done.halt().status;
  switch (why.code()) {
    case StatusCode::kPermissionDenied:
    case StatusCode::kInvalidArgument:
    case StatusCode::kUnsupported:
      break;
    case StatusCode::kConflict:
      // An image is made of that snapshot, or the image is protected. Others are about to be free.
      if (kind == "volume" || kind == "interface") return done.halt();
      break;
    default:
      return done.halt();
  }
  left_.push_back({{"kind", kind}, {"id", id}, {"why", why.message()}});
  return Done{};
}

void LeaveToPurge(const Services& services, const Json& output,
                  ControllerState::NodeChange* change) {
  if (!output.is_object() || !output.contains("left") || output.at("left").empty()) return;
  std::string ids;
  for (const Json& one : output.at("left")) {
    const std::string id = one.value("id", "");
    RetainedRecord record = Retain(services, change->node, one.value("kind", "").c_str(), id, true);
    record.error = one.value("why", "");
    change->AddRetained(record);
    if (!ids.empty()) ids += ", ";
    ids += id;
  }
  change->AddEvent("CLEAN_UP_REFUSED", Severity::kWarning,
                   fmt::format("could not be deleted, and is retained until it can be: {}: {}", ids,
                               output.at("left").front().value("why", "")));
}

}  // namespace snapstore::spot
