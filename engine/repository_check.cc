#include "engine/repository_check.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <numeric>

#include "base/random.h"
#include "base/status_macros.h"
#include "engine/check_walk.h"
#include "engine/claim.h"
#include "engine/key_ring.h"
#include "engine/pack_needs.h"
#include "engine/pack_sample.h"
#include "engine/parallel.h"
#include "engine/reread.h"

namespace snapstore {
namespace {

constexpr const char* kMarkAdvice =
    "; nobody can write until 'snapstore repair index' took it away, once no prune is at work";

uint64_t RandomSeed() {
  std::array<uint8_t, 4> seed{};  // short enough to be typed
  SecureRandom(seed);
  return LoadLe<uint32_t>(seed.data());
}

}  // namespace

RepositoryCheck::RepositoryCheck(RepositoryImpl* repository, const CheckOptions& options,
                                 Observer* observer)
    : repository_(*repository),
      store_(repository->store()),
      options_(options),
      observer_(observer),
      seed_(options.sample.seed.has_value() ? *options.sample.seed : RandomSeed()) {}

Status RepositoryCheck::ListManifests(ProgressReporter* progress) {
  const Status listed = store_.List(kManifestPrefix, [&](const ObjectInfo& object) -> Status {
    SNAP_RETURN_IF_ERROR(progress->Poll());
    progress->AddItems(1);
    const Result<Digest> id = DigestOfKey(object.key);
    // Other names are not snapstore's and none of its business.
    if (!id.ok() || ManifestKey(*id).text() != object.key) return {};
    if (restricted() && std::find(options_.snapshots.begin(), options_.snapshots.end(),
                                  id->ToHex()) == options_.snapshots.end()) {
      return {};
    }
    snapshots_.push_back({.id = *id, .size = object.size, .manifest = {}});
    return {};
  });
  SNAP_RETURN_IF_ERROR(listed);
  for (const std::string& wanted : options_.snapshots) {
    const bool found =
        std::any_of(snapshots_.begin(), snapshots_.end(),
                    [&](const SnapshotRecord& snapshot) { return snapshot.id.ToHex() == wanted; });
    if (!found && looks_ > 1) return Status::NotFound("snapshot " + wanted + " was just forgotten");
    if (!found) return Status::NotFound("no snapshot " + wanted);
  }
  return {};
}

Status RepositoryCheck::ListObjects() {
  ProgressReporter progress(observer_, "list objects");
  const auto list = [&](std::string_view prefix, const auto& key_of, const auto& take) {
    return store_.List(prefix, [&](const ObjectInfo& object) -> Status {
      SNAP_RETURN_IF_ERROR(progress.Poll());
      progress.AddItems(1);
      const Result<Digest> id = DigestOfKey(object.key);
      if (id.ok() && key_of(*id).text() == object.key) take(*id, object.size);
      return {};
    });
  };
  // In this order: what a manifest or segment refers to was stored before it, so a writer at work
  // cannot make a whole repository look damaged.
  SNAP_RETURN_IF_ERROR(ListManifests(&progress));
  if (!restricted()) {
    SNAP_RETURN_IF_ERROR(list(kSegmentPrefix, SegmentKey, [&](const Digest& id, uint64_t size) {
      segments_.push_back({id, size});
    }));
  }
  for (const PackKind kind : {PackKind::kData, PackKind::kMeta}) {
    SNAP_RETURN_IF_ERROR(list(
        PackPrefix(kind), [&](const PackId& id) { return PackKey(kind, id); },
        [&](const PackId& id, uint64_t size) {
          packs_.push_back({.place = {kind, id, size}, .status = {}});
        }));
  }
  std::sort(packs_.begin(), packs_.end(), [](const PackRecord& a, const PackRecord& b) {
    return std::tie(a.place.id, a.place.kind) < std::tie(b.place.id, b.place.kind);
  });
  return {};
}

RepositoryCheck::PackRecord* RepositoryCheck::FindPack(const PackId& id) {
  const auto it =
      std::lower_bound(packs_.begin(), packs_.end(), id,
                       [](const PackRecord& a, const PackId& b) { return a.place.id < b; });
  return it != packs_.end() && it->place.id == id ? &*it : nullptr;
}

Result<Bytes> RepositoryCheck::ReadObject(const ObjectKey& key, uint64_t size, uint64_t bytes_max,
                                          Status* damage) {
  if (size > bytes_max) {
    *damage = Status::Corruption(fmt::format("object of {} bytes", size));
    return Bytes();
  }
  Result<Bytes> bytes = GetNamed(store_, key, bytes_max);
  if (bytes.ok()) {
    bytes_read_ += bytes->size();
  } else if (IsDamage(bytes.status())) {
    *damage = bytes.status();
    return Bytes();
  }
  return bytes;
}

Status RepositoryCheck::CheckConfig() {
  Status damage;
  const ObjectKey key = ConfigKey();
  SNAP_ASSIGN_OR_RETURN(const Bytes bytes, ReadObject(key, 0, kConfigBytesMax, &damage));
  if (damage.ok()) {
    const Result<RepositoryConfig> config = RepositoryConfig::Decode(bytes);
    damage = config.status();
    if (config.ok() &&
        (config->id != repository_.config().id || config->encrypted != repository_.encrypted())) {
      damage = Status::Corruption("configuration is another repository's");
    }
    if (damage.ok() && config->encrypted) {
      damage = RepositoryConfig(*config).OpenSecrets(repository_.sealer());
    }
  }
  if (!damage.ok()) {
    problems_.Add(key.text(), damage.message() + "; without it nothing can be read");
  }
  return {};
}

Status RepositoryCheck::CheckKeys() {
  if (!repository_.encrypted()) return {};
  KeyRing ring(&store_, repository_.config().id);
  SNAP_ASSIGN_OR_RETURN(const std::vector<StoredKey> keys, ring.Read());
  for (const StoredKey& key : keys) {
    bytes_read_ += key.object.size();
    Status damage = key.damage;
    if (damage.ok()) damage = key.slot->About(repository_.sealer()).status();
    if (damage.ok()) continue;
    if (!IsDamage(damage)) return damage;
    problems_.Add(KeySlotKey(key.id).text(),
                  damage.message() + "; whoever has only this key cannot open the repository");
  }
  return {};
}

Status RepositoryCheck::CheckMarks() {
  SNAP_ASSIGN_OR_RETURN(const LeaseFolder folder, ListLeases(store_));
  for (const auto& [id, time] : folder.marks) {
    Status read = ReadMark(store_, repository_.sealer(), id).status();
    // That prune has ended.
    if (read.ok() || read.Is(StatusCode::kNotFound)) continue;
    if (!IsDamage(read)) return read;
    const bool damaged = read.Is(StatusCode::kCorruption);
    problems_.Add(MarkKey(id).text(), read.message() + (damaged ? kMarkAdvice : ""));
  }
  return {};
}

Status RepositoryCheck::CheckClaims() {
  if (restricted()) return {};
  std::vector<ClaimName> claims;
  SNAP_RETURN_IF_ERROR(
      ListClaims(store_, "", [&](ClaimName name) { claims.push_back(std::move(name)); }));
  for (const ClaimName& claim : claims) {
    Status read = ReadClaim(store_, repository_.sealer(), claim).status();
    // A prune took it away.
    if (read.ok() || read.Is(StatusCode::kNotFound)) continue;
    if (!IsDamage(read)) return read;
    problems_.Add(claim.key().text(),
                  read.message() + "; the next start of an agent makes a new one");
  }
  return {};
}

Status RepositoryCheck::ChooseWanted() {
  if (!restricted()) {
    wanted_.resize(packs_.size());
    std::iota(wanted_.begin(), wanted_.end(), size_t{0});
    return {};
  }
  ProgressReporter progress(observer_, "find packs");
  PackNeeds needs(
      scratch_.get(), [this](const ChunkId& id) { return AskIndex(id); },
      [this](const PackId& id) { return FindPack(id) != nullptr; }, &progress);
  for (const SnapshotRecord& record : snapshots_) {
    progress.SetCurrent("snapshot " + record.id.ToHex());
    const Result<OpenedSnapshot> snapshot = repository_.OpenSnapshot(record.id);
    if (snapshot.ok()) {
      SNAP_RETURN_IF_ERROR(needs.Add(*snapshot));
    } else if (!IsDamage(snapshot.status())) {
      return snapshot.status();
    }
  }
  for (const PackId& pack : needs.packs()) {
    const PackRecord* const record = FindPack(pack);
    if (record != nullptr) wanted_.push_back(static_cast<size_t>(record - packs_.data()));
  }
  return {};
}

Status RepositoryCheck::CheckPacks() {
  std::vector<PackPlace> places;
  for (const size_t pack : wanted_) places.push_back(packs_[pack].place);
  // First what is read whole, in random order, then the rest.
  std::vector<size_t> order;
  if (options_.read_data) order = ChoosePacks(places, options_.sample, seed_);
  packs_chosen_ = order.size();
  std::vector<bool> chosen(places.size(), false);
  uint64_t bytes_total = 0;
  for (const size_t pack : order) {
    chosen[pack] = true;
    bytes_total += places[pack].size;
  }
  for (size_t i = 0; i < places.size(); ++i) {
    if (!chosen[i]) order.push_back(i);
  }

  ProgressReporter progress(observer_, "check packs");
  progress.SetItemsTotal(order.size());
  progress.SetBytesTotal(bytes_total);
  // Where the store is far away, most of them wait for it.
  const unsigned threads = std::max(repository_.memory().threads, repository_.memory().reads);
  std::vector<std::unique_ptr<PackScrubber>> scrubbers;
  for (unsigned i = 0; i < threads; ++i) {
    scrubbers.push_back(std::make_unique<PackScrubber>(&store_, &repository_.sealer(),
                                                       repository_.config().hash_secret));
  }
  const auto check_one = [&](size_t item, unsigned worker) -> Status {
    const size_t pack = order[item];
    PackRecord& record = packs_[wanted_[pack]];
    progress.SetCurrent(PackKey(record.place.kind, record.place.id).text());
    const bool in_time = options_.seconds_max == 0 || stopwatch_.Seconds() < options_.seconds_max;
    const bool whole = chosen[pack] && in_time;
    SNAP_RETURN_IF_ERROR(CheckPack(scrubbers[worker].get(), whole, &record));
    progress.AddItems(1);
    if (whole) progress.AddBytes(record.place.size);
    return {};
  };
  return RunParallel(threads, order.size(), check_one, [&] { return progress.Poll(); });
}

Status RepositoryCheck::CheckPack(PackScrubber* scrubber, bool whole, PackRecord* record) {
  uint64_t bytes = 0;
  record->read_whole = whole;
  // An earlier look has read it: only what it holds is asked for.
  if (whole && scrubbed_.contains(record->place.id)) whole = false;
  const Result<PackVerdict> verdict = whole ? scrubber->CheckBytes(record->place, &bytes)
                                            : scrubber->CheckFooter(record->place, &bytes);
  bytes_read_ += bytes;
  if (record->read_whole) ++packs_read_;
  if (!verdict.ok()) {
    return verdict.status().WithContext(PackKey(record->place.kind, record->place.id).text());
  }
  return TakeVerdict(record, *verdict);
}

Status RepositoryCheck::TakeVerdict(PackRecord* record, const PackVerdict& verdict) {
  chunks_ += verdict.have_footer ? verdict.listed.size() : verdict.intact.size();
  record->looked_at = true;
  record->status = verdict.status;
  record->have_table = verdict.have_footer;
  if (verdict.have_footer) record->table_hash = ChunkTableHash(verdict.listed);
  if (!verdict.status.ok()) {
    std::string message = verdict.status.message();
    if (verdict.have_footer) {
      message += fmt::format("; {} of {} chunks cannot be read",
                             verdict.listed.size() - verdict.intact.size(), verdict.listed.size());
    } else {
      message += fmt::format("; {} chunks can be read", verdict.intact.size());
    }
    problems_.Add(PackKey(record->place.kind, record->place.id).text(), message);
  }
  if (verdict.intact.empty()) return {};
  return scratch_->chunks().AddPack(record->place.id, verdict.intact, /*published=*/true);
}

Status RepositoryCheck::CheckSegments() {
  ProgressReporter progress(observer_, "check index segments");
  progress.SetItemsTotal(segments_.size());
  for (const SegmentRecord& segment : segments_) {
    SNAP_RETURN_IF_ERROR(progress.Poll());
    progress.AddItems(1);
    SNAP_RETURN_IF_ERROR(CheckSegment(segment));
  }
  return {};
}

Status RepositoryCheck::CheckSegment(const SegmentRecord& segment) {
  const ObjectKey key = SegmentKey(segment.id);
  Status damage;
  SNAP_ASSIGN_OR_RETURN(const Bytes bytes,
                        ReadObject(key, segment.size, kSegmentBytesMax, &damage));
  if (damage.ok()) {
    damage = ParseSegment(repository_.sealer(), segment.id, bytes, [&](const SegmentPack& pack) {
      return CheckSegmentPack(key.text(), pack);
    });
  }
  if (!damage.ok()) problems_.Add(key.text(), damage.message());
  return {};
}

Status RepositoryCheck::CheckSegmentPack(const std::string& key, const SegmentPack& pack) {
  const PackRecord* const record = FindPack(pack.id);
  if (record == nullptr || record->place.kind != pack.kind) {
    problems_.Add(PackKey(pack.kind, pack.id).text(), "pack is missing; " + key + " names it");
  } else if (record->have_table && record->table_hash != ChunkTableHash(pack.chunks)) {
    problems_.Add(key, "chunk table of pack " + pack.id.ToHex() + " is not the pack's own");
  }
  return {};
}

Status RepositoryCheck::FindChunks(std::span<const ChunkId> ids,
                                   std::vector<std::optional<ChunkLocation>>* found) {
  SNAP_RETURN_IF_ERROR(scratch_->chunks().FindMany(ids, found));
  for (size_t i = 0; restricted() && i < ids.size(); ++i) {
    if ((*found)[i].has_value()) continue;
    SNAP_ASSIGN_OR_RETURN((*found)[i], FindElsewhere(ids[i]));
  }
  return {};
}

Result<std::optional<ChunkLocation>> RepositoryCheck::AskIndex(const ChunkId& id) {
  if (!index_.has_value()) {
    Result<ChunkIndex*> index = repository_.Index();
    if (index.ok() && looks_ > 1) {
      if (Status synced = repository_.SyncIndex(observer_); !synced.ok()) index = synced;
    }
    // With a damaged segment there is no index; that costs at most a chunk that has moved.
    if (!index.ok() && !IsDamage(index.status())) return index.status();
    index_ = index.ok() ? *index : nullptr;
  }
  if (*index_ == nullptr) return std::optional<ChunkLocation>();
  return (*index_)->Find(id);
}

Result<std::optional<ChunkLocation>> RepositoryCheck::FindElsewhere(const ChunkId& id) {
  SNAP_ASSIGN_OR_RETURN(const std::optional<ChunkLocation> at, AskIndex(id));
  PackRecord* const record = at.has_value() ? FindPack(at->pack) : nullptr;
  if (record == nullptr || record->looked_at) return std::optional<ChunkLocation>();
  wanted_.push_back(static_cast<size_t>(record - packs_.data()));
  PackScrubber scrubber(&store_, &repository_.sealer(), repository_.config().hash_secret);
  SNAP_RETURN_IF_ERROR(CheckPack(&scrubber, /*whole=*/false, record));
  return scratch_->chunks().Find(id);
}

Status RepositoryCheck::CheckSnapshots() {
  // References are followed with the help of what was just found, never of the working index.
  const auto find = [this](std::span<const ChunkId> ids,
                           std::vector<std::optional<ChunkLocation>>* found) {
    return FindChunks(ids, found);
  };
  std::vector<std::optional<ChunkLocation>> one;
  const LocateFn locate = [&](const ChunkId& id) -> Result<std::optional<ChunkLocation>> {
    SNAP_RETURN_IF_ERROR(FindChunks({&id, 1}, &one));
    return one.front();
  };
  ChunkFetcher fetcher(&store_, &repository_.sealer(), repository_.config().hash_secret, locate,
                       repository_.memory().fetch_limits());
  ProgressReporter progress(observer_, "check snapshots");
  ReferenceWalk walk(
      &fetcher, scratch_.get(), &problems_, find,
      [this](const PackId& id) {
        const PackRecord* const record = FindPack(id);
        return record == nullptr ? std::nullopt : std::optional(record->place.kind);
      },
      &progress);
  for (SnapshotRecord& record : snapshots_) {
    SNAP_RETURN_IF_ERROR(progress.Poll());
    const ObjectKey key = ManifestKey(record.id);
    progress.SetCurrent("snapshot " + record.id.ToHex());
    SNAP_ASSIGN_OR_RETURN(const Bytes bytes,
                          ReadObject(key, record.size, kManifestBytesMax, &record.manifest));
    if (record.manifest.ok()) {
      const Result<format::Manifest> manifest =
          DecodeManifest(repository_.sealer(), record.id, bytes);
      record.manifest = manifest.status();
      if (manifest.ok()) {
        SNAP_ASSIGN_OR_RETURN(record.whole, walk.Visit(record.id, *manifest));
      }
    }
    if (!record.manifest.ok()) {
      problems_.AddLoss(key.text(), record.manifest.message(),
                        record.id.ToHex() + ":" + std::string(kLostNames));
    }
  }
  bytes_read_ += fetcher.bytes_fetched();
  return {};
}

}  // namespace snapstore
