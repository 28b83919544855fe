#include <fmt/format.h>

#include "base/status_macros.h"
#include "snapstore/inspect.h"
#include "tools/snapstore/command.h"
#include "tools/snapstore/text.h"

namespace snapstore::cli {
namespace {

char ChangeLetter(DiffEntry::Change change) {
  switch (change) {
    case DiffEntry::Change::kAdded:
      return '+';
    case DiffEntry::Change::kRemoved:
      return '-';
    case DiffEntry::Change::kContent:
      return 'M';
    case DiffEntry::Change::kMetadata:
      return 'U';
    case DiffEntry::Change::kType:
      return 'T';
  }
  return '?';
}

class DiffCommand : public Command {
 public:
  void AddOptions(CLI::App* app) override {
    app->add_option("BEFORE", before_, "Snapshot: an id, a unique prefix, or 'latest'")->required();
    app->add_option("AFTER", after_, "Snapshot: an id, a unique prefix, or 'latest'")->required();
  }

  Result<Finding> Run(Session& session) override {
    SNAP_ASSIGN_OR_RETURN(auto repository, session.OpenRepository());
    SNAP_ASSIGN_OR_RETURN(const std::string before, repository->ResolveSnapshot(before_));
    SNAP_ASSIGN_OR_RETURN(const std::string after, repository->ResolveSnapshot(after_));
    const auto visit = [&](const DiffEntry& entry) {
      SNAP_RETURN_IF_ERROR(session.CheckInterrupt());
      return session.json() ? session.out().Json(ChangeJson(entry)) : PrintText(session, entry);
    };
    SNAP_ASSIGN_OR_RETURN(const DiffSummary summary,
                          DiffSnapshots(*repository, before, after, visit, session.observer()));
    session.observer()->Finish();
    if (session.json()) {
      Json out;
      out["message_type"] = "summary";
      out["before"] = before;
      out["after"] = after;
      out["added"] = summary.added;
      out["removed"] = summary.removed;
      out["changed"] = summary.changed;
      out["bytes_changed"] = summary.bytes_changed;
      SNAP_RETURN_IF_ERROR(session.out().Json(out));
    } else if (!session.quiet()) {
      SNAP_RETURN_IF_ERROR(session.out().Line(
          fmt::format("{} added, {} removed, {} changed, {} differ", summary.added, summary.removed,
                      summary.changed, FormatSize(summary.bytes_changed))));
    }
    return Finding::kNone;
  }

 private:
  static Status PrintText(Session& session, const DiffEntry& entry) {
    std::string line =
        fmt::format("{} {}", ChangeLetter(entry.change), EscapeForTerminal(entry.path));
    if (entry.change == DiffEntry::Change::kContent) {
      uint64_t bytes = 0;
      for (const ByteRange& range : entry.ranges) bytes += range.length;
      line += fmt::format("  {} in {} range{}", FormatSize(bytes), entry.ranges.size(),
                          entry.ranges.size() == 1 ? "" : "s");
      if (entry.size_before != entry.size_after) {
        line += fmt::format(", size {} to {}", FormatSize(entry.size_before),
                            FormatSize(entry.size_after));
      }
    }
    SNAP_RETURN_IF_ERROR(session.out().Line(line));
    if (!session.verbose()) return Status::Ok();
    for (const ByteRange& range : entry.ranges) {
      SNAP_RETURN_IF_ERROR(
          session.out().Line(fmt::format("    {} {}", range.offset, range.length)));
    }
    return Status::Ok();
  }

  std::string before_;
  std::string after_;
};

}  // namespace

const CommandInfo kDiffCommand = {
    "diff",
    "Show what differs between two snapshots. '+' was added, '-' removed, 'M' has other content, "
    "'U' "
    "only other metadata, 'T' another type. Nothing but the two manifests is read. With --verbose "
    "each differing byte range is listed as 'OFFSET LENGTH', the format --changed-blocks takes.",
    "  snapstore diff 3f21ab latest\n"
    "  snapstore diff 3f21ab 9c04d7 --json",
    MakeCommand<DiffCommand>};

}  // namespace snapstore::cli
