#include "engine/lease.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <ctime>
#include <optional>

#include "base/clock.h"
#include "base/host_name.h"
#include "base/log.h"
#include "base/random.h"
#include "base/status_macros.h"
#include "engine/reread.h"

namespace snapstore {
namespace {

constexpr std::string_view kWriterPrefix = "leases/writer-";
constexpr std::string_view kMarkPrefix = "leases/prune-";
constexpr size_t kWriterDigits = 32;
// What a lease is made of: this, and a box with the writer's host.
constexpr std::string_view kLeaseHead = "writer lease\n";
constexpr size_t kHostBytesMax = 255;
// A renewal is due when this part of the life has passed.
constexpr int kRenewPart = 3;

int64_t ToNanosOf(std::chrono::seconds seconds) { return seconds.count() * kNanosPerSecond; }

// All of `text`, as decimal digits.
std::optional<uint64_t> ParseDigits(std::string_view text) {
  uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || text.empty()) return {};
  return value;
}

Bytes LeaseContent(const Sealer& sealer) {
  const std::string host = HostName().substr(0, kHostBytesMax);
  const ByteSpan head = AsBytes(kLeaseHead);
  Bytes content(head.begin(), head.end());
  const Bytes box = sealer.SealBox(SealedKind::kLease, head, AsBytes(host));
  content.insert(content.end(), box.begin(), box.end());
  return content;
}

void AddWriter(const ObjectInfo& object, LeaseFolder* folder) {
  constexpr uint64_t kSecondsMax = 100ull * 365 * 24 * 3600;
  const std::string_view rest = std::string_view(object.key).substr(kWriterPrefix.size());
  if (rest.size() < kWriterDigits + 1 || rest[kWriterDigits] != '-') return;
  const std::string_view numbers = rest.substr(kWriterDigits + 1);
  const size_t dash = numbers.find('-');
  if (dash == std::string_view::npos || !ParseDigits(numbers.substr(0, dash)).has_value()) return;
  const std::optional<uint64_t> seconds = ParseDigits(numbers.substr(dash + 1));
  if (!seconds.has_value()) return;
  WriterSeen& writer = folder->writers[std::string(rest.substr(0, kWriterDigits))];
  const auto life = static_cast<int64_t>(std::min(*seconds, kSecondsMax));
  const int64_t ends = object.modified_ns + life * kNanosPerSecond;
  writer.began_ns =
      writer.keys.empty() ? object.modified_ns : std::min(writer.began_ns, object.modified_ns);
  writer.ends_ns = writer.keys.empty() ? ends : std::max(writer.ends_ns, ends);
  writer.keys.emplace_back(object.key);
}

}  // namespace

ObjectKey MarkKey(const Digest& id) { return ObjectKey(std::string(kMarkPrefix) + id.ToHex()); }

Result<std::vector<CondemnedPack>> ReadMark(ObjectStore& store, const Sealer& sealer,
                                            const Digest& id) {
  const ObjectKey key = MarkKey(id);
  const Result<Bytes> bytes = GetNamed(store, key, kMarkBytesMax);
  if (bytes.status().Is(StatusCode::kInvalidArgument)) {
    return Status::Corruption(bytes.status().message());
  }
  if (!bytes.ok()) return bytes.status().WithContext(key.text());
  Result<std::vector<CondemnedPack>> packs = DecodeMark(sealer, id, *bytes);
  if (!packs.ok()) return packs.status().WithContext(key.text());
  return packs;
}

int64_t BootNanos() {
  timespec now{};
  ::clock_gettime(CLOCK_BOOTTIME, &now);
  return ToNanos(now);
}

Result<LeaseFolder> ListLeases(ObjectStore& store) {
  LeaseFolder folder;
  SNAP_RETURN_IF_ERROR(store.List(kLeasePrefix, [&](const ObjectInfo& object) {
    if (object.key.starts_with(kWriterPrefix)) {
      AddWriter(object, &folder);
    } else if (object.key.starts_with(kMarkPrefix)) {
      const Result<Digest> id = Digest::FromHex(object.key.substr(kMarkPrefix.size()));
      if (id.ok()) folder.marks[*id] = object.modified_ns;
    }
    return Status();
  }));
  return folder;
}

Status ForEachMark(
    ObjectStore& store, const Sealer& sealer, const LeaseFolder& folder,
    const std::function<void(const Digest& id, std::span<const CondemnedPack>)>& fn) {
  for (const auto& [id, time] : folder.marks) {
    const Result<std::vector<CondemnedPack>> packs = ReadMark(store, sealer, id);
    if (packs.status().Is(StatusCode::kNotFound)) continue;
    if (packs.status().Is(StatusCode::kCorruption)) {
      return Status::Corruption(
          packs.status().message() +
          "; 'snapstore repair index' takes it away, once no prune is at work");
    }
    if (!packs.ok()) return packs.status();
    fn(id, *packs);
  }
  return {};
}

std::string HostOfWriter(ObjectStore& store, const Sealer& sealer, const WriterSeen& writer) {
  if (writer.keys.empty()) return {};
  const Result<Bytes> content =
      store.Get(writer.keys.back(), kLeaseHead.size() + kHostBytesMax + Sealer::kBoxOverhead);
  if (!content.ok() || !AsText(*content).starts_with(kLeaseHead)) return {};
  const ByteSpan bytes(*content);
  const Result<Bytes> host = sealer.OpenBox(SealedKind::kLease, bytes.first(kLeaseHead.size()),
                                            bytes.subspan(kLeaseHead.size()));
  if (!host.ok()) return {};
  std::string text(AsText(*host));
  // Anybody who may write could have put it there.
  std::replace_if(
      text.begin(), text.end(), [](char c) { return c < ' ' || c > '~'; }, '?');
  return text;
}

