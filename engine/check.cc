#include <fmt/format.h>
#include <xxhash.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <numeric>

#include "base/random.h"
#include "base/status_macros.h"
#include "engine/check_pack.h"
#include "engine/check_report.h"
#include "engine/check_scratch.h"
#include "engine/check_walk.h"
#include "engine/parallel.h"
#include "engine/repository_impl.h"
#include "engine/reread.h"
#include "engine/segment.h"
#include "snapstore/inspect.h"

namespace snapstore {
namespace {

uint64_t TableHash(std::span<const PackChunk> chunks) {
  Bytes body;
  AppendFooterBody(chunks, &body);
  return XXH3_64bits(body.data(), body.size());
}

class RepositoryCheck {
 public:
  RepositoryCheck(RepositoryImpl* repository, const CheckOptions& options, Observer* observer)
      : repository_(*repository),
        store_(repository->store()),
        options_(options),
        observer_(observer) {}

  Result<CheckReport> Run();

 private:
  struct PackRecord {
    PackPlace place;
    bool have_table = false;
    uint64_t table_hash = 0;  // of the footer's body
  };
  struct ObjectRecord {
    Digest id;
    uint64_t size = 0;
  };

  Status ListObjects();
  Status CheckConfig();
  Status CheckKeys();
  Status CheckPacks();
  Status TakeVerdict(PackRecord* record, const PackVerdict& verdict);
  Status CheckSegments();
  Status CheckSegment(const ObjectRecord& segment);
  Status CheckSegmentPack(const std::string& key, const SegmentPack& pack);
  Status CheckSnapshots();
  // The whole object, or what is wrong with it in *damage.
  Result<Bytes> ReadObject(const ObjectKey& key, uint64_t size, uint64_t bytes_max, Status* damage);
  std::vector<bool> ChoosePacks() const;
  const PackRecord* FindPack(const PackId& id) const;

  RepositoryImpl& repository_;
  ObjectStore& store_;
  const CheckOptions options_;
  Observer* const observer_;

