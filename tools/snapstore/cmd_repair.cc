#include <fmt/format.h>

#include <algorithm>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/status_macros.h"
#include "snapstore/repair.h"
#include "tools/snapstore/command.h"
#include "tools/snapstore/text.h"

namespace snapstore::cli {
namespace {

constexpr size_t kRepairIdDigits = 12;
constexpr size_t kRangesShown = 4;

std::string_view LossName(Loss::Kind kind) {
  switch (kind) {
    case Loss::Kind::kSnapshot:
      return "snapshot";
    case Loss::Kind::kEntries:
      return "entries";
    case Loss::Kind::kContent:
      return "content";
    case Loss::Kind::kLink:
      return "link";
    case Loss::Kind::kDirectory:
      return "directory";
  }
  return "";
}

Json LossJson(const Loss& loss) {
  Json out;
  out["message_type"] = "loss";
  out["snapshot_id"] = loss.snapshot_id;
  out["kind"] = LossName(loss.kind);
  SetBytes(&out, "path", loss.path);
  if (loss.kind == Loss::Kind::kEntries) {
    SetBytes(&out, "next_path", loss.next_path);
    out["entries"] = loss.entries;
  }
  if (loss.kind == Loss::Kind::kContent) {
    out["size"] = loss.size;
    out["kept"] = loss.kept;
    out["ranges"] = Json::array();
    for (const ByteRange& range : loss.ranges) {
      Json each;
      each["offset"] = range.offset;
      each["length"] = range.length;
      out["ranges"].push_back(each);
    }
  }
  return out;
}

std::string ContentText(const Loss& loss, bool verbose) {
  uint64_t bytes = 0;
  std::string ranges;
  const size_t shown = verbose ? loss.ranges.size() : std::min(loss.ranges.size(), kRangesShown);
  for (size_t i = 0; i < loss.ranges.size(); ++i) {
    bytes += loss.ranges[i].length;
    if (i < shown) {
      ranges += fmt::format(" {}+{}", loss.ranges[i].offset, loss.ranges[i].length);
    }
  }
  if (shown < loss.ranges.size()) {
    ranges += fmt::format(" and {} more", loss.ranges.size() - shown);
  }
  return fmt::format("{} of {} bytes at{}{}", bytes, loss.size, ranges,
                     loss.kept ? ", zeros now" : ", left out");
}

std::string LossText(const Loss& loss, bool verbose) {
  std::string path = EscapeForTerminal(loss.path);
  switch (loss.kind) {
    case Loss::Kind::kSnapshot:
      return "everything: its manifest cannot be read";
    case Loss::Kind::kEntries:
      return fmt::format(
          "{} entries {}{}", loss.entries, path.empty() ? "at the beginning" : "after " + path,
          loss.next_path.empty() ? "" : ", before " + EscapeForTerminal(loss.next_path));
    case Loss::Kind::kContent:
      return path + ": " + ContentText(loss, verbose);
    case Loss::Kind::kLink:
      return path + ": the file that it is another name of, left out";
    case Loss::Kind::kDirectory:
      return path + ": owner, mode and times of the directory";
  }
  return path;
}

class RepairCommand : public Command {
 public:
  void AddOptions(CLI::App* app) override {
    app->add_option("WHAT", what_,
                    "'index': the chunk index; 'snapshots': what damaged ones have left")
        ->required()
        ->check(CLI::IsMember({"index", "snapshots"}));
    app->add_option("ID", snapshots_, "snapshots: only these");
    app->add_flag("--read-data", request_.read_data,
                  "snapshots: read every stored byte first, to find what the structure hides");
    app->add_flag("--keep-damaged", request_.keep_damaged,
                  "snapshots: keep files that lost a part, with zeros in its place, marked by the "
                  "extended attribute user.snapstore.lost");
    app->add_flag("--forget", request_.forget,
                  "snapshots: remove the damaged snapshots and packs in the end");
    app->add_flag("-n,--dry-run", request_.dry_run, "snapshots: only tell what would be lost");
  }

