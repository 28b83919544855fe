#include <fmt/format.h>

#include "base/status_macros.h"
#include "snapstore/inspect.h"
#include "tools/snapstore/command.h"
#include "tools/snapstore/text.h"

namespace snapstore::cli {
namespace {

class StatsCommand : public Command {
 public:
  Result<Finding> Run(Session& session) override {
    SNAP_ASSIGN_OR_RETURN(auto repository, session.OpenRepository());
    SNAP_ASSIGN_OR_RETURN(const RepositoryStats stats,
                          GatherStats(*repository, session.observer()));
    session.observer()->Finish();
    SNAP_RETURN_IF_ERROR(session.json() ? PrintJson(session, *repository, stats)
                                        : PrintText(session, *repository, stats));
    return Finding::kNone;
  }

 private:
  static Status PrintJson(Session& session, const Repository& repository,
                          const RepositoryStats& stats) {
    Json out;
    out["message_type"] = "stats";
    out["repository_id"] = repository.id();
    out["encrypted"] = repository.encrypted();
    out["snapshots"] = stats.snapshots;
    out["packs"] = stats.packs;
    out["index_segments"] = stats.index_segments;
    out["chunks"] = stats.chunks;
    out["bytes_logical"] = stats.bytes_logical;
    out["bytes_stored"] = stats.bytes_stored;
    out["bytes_packs"] = stats.bytes_packs;
    return session.out().Json(out);
  }

  static Status PrintText(Session& session, const Repository& repository,
                          const RepositoryStats& stats) {
    Table table({Table::Align::kLeft, Table::Align::kLeft});
    table.Row({"repository", repository.id()});
    table.Row({"location", EscapeForTerminal(repository.location())});
    table.Row({"encrypted", repository.encrypted() ? "yes" : "no"});
    table.Row({"snapshots", fmt::format("{}", stats.snapshots)});
    table.Row({"packs", fmt::format("{}", stats.packs)});
    table.Row({"index segments", fmt::format("{}", stats.index_segments)});
    table.Row({"chunks", fmt::format("about {}", stats.chunks)});
    table.Row({"logical", FormatSize(stats.bytes_logical)});
    std::string stored = FormatSize(stats.bytes_stored);
    if (stats.bytes_stored > 0) {
      stored += fmt::format(" ({:.1f} times less)", static_cast<double>(stats.bytes_logical) /
                                                        static_cast<double>(stats.bytes_stored));
    }
    table.Row({"stored", stored});
    table.Row({"of that packs", FormatSize(stats.bytes_packs)});
    for (const std::string& line : table.Lines()) SNAP_RETURN_IF_ERROR(session.out().Line(line));
    return Status::Ok();
  }
};

}  // namespace

const CommandInfo kStatsCommand = {
    "stats",
    "Show how much a repository holds. 'logical' is what restoring every snapshot would write, "
    "'stored' what they take together.",
    "  snapstore stats\n"
    "  snapstore stats --json",
    MakeCommand<StatsCommand>};

}  // namespace snapstore::cli