  std::unique_ptr<CheckScratch> scratch_;
  ProblemLog problems_;
  std::vector<ObjectRecord> manifests_;
  std::vector<ObjectRecord> segments_;
  std::vector<PackRecord> packs_;  // sorted by id
  std::atomic<uint64_t> chunks_ = 0;
  std::atomic<uint64_t> bytes_read_ = 0;
};

Result<CheckReport> RepositoryCheck::Run() {
  SNAP_ASSIGN_OR_RETURN(const std::string folder, repository_.CacheFolder());
  SNAP_ASSIGN_OR_RETURN(scratch_, CheckScratch::Open(folder, repository_.memory().index));
  SNAP_RETURN_IF_ERROR(ListObjects());
  SNAP_RETURN_IF_ERROR(CheckConfig());
  SNAP_RETURN_IF_ERROR(CheckKeys());
  SNAP_RETURN_IF_ERROR(CheckPacks());
  SNAP_RETURN_IF_ERROR(CheckSegments());
  SNAP_RETURN_IF_ERROR(CheckSnapshots());
  CheckReport report;
  report.snapshots = manifests_.size();
  report.packs = packs_.size();
  report.chunks = chunks_;
  report.bytes_read = bytes_read_;
  report.problems = problems_.Take();
  return report;
}

Status RepositoryCheck::ListObjects() {
  ProgressReporter progress(observer_, "list objects");
  const auto list = [&](std::string_view prefix, const auto& key_of, const auto& take) {
    return store_.List(prefix, [&](const ObjectInfo& object) -> Status {
      SNAP_RETURN_IF_ERROR(progress.Poll());
      progress.AddItems(1);
      const Result<Digest> id = DigestOfKey(object.key);
      // Other names are not snapstore's and none of its business.
      if (id.ok() && key_of(*id).text() == object.key) take(*id, object.size);
      return {};
    });
  };
  // In this order: what a manifest or segment refers to was stored before it, so a writer at work
  // cannot make a whole repository look damaged.
  SNAP_RETURN_IF_ERROR(list(kManifestPrefix, ManifestKey, [&](const Digest& id, uint64_t size) {
    manifests_.push_back({id, size});
  }));
  SNAP_RETURN_IF_ERROR(list(kSegmentPrefix, SegmentKey, [&](const Digest& id, uint64_t size) {
    segments_.push_back({id, size});
  }));
  for (const PackKind kind : {PackKind::kData, PackKind::kMeta}) {
    SNAP_RETURN_IF_ERROR(list(
        kind == PackKind::kData ? kDataPrefix : kMetaPrefix,
        [&](const PackId& id) { return PackKey(kind, id); },
        [&](const PackId& id, uint64_t size) {
          packs_.push_back({{kind, id, size}});
        }));
  }
  std::sort(packs_.begin(), packs_.end(), [](const PackRecord& a, const PackRecord& b) {
    return std::tie(a.place.id, a.place.kind) < std::tie(b.place.id, b.place.kind);
  });
  return {};
}

const RepositoryCheck::PackRecord* RepositoryCheck::FindPack(const PackId& id) const {
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

std::vector<bool> RepositoryCheck::ChoosePacks() const {
  std::vector<size_t> order(packs_.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::array<uint8_t, 8> seed{};
  SecureRandom(seed);
  SplitMix64 random(LoadLe<uint64_t>(seed.data()));
  for (size_t i = order.size(); i > 1; --i) std::swap(order[i - 1], order[random.Below(i)]);
  const double share = std::clamp(options_.sample_percent, 0.0, 100.0) / 100;
  const auto count = static_cast<size_t>(std::ceil(share * static_cast<double>(order.size())));
  std::vector<bool> chosen(packs_.size(), false);
  for (size_t i = 0; options_.read_data && i < count; ++i) chosen[order[i]] = true;
  return chosen;
}

Status RepositoryCheck::CheckPacks() {
  const std::vector<bool> whole = ChoosePacks();
  ProgressReporter progress(observer_, "check packs");
  progress.SetItemsTotal(packs_.size());
  uint64_t bytes_total = 0;
  for (size_t i = 0; i < packs_.size(); ++i) bytes_total += whole[i] ? packs_[i].place.size : 0;
  progress.SetBytesTotal(bytes_total);
  const unsigned threads = repository_.memory().threads;
  std::vector<std::unique_ptr<PackScrubber>> scrubbers;
  for (unsigned i = 0; i < threads; ++i) {
    scrubbers.push_back(std::make_unique<PackScrubber>(&store_, &repository_.sealer(),
                                                       repository_.config().hash_secret));
  }
  const auto check_one = [&](size_t item, unsigned worker) -> Status {
    PackRecord& record = packs_[item];
    const std::string key = PackKey(record.place.kind, record.place.id).text();
    progress.SetCurrent(key);
    uint64_t bytes = 0;
    const Result<PackVerdict> verdict = whole[item]
                                            ? scrubbers[worker]->CheckBytes(record.place, &bytes)
                                            : scrubbers[worker]->CheckFooter(record.place, &bytes);
    bytes_read_ += bytes;
    if (!verdict.ok()) return verdict.status().WithContext(key);
    progress.AddItems(1);
    if (whole[item]) progress.AddBytes(record.place.size);
    return TakeVerdict(&record, *verdict);
  };
  return RunParallel(threads, packs_.size(), check_one, [&] { return progress.Poll(); });
}

Status RepositoryCheck::TakeVerdict(PackRecord* record, const PackVerdict& verdict) {
  chunks_ += verdict.have_footer ? verdict.listed.size() : verdict.intact.size();
  record->have_table = verdict.have_footer;
  if (verdict.have_footer) record->table_hash = TableHash(verdict.listed);
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
  for (const ObjectRecord& segment : segments_) {
    SNAP_RETURN_IF_ERROR(progress.Poll());
    progress.AddItems(1);
    SNAP_RETURN_IF_ERROR(CheckSegment(segment));
  }
  return {};
}

Status RepositoryCheck::CheckSegment(const ObjectRecord& segment) {
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
  } else if (record->have_table && record->table_hash != TableHash(pack.chunks)) {
    problems_.Add(key, "chunk table of pack " + pack.id.ToHex() + " is not the pack's own");
  }
  return {};
}

Status RepositoryCheck::CheckSnapshots() {
  // References are followed with the help of what was just found, never of the working index.
  const LocateFn locate = [this](const ChunkId& id) { return scratch_->chunks().Find(id); };
  ChunkFetcher fetcher(&store_, &repository_.sealer(), repository_.config().hash_secret, locate,
                       repository_.memory().frame_cache);
  ProgressReporter progress(observer_, "check snapshots");
  ReferenceWalk walk(
      &fetcher, scratch_.get(), &problems_,
      [this](const PackId& id) {
        const PackRecord* const record = FindPack(id);
        return record == nullptr ? std::nullopt : std::optional(record->place.kind);
      },
      &progress);
  for (const ObjectRecord& object : manifests_) {
    SNAP_RETURN_IF_ERROR(progress.Poll());
    const ObjectKey key = ManifestKey(object.id);
    progress.SetCurrent("snapshot " + object.id.ToHex());
    Status damage;
    SNAP_ASSIGN_OR_RETURN(const Bytes bytes,
                          ReadObject(key, object.size, kManifestBytesMax, &damage));
    if (damage.ok()) {
      const Result<format::Manifest> manifest =
          DecodeManifest(repository_.sealer(), object.id, bytes);
      damage = manifest.status();
      if (manifest.ok()) SNAP_RETURN_IF_ERROR(walk.Visit(object.id, *manifest));
    }
    if (!damage.ok()) {
      problems_.AddLoss(key.text(), damage.message(),
                        object.id.ToHex() + ":" + std::string(kLostNames));
    }
  }
  bytes_read_ += fetcher.bytes_fetched();
  return {};
}

}  // namespace

Result<CheckReport> CheckRepository(Repository& repository, const CheckOptions& options,
                                    Observer* observer) {
  if (!(options.sample_percent >= 0 && options.sample_percent <= 100)) {
    return Status::InvalidArgument("the share of packs to read must be between 0 and 100 percent");
  }
  return RepositoryCheck(&RepositoryImpl::Of(repository), options, observer).Run();
}

}  // namespace snapstore
