#include "orchestrator/lifecycle/import_image.h"

#include <fmt/format.h>

#include "orchestrator/lifecycle/clean_up.h"
#include "orchestrator/lifecycle/node_parts.h"

namespace snapstore::spot {
namespace {

// Until somebody deletes it or, with an `error`, until it can be deleted.
Flow<Done> List(OperationRun* run, const MigrationRecord& migration, const std::string& kind,
                const std::string& id, const std::string& error = {}) {
  RetainedRecord record;
  record.kind = kind;
  record.id = id;
  record.account_id = migration.account_id;
  record.node_id = migration.node_id;
  record.created_at_ms = run->Now();
  if (!error.empty()) {
    record.delete_at_ms = record.created_at_ms + run->services().options.retention_ms;
    record.error = error;
  }
  const Status kept = run->services().state->PutRetained(record);
  if (!kept.ok()) return RetryLater(kept);
  return Done{};
}

Flow<Done> DeleteImage(const Ec2Image& image, CleanUp* clean_up) {
  SNAP_FLOW(clean_up->Delete("image", image.id));
  for (const Ec2BlockDevice& device : image.devices) {
    if (!device.snapshot_id.empty()) SNAP_FLOW(clean_up->Delete("snapshot", device.snapshot_id));
  }
  return Done{};
}

// Of an image that was deleted before it showed them.
Flow<Done> DeleteSnapshots(const Services& services, const Ec2Query& query, CleanUp* clean_up) {
  const auto snapshots = services.ec2->DescribeSnapshots(query);
  if (!snapshots.ok()) return RetryLater(snapshots.status());
  for (const Ec2Snapshot& snapshot : *snapshots) {
    SNAP_FLOW(clean_up->Delete("snapshot", snapshot.id));
  }
  return Done{};
}

Flow<Done> Leave(OperationRun* run, const MigrationRecord& migration, bool goes) {
  const Services& services = run->services();
  const Ec2Query query{.filters = {{fmt::format("tag:{}", NodeTag::kNode), {migration.node_id}}}};
  const auto images = services.ec2->DescribeImages(query);
  if (!images.ok()) return RetryLater(images.status());
  CleanUp clean_up(services);
  for (const Ec2Image& image : *images) {
    if (!IsOwnImage(image, migration.node_id)) continue;
    SNAP_FLOW(goes ? DeleteImage(image, &clean_up) : List(run, migration, "image", image.id));
  }
  if (goes) SNAP_FLOW(DeleteSnapshots(services, query, &clean_up));
  for (const Json& one : clean_up.left()) {
    SNAP_FLOW(List(run, migration, one.at("kind"), one.at("id"), one.at("why")));
  }
  return Done{};
}

}  // namespace

Flow<Done> LeaveImage(OperationRun* run, const MigrationRecord& migration, bool goes) {
  if (!run->BegunAt("image")) return Done{};
  SNAP_FLOW(run->Observe("give-up/clean", [&]() -> Flow<Json> {
    SNAP_FLOW(Leave(run, migration, goes));
    // One that was just asked for may not be listed yet.
    const int64_t age = run->Now() - run->BegunAt("give-up").value_or(0);
    if (!run->IsDone("image/available") && age < kConsistencyMs) return Wait(kConsistencyMs - age);
    return Json();
  }));
  return Done{};
}

}  // namespace snapstore::spot
