#include "tools/snapstore/ebs/ebs_backup.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "base/status_macros.h"
#include "orchestrator/ec2/ec2_client.h"
#include "tools/snapstore/ebs/ebs_volume_reader.h"

namespace snapstore::cli {
namespace {

// Of a call with all its attempts: throttling may last.
constexpr std::chrono::milliseconds kCallDeadline{300'000};

std::string TagOf(const SnapshotInfo& info, const char* key) {
  const auto found = info.tags.find(key);
  return found == info.tags.end() ? "" : found->second;
}

// One backup on its way.
class Backup {
 public:
  Backup(Repository& repository, const EbsServices& services, const EbsBackupOptions& options,
         SnapshotRequest request, Observer* observer)
      : repository_(repository),
        services_(services),
        options_(options),
        request_(std::move(request)),
        observer_(observer) {}

  Result<EbsBackupSummary> Run() {
    SNAP_RETURN_IF_ERROR(Describe());
    const bool automatic = request_.parent == "auto";
    SNAP_RETURN_IF_ERROR(ChooseParent());
    Result<SnapshotSummary> taken = Take();
    if (!taken.ok() && automatic && parent_.has_value() && !reader_->failed() &&
        (taken.status().Is(StatusCode::kCorruption) || taken.status().Is(StatusCode::kNotFound))) {
      // Nobody asked for this parent: as TakeSnapshot does with its own.
      Warn("snapshot " + parent_->id,
           taken.status().WithContext("cannot be built upon, so all is read anew"));
      parent_.reset();
      request_.parent = "none";
      taken = Take();
    }
    SNAP_RETURN_IF_ERROR(taken.status());
    return EbsBackupSummary{.taken = *std::move(taken),
                            .changed_since = changed_since_,
                            .blocks_total = reader_->size() / reader_->block_bytes(),
                            .blocks_read = reader_->blocks_read()};
  }

 private:
  void Warn(const std::string& item, const Status& status) {
    if (observer_ != nullptr) observer_->OnWarning({item, status});
  }

  // What EC2 knows of the EBS snapshot.
  Status Describe() {
    Ec2Query query;
    query.ids = {options_.snapshot_id};
    const auto found = services_.ec2->DescribeSnapshots(query);
    SNAP_RETURN_IF_ERROR(found.status());
    const auto mine = std::find_if(found->begin(), found->end(), [&](const Ec2Snapshot& each) {
      return each.id == options_.snapshot_id;
    });
    if (mine == found->end()) {
      return Status::NotFound("there is no EBS snapshot " + options_.snapshot_id);
    }
    snapshot_ = *mine;
    if (snapshot_.state == "pending") {
      return Status::Conflict(
          fmt::format("EBS snapshot {} is pending ({}): wait until it is "
                      "completed",
                      snapshot_.id, snapshot_.progress));
    }
    if (snapshot_.state != "completed") {
      return Status::Io(fmt::format("EBS snapshot {} is in state '{}' {}", snapshot_.id,
                                    snapshot_.state, snapshot_.state_message));
    }
    if (snapshot_.volume_id.empty()) {
      return Status::Io(fmt::format("EBS snapshot {} names no volume", snapshot_.id));
    }
    name_ = options_.name.empty() ? snapshot_.volume_id : options_.name;
    request_.tags[kEbsSnapshotTag] = snapshot_.id;
    request_.tags[kEbsVolumeTag] = snapshot_.volume_id;
    return {};
  }

  Status ChooseParent() {
    if (request_.parent == "none") return {};
    if (request_.parent != "auto") {
      SNAP_ASSIGN_OR_RETURN(const std::string id, repository_.ResolveSnapshot(request_.parent));
      SNAP_ASSIGN_OR_RETURN(parent_, repository_.GetSnapshot(id));
      request_.parent = id;
      return {};
    }
    SNAP_ASSIGN_OR_RETURN(const std::vector<SnapshotInfo> infos,
                          repository_.ListSnapshots(observer_, nullptr));
    std::set<std::string> damaged;
    for (const SnapshotInfo& info : infos) damaged.insert(info.repaired_from);
    const auto newest = std::find_if(infos.rbegin(), infos.rend(), [&](const SnapshotInfo& info) {
      return TagOf(info, kEbsVolumeTag) == snapshot_.volume_id &&
             info.paths == std::vector<std::string>{name_} && !damaged.contains(info.id);
    });
    if (newest != infos.rend()) parent_ = *newest;
    request_.parent = parent_.has_value() ? parent_->id : "none";
    return {};
  }

  // Why the parent's bytes cannot stand for what EBS calls unchanged; empty: they can.
  std::string Obstacle() const {
    const std::string& id = parent_->id;
    if (parent_->paths != std::vector<std::string>{name_}) {
      return fmt::format("snapshot {} does not hold '{}' alone", id, name_);
    }
    if (TagOf(*parent_, kEbsSnapshotTag).empty()) {
      return fmt::format("snapshot {} was not made of an EBS snapshot", id);
    }
    if (TagOf(*parent_, kEbsVolumeTag) != snapshot_.volume_id) {
      return fmt::format("snapshot {} is of volume {}", id, TagOf(*parent_, kEbsVolumeTag));
    }
    // It may have zeros in the place of what was lost.
    if (!parent_->repaired_from.empty()) return fmt::format("snapshot {} was repaired", id);
    if (parent_->bytes_total != snapshot_.volume_size_gib << 30) {
      return fmt::format("the volume had {} bytes in snapshot {} and now has {} GiB",
                         parent_->bytes_total, id, snapshot_.volume_size_gib);
    }
    return {};
  }

  Ec2Result<std::unique_ptr<EbsVolumeReader>> Open(const std::string& earlier) {
    return EbsVolumeReader::Open(
        services_.direct.get(),
        {.snapshot_id = snapshot_.id, .earlier = earlier, .volume_gib = snapshot_.volume_size_gib});
  }

  // Opens what is to be read: what changed, if that can be had.
  Status OpenReader() {
    changed_since_.clear();
    std::string obstacle;
    if (parent_.has_value() && !request_.reread) {
      obstacle = Obstacle();
      if (obstacle.empty()) {
        const std::string earlier = TagOf(*parent_, kEbsSnapshotTag);
        auto changed = Open(earlier);
        if (changed.ok()) {
          reader_ = *std::move(changed);
          changed_since_ = earlier;
          return {};
        }
        // The service knows that snapshot no more, or not as an earlier one of this.
        const Status& status = changed.status();
        if (!status.Is(StatusCode::kNotFound) && !status.Is(StatusCode::kInvalidArgument)) {
          return status;
        }
        obstacle =
            fmt::format("what changed since {} is not to be had: {}", earlier, status.message());
      }
    }
    auto whole = Open("");
    SNAP_RETURN_IF_ERROR(whole.status());
    reader_ = *std::move(whole);
    if (!obstacle.empty()) {
      Warn(snapshot_.volume_id, Status::InvalidArgument("read whole: " + obstacle));
    }
    return {};
  }

  Result<SnapshotSummary> Take() {
    SNAP_RETURN_IF_ERROR(OpenReader());
    request_.volumes = {{.name = name_,
                         .size = reader_->size(),
                         .reader = reader_.get(),
                         .rest_unchanged = !changed_since_.empty(),
                         .read_bytes = static_cast<uint32_t>(reader_->block_bytes()),
                         .reads = options_.reads,
                         .profile = request_.profile}};
    return TakeSnapshot(repository_, request_, observer_);
  }

  Repository& repository_;
  const EbsServices& services_;
  const EbsBackupOptions& options_;
  SnapshotRequest request_;
  Observer* const observer_;
  Ec2Snapshot snapshot_;
  std::string name_;
  std::optional<SnapshotInfo> parent_;
  std::unique_ptr<EbsVolumeReader> reader_;
  std::string changed_since_;
};

}  // namespace

Result<EbsServices> EbsServicesFromEnvironment(std::function<bool()> cancelled) {
  SNAP_ASSIGN_OR_RETURN(AwsEnvironment loaded, AwsEnvironment::Load());
  const auto environment = std::make_shared<const AwsEnvironment>(std::move(loaded));
  const std::shared_ptr<AwsCredentialChain> credentials = DefaultCredentialChain(environment);
  SNAP_ASSIGN_OR_RETURN(AwsServiceOptions options, MakeAwsServiceOptions("ebs", *environment));
  options.deadline = kCallDeadline;
  options.cancelled = std::move(cancelled);
  EbsServices services;
  SNAP_ASSIGN_OR_RETURN(services.ec2, Ec2Client::FromEnvironment(*environment, credentials));
  services.direct = std::make_unique<EbsDirect>(std::move(options), credentials);
  return services;
}

Status CheckEbsSnapshotId(const std::string& id) {
  constexpr std::string_view kPrefix = "snap-";
  constexpr size_t kDigitsMin = 8;
  constexpr size_t kDigitsMax = 17;
  const std::string_view digits =
      id.starts_with(kPrefix) ? std::string_view(id).substr(kPrefix.size()) : std::string_view();
  if (digits.size() < kDigitsMin || digits.size() > kDigitsMax ||
      digits.find_first_not_of("0123456789abcdef") != std::string_view::npos) {
    return Status::InvalidArgument(
        fmt::format("'{}' is no id of an EBS snapshot: these are as snap-0123456789abcdef0", id));
  }
  return {};
}

Result<EbsBackupSummary> BackUpEbsSnapshot(Repository& repository, const EbsServices& services,
                                           const EbsBackupOptions& options, SnapshotRequest request,
                                           Observer* observer) {
  return Backup(repository, services, options, std::move(request), observer).Run();
}

}  // namespace snapstore::cli