  Result<Finding> Run(Session& session) override {
    if (what_ == "index") {
      if (!snapshots_.empty() || request_.read_data || request_.keep_damaged || request_.forget ||
          request_.dry_run) {
        return Status::InvalidArgument("'repair index' takes no ID and no options of its own");
      }
      return RepairIndex(session);
    }
    return RepairAll(session);
  }

 private:
  static Result<Finding> RepairIndex(Session& session) {
    SNAP_ASSIGN_OR_RETURN(auto repository, session.OpenRepository());
    SNAP_ASSIGN_OR_RETURN(const RebuiltIndex rebuilt, repository->RebuildIndex(session.observer()));
    session.observer()->Finish();
    if (session.json()) {
      Json out;
      out["message_type"] = "summary";
      out["packs_read"] = rebuilt.packs_read;
      out["packs_damaged"] = rebuilt.packs_damaged;
      out["packs_published"] = rebuilt.packs_published;
      out["segments_replaced"] = rebuilt.segments_replaced;
      out["segments_wrong"] = rebuilt.segments_wrong;
      out["marks_removed"] = rebuilt.marks_removed;
      SNAP_RETURN_IF_ERROR(session.out().Json(out));
    } else if (!session.quiet()) {
      SNAP_RETURN_IF_ERROR(session.out().Line(
          fmt::format("index rebuilt from the footers of {} packs", rebuilt.packs_read)));
      if (rebuilt.segments_replaced > 0) {
        SNAP_RETURN_IF_ERROR(session.out().Line(
            fmt::format("{} index segments that were damaged or wrong are replaced",
                        rebuilt.segments_replaced)));
      }
      if (rebuilt.marks_removed > 0) {
        SNAP_RETURN_IF_ERROR(session.out().Line(fmt::format(
            "{} damaged prune marks, which kept everybody from writing, are removed: no prune may "
            "have been at work",
            rebuilt.marks_removed)));
      }
    }
    // Packs that had to be left out were reported one by one.
    if (rebuilt.packs_damaged > 0) return Finding::kDamage;
    return rebuilt.segments_wrong > 0 ? Finding::kPartial : Finding::kNone;
  }

  Result<Finding> RepairAll(Session& session) {
    SNAP_ASSIGN_OR_RETURN(auto repository, session.OpenRepository());
    for (const std::string& reference : snapshots_) {
      SNAP_ASSIGN_OR_RETURN(std::string id, repository->ResolveSnapshot(reference));
      request_.snapshots.push_back(std::move(id));
    }
    const RepairVisitor visitor{
        .loss = [&](const Loss& loss) { return PrintLoss(session, loss); },
        .snapshot =
            [&](const RepairedSnapshot& repaired) { return PrintSnapshot(session, repaired); }};
    SNAP_ASSIGN_OR_RETURN(const RepairSummary summary,
                          RepairSnapshots(*repository, request_, visitor, session.observer()));
    session.observer()->Finish();
    SNAP_RETURN_IF_ERROR(PrintSummary(session, *repository, summary));
    return summary.losses > 0 ? Finding::kDamage : Finding::kNone;
  }

  static Status PrintLoss(Session& session, const Loss& loss) {
    if (session.json()) return session.out().Json(LossJson(loss));
    session.observer()->Finish();
    return session.out().Line(fmt::format("lost: {}: {}",
                                          loss.snapshot_id.substr(0, kRepairIdDigits),
                                          LossText(loss, session.verbose())));
  }

