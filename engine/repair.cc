#include "snapstore/repair.h"

#include <array>
#include <map>
#include <memory>
#include <set>
#include <utility>

#include "base/random.h"
#include "base/status_macros.h"
#include "engine/manifest.h"
#include "engine/repository_check.h"
#include "engine/reread.h"
#include "engine/snapshot_repairer.h"
#include "engine/write_session.h"

namespace snapstore {
namespace {

constexpr std::string_view kRepairedTag = "repaired";
constexpr size_t kTagDigits = 16;

class RepositoryRepair {
 public:
  RepositoryRepair(RepositoryImpl* repository, const RepairRequest& request,
                   const RepairVisitor& visitor, Observer* observer)
      : repository_(*repository),
        request_(request),
        visitor_(visitor),
        observer_(observer),
        check_(repository, {.read_data = request.read_data, .snapshots = request.snapshots},
               observer) {}

  Result<RepairSummary> Run();

 private:
  using SnapshotRecord = RepositoryCheck::SnapshotRecord;

  Status FindEarlierRepairs();
  Status StartSession(std::vector<PackId> packs, WriteSession* session);
  Status ConfirmDamage();
  // Sets the index right, and stores again what damaged packs still hold.
  Status Salvage();
  Status SalvagePack(const PackPlace& place, WriteSession* session);
  Status RepairOne(const SnapshotRecord& record);
  Status RepairEntries(const Digest& id, RepairedSnapshot* out);
  Status Rewrite(const Digest& id, const format::Manifest& manifest, SnapshotRepairer* repairer,
                 RepairedSnapshot* out);
  Status TellLoss(const Loss& loss);
  Status Forget(const SnapshotRecord& record, RepairedSnapshot* snapshot);
  Status RemovePacks();

