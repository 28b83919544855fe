#include <fmt/format.h>

#include "base/clock.h"
#include "base/status_macros.h"
#include "tools/snapstore/command.h"
#include "tools/snapstore/text.h"

namespace snapstore::cli {
namespace {

class ShowCommand : public Command {
 public:
  void AddOptions(CLI::App* app) override {
    app->add_option("ID", reference_, "Snapshot: an id, a unique prefix, or 'latest'")->required();
  }

  Result<Finding> Run(Session& session) override {
    SNAP_ASSIGN_OR_RETURN(auto repository, session.OpenRepository());
    SNAP_ASSIGN_OR_RETURN(const std::string id, repository->ResolveSnapshot(reference_));
    SNAP_ASSIGN_OR_RETURN(const SnapshotInfo info, repository->GetSnapshot(id));
    SNAP_RETURN_IF_ERROR(session.json() ? session.out().Json(SnapshotJson(info))
                                        : PrintText(session, info));
    return Finding::kNone;
  }

 private:
  static Status PrintText(Session& session, const SnapshotInfo& info) {
    Table table({Table::Align::kLeft, Table::Align::kLeft});
    table.Row({"id", info.id});
    table.Row({"parent", info.parent_id.empty() ? "none" : info.parent_id});
    if (!info.original_id.empty()) {
      table.Row({"copy of",
                 fmt::format("{} of repository {}", info.original_id, info.original_repository)});
    }
    if (!info.repaired_from.empty()) table.Row({"repaired from", info.repaired_from});
    table.Row({"time", FormatTime(info.time_ns, /*decimals=*/0)});
    table.Row({"host", EscapeForTerminal(info.host)});
    table.Row({"user", EscapeForTerminal(info.user)});
    for (const std::string& path : info.paths) table.Row({"path", EscapeForTerminal(path)});
    for (const auto& [key, value] : info.tags) {
      table.Row({"tag", EscapeForTerminal(fmt::format("{}={}", key, value))});
    }
    table.Row({"entries", fmt::format("{}", info.entries)});
    table.Row({"unreadable", fmt::format("{}", info.unreadable)});
    AddStatistics(info, &table);
    for (const std::string& line : table.Lines()) SNAP_RETURN_IF_ERROR(session.out().Line(line));
    return Status::Ok();
  }

  std::string reference_;
};

}  // namespace

const CommandInfo kShowCommand = {
    "show",
    "Show all that is recorded about one snapshot. Beside its sources and tags that is what taking "
    "it cost: bytes read, new and stored.",
    "  snapstore show latest\n"
    "  snapstore show 3f21ab --json",
    MakeCommand<ShowCommand>};

}  // namespace snapstore::cli
