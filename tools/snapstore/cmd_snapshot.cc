#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <optional>

#include "base/file.h"
#include "base/status_macros.h"
#include "tools/snapstore/changed_blocks.h"
#include "tools/snapstore/command.h"
#include "tools/snapstore/ebs/ebs_backup.h"
#include "tools/snapstore/interrupt.h"
#include "tools/snapstore/text.h"

namespace snapstore::cli {
namespace {

// A line takes some twenty bytes: room for three million ranges.
constexpr size_t kChangedBlocksBytesMax = 64u << 20;

// Standard input, given up when an interrupt comes while it is silent.
class StdinStream : public ByteStream {
 public:
  Result<size_t> Read(std::span<uint8_t> out) override {
    while (true) {
      SNAP_RETURN_IF_ERROR(WaitReadable(STDIN_FILENO));
      const ssize_t got = read(STDIN_FILENO, out.data(), out.size());
      if (got >= 0) return static_cast<size_t>(got);
      if (errno != EINTR && errno != EAGAIN) return Status::FromErrno(errno, "read standard input");
    }
  }
};

class SnapshotCommand : public Command {
 public:
  void AddOptions(CLI::App* app) override {
    app->add_option("PATH", request_.paths, "Files, directories, image files, block devices");
    app->add_option("--tag", tags_, "Label KEY=VALUE; may be repeated")->allow_extra_args(false);
    app->add_option(
           "--parent", request_.parent,
           "Snapshot to compare with: an id, 'auto' (newest of the same host and paths) or "
           "'none'")
        ->capture_default_str();
    app->add_option("--profile", profile_,
                    "How content is cut: 'cdc' at any byte, 'aligned' at 4 KiB blocks, 'auto' by "
                    "what it is")
        ->check(CLI::IsMember({"auto", "cdc", "aligned"}))
        ->capture_default_str();
    app->add_option("--changed-blocks", changed_blocks_,
                    "File that lists what differs from the parent; see below");
    app->add_flag("--stdin", stdin_, "Store standard input as one file; needs --name");
    app->add_option("--ebs-snapshot", ebs_snapshot_,
                    "Store the volume of this EBS snapshot as one file; see below");
    app->add_option("--ebs-reads", ebs_.reads,
                    "Blocks of it on their way at once, memory permitting")
        ->check(CLI::Range(1, 256))
        ->capture_default_str();
    app->add_option("--name", name_,
                    "Path within the snapshot for --stdin, or for --ebs-snapshot instead of the "
                    "volume's id");
    app->add_option("--host", request_.host, "Host to record instead of this machine's name");
    app->add_option("--exclude", request_.excludes,
                    "Leave out what matches this pattern, compared with the absolute path; may be "
                    "repeated")
        ->allow_extra_args(false);
    app->add_flag("--reread", request_.reread,
                  "Read every file, also those that look like what the parent snapshot holds");
    app->add_flag("--paranoid", request_.paranoid,
                  "Compare with the stored bytes whatever is taken for known by its id; with "
                  "--reread also files that look unchanged");
    app->add_flag("--one-file-system", request_.one_file_system, "Do not enter other file systems");
    app->add_option("--compression-level", level_,
                    "zstd level, 1 to 19; 'auto' goes by whether CPU or store is the slower")
        ->check(CLI::IsMember({"auto"}) | CLI::Range(1, 19))
        ->capture_default_str();
  }

  Result<Finding> Run(Session& session) override {
    SNAP_RETURN_IF_ERROR(CompleteRequest());
    if (ebs_snapshot_) return RunEbs(session);
    SNAP_ASSIGN_OR_RETURN(auto repository, session.OpenRepository());
    SNAP_ASSIGN_OR_RETURN(const SnapshotSummary summary,
                          TakeSnapshot(*repository, request_, session.observer()));
    session.observer()->Finish();
    SNAP_RETURN_IF_ERROR(Print(session, *repository, summary, nullptr));
    return summary.info.unreadable > 0 ? Finding::kUnreadable : Finding::kNone;
  }

 private:
  Result<Finding> RunEbs(Session& session) {
    SNAP_ASSIGN_OR_RETURN(const EbsServices services, EbsServicesFromEnvironment(Interrupted));
    SNAP_ASSIGN_OR_RETURN(auto repository, session.OpenRepository());
    SNAP_ASSIGN_OR_RETURN(
        const EbsBackupSummary summary,
        BackUpEbsSnapshot(*repository, services, ebs_, request_, session.observer()));
    session.observer()->Finish();
    SNAP_RETURN_IF_ERROR(Print(session, *repository, summary.taken, &summary));
    return Finding::kNone;
  }

  Status CompleteRequest() {
    if (request_.paths.empty() && !stdin_ && !ebs_snapshot_) {
      return Status::InvalidArgument("nothing to store; name at least one PATH, or --stdin");
    }
    for (const std::string& path : request_.paths) {
      if (path.empty()) return Status::InvalidArgument("a PATH is empty");
    }
    SNAP_ASSIGN_OR_RETURN(request_.tags, ParseTags(tags_, "--tag"));
    request_.profile = profile_ == "cdc"       ? Profile::kCdc
                       : profile_ == "aligned" ? Profile::kAligned
                                               : Profile::kAuto;
    request_.compression_level = level_ == "auto" ? 0 : std::stoi(level_);
    SNAP_RETURN_IF_ERROR(CheckEbs());
    SNAP_RETURN_IF_ERROR(AddStdin());
    return ReadChangedBlocks();
  }