  RepositoryImpl& repository_;
  const RepairRequest& request_;
  const RepairVisitor& visitor_;
  Observer* const observer_;
  RepositoryCheck check_;
  std::unique_ptr<ChunkFetcher> fetcher_;  // that knows what the check found
  std::vector<PackPlace> damaged_packs_;
  std::vector<PackPlace> spent_packs_;  // of these, looked at twice, all that is left in others
  std::map<std::string, std::string> earlier_repairs_;  // damaged to repaired snapshot
  RepairSummary summary_;
};

Result<RepairSummary> RepositoryRepair::Run() {
  SNAP_ASSIGN_OR_RETURN(const CheckReport report, check_.Run());
  summary_.snapshots = report.snapshots;
  summary_.bytes_read = report.bytes_read;
  for (const RepositoryCheck::PackRecord& pack : check_.packs()) {
    if (pack.looked_at && pack.status.Is(StatusCode::kCorruption)) {
      damaged_packs_.push_back(pack.place);
    }
  }
  summary_.packs_damaged = damaged_packs_.size();
  fetcher_ = std::make_unique<ChunkFetcher>(
      &repository_.store(), &repository_.sealer(), repository_.config().hash_secret,
      [this](const ChunkId& id) { return check_.scratch().chunks().Find(id); },
      FetchLimits{.cache_bytes = repository_.memory().frame_cache});
  SNAP_RETURN_IF_ERROR(FindEarlierRepairs());
  const bool damage = !report.problems.empty() || !damaged_packs_.empty();
  if (damage && !request_.dry_run) SNAP_RETURN_IF_ERROR(Salvage());
  for (const SnapshotRecord& record : check_.snapshots()) {
    // What a newer program wrote is not damaged.
    if (record.whole || record.manifest.Is(StatusCode::kUnsupported)) continue;
    SNAP_RETURN_IF_ERROR(RepairOne(record));
  }
  if (request_.forget && !request_.dry_run) SNAP_RETURN_IF_ERROR(RemovePacks());
  summary_.bytes_read += fetcher_->bytes_fetched();
  return summary_;
}

Status RepositoryRepair::FindEarlierRepairs() {
  std::set<std::string> damaged;
  for (const SnapshotRecord& record : check_.snapshots()) {
    if (!record.whole) damaged.insert(record.id.ToHex());
  }
  if (damaged.empty()) return {};
  SNAP_ASSIGN_OR_RETURN(const std::vector<SnapshotInfo> infos,
                        repository_.ListSnapshots(nullptr, nullptr));
  for (const SnapshotInfo& info : infos) {
    if (damaged.contains(info.repaired_from) && !damaged.contains(info.id)) {
      earlier_repairs_[info.repaired_from] = info.id;
    }
  }
  return {};
}

Status RepositoryRepair::StartSession(std::vector<PackId> packs, WriteSession* session) {
  const MemoryPlan& memory = repository_.memory();
  return session->Start(
      std::move(packs),
      {.threads = memory.threads, .pack_bytes = memory.pack, .uploads = memory.uploads}, observer_);
}

Status RepositoryRepair::ConfirmDamage() {
  // Damage that is gone at a second look was on the way, not in the store.
  PackScrubber scrubber(&repository_.store(), &repository_.sealer(),
                        repository_.config().hash_secret);
  std::vector<PackPlace> confirmed;
  for (const PackPlace& place : damaged_packs_) {
    SNAP_ASSIGN_OR_RETURN(const PackVerdict verdict,
                          scrubber.CheckBytes(place, &summary_.bytes_read));
    if (verdict.status.Is(StatusCode::kCorruption)) confirmed.push_back(place);
  }
  damaged_packs_ = std::move(confirmed);
  return {};
}

Status RepositoryRepair::Salvage() {
  SNAP_RETURN_IF_ERROR(ConfirmDamage());
  std::set<PackId> damaged;
  for (const PackPlace& place : damaged_packs_) damaged.insert(place.id);
  // From here on a chunk that is only in them is new to every writer.
  SNAP_RETURN_IF_ERROR(repository_.RebuildIndexWithout(damaged, observer_).status());
  if (damaged_packs_.empty()) return {};
  SNAP_ASSIGN_OR_RETURN(const std::unique_ptr<WriteSession> session,
                        WriteSession::Begin(&repository_));
  SNAP_RETURN_IF_ERROR(StartSession({}, session.get()));
  ProgressReporter progress(observer_, "salvage packs");
  progress.SetItemsTotal(damaged_packs_.size());
  for (const PackPlace& place : damaged_packs_) {
    SNAP_RETURN_IF_ERROR(progress.Poll());
    progress.AddItems(1);
    SNAP_RETURN_IF_ERROR(SalvagePack(place, session.get()));
  }
  return session->Publish();
}

Status RepositoryRepair::SalvagePack(const PackPlace& place, WriteSession* session) {
  PackScrubber scrubber(&repository_.store(), &repository_.sealer(),
                        repository_.config().hash_secret);
  SNAP_ASSIGN_OR_RETURN(const PackVerdict verdict,
                        scrubber.CheckBytes(place, &summary_.bytes_read));
  const bool damaged = verdict.status.Is(StatusCode::kCorruption);
  std::vector<ChunkId> ids;
  for (const PackChunk& chunk : verdict.intact) ids.push_back(chunk.id);
  std::vector<std::optional<PendingRef>> known;
  SNAP_RETURN_IF_ERROR(session->packs().Find(place.kind, ids, &known));
  std::vector<StoredChunk> chunks;
  for (size_t i = 0; i < ids.size(); ++i) {
    const PackChunk& at = verdict.intact[i];
    if (known[i].has_value()) continue;
    chunks.push_back({at.id, place.id, at.frame_offset, at.frame_length, at.chunk_in_frame});
  }
  bool complete = true;
  const Status read = fetcher_->ReadMany(
      place.kind, chunks,
      [&](std::span<const FetchedChunk> fetched) -> Status {
        for (const FetchedChunk& each : fetched) {
          const ChunkId& id = chunks[each.ordinal].id;
          SNAP_RETURN_IF_ERROR(session->packs().Put(place.kind, id, each.bytes).status());
          ++summary_.chunks_salvaged;
          summary_.bytes_salvaged += each.bytes.size();
        }
        return {};
      },
      [&](size_t, const Status& status) -> Status {
        if (!IsDamage(status)) return status;
        complete = false;
        return {};
      });
  SNAP_RETURN_IF_ERROR(read);
  if (damaged && complete) spent_packs_.push_back(place);
  return {};
}

Status RepositoryRepair::RepairOne(const SnapshotRecord& record) {
  ++summary_.damaged;
  RepairedSnapshot out;
  out.damaged.id = record.id.ToHex();
  if (const auto earlier = earlier_repairs_.find(out.damaged.id);
      earlier != earlier_repairs_.end()) {
    out.repaired_id = earlier->second;
    out.repaired_before = true;
  } else if (record.manifest.ok()) {
    SNAP_RETURN_IF_ERROR(RepairEntries(record.id, &out));
  } else {
    out.losses = 1;
    ++summary_.lost;
    SNAP_RETURN_IF_ERROR(TellLoss({.snapshot_id = out.damaged.id, .kind = Loss::Kind::kSnapshot}));
  }
  if (request_.forget && !request_.dry_run) SNAP_RETURN_IF_ERROR(Forget(record, &out));
  return visitor_.snapshot ? visitor_.snapshot(out) : Status();
}

Status RepositoryRepair::RepairEntries(const Digest& id, RepairedSnapshot* out) {
  ProgressReporter progress(observer_, "repair snapshots");
  progress.SetCurrent("snapshot " + out->damaged.id);
  SNAP_ASSIGN_OR_RETURN(const Bytes bytes,
                        GetNamed(repository_.store(), ManifestKey(id), kManifestBytesMax));
  SNAP_ASSIGN_OR_RETURN(const format::Manifest manifest,
                        DecodeManifest(repository_.sealer(), id, bytes));
  out->damaged = InfoFromManifest(id, manifest);
  progress.SetItemsTotal(out->damaged.entries);
  SnapshotRepairer repairer(fetcher_.get(), &check_.scratch(), request_, &progress,
                            [this](const Loss& loss) { return TellLoss(loss); });
  SNAP_RETURN_IF_ERROR(repairer.Open(id, manifest));
  SNAP_RETURN_IF_ERROR(Rewrite(id, manifest, &repairer, out));
  out->losses = repairer.losses();
  out->bytes_lost = repairer.bytes_lost();
  if (repairer.entries_kept() == 0) ++summary_.lost;
  if (!out->repaired_id.empty()) ++summary_.repaired;
  return {};
}

Status RepositoryRepair::Rewrite(const Digest& id, const format::Manifest& manifest,
                                 SnapshotRepairer* repairer, RepairedSnapshot* out) {
  if (request_.dry_run) return repairer->Repair(manifest, nullptr, nullptr);
  SNAP_ASSIGN_OR_RETURN(const std::unique_ptr<WriteSession> session,
                        WriteSession::Begin(&repository_));
  SNAP_RETURN_IF_ERROR(StartSession(repairer->packs(), session.get()));
  format::Manifest repaired = manifest;
  repaired.clear_pack_table();
  repaired.clear_pack_table_tail();
  repaired.clear_tree();
  // It is no copy of what the original is a copy of.
  repaired.clear_original();
  repaired.clear_original_repository();
  repaired.set_repaired_from(id.bytes.data(), id.bytes.size());
  format::Tag* tag = nullptr;
  for (format::Tag& each : *repaired.mutable_tags()) {
    if (each.key() == kRepairedTag) tag = &each;
  }
  if (tag == nullptr) tag = repaired.add_tags();
  tag->set_key(std::string(kRepairedTag));
  tag->set_value(id.ToHex().substr(0, kTagDigits));
  std::array<uint8_t, 16> nonce{};
  SecureRandom(nonce);
  repaired.set_nonce(nonce.data(), nonce.size());
  SNAP_RETURN_IF_ERROR(repairer->Repair(manifest, session.get(), &repaired));
  if (repairer->entries_kept() == 0) return session->Publish();
  SNAP_RETURN_IF_ERROR(
      session->Finish(repairer->have_pack_table() ? &manifest : nullptr, &repaired));
  SNAP_ASSIGN_OR_RETURN(const Digest repaired_id, session->Commit(repaired, &id));
  out->repaired_id = repaired_id.ToHex();
  return {};
}

Status RepositoryRepair::TellLoss(const Loss& loss) {
  ++summary_.losses;
  return visitor_.loss ? visitor_.loss(loss) : Status();
}

Status RepositoryRepair::Forget(const SnapshotRecord& record, RepairedSnapshot* snapshot) {
  if (record.manifest.Is(StatusCode::kUnsupported)) return {};
  const ObjectKey key = ManifestKey(record.id);
  const Status removed = repository_.store().Delete(key);
  if (!removed.ok() && !removed.Is(StatusCode::kNotFound)) return removed.WithContext(key.text());
  snapshot->forgotten = true;
  ++summary_.forgotten;
  return {};
}

Status RepositoryRepair::RemovePacks() {
  for (const PackPlace& place : spent_packs_) {
    const ObjectKey key = PackKey(place.kind, place.id);
    const Status removed = repository_.store().Delete(key);
    if (!removed.ok() && !removed.Is(StatusCode::kNotFound)) {
      return removed.WithContext(key.text());
    }
    ++summary_.packs_removed;
  }
  return {};
}

}  // namespace

Result<RepairSummary> RepairSnapshots(Repository& repository, const RepairRequest& request,
                                      const RepairVisitor& visitor, Observer* observer) {
  return RepositoryRepair(&RepositoryImpl::Of(repository), request, visitor, observer).Run();
}

}  // namespace snapstore
