#include "snapstore/copy.h"

#include <algorithm>
#include <array>
#include <map>
#include <optional>
#include <utility>

#include "base/clock.h"
#include "base/random.h"
#include "base/status_macros.h"
#include "engine/check_report.h"
#include "engine/manifest.h"
#include "engine/snapshot_copier.h"

namespace snapstore {
namespace {

// Requests on their way at once where the source is a server far away.
constexpr unsigned kFetchersFar = 8;

// What a snapshot is, wherever it lies: repository and id of its first taking.
using Identity = std::pair<std::string, std::string>;

Identity IdentityOf(const std::string& repository, const SnapshotInfo& info) {
  if (info.original_id.empty()) return {repository, info.id};
  return {info.original_repository, info.original_id};
}

class RepositoryCopy {
 public:
  using VisitFn = std::function<Status(const CopiedSnapshot&)>;

  RepositoryCopy(RepositoryImpl* from, RepositoryImpl* to, const CopyRequest& request,
                 const VisitFn& visit, Observer* observer)
      : from_(*from), to_(*to), request_(request), visit_(visit), observer_(observer) {}

  Result<CopySummary> Run();

 private:
  struct Pair {
    std::string source;
    std::string copy;
  };

  Status ListBoth();
  Result<std::vector<const SnapshotInfo*>> Chosen() const;
  Status CopyOne(const SnapshotInfo& source);
  // The snapshot that `source` is best compared with; empty when there is none.
  std::optional<Pair> ChooseBase(const SnapshotInfo& source) const;
  const std::string* CopyOf(const SnapshotInfo& source) const;
  Status CopyContent(const OpenedSnapshot& snapshot, CopiedSnapshot* out);
  format::Manifest NewManifest(const OpenedSnapshot& snapshot, const OpenedSnapshot* base) const;
  Status Report(const CopiedSnapshot& copied);

  RepositoryImpl& from_;
  RepositoryImpl& to_;
  const CopyRequest& request_;
  const VisitFn& visit_;
  Observer* const observer_;
  const Stopwatch stopwatch_;

