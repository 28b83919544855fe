#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "base/clock.h"
#include "base/status_macros.h"
#include "snapstore/maintain.h"
#include "tools/snapstore/command.h"
#include "tools/snapstore/prune_report.h"
#include "tools/snapstore/text.h"

namespace snapstore::cli {
namespace {

constexpr size_t kShortDigits = 12;

std::string JoinedWith(const std::vector<std::string>& items, const char* separator) {
  std::string out;
  for (const std::string& item : items) {
    if (!out.empty()) out += separator;
    out += EscapeForTerminal(item);
  }
  return out;
}

class ForgetCommand : public Command {
 public:
  void AddOptions(CLI::App* app) override {
    app->add_option("ID", ids_, "Forget exactly these snapshots");
    const auto count = [&](const char* name, uint64_t* value, const char* what) {
      app->add_option(name, *value, what)->check(CLI::NonNegativeNumber)->type_name("N");
    };
    count("--keep-last", &policy_.last, "Keep the newest N");
    count("--keep-hourly", &policy_.hourly, "Keep the newest of each of the last N hours");
    count("--keep-daily", &policy_.daily, "… days");
    count("--keep-weekly", &policy_.weekly, "… weeks (ISO 8601)");
    count("--keep-monthly", &policy_.monthly, "… months");
    count("--keep-yearly", &policy_.yearly, "… years");
    app->add_option("--keep-within", within_,
                    "Keep all not older than this before the newest, as 36h, 7d, 2w, 1y6m")
        ->type_name("DURATION");
    app->add_option("--keep-tag", keep_tags_, "Keep all with this tag")->type_name("KEY=VALUE");
    app->add_option("--host", hosts_, "Look only at snapshots of this host");
    app->add_option("--tag", tags_, "Look only at snapshots with this tag")->type_name("KEY=VALUE");
    app->add_option("--path", paths_, "Look only at snapshots of this path");
    app->add_option("--group-by", group_by_,
                    "Apply the policy to each 'host,paths' (default), 'host', 'paths' or 'none'")
        ->type_name("WHAT");
    app->add_flag("--dry-run,-n", dry_run_, "Only say what would be forgotten");
    app->add_flag("--prune", prune_, "Then give back the space, as 'prune' does");
  }

  Result<Finding> Run(Session& session) override {
    SNAP_RETURN_IF_ERROR(CompletePolicy());
    SNAP_ASSIGN_OR_RETURN(auto repository, session.OpenRepository());
    uint64_t damaged = 0;
    SNAP_ASSIGN_OR_RETURN(std::vector<SnapshotInfo> snapshots,
                          repository->ListSnapshots(session.observer(), &damaged));
    std::vector<ForgetGroup> groups;
    if (!ids_.empty()) {
      SNAP_ASSIGN_OR_RETURN(groups, ChooseIds(*repository, snapshots));
    } else {
      std::erase_if(snapshots, [this](const SnapshotInfo& info) { return !IsMeant(info); });
      groups = ApplyForgetPolicy(snapshots, policy_, grouping_);
      SNAP_RETURN_IF_ERROR(CheckKeepsSomething(groups));
    }
    std::vector<std::string> forgotten;
    for (const ForgetGroup& group : groups) {
      for (const ForgetDecision& decision : group.decisions) {
        if (!decision.keep) forgotten.push_back(decision.info.id);
      }
    }
    session.observer()->Finish();
    SNAP_RETURN_IF_ERROR(session.json() ? PrintJson(session, groups) : PrintText(session, groups));
    uint64_t removed = 0;
    if (!dry_run_) {
      SNAP_ASSIGN_OR_RETURN(removed, ForgetSnapshots(*repository, forgotten, session.observer()));
      session.observer()->Finish();
    }
    SNAP_RETURN_IF_ERROR(PrintEnd(session, snapshots.size(), forgotten.size(), removed));
    if (prune_) {
      // With --dry-run it plans with all snapshots that are there: nothing was forgotten.
      PruneOptions options;
      options.dry_run = dry_run_;
      SNAP_RETURN_IF_ERROR(RunPrune(session, *repository, options).status());
    }
    return damaged > 0 ? Finding::kDamage : Finding::kNone;
  }

 private:
  Status CompletePolicy() {
    if (!within_.empty()) {
      auto within = ParseDuration(within_);
      if (!within.ok()) return within.status().WithContext("--keep-within");
      policy_.within_ns = *within;
    }
    SNAP_ASSIGN_OR_RETURN(policy_.tags, ParseTags(keep_tags_, "--keep-tag"));
    SNAP_ASSIGN_OR_RETURN(meant_tags_, ParseTags(tags_, "--tag"));
    if (group_by_ == "none") {
      grouping_ = {.host = false, .paths = false};
    } else if (group_by_ == "host" || group_by_ == "paths") {
      grouping_ = {.host = group_by_ == "host", .paths = group_by_ == "paths"};
    } else if (group_by_ != "host,paths" && group_by_ != "paths,host") {
      return Status::InvalidArgument(
          fmt::format("--group-by: '{}' is none of host,paths, host, paths, none", group_by_));
    }
    const bool filters = !hosts_.empty() || !tags_.empty() || !paths_.empty();
    if (!ids_.empty() && (!policy_.empty() || filters)) {
      return Status::InvalidArgument("give either IDs or a policy, not both");
    }
    if (ids_.empty() && policy_.empty()) {
      return Status::InvalidArgument(
          "nothing says what to keep: give IDs to forget, or a policy that keeps something, "
          "such as --keep-daily 7");
    }
    return Status::Ok();
  }