WriterLease::WriterLease(ObjectStore* store, const Sealer& sealer, const LeaseOptions& options)
    : store_(store), options_(options), content_(LeaseContent(sealer)) {
  std::array<uint8_t, kWriterDigits / 2> name{};
  SecureRandom(name);
  writer_ = HexEncode(name);
}

Result<std::unique_ptr<WriterLease>> WriterLease::Take(ObjectStore* store, const Sealer& sealer,
                                                       const LeaseOptions& options) {
  std::unique_ptr<WriterLease> lease(new WriterLease(store, sealer, options));
  SNAP_RETURN_IF_ERROR(lease->Put());
  // Not a moment earlier: whoever condemns a pack after this listing sees the lease.
  SNAP_ASSIGN_OR_RETURN(lease->seen_, ListLeases(*store));
  // A prune that has ended meanwhile: its packs are gone, and so are the segments with them.
  SNAP_RETURN_IF_ERROR(ForEachMark(*store, sealer, lease->seen_,
                                   [&](const Digest&, std::span<const CondemnedPack> packs) {
                                     for (const CondemnedPack& pack : packs) {
                                       lease->condemned_.insert(pack.id);
                                     }
                                   }));
  lease->renewer_ = std::thread([raw = lease.get()] { raw->RenewLoop(); });
  return lease;
}

WriterLease::~WriterLease() {
  {
    const std::lock_guard lock(mutex_);
    end_ = true;
  }
  ended_.notify_all();
  if (renewer_.joinable()) renewer_.join();
  const Status deleted = store_->DeleteMany(keys_);
  if (!deleted.ok()) LogDebug("a lease stays until it expires: {}", deleted.message());
}

int64_t WriterLease::LeftLocked() {
  const int64_t left = sent_ns_ + ToNanosOf(options_.life) - options_.clock();
  if (left <= 0) expired_ = true;
  return expired_ ? 0 : left;
}

Status WriterLease::Put() {
  const std::lock_guard one(put_mutex_);
  const size_t sequence = keys_.size();
  const ObjectKey key(
      fmt::format("{}{}-{:06}-{}", kWriterPrefix, writer_, sequence, options_.life.count()));
  keys_.push_back(key);
  if (sequence > 0 && Expired()) return Status::Conflict("the writer lease has expired");
  const int64_t sent = options_.clock();
  const ByteSpan parts[] = {content_};
  const auto put = store_->PutIfAbsent(key, parts);
  if (!put.ok()) return put.status().WithContext("store writer lease");
  const std::lock_guard lock(mutex_);
  // Arrived only after its predecessor had ended: in between, there was none.
  if (sequence > 0 && LeftLocked() <= 0) return Status::Conflict("the writer lease has expired");
  sent_ns_ = sent;
  return {};
}

void WriterLease::RenewLoop() {
  // Looks more often than it renews: a put may fail, and a machine may have been asleep.
  const auto pause = std::chrono::milliseconds(options_.life) / (10 * kRenewPart);
  std::unique_lock lock(mutex_);
  while (!ended_.wait_for(lock, pause, [this] { return end_; })) {
    const int64_t left = LeftLocked();
    if (expired_) return;
    if (left > ToNanosOf(options_.life) / kRenewPart * (kRenewPart - 1)) continue;
    lock.unlock();
    if (const Status put = Put(); !put.ok()) LogDebug("renew: {}", put.message());
    lock.lock();
  }
}

Status WriterLease::Ensure() {
  const auto enough = [this] {
    const std::lock_guard lock(mutex_);
    return LeftLocked() >= ToNanosOf(options_.margin);
  };
  if (enough()) return {};
  if (!Expired()) {
    SNAP_RETURN_IF_ERROR(Put());
    if (enough()) return {};
  }
  return Status::Conflict(
      "this run stood still for longer than its writer lease lasts, so a prune may have taken what "
      "it relies on: run it again");
}

bool WriterLease::Expired() {
  const std::lock_guard lock(mutex_);
  return LeftLocked() <= 0;
}

Result<bool> WriterLease::Covered(const ObjectKey& put) {
  const std::lock_guard one(put_mutex_);
  std::optional<int64_t> ends_ns;
  for (const ObjectKey& key : keys_) {
    const Result<ObjectInfo> lease = store_->Stat(key);
    if (lease.status().Is(StatusCode::kNotFound)) {
      // A prune took it away, unless it is a renewal that never arrived.
      if (!ends_ns.has_value()) return false;
      continue;
    }
    if (!lease.ok()) return lease.status();
    if (lease->modified_ns > ends_ns.value_or(INT64_MAX)) return false;
    ends_ns = lease->modified_ns + ToNanosOf(options_.life);
  }
  const Result<ObjectInfo> object = store_->Stat(put);
  if (object.status().Is(StatusCode::kNotFound)) return false;
  if (!object.ok()) return object.status();
  return ends_ns.has_value() && object->modified_ns <= *ends_ns;
}

}  // namespace snapstore
