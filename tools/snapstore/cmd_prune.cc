#include <fmt/format.h>

#include "base/status_macros.h"
#include "tools/snapstore/command.h"
#include "tools/snapstore/prune_report.h"
#include "tools/snapstore/text.h"

namespace snapstore::cli {
namespace {

class PruneCommand : public Command {
 public:
  void AddOptions(CLI::App* app) override {
    app->add_flag("--dry-run,-n", options_.dry_run, "Only say what would be done");
    app->add_option("--max-unused", max_unused_,
                    "Rewrite packs until at most this is unused: a share (5%) or a size (10G)")
        ->type_name("P%|SIZE");
    app->add_option("--max-seconds", options_.max_seconds,
                    "Begin nothing new after so long; the next prune goes on")
        ->check(CLI::PositiveNumber)
        ->type_name("S");
    app->add_option("--max-repack-bytes", max_rewrite_, "Rewrite no more than this in one run")
        ->type_name("SIZE");
  }

  Result<Finding> Run(Session& session) override {
    SNAP_RETURN_IF_ERROR(Complete());
    SNAP_ASSIGN_OR_RETURN(auto repository, session.OpenRepository());
    SNAP_RETURN_IF_ERROR(RunPrune(session, *repository, options_).status());
    return Finding::kNone;
  }

 private:
  Status Complete() {
    if (!max_rewrite_.empty()) {
      auto bytes = ParseSize(max_rewrite_);
      if (!bytes.ok()) return bytes.status().WithContext("--max-repack-bytes");
      options_.max_rewrite_bytes = *bytes;
    }
    if (max_unused_ == "0%" || max_unused_ == "0") {
      options_.max_unused_bytes = 0;
    } else if (max_unused_.ends_with('%')) {
      auto percent = ParsePercent(max_unused_);
      if (!percent.ok()) return percent.status().WithContext("--max-unused");
      options_.max_unused_percent = *percent;
    } else {
      auto bytes = ParseSize(max_unused_);
      if (!bytes.ok()) return bytes.status().WithContext("--max-unused");
      options_.max_unused_bytes = *bytes;
    }
    return Status::Ok();
  }

  PruneOptions options_;
  std::string max_unused_ = "5%";
  std::string max_rewrite_;
};

}  // namespace

const CommandInfo kPruneCommand = {
    "prune",
    "Give back the space of what no snapshot needs. Packs that nothing needs are deleted, packs "
    "that are needed in part are rewritten until little enough is unused. It first says what it is "
    "about to do. Other machines may take and restore snapshots meanwhile; a prune that is ended "
    "in "
    "any way is gone on with by the next one.",
    "  snapstore prune --dry-run\n"
    "  snapstore prune --max-unused 10%\n"
    "  snapstore prune --max-seconds 600 --max-repack-bytes 20G",
    MakeCommand<PruneCommand>};

}  // namespace snapstore::cli
