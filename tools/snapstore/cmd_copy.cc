#include <fmt/format.h>

#include <algorithm>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/status_macros.h"
#include "snapstore/copy.h"
#include "tools/snapstore/command.h"
#include "tools/snapstore/text.h"

namespace snapstore::cli {
namespace {

constexpr size_t kCopyIdDigits = 12;

std::string_view OutcomeName(CopiedSnapshot::Outcome outcome) {
  switch (outcome) {
    case CopiedSnapshot::Outcome::kCopied:
      return "copied";
    case CopiedSnapshot::Outcome::kExisted:
      return "existed";
    case CopiedSnapshot::Outcome::kDamaged:
      return "damaged";
  }
  return "";
}

Json CopiedJson(const CopiedSnapshot& copied) {
  Json out;
  out["message_type"] = "copied";
  out["outcome"] = OutcomeName(copied.outcome);
  out["source_id"] = copied.source.id;
  out["snapshot_id"] = copied.id.empty() ? Json(nullptr) : Json(copied.id);
  out["time"] = FormatTime(copied.source.time_ns);
  out["host"] = copied.source.host;
  out["failed"] = copied.failed;
  out["bytes_read"] = copied.bytes_read;
  out["bytes_new"] = copied.bytes_new;
  out["bytes_stored"] = copied.bytes_stored;
  out["chunks_new"] = copied.chunks_new;
  out["seconds"] = copied.seconds;
  return out;
}

class CopyCommand : public Command {
 public:
  void AddOptions(CLI::App* app) override {
    app->add_option("ID", snapshots_, "Only these snapshots; else all");
    app->add_option("--to", second_.location, "The repository to copy into")->required();
    app->add_option("--to-o", second_.store_settings,
                    "KEY=VALUE for the store of that repository, as -o; may be repeated")
        ->allow_extra_args(false);
    auto* key_file = app->add_option("--to-key-file", second_.key_file,
                                     "Its key file, if it is encrypted; else SNAPSTORE_KEY_FILE2");
    app->add_option("--to-password-file", second_.password_file,
                    "File with its password; else SNAPSTORE_PASSWORD_FILE2 or SNAPSTORE_PASSWORD2")
        ->excludes(key_file);
    app->add_option("--host", host_, "Only snapshots of this host");
    app->add_option("--tag", tags_, "Only snapshots with this KEY=VALUE; may be repeated")
        ->allow_extra_args(false);
    app->add_option("--compression-level", request_.compression_level,
                    "zstd level, 1 to 19; 0 goes by whether CPU or store is the slower")
        ->check(CLI::Range(0, 19))
        ->capture_default_str();
  }

  Result<Finding> Run(Session& session) override {
    SNAP_ASSIGN_OR_RETURN(const RepositoryOptions options, session.SecondOptions(second_, "--to"));
    // The source only decodes; packs and index are the destination's.
    SNAP_ASSIGN_OR_RETURN(auto from, session.OpenRepository(Session::TakeQuarter));
    SNAP_ASSIGN_OR_RETURN(auto to, session.OpenWith(options));
    SNAP_ASSIGN_OR_RETURN(const bool any, Choose(session, from.get()));
    CopySummary summary;
    if (any) {
      SNAP_ASSIGN_OR_RETURN(
          summary, CopySnapshots(
                       *from, *to, request_,
                       [&](const CopiedSnapshot& copied) { return Print(session, copied); },
                       session.observer()));
    }
    session.observer()->Finish();
    SNAP_RETURN_IF_ERROR(PrintSummary(session, *from, *to, summary));
    return summary.damaged > 0 ? Finding::kDamage : Finding::kNone;
  }

 private:
  // False when there is nothing that fits.
  Result<bool> Choose(Session& session, Repository* from) {
    for (const std::string& reference : snapshots_) {
      SNAP_ASSIGN_OR_RETURN(std::string id, from->ResolveSnapshot(reference));
      request_.snapshots.push_back(std::move(id));
    }
    if (host_.empty() && tags_.empty()) return true;
    SNAP_ASSIGN_OR_RETURN(const std::vector<SnapshotInfo> infos,
                          from->ListSnapshots(session.observer(), nullptr));
    std::vector<std::string> fitting;
    for (const SnapshotInfo& info : infos) {
      const bool named = request_.snapshots.empty() ||
                         std::find(request_.snapshots.begin(), request_.snapshots.end(), info.id) !=
                             request_.snapshots.end();
      if (named && Fits(info)) fitting.push_back(info.id);
    }
    request_.snapshots = fitting;
    return !fitting.empty();
  }

