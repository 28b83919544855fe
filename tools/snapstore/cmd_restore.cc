#include <fmt/format.h>

#include "base/status_macros.h"
#include "snapstore/restore.h"
#include "tools/snapstore/command.h"
#include "tools/snapstore/text.h"

namespace snapstore::cli {
namespace {

class RestoreCommand : public Command {
 public:
  void AddOptions(CLI::App* app) override {
    app->add_option("ID", reference_, "Snapshot: an id, a unique prefix, or 'latest'")->required();
    auto* target =
        app->add_option("--target", request_.target,
                        "Directory below which the paths are recreated; made if missing");
    app->add_option("--path", paths_, "Restore only this and what is below it; may be repeated")
        ->allow_extra_args(false);
    auto* in_place = app->add_flag(
        "--in-place", request_.in_place,
        "Rewrite existing files only where they differ; without --target, where they came from");
    app->add_option("--to", request_.to,
                    "Write the content of the one file or volume selected to this file or device")
        ->excludes(target)
        ->excludes(in_place);
  }

  Result<Finding> Run(Session& session) override {
    SNAP_RETURN_IF_ERROR(CompleteRequest());
    SNAP_ASSIGN_OR_RETURN(auto repository, session.OpenRepository());
    SNAP_ASSIGN_OR_RETURN(request_.snapshot_id, repository->ResolveSnapshot(reference_));
    SNAP_ASSIGN_OR_RETURN(const RestoreSummary summary,
                          RestoreSnapshot(*repository, request_, session.observer()));
    session.observer()->Finish();
    SNAP_RETURN_IF_ERROR(Print(session, *repository, summary));
    if (session.observer()->saw_corruption()) return Finding::kDamage;
    return summary.failed > 0 ? Finding::kPartial : Finding::kNone;
  }

 private:
  Status CompleteRequest() {
    if (request_.target.empty() && request_.to.empty()) {
      if (!request_.in_place) {
        return Status::InvalidArgument(
            "where to? give --target DIR, --to FILE, or --in-place for the original places");
      }
      request_.target = "/";
    }
    for (const std::string& path : paths_) {
      auto normal = NormalisePath(path);
      if (!normal.ok()) return normal.status().WithContext("--path");
      // "/" selects everything, which is what no selection means to the engine.
      if (normal->empty()) {
        request_.paths.clear();
        return Status::Ok();
      }
      request_.paths.push_back(std::move(normal).value());
    }
    return Status::Ok();
  }

  Status Print(Session& session, const Repository& repository,
               const RestoreSummary& summary) const {
    if (session.json()) {
      Json out = RestoreSummaryJson(request_.snapshot_id, summary);
      SetStoreUsage(&out, repository.Usage());
      return session.out().Json(out);
    }
    if (session.quiet()) return Status::Ok();
    std::string line =
        fmt::format("restored {} entries, {} ({} written, {} fetched) in {:.2f} s", summary.entries,
                    FormatSize(summary.bytes_total), FormatSize(summary.bytes_written),
                    FormatSize(summary.bytes_fetched), summary.seconds);
    if (summary.failed > 0) line += fmt::format("; {} failed", summary.failed);
    SNAP_RETURN_IF_ERROR(session.out().Line(line));
    SNAP_RETURN_IF_ERROR(session.PrintStages(summary.stages));
    return session.PrintStoreUsage(repository);
  }

  std::string reference_;
  std::vector<std::string> paths_;
  RestoreRequest request_;
};

}  // namespace

const CommandInfo kRestoreCommand = {
    "restore",
    "Bring a snapshot back. Every byte is verified before it is written, and nothing outside the "
    "target is ever touched, whatever symbolic links stand in it. What cannot be restored is "
    "reported and the rest goes on; the exit code is 1 then, or 13 when stored data is damaged.",
    "  snapstore restore latest --target /mnt/restore --path /etc\n"
    "  snapstore restore 3f21ab --in-place\n"
    "  snapstore restore latest --path dev/vg0/data --to /dev/vg0/data",
    MakeCommand<RestoreCommand>};

}  // namespace snapstore::cli
