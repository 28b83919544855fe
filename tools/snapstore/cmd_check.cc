#include <fmt/format.h>

#include <algorithm>

#include "base/status_macros.h"
#include "snapstore/inspect.h"
#include "tools/snapstore/command.h"
#include "tools/snapstore/text.h"

namespace snapstore::cli {
namespace {

constexpr size_t kLostPathsShown = 5;

class CheckCommand : public Command {
 public:
  void AddOptions(CLI::App* app) override {
    auto* read_data =
        app->add_flag("--read-data", options_.read_data, "Read and verify every stored byte");
    app->add_option("--sample", sample_, "With --read-data: only this share of the packs, e.g. 10%")
        ->needs(read_data);
  }

  Result<Finding> Run(Session& session) override {
    auto sample = ParsePercent(sample_);
    if (!sample.ok()) return sample.status().WithContext("--sample");
    options_.sample_percent = *sample;
    SNAP_ASSIGN_OR_RETURN(auto repository, session.OpenRepository());
    SNAP_ASSIGN_OR_RETURN(const CheckReport report,
                          CheckRepository(*repository, options_, session.observer()));
    session.observer()->Finish();
    SNAP_RETURN_IF_ERROR(session.json() ? PrintJson(session, *repository, report)
                                        : PrintText(session, *repository, report));
    return report.problems.empty() ? Finding::kNone : Finding::kDamage;
  }

 private:
  static Status PrintJson(Session& session, const Repository& repository,
                          const CheckReport& report) {
    for (const CheckProblem& problem : report.problems) {
      SNAP_RETURN_IF_ERROR(session.out().Json(ProblemJson(problem)));
    }
    Json out;
    out["message_type"] = "summary";
    out["snapshots"] = report.snapshots;
    out["packs"] = report.packs;
    out["chunks"] = report.chunks;
    out["bytes_read"] = report.bytes_read;
    out["problems"] = report.problems.size();
    SetStoreUsage(&out, repository.Usage());
    return session.out().Json(out);
  }

  static Status PrintText(Session& session, const Repository& repository,
                          const CheckReport& report) {
    for (const CheckProblem& problem : report.problems) {
      SNAP_RETURN_IF_ERROR(
          session.out().Line(fmt::format("damaged: {}: {}", EscapeForTerminal(problem.object),
                                         EscapeForTerminal(problem.message))));
      const size_t count = problem.lost_paths.size();
      const size_t shown = session.verbose() ? count : std::min(count, kLostPathsShown);
      for (size_t i = 0; i < shown; ++i) {
        SNAP_RETURN_IF_ERROR(
            session.out().Line("  lost: " + EscapeForTerminal(problem.lost_paths[i])));
      }
      if (shown < count) {
        SNAP_RETURN_IF_ERROR(session.out().Line(
            fmt::format("  lost: {} more; --verbose lists them", count - shown)));
      }
    }
    if (session.quiet()) return Status::Ok();
    SNAP_RETURN_IF_ERROR(session.out().Line(
        fmt::format("{} snapshots, {} packs, {} chunks checked, {} read: {}", report.snapshots,
                    report.packs, report.chunks, FormatSize(report.bytes_read),
                    report.problems.empty() ? std::string("no damage found")
                                            : fmt::format("{} problems", report.problems.size()))));
    return session.PrintStoreUsage(repository);
  }

  CheckOptions options_;
  std::string sample_ = "100%";
};

}  // namespace

const CommandInfo kCheckCommand = {
    "check",
    "Look for damage. Without options the structure is checked: every snapshot, and that every "
    "chunk "
    "it needs is in a pack. With --read-data every stored byte is read and verified. What is "
    "damaged "
    "is named together with the paths that are lost by it; the exit code is 13 then.",
    "  snapstore check\n"
    "  snapstore check --read-data\n"
    "  snapstore check --read-data --sample 5%",
    MakeCommand<CheckCommand>};

}  // namespace snapstore::cli
