#include "tools/snapstore/prune_report.h"

#include <fmt/format.h>

#include "base/status_macros.h"
#include "tools/snapstore/json.h"
#include "tools/snapstore/text.h"

namespace snapstore::cli {
namespace {

void SetPlan(const PrunePlan& plan, Json* out) {
  Json& json = *out;
  json["snapshots"] = plan.snapshots;
  json["packs"] = plan.packs;
  json["bytes_packs"] = plan.bytes_packs;
  json["bytes_live"] = plan.bytes_live;
  json["packs_delete"] = plan.packs_delete;
  json["bytes_delete"] = plan.bytes_delete;
  json["packs_rewrite"] = plan.packs_rewrite;
  json["bytes_rewrite"] = plan.bytes_rewrite;
  json["bytes_rewrite_live"] = plan.bytes_rewrite_live;
  json["packs_held"] = plan.packs_held;
  json["bytes_unused_left"] = plan.bytes_unused_left;
  json["bytes_freed"] = plan.bytes_freed();
  json["segments_replace"] = plan.segments_replace;
  json["requests_get"] = plan.requests_get;
  json["requests_put"] = plan.requests_put;
  json["requests_delete"] = plan.requests_delete;
  json["bytes_down"] = plan.bytes_down;
  json["bytes_up"] = plan.bytes_up;
}

Status PrintPlan(Session& session, const PrunePlan& plan, bool dry_run) {
  if (session.json()) {
    Json out;
    out["message_type"] = "plan";
    out["dry_run"] = dry_run;
    SetPlan(plan, &out);
    return session.out().Json(out);
  }
  if (session.quiet()) return Status::Ok();
  session.observer()->Finish();
  Printer& out = session.out();
  SNAP_RETURN_IF_ERROR(
      out.Line(fmt::format("{} snapshots need {} of the {} in {} packs", plan.snapshots,
                           FormatSize(plan.bytes_live), FormatSize(plan.bytes_packs), plan.packs)));
  SNAP_RETURN_IF_ERROR(out.Line(
      fmt::format("to delete: {} packs, {}; to rewrite: {} packs, {}, of which {} are needed",
                  plan.packs_delete, FormatSize(plan.bytes_delete), plan.packs_rewrite,
                  FormatSize(plan.bytes_rewrite), FormatSize(plan.bytes_rewrite_live))));
  if (plan.packs_held > 0) {
    SNAP_RETURN_IF_ERROR(out.Line(
        fmt::format("{} packs are left alone: a writer at work may need them", plan.packs_held)));
  }
  return out.Line(fmt::format(
      "about {} GET, {} PUT and {} DELETE requests, {} down and {} up, give back {} and leave {} "
      "unused",
      plan.requests_get, plan.requests_put, plan.requests_delete, FormatSize(plan.bytes_down),
      FormatSize(plan.bytes_up), FormatSize(plan.bytes_freed()),
      FormatSize(plan.bytes_unused_left)));
}

Status PrintSummary(Session& session, const Repository& repository, const PruneSummary& summary) {
  if (session.json()) {
    Json out;
    out["message_type"] = "summary";
    out["finished"] = summary.finished;
    if (!summary.finished) out["unfinished"] = summary.unfinished;
    out["packs_deleted"] = summary.packs_deleted;
    out["bytes_deleted"] = summary.bytes_deleted;
    out["packs_rewritten"] = summary.packs_rewritten;
    out["packs_written"] = summary.packs_written;
    out["bytes_written"] = summary.bytes_written;
    out["bytes_read"] = summary.bytes_read;
    out["segments_replaced"] = summary.segments_replaced;
    out["leases_expired"] = summary.leases_expired;
    out["uploads_aborted"] = summary.uploads_aborted;
    out["seconds"] = summary.seconds;
    SetStoreUsage(&out, repository.Usage());
    return session.out().Json(out);
  }
  if (session.quiet()) return Status::Ok();
  SNAP_RETURN_IF_ERROR(session.out().Line(
      fmt::format("deleted {} packs, {}; wrote {} packs, {}; {}", summary.packs_deleted,
                  FormatSize(summary.bytes_deleted), summary.packs_written,
                  FormatSize(summary.bytes_written), FormatDuration(summary.seconds))));
  SNAP_RETURN_IF_ERROR(session.PrintStoreUsage(repository));
  if (summary.finished) return Status::Ok();
  return session.out().Line("the next prune goes on: " + summary.unfinished);
}

}  // namespace

Result<PruneSummary> RunPrune(Session& session, Repository& repository, PruneOptions options) {
  const bool dry_run = options.dry_run;
  options.on_plan = [&](const PrunePlan& plan) { return PrintPlan(session, plan, dry_run); };
  SNAP_ASSIGN_OR_RETURN(PruneSummary summary,
                        PruneRepository(repository, options, session.observer()));
  session.observer()->Finish();
  if (!dry_run) SNAP_RETURN_IF_ERROR(PrintSummary(session, repository, summary));
  return summary;
}

}  // namespace snapstore::cli
