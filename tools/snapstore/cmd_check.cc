#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <string>
#include <vector>

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
    app->add_option("ID", snapshots_, "Only these snapshots, and the packs they need");
    auto* read_data =
        app->add_flag("--read-data", options_.read_data, "Read and verify every stored byte");
    app->add_option("--sample", sample_,
                    "With --read-data, only some packs: 5% or 2G of them at random, or 3/7, the "
                    "third of seven parts")
        ->needs(read_data);
    app->add_option("--seed", seed_, "With --sample: choose the packs that this seed chose before")
        ->needs(read_data);
    app->add_option("--max-seconds", seconds_max_,
                    "With --read-data: read no further pack after this time")
        ->needs(read_data)
        ->check(CLI::PositiveNumber);
  }

  Result<Finding> Run(Session& session) override {
    auto sample = ParseSample(sample_);
    if (!sample.ok()) return sample.status().WithContext("--sample");
    options_.sample = *sample;
    options_.sample.seed = seed_;
    options_.seconds_max = seconds_max_;
    SNAP_ASSIGN_OR_RETURN(auto repository, session.OpenRepository());
    for (const std::string& reference : snapshots_) {
      SNAP_ASSIGN_OR_RETURN(std::string id, repository->ResolveSnapshot(reference));
      options_.snapshots.push_back(std::move(id));
    }
    SNAP_ASSIGN_OR_RETURN(const CheckReport report,
                          CheckRepository(*repository, options_, session.observer()));
    session.observer()->Finish();
    SNAP_RETURN_IF_ERROR(session.json() ? PrintJson(session, *repository, report)
                                        : PrintText(session, *repository, report));
    return report.problems.empty() ? Finding::kNone : Finding::kDamage;
  }

 private:
  Status PrintJson(Session& session, const Repository& repository,
                   const CheckReport& report) const {
    for (const CheckProblem& problem : report.problems) {
      SNAP_RETURN_IF_ERROR(session.out().Json(ProblemJson(problem)));
    }
    Json out;
    out["message_type"] = "summary";
    out["snapshots"] = report.snapshots;
    out["packs"] = report.packs;
    out["chunks"] = report.chunks;
    out["bytes_read"] = report.bytes_read;
    out["packs_chosen"] = report.packs_chosen;
    out["packs_read"] = report.packs_read;
    out["bytes_packs"] = report.bytes_packs;
    if (options_.read_data) out["seed"] = report.seed;
    out["problems"] = report.problems.size();
    if (!options_.snapshots.empty()) out["harmless"] = report.harmless;
    SetStoreUsage(&out, repository.Usage());
    return session.out().Json(out);
  }

  Status PrintText(Session& session, const Repository& repository,
                   const CheckReport& report) const {
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
    SNAP_RETURN_IF_ERROR(PrintScope(session, report));
    return session.PrintStoreUsage(repository);
  }

  // What was left out, so that nobody takes a part for the whole.
  Status PrintScope(Session& session, const CheckReport& report) const {
    if (report.harmless > 0) {
      SNAP_RETURN_IF_ERROR(session.out().Line(
          fmt::format("{} packs are damaged, at no cost to these snapshots; 'snapstore check' "
                      "names them",
                      report.harmless)));
    }
    if (!options_.read_data || report.packs_read == report.packs) return Status::Ok();
    std::string line =
        fmt::format("{} of {} packs were read whole", report.packs_read, report.packs);
    if (report.packs_read < report.packs_chosen) {
      line += fmt::format(", then time was up; {} were to be read", report.packs_chosen);
    }
    if (options_.sample.parts == 0 || report.packs_read < report.packs_chosen) {
      line += fmt::format("; --seed {} chooses them again", report.seed);
    }
    return session.out().Line(line);
  }

  std::vector<std::string> snapshots_;
  std::optional<uint64_t> seed_;
  double seconds_max_ = 0;
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
    "is named together with the paths that are lost by it; the exit code is 13 then.\n\n"
    "--sample reads some of the packs only. A share or a number of bytes is chosen at random; 3/7 "
    "is the third of seven parts into which the packs fall by their names, so that a run a day has "
    "read all of them in a week. What a sample costs on S3 is one request a MiB of a pack read "
    "whole and one for each other pack.",
    "  snapstore check latest\n"
    "  snapstore check --read-data --sample 5%\n"
    "  snapstore check --read-data --sample $(date +%u)/7 --max-seconds 3600",
    MakeCommand<CheckCommand>};

}  // namespace snapstore::cli