  Status PrintSnapshot(Session& session, const RepairedSnapshot& repaired) const {
    if (session.json()) {
      Json out;
      out["message_type"] = "repaired";
      out["damaged_id"] = repaired.damaged.id;
      out["snapshot_id"] =
          repaired.repaired_id.empty() ? Json(nullptr) : Json(repaired.repaired_id);
      out["repaired_before"] = repaired.repaired_before;
      out["losses"] = repaired.losses;
      out["bytes_lost"] = repaired.bytes_lost;
      out["forgotten"] = repaired.forgotten;
      return session.out().Json(out);
    }
    if (session.quiet()) return Status::Ok();
    const std::string id = repaired.repaired_id.substr(0, kRepairIdDigits);
    std::string text = "snapshot " + repaired.damaged.id.substr(0, kRepairIdDigits);
    if (repaired.damaged.time_ns != 0) {
      text += fmt::format(" of {}", FormatTime(repaired.damaged.time_ns, /*decimals=*/0));
    }
    text += fmt::format(": {} losses", repaired.losses);
    if (repaired.repaired_before) {
      text = fmt::format("{}, as told when it was repaired; that is {}", text, id);
    } else if (!id.empty()) {
      text += "; repaired, as " + id;
    } else if (!request_.dry_run) {
      text += "; nothing is left of it";
    }
    if (repaired.forgotten) text += "; removed";
    return session.out().Line(text);
  }

  Status PrintSummary(Session& session, const Repository& repository,
                      const RepairSummary& summary) const {
    if (session.json()) {
      Json out;
      out["message_type"] = "summary";
      out["snapshots"] = summary.snapshots;
      out["damaged"] = summary.damaged;
      out["repaired"] = summary.repaired;
      out["lost"] = summary.lost;
      out["forgotten"] = summary.forgotten;
      out["losses"] = summary.losses;
      out["packs_damaged"] = summary.packs_damaged;
      out["packs_removed"] = summary.packs_removed;
      out["chunks_salvaged"] = summary.chunks_salvaged;
      out["bytes_salvaged"] = summary.bytes_salvaged;
      out["bytes_read"] = summary.bytes_read;
      out["dry_run"] = request_.dry_run;
      SetStoreUsage(&out, repository.Usage());
      return session.out().Json(out);
    }
    if (session.quiet()) return Status::Ok();
    if (summary.packs_damaged > 0) {
      SNAP_RETURN_IF_ERROR(session.out().Line(
          fmt::format("{} packs are damaged; {} chunks, {}, stored again from them; {} removed",
                      summary.packs_damaged, summary.chunks_salvaged,
                      FormatSize(summary.bytes_salvaged), summary.packs_removed)));
    }
    SNAP_RETURN_IF_ERROR(session.out().Line(fmt::format(
        "{} snapshots, {} damaged, {} repaired, {} lost{}", summary.snapshots, summary.damaged,
        summary.repaired, summary.lost, request_.dry_run ? "; nothing was changed" : "")));
    return session.PrintStoreUsage(repository);
  }

  std::string what_;
  std::vector<std::string> snapshots_;
  RepairRequest request_;
};

}  // namespace

const CommandInfo kRepairCommand = {
    "repair",
    "Set right what is damaged.\n\n"
    "'repair index' drops the local chunk index and fills it anew from the footers of all packs. "
    "Index segments that are damaged, or that list packs which are gone, are replaced. It never "
    "changes a snapshot or a pack.\n\n"
    "'repair snapshots' writes, for each damaged snapshot, a new one with everything that can "
    "still be had, and names what is lost: files with their byte ranges, or how many entries "
    "between which names. Files that lost a part are left out unless --keep-damaged is given. "
    "Packs with damage are searched for chunks that are whole, and these are stored again. The "
    "originals stay unless --forget is given. The new snapshot has the tag 'repaired'; the next "
    "snapshot of the same paths is compared with it and stores again what was lost, which also "
    "heals older snapshots that lacked it. The exit code is 13 when something is lost.",
    "  snapstore repair index\n"
    "  snapstore repair snapshots --read-data --dry-run\n"
    "  snapstore repair snapshots --read-data --forget",
    MakeCommand<RepairCommand>};

}  // namespace snapstore::cli