  Status CheckEbs() {
    for (const auto& [key, value] : request_.tags) {
      if (key.starts_with(kEbsTagPrefix)) {
        return Status::InvalidArgument(
            fmt::format("--tag {}: only --ebs-snapshot sets tags of that name", key));
      }
    }
    if (!ebs_snapshot_) return {};
    SNAP_RETURN_IF_ERROR(CheckEbsSnapshotId(*ebs_snapshot_).WithContext("--ebs-snapshot"));
    if (!request_.paths.empty() || stdin_ || changed_blocks_) {
      return Status::InvalidArgument(
          "--ebs-snapshot goes alone: without a PATH, --stdin and --changed-blocks");
    }
    auto name = NormalisePath(name_);
    if (!name.ok()) return name.status().WithContext("--name");
    ebs_.snapshot_id = *ebs_snapshot_;
    ebs_.name = *name;
    return {};
  }

  Status AddStdin() {
    if (ebs_snapshot_) return {};
    if (!stdin_) {
      return name_.empty()
                 ? Status::Ok()
                 : Status::InvalidArgument("--name is for --stdin and --ebs-snapshot only");
    }
    auto name = NormalisePath(name_);
    if (!name.ok()) return name.status().WithContext("--name");
    if (name->empty()) {
      return Status::InvalidArgument("--stdin needs --name, the path within the snapshot");
    }
    request_.streams.push_back(
        {.name = *name, .stream = &stdin_stream_, .mode = 0600, .profile = request_.profile});
    return Status::Ok();
  }

  Status ReadChangedBlocks() {
    if (!changed_blocks_) return Status::Ok();
    if (request_.paths.size() != 1 || stdin_) {
      return Status::InvalidArgument("--changed-blocks goes with exactly one PATH");
    }
    if (request_.parent == "none") {
      return Status::InvalidArgument("--changed-blocks needs a parent; it excludes --parent none");
    }
    auto text = ReadWholeFile(*changed_blocks_, kChangedBlocksBytesMax);
    if (!text.ok()) return text.status().WithContext("--changed-blocks");
    SNAP_ASSIGN_OR_RETURN(request_.changed_ranges,
                          ParseChangedBlocks(AsText(*text), *changed_blocks_));
    request_.have_changed_ranges = true;
    return Status::Ok();
  }

  static Status Print(Session& session, const Repository& repository,
                      const SnapshotSummary& summary, const EbsBackupSummary* ebs) {
    const SnapshotInfo& info = summary.info;
    if (session.json()) {
      Json out = SnapshotSummaryJson(summary);
      if (ebs != nullptr) {
        out["ebs_blocks_total"] = ebs->blocks_total;
        out["ebs_blocks_read"] = ebs->blocks_read;
        out["ebs_changed_since"] = ebs->changed_since.empty() ? Json() : Json(ebs->changed_since);
      }
      SetStoreUsage(&out, repository.Usage());
      return session.out().Json(out);
    }
    if (session.quiet()) return session.out().Line(info.id);
    Table table({Table::Align::kLeft, Table::Align::kLeft});
    table.Row({"parent", info.parent_id.empty() ? "none" : info.parent_id});
    if (ebs != nullptr) {
      table.Row({"changed since", ebs->changed_since.empty() ? "read whole" : ebs->changed_since});
      table.Row({"blocks", fmt::format("{} read of {}", ebs->blocks_read, ebs->blocks_total)});
    }
    table.Row({"entries", fmt::format("{}", info.entries)});
    AddStatistics(info, &table);
    if (info.unreadable > 0) {
      table.Row({"unreadable", fmt::format("{}, left out", info.unreadable)});
    }
    SNAP_RETURN_IF_ERROR(session.out().Line("snapshot " + info.id));
    for (const std::string& line : table.Lines()) {
      SNAP_RETURN_IF_ERROR(session.out().Line("  " + line));
    }
    SNAP_RETURN_IF_ERROR(session.PrintStages(summary.stages));
    return session.PrintStoreUsage(repository);
  }

  SnapshotRequest request_;
  std::vector<std::string> tags_;
  std::string profile_ = "auto";
  std::string level_ = "auto";
  std::optional<std::string> changed_blocks_;
  bool stdin_ = false;
  std::string name_;
  std::optional<std::string> ebs_snapshot_;
  EbsBackupOptions ebs_;
  StdinStream stdin_stream_;
};

}  // namespace

const CommandInfo kSnapshotCommand = {
    "snapshot",
    "Store files, trees, image files and block devices as one new snapshot. Only what the "
    "repository does not have yet is stored, and what did not change since the parent snapshot is "
    "not even read. A source that cannot be read is reported and left out; the snapshot is kept "
    "and "
    "the exit code is 3.\n\n"
    "--changed-blocks FILE: a text file with one 'OFFSET LENGTH' a line, in bytes, decimal or "
    "hexadecimal after 0x; '#' starts a comment. Only these parts of the single PATH are read, the "
    "rest is taken from the parent.\n\n"
    "--ebs-snapshot ID: the volume of an EBS snapshot, read through the EBS direct APIs; no "
    "instance "
    "is needed. Its parent is the newest snapshot of the same volume, and only the blocks that EBS "
    "says differ from what that was made of are read. Region, endpoints and credentials are those "
    "of AWS's own tools.",
    "  snapstore snapshot /etc /home --tag job=nightly --exclude '*.tmp'\n"
    "  snapstore snapshot /dev/vg0/data --changed-blocks changed.txt\n"
    "  pg_dump mydb | snapstore snapshot --stdin --name mydb.sql\n"
    "  snapstore snapshot --ebs-snapshot snap-0123456789abcdef0",
    MakeCommand<SnapshotCommand>};

}  // namespace snapstore::cli
