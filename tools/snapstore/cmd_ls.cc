#include <fmt/format.h>
#include <sys/sysmacros.h>

#include "base/clock.h"
#include "base/status_macros.h"
#include "tools/snapstore/command.h"
#include "tools/snapstore/text.h"

namespace snapstore::cli {
namespace {

class LsCommand : public Command {
 public:
  void AddOptions(CLI::App* app) override {
    app->add_option("ID", reference_, "Snapshot: an id, a unique prefix, or 'latest'")->required();
    app->add_option("PATH", path_, "Show only this and what is below it");
  }

  Result<Finding> Run(Session& session) override {
    SNAP_ASSIGN_OR_RETURN(const std::string path, NormalisePath(path_));
    SNAP_ASSIGN_OR_RETURN(auto repository, session.OpenRepository());
    SNAP_ASSIGN_OR_RETURN(auto reader, OpenSnapshot(*repository, reference_));
    if (session.json()) SNAP_RETURN_IF_ERROR(session.out().Json(SnapshotJson(reader->info())));
    const auto visit = [&](const Entry& entry) {
      SNAP_RETURN_IF_ERROR(session.CheckInterrupt());
      return session.json() ? session.out().Json(EntryJson(entry))
                            : session.out().Line(FormatEntry(entry, session.quiet()));
    };
    SNAP_RETURN_IF_ERROR(reader->ForEachEntry(path, visit));
    return Finding::kNone;
  }

 private:
  // Streamed, so the columns have fixed widths instead of the widest cell's.
  static std::string FormatEntry(const Entry& entry, bool name_only) {
    std::string path = EscapeForTerminal(entry.path);
    if (name_only) return path;
    const bool node = entry.type == EntryType::kCharDevice || entry.type == EntryType::kBlockDevice;
    const std::string size =
        node ? fmt::format("{},{}", major(entry.rdev), minor(entry.rdev)) : FormatSize(entry.size);
    std::string line =
        fmt::format("{} {:>5} {:>5} {:>10} {} {}", FormatMode(entry.type, entry.mode), entry.uid,
                    entry.gid, size, FormatTime(entry.mtime_ns, /*decimals=*/0), path);
    if (entry.type == EntryType::kSymlink) {
      line += " -> " + EscapeForTerminal(entry.symlink_target);
    } else if (!entry.hard_link_to.empty()) {
      line += " == " + EscapeForTerminal(entry.hard_link_to);
    }
    return line;
  }

  std::string reference_;
  std::string path_;
};

}  // namespace

const CommandInfo kLsCommand = {
    "ls",
    "List what is in a snapshot: permissions, owner, size, time and path. '->' precedes the target "
    "of a symbolic link, '==' the first name of a hard link. With --quiet only the paths are "
    "shown.",
    "  snapstore ls latest\n"
    "  snapstore ls 3f21ab /etc/ssh",
    MakeCommand<LsCommand>};

}  // namespace snapstore::cli