  std::vector<SnapshotInfo> sources_;           // oldest first
  std::map<std::string, size_t> source_by_id_;  // in sources_
  std::map<Identity, std::string> copies_;      // their ids in the destination
  bool destination_failed_ = false;
  CopySummary summary_;
};

Result<CopySummary> RepositoryCopy::Run() {
  if (from_.id() == to_.id()) {
    return Status::InvalidArgument("source and destination are the same repository, " +
                                   from_.location());
  }
  summary_.same_ids = from_.config().hash_secret.bytes == to_.config().hash_secret.bytes;
  SNAP_RETURN_IF_ERROR(ListBoth());
  SNAP_ASSIGN_OR_RETURN(const std::vector<const SnapshotInfo*> chosen, Chosen());
  for (const SnapshotInfo* source : chosen) SNAP_RETURN_IF_ERROR(CopyOne(*source));
  summary_.seconds = stopwatch_.Seconds();
  return summary_;
}

Status RepositoryCopy::ListBoth() {
  uint64_t damaged = 0;
  SNAP_ASSIGN_OR_RETURN(sources_, from_.ListSnapshots(observer_, &damaged));
  if (request_.snapshots.empty()) summary_.damaged += damaged;
  for (size_t i = 0; i < sources_.size(); ++i) source_by_id_[sources_[i].id] = i;
  // A manifest of the destination that cannot be read is its own affair: at worst a snapshot is
  // copied again.
  SNAP_ASSIGN_OR_RETURN(const std::vector<SnapshotInfo> copies,
                        to_.ListSnapshots(nullptr, nullptr));
  for (const SnapshotInfo& info : copies) copies_[IdentityOf(to_.id(), info)] = info.id;
  return {};
}

Result<std::vector<const SnapshotInfo*>> RepositoryCopy::Chosen() const {
  std::vector<const SnapshotInfo*> chosen;
  for (const std::string& id : request_.snapshots) {
    if (!source_by_id_.contains(id)) return Status::NotFound("no snapshot " + id + " to copy");
  }
  for (const SnapshotInfo& info : sources_) {
    if (request_.snapshots.empty() ||
        std::find(request_.snapshots.begin(), request_.snapshots.end(), info.id) !=
            request_.snapshots.end()) {
      chosen.push_back(&info);
    }
  }
  return chosen;
}

const std::string* RepositoryCopy::CopyOf(const SnapshotInfo& source) const {
  const auto it = copies_.find(IdentityOf(from_.id(), source));
  return it == copies_.end() ? nullptr : &it->second;
}

std::optional<RepositoryCopy::Pair> RepositoryCopy::ChooseBase(const SnapshotInfo& source) const {
  // The nearest ancestor; a chain has no more members than there are snapshots.
  const SnapshotInfo* ancestor = &source;
  for (size_t steps = 0; steps < sources_.size(); ++steps) {
    const auto it = source_by_id_.find(ancestor->parent_id);
    if (it == source_by_id_.end()) break;
    ancestor = &sources_[it->second];
    if (const std::string* copy = CopyOf(*ancestor)) return Pair{ancestor->id, *copy};
  }
  // An ancestor was forgotten: what came before of the same sources.
  for (size_t i = source_by_id_.at(source.id); i-- > 0;) {
    const SnapshotInfo& earlier = sources_[i];
    if (earlier.host != source.host || earlier.paths != source.paths) continue;
    if (const std::string* copy = CopyOf(earlier)) return Pair{earlier.id, *copy};
  }
  return std::nullopt;
}

Status RepositoryCopy::CopyOne(const SnapshotInfo& source) {
  CopiedSnapshot copied;
  copied.source = source;
  if (const std::string* copy = CopyOf(source)) {
    copied.outcome = CopiedSnapshot::Outcome::kExisted;
    copied.id = *copy;
    return Report(copied);
  }
  SNAP_ASSIGN_OR_RETURN(const Digest id, Digest::FromHex(source.id));
  const Stopwatch stopwatch;
  const uint64_t fetched_before = from_.fetcher().bytes_fetched();
  Result<OpenedSnapshot> snapshot = from_.OpenSnapshot(id);
  Status status = snapshot.ok() ? CopyContent(*snapshot, &copied) : snapshot.status();
  copied.bytes_read = from_.fetcher().bytes_fetched() - fetched_before;
  copied.seconds = stopwatch.Seconds();
  if (!status.ok()) {
    if (destination_failed_) return status.WithContext("the destination");
    if (!IsDamage(status)) return status.WithContext("snapshot " + source.id);
    copied.outcome = CopiedSnapshot::Outcome::kDamaged;
    if (observer_ != nullptr) observer_->OnWarning({source.id + ":/", status});
  }
  if (copied.failed > 0) copied.outcome = CopiedSnapshot::Outcome::kDamaged;
  if (!copied.id.empty()) copies_[IdentityOf(from_.id(), source)] = copied.id;
  return Report(copied);
}

Status RepositoryCopy::CopyContent(const OpenedSnapshot& snapshot, CopiedSnapshot* out) {
  // Damage of the destination is not one of this snapshot, and ends the copy.
  const auto of_destination = [this](Status status) {
    destination_failed_ |= !status.ok();
    return status;
  };
  Result<std::unique_ptr<WriteSession>> begun = WriteSession::Begin(&to_);
  SNAP_RETURN_IF_ERROR(of_destination(begun.status()));
  const std::unique_ptr<WriteSession> session = std::move(*begun);
  std::optional<OpenedSnapshot> base_source;
  std::optional<OpenedSnapshot> base_copy;
  if (const std::optional<Pair> base = ChooseBase(out->source); base.has_value()) {
    SNAP_ASSIGN_OR_RETURN(const Digest source_id, Digest::FromHex(base->source));
    SNAP_ASSIGN_OR_RETURN(const Digest copy_id, Digest::FromHex(base->copy));
    Result<OpenedSnapshot> source = from_.OpenSnapshot(source_id);
    Result<OpenedSnapshot> copy = to_.OpenSnapshot(copy_id);
    for (const Status& status : {source.status(), copy.status()}) {
      if (!status.ok() && !IsDamage(status)) return status;
    }
    if (source.ok() && copy.ok()) {
      base_source = std::move(*source);
      base_copy = std::move(*copy);
    }
  }
  const OpenedSnapshot* const copy = base_copy.has_value() ? &*base_copy : nullptr;
  const MemoryPlan& memory = to_.memory();
  const PackWriterOptions options{.threads = memory.threads,
                                  .compression_level = request_.compression_level,
                                  .pack_bytes = memory.pack,
                                  .uploads = memory.uploads};
  SNAP_RETURN_IF_ERROR(of_destination(session->Start(
      copy != nullptr ? copy->packs->Copy() : std::vector<PackId>(), options, observer_)));
  ProgressReporter progress(observer_, "copy");
  progress.SetBytesTotal(out->source.bytes_total);
  progress.SetItemsTotal(out->source.entries);
  const bool far = from_.store().PutsAtOnce() > 1;
  SnapshotCopier copier(&snapshot, {base_source.has_value() ? &*base_source : nullptr, copy},
                        {.source = &from_.fetcher(),
                         .threads = far ? std::max(kFetchersFar, memory.threads) : memory.threads,
                         .same_ids = summary_.same_ids,
                         .base_nodes = copy != nullptr ? copy->nodes.get() : nullptr},
                        session.get(), &progress,
                        [&](const std::string& path, const Status& status) {
                          if (observer_ != nullptr)
                            observer_->OnWarning({out->source.id + ":" + path, status});
                        });
  format::Manifest manifest = NewManifest(snapshot, copy);
  SNAP_RETURN_IF_ERROR(copier.Copy(manifest.mutable_tree()));
  SNAP_RETURN_IF_ERROR(
      of_destination(session->Finish(copy != nullptr ? &copy->manifest : nullptr, &manifest)));
  out->failed = copier.entries_failed();
  if (out->failed == 0) {
    const Result<Digest> id = session->Commit(manifest, copy != nullptr ? &copy->id : nullptr);
    SNAP_RETURN_IF_ERROR(of_destination(id.status()));
    out->id = id->ToHex();
  }
  const PackWriterStats stats = session->packs().stats();
  out->bytes_new = stats.bytes_new;
  out->chunks_new = stats.chunks_new;
  out->bytes_stored = session->bytes_stored() + (out->failed == 0 ? manifest.ByteSizeLong() : 0);
  return {};
}

format::Manifest RepositoryCopy::NewManifest(const OpenedSnapshot& snapshot,
                                             const OpenedSnapshot* base) const {
  format::Manifest manifest = snapshot.manifest;
  manifest.clear_pack_table();
  manifest.clear_pack_table_tail();
  manifest.clear_tree();
  manifest.clear_parent();
  std::array<uint8_t, 16> nonce{};
  SecureRandom(nonce);
  manifest.set_nonce(nonce.data(), nonce.size());
  manifest.set_repository_id(to_.config().id.data(), to_.config().id.size());
  if (base != nullptr) manifest.set_parent(base->id.bytes.data(), base->id.bytes.size());
  if (manifest.original().empty()) {
    manifest.set_original_repository(from_.config().id.data(), from_.config().id.size());
    manifest.set_original(snapshot.id.bytes.data(), snapshot.id.bytes.size());
  }
  return manifest;
}

Status RepositoryCopy::Report(const CopiedSnapshot& copied) {
  switch (copied.outcome) {
    case CopiedSnapshot::Outcome::kCopied:
      ++summary_.copied;
      break;
    case CopiedSnapshot::Outcome::kExisted:
      ++summary_.existed;
      break;
    case CopiedSnapshot::Outcome::kDamaged:
      ++summary_.damaged;
      break;
  }
  summary_.bytes_read += copied.bytes_read;
  summary_.bytes_new += copied.bytes_new;
  summary_.bytes_stored += copied.bytes_stored;
  summary_.chunks_new += copied.chunks_new;
  return visit_ ? visit_(copied) : Status();
}

}  // namespace

Result<CopySummary> CopySnapshots(Repository& from, Repository& to, const CopyRequest& request,
                                  const std::function<Status(const CopiedSnapshot&)>& visit,
                                  Observer* observer) {
  return RepositoryCopy(&RepositoryImpl::Of(from), &RepositoryImpl::Of(to), request, visit,
                        observer)
      .Run();
}

}  // namespace snapstore
