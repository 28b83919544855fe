#include <fmt/format.h>

#include "base/clock.h"
#include "base/status_macros.h"
#include "tools/snapstore/command.h"
#include "tools/snapstore/text.h"

namespace snapstore::cli {
namespace {

constexpr size_t kShortIdDigits = 12;

std::string Joined(const std::vector<std::string>& items) {
  std::string out;
  for (const std::string& item : items) {
    if (!out.empty()) out += ' ';
    out += EscapeForTerminal(item);
  }
  return out;
}

class ListCommand : public Command {
 public:
  Result<Finding> Run(Session& session) override {
    SNAP_ASSIGN_OR_RETURN(auto repository, session.OpenRepository());
    if (session.json()) session.observer()->MuteProgress();
    uint64_t damaged = 0;
    SNAP_ASSIGN_OR_RETURN(const std::vector<SnapshotInfo> snapshots,
                          repository->ListSnapshots(session.observer(), &damaged));
    session.observer()->Finish();
    SNAP_RETURN_IF_ERROR(session.json() ? PrintJson(session, snapshots)
                                        : PrintTable(session, snapshots));
    return damaged > 0 ? Finding::kDamage : Finding::kNone;
  }

 private:
  static Status PrintJson(Session& session, const std::vector<SnapshotInfo>& snapshots) {
    Json out = Json::array();
    for (const SnapshotInfo& info : snapshots) out.push_back(ListItemJson(info));
    return session.out().Json(out);
  }

  static Status PrintTable(Session& session, const std::vector<SnapshotInfo>& snapshots) {
    using enum Table::Align;
    Table table({kLeft, kLeft, kLeft, kRight, kLeft, kLeft});
    if (!session.quiet()) table.Row({"ID", "TIME", "HOST", "SIZE", "TAGS", "PATHS"});
    for (const SnapshotInfo& info : snapshots) {
      std::vector<std::string> tags;
      for (const auto& [key, value] : info.tags) tags.push_back(fmt::format("{}={}", key, value));
      table.Row({info.id.substr(0, kShortIdDigits), FormatTime(info.time_ns, /*decimals=*/0),
                 EscapeForTerminal(info.host), FormatSize(info.bytes_total), Joined(tags),
                 Joined(info.paths)});
    }
    for (const std::string& line : table.Lines()) SNAP_RETURN_IF_ERROR(session.out().Line(line));
    return Status::Ok();
  }
};

}  // namespace

const CommandInfo kListCommand = {
    "list",
    "List the snapshots of a repository, oldest first. Any prefix of an id that is long enough to "
    "be "
    "unique names a snapshot in the other commands, and so does the word 'latest'.",
    "  snapstore list\n"
    "  snapstore list --json | jq -r '.[].id'",
    MakeCommand<ListCommand>};

}  // namespace snapstore::cli