  bool Fits(const SnapshotInfo& info) const {
    if (!host_.empty() && info.host != host_) return false;
    return std::all_of(tags_.begin(), tags_.end(), [&](const std::string& tag) {
      const size_t equals = tag.find('=');
      const auto it = info.tags.find(tag.substr(0, equals));
      return it != info.tags.end() &&
             (equals == std::string::npos || it->second == tag.substr(equals + 1));
    });
  }

  static Status Print(Session& session, const CopiedSnapshot& copied) {
    if (session.json()) return session.out().Json(CopiedJson(copied));
    if (session.quiet()) {
      return copied.id.empty() ? Status::Ok() : session.out().Line(copied.id);
    }
    session.observer()->Finish();
    const std::string name = fmt::format("{} of {} {}", copied.source.id.substr(0, kCopyIdDigits),
                                         FormatTime(copied.source.time_ns, /*decimals=*/0),
                                         EscapeForTerminal(copied.source.host));
    switch (copied.outcome) {
      case CopiedSnapshot::Outcome::kCopied:
        return session.out().Line(fmt::format(
            "{}: copied as {}, {} read, {} stored", name, copied.id.substr(0, kCopyIdDigits),
            FormatSize(copied.bytes_read), FormatSize(copied.bytes_stored)));
      case CopiedSnapshot::Outcome::kExisted:
        return session.verbose()
                   ? session.out().Line(fmt::format("{}: is there as {}", name,
                                                    copied.id.substr(0, kCopyIdDigits)))
                   : Status::Ok();
      case CopiedSnapshot::Outcome::kDamaged:
        break;
    }
    return session.out().Line(fmt::format(
        "{}: damaged, not copied; 'snapstore repair snapshots' saves what is left of it", name));
  }

  static Status PrintSummary(Session& session, const Repository& from, const Repository& to,
                             const CopySummary& summary) {
    if (session.json()) {
      Json out;
      out["message_type"] = "summary";
      out["copied"] = summary.copied;
      out["existed"] = summary.existed;
      out["damaged"] = summary.damaged;
      out["same_ids"] = summary.same_ids;
      out["bytes_read"] = summary.bytes_read;
      out["bytes_new"] = summary.bytes_new;
      out["bytes_stored"] = summary.bytes_stored;
      out["chunks_new"] = summary.chunks_new;
      out["seconds"] = summary.seconds;
      Json source;
      SetStoreUsage(&source, from.Usage());
      SetStoreUsage(&out, to.Usage());
      out["source_store"] = source["store"];
      return session.out().Json(out);
    }
    if (session.quiet()) return Status::Ok();
    SNAP_RETURN_IF_ERROR(session.out().Line(
        fmt::format("{} snapshots copied, {} were there, {} damaged; {} read, {} stored",
                    summary.copied, summary.existed, summary.damaged,
                    FormatSize(summary.bytes_read), FormatSize(summary.bytes_stored))));
    SNAP_RETURN_IF_ERROR(session.PrintStoreUsage(from));
    return session.PrintStoreUsage(to);
  }

  SecondRepository second_;
  std::vector<std::string> snapshots_;
  std::string host_;
  std::vector<std::string> tags_;
  CopyRequest request_;
};

}  // namespace

const CommandInfo kCopyCommand = {
    "copy",
    "Copy snapshots into another repository, oldest first; only chunks that it lacks are moved. "
    "Time, host, tags and statistics stay; a snapshot that was copied before, directly or through "
    "a "
    "third repository, is passed over, so a copy can be repeated and broken off at will. What is "
    "read is verified. A snapshot that cannot be read whole is not copied: what is unreadable is "
    "named and the exit code is 13.\n\n"
    "Chunks keep their boundaries. A repository made by 'init --like' shares ids with its model: "
    "nothing that it has is then read at all. Otherwise content is read once, and data that is "
    "later snapshotted there directly is cut elsewhere and stored once more.",
    "  snapstore copy --to s3://vault/repo\n"
    "  snapstore -r /backup/repo copy --to /mnt/usb/repo latest\n"
    "  snapstore copy --to s3://vault/repo --host db1 --tag job=nightly",
    MakeCommand<CopyCommand>};

}  // namespace snapstore::cli
