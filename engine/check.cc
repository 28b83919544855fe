#include <fmt/format.h>

#include <set>
#include <string>

#include "base/status_macros.h"
#include "engine/pack_sample.h"
#include "engine/repository_check.h"
#include "snapstore/inspect.h"

namespace snapstore {
namespace {

constexpr int kLooksMax = 4;

}  // namespace

Result<CheckReport> RepositoryCheck::Run() {
  if (options_.packs_read != nullptr) {
    for (const std::string& name : *options_.packs_read) {
      if (const Result<Digest> id = Digest::FromHex(name); id.ok()) scrubbed_.insert(*id);
    }
  }
  Result<CheckReport> report = LookUntilSettled();
  if (options_.packs_read != nullptr) {
    NoteScrubbed();
    for (const PackId& pack : scrubbed_) options_.packs_read->insert(pack.ToHex());
  }
  return report;
}

Result<CheckReport> RepositoryCheck::LookUntilSettled() {
  for (;;) {
    ++looks_;
    SNAP_RETURN_IF_ERROR(Look());
    if (problems_.empty()) break;
    SNAP_ASSIGN_OR_RETURN(const bool moved, HasMoved());
    if (!moved) break;
    if (looks_ == kLooksMax) {
      return Status::Conflict(fmt::format(
          "objects were deleted during each of {} looks at the repository, which may be "
          "all that seems wrong with it: check it again when the prune has ended",
          kLooksMax));
    }
    StartOver();
  }
  CheckReport report;
  FillReport(&report);
  return report;
}

Status RepositoryCheck::Look() {
  SNAP_ASSIGN_OR_RETURN(const std::string folder, repository_.CacheFolder());
  SNAP_ASSIGN_OR_RETURN(scratch_, CheckScratch::Open(folder, repository_.memory().index));
  SNAP_RETURN_IF_ERROR(ListObjects());
  SNAP_RETURN_IF_ERROR(CheckConfig());
  SNAP_RETURN_IF_ERROR(CheckKeys());
  SNAP_RETURN_IF_ERROR(CheckMarks());
  SNAP_RETURN_IF_ERROR(CheckClaims());
  SNAP_RETURN_IF_ERROR(ChooseWanted());
  SNAP_RETURN_IF_ERROR(CheckPacks());
  SNAP_RETURN_IF_ERROR(CheckSegments());
  return CheckSnapshots();
}

Result<bool> RepositoryCheck::HasMoved() {
  std::set<std::string> then;
  for (const SnapshotRecord& snapshot : snapshots_) then.insert(ManifestKey(snapshot.id).text());
  for (const SegmentRecord& segment : segments_) then.insert(SegmentKey(segment.id).text());
  for (const PackRecord& pack : packs_) then.insert(PackKey(pack.place.kind, pack.place.id).text());
  bool came = false;
  ProgressReporter progress(observer_, "list objects again");
  const auto tick_off = [&](const ObjectInfo& object) -> Status {
    SNAP_RETURN_IF_ERROR(progress.Poll());
    progress.AddItems(1);
    // New snapshots need nothing that is not there; other names are nobody's business.
    const bool known = then.erase(object.key) > 0;
    came = came ||
           (!known && !object.key.starts_with(kManifestPrefix) && DigestOfKey(object.key).ok());
    return {};
  };
  for (const std::string_view prefix :
       {kManifestPrefix, kSegmentPrefix, kDataPrefix, kMetaPrefix}) {
    if (restricted() && prefix == kSegmentPrefix) continue;
    SNAP_RETURN_IF_ERROR(store_.List(prefix, tick_off));
  }
  // A pack that came and one that went, each where the listing was not just then, look like a loss.
  // Who only ever adds explains nothing more at a second look.
  return !then.empty() || (came && looks_ == 1);
}

void RepositoryCheck::NoteScrubbed() {
  for (const PackRecord& pack : packs_) {
    if (pack.looked_at && pack.read_whole && pack.status.ok()) scrubbed_.insert(pack.place.id);
  }
}

void RepositoryCheck::StartOver() {
  NoteScrubbed();
  (void)problems_.Take();
  snapshots_.clear();
  segments_.clear();
  packs_.clear();
  wanted_.clear();
  index_.reset();
  scratch_.reset();
  packs_read_ = 0;
  chunks_ = 0;
}

void RepositoryCheck::FillReport(CheckReport* report) {
  report->snapshots = snapshots_.size();
  report->packs = wanted_.size();
  report->chunks = chunks_;
  report->bytes_read = bytes_read_;
  report->packs_chosen = packs_chosen_;
  report->packs_read = packs_read_;
  for (const size_t pack : wanted_) report->bytes_packs += packs_[pack].place.size;
  report->seed = seed_;
  report->problems = problems_.Take();
  if (!restricted()) return;
  report->harmless = std::erase_if(
      report->problems, [](const CheckProblem& problem) { return problem.lost_paths.empty(); });
}

Result<CheckReport> CheckRepository(Repository& repository, const CheckOptions& options,
                                    Observer* observer) {
  SNAP_RETURN_IF_ERROR(ValidateSample(options.sample));
  return RepositoryCheck(&RepositoryImpl::Of(repository), options, observer).Run();
}

}  // namespace snapstore