  bool IsMeant(const SnapshotInfo& info) const {
    const auto tagged = [&](const auto& tag) {
      const auto found = info.tags.find(tag.first);
      return found != info.tags.end() && found->second == tag.second;
    };
    const auto has_path = [&](const std::string& path) {
      return std::find(info.paths.begin(), info.paths.end(), path) != info.paths.end();
    };
    return (hosts_.empty() || std::find(hosts_.begin(), hosts_.end(), info.host) != hosts_.end()) &&
           std::all_of(meant_tags_.begin(), meant_tags_.end(), tagged) &&
           std::all_of(paths_.begin(), paths_.end(), has_path);
  }

  // The snapshots named, in one group.
  Result<std::vector<ForgetGroup>> ChooseIds(Repository& repository,
                                             const std::vector<SnapshotInfo>& snapshots) {
    std::set<std::string> chosen;
    for (const std::string& reference : ids_) {
      SNAP_ASSIGN_OR_RETURN(std::string id, repository.ResolveSnapshot(reference));
      chosen.insert(std::move(id));
    }
    ForgetGroup group;
    for (const SnapshotInfo& info : snapshots) {
      if (chosen.erase(info.id) > 0) group.decisions.push_back({info, false, {}});
    }
    // One whose manifest is damaged can be named all the same.
    for (const std::string& id : chosen) {
      SnapshotInfo info;
      info.id = id;
      group.decisions.push_back({info, false, {}});
    }
    return std::vector<ForgetGroup>{group};
  }

  static Status CheckKeepsSomething(const std::vector<ForgetGroup>& groups) {
    for (const ForgetGroup& group : groups) {
      const bool keeps = std::any_of(group.decisions.begin(), group.decisions.end(),
                                     [](const ForgetDecision& each) { return each.keep; });
      if (keeps) continue;
      return Status::InvalidArgument(fmt::format(
          "the policy would keep none of the {} snapshots of {}: nothing was forgotten; "
          "name them by ID if that is what you want",
          group.decisions.size(), GroupName(group)));
    }
    return Status::Ok();
  }

  static std::string GroupName(const ForgetGroup& group) {
    std::string name;
    if (!group.host.empty()) name = "host " + EscapeForTerminal(group.host);
    if (!group.paths.empty()) {
      name += (name.empty() ? "" : ", ") + std::string("paths ") + JoinedWith(group.paths, " ");
    }
    return name.empty() ? "the repository" : name;
  }

  Status PrintText(Session& session, const std::vector<ForgetGroup>& groups) {
    if (session.quiet()) return Status::Ok();
    for (const ForgetGroup& group : groups) {
      if (ids_.empty()) SNAP_RETURN_IF_ERROR(session.out().Line(GroupName(group) + ":"));
      using enum Table::Align;
      Table table({kLeft, kLeft, kLeft, kRight, kLeft, kLeft});
      for (const ForgetDecision& decision : group.decisions) {
        const SnapshotInfo& info = decision.info;
        table.Row({decision.keep ? "  keep" : "  forget", info.id.substr(0, kShortDigits),
                   FormatTime(info.time_ns, /*decimals=*/0), FormatSize(info.bytes_total),
                   JoinedWith(decision.reasons, ","), JoinedWith(info.paths, " ")});
      }
      for (const std::string& line : table.Lines()) SNAP_RETURN_IF_ERROR(session.out().Line(line));
    }
    return Status::Ok();
  }

  static Status PrintJson(Session& session, const std::vector<ForgetGroup>& groups) {
    for (const ForgetGroup& group : groups) {
      for (const ForgetDecision& decision : group.decisions) {
        Json out;
        out["message_type"] = "decision";
        out["snapshot_id"] = decision.info.id;
        out["time"] = FormatTime(decision.info.time_ns);
        SetBytes(&out, "host", decision.info.host);
        SetBytesList(&out, "paths", decision.info.paths);
        out["keep"] = decision.keep;
        out["reasons"] = decision.reasons;
        SNAP_RETURN_IF_ERROR(session.out().Json(out));
      }
    }
    return Status::Ok();
  }

  Status PrintEnd(Session& session, uint64_t looked_at, uint64_t chosen, uint64_t removed) {
    if (session.json()) {
      Json out;
      out["message_type"] = "summary";
      out["snapshots"] = looked_at;
      out["forgotten"] = dry_run_ ? chosen : removed;
      out["dry_run"] = dry_run_;
      return session.out().Json(out);
    }
    if (session.quiet()) return Status::Ok();
    return session.out().Line(
        dry_run_ ? fmt::format("{} snapshots would be forgotten", chosen)
                 : fmt::format("{} snapshots forgotten{}", removed,
                               removed > 0 && !prune_
                                   ? "; 'snapstore prune' gives back what only they needed"
                                   : ""));
  }

  std::vector<std::string> ids_;
  ForgetPolicy policy_;
  std::string within_;
  std::vector<std::string> keep_tags_;
  std::vector<std::string> hosts_;
  std::vector<std::string> tags_;
  std::map<std::string, std::string> meant_tags_;
  std::vector<std::string> paths_;
  std::string group_by_ = "host,paths";
  ForgetGrouping grouping_;
  bool dry_run_ = false;
  bool prune_ = false;
};

}  // namespace

const CommandInfo kForgetCommand = {
    "forget",
    "Remove snapshots, by a policy or by id. A snapshot is kept when any rule keeps it; rules are "
    "applied to the snapshots of each host and set of paths by themselves. A policy that would "
    "keep "
    "none of such a group is refused. The data stays stored until a prune.",
    "  snapstore forget --keep-last 3 --keep-daily 7 --keep-monthly 12 --prune\n"
    "  snapstore forget --keep-within 14d --host db-1 --dry-run\n"
    "  snapstore forget 4f1c9a0b",
    MakeCommand<ForgetCommand>};

}  // namespace snapstore::cli
