#include "engine/claim.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <map>
#include <optional>
#include <tuple>
#include <vector>

#include "base/clock.h"
#include "base/host_name.h"
#include "base/random.h"
#include "base/sha256.h"
#include "base/status_macros.h"
#include "engine/check_report.h"
#include "engine/repository_impl.h"
#include "snapstore/claim.h"

namespace snapstore {
namespace {

constexpr std::string_view kClaimMagic = "SNAPCLAM";
constexpr size_t kClaimHeaderBytes = 16;
constexpr size_t kFolderDigits = 32;
constexpr size_t kEpochDigits = 20;
constexpr size_t kIdBytes = 16;
constexpr std::string_view kBaseSuffix = "-base";
// Each time somebody else was as quick; with steps of random width it ends soon.
constexpr int kClaimAttempts = 50;
constexpr uint64_t kStepMax = 8;

bool IsHex(std::string_view text) {
  return text.find_first_not_of("0123456789abcdef") == std::string_view::npos;
}

std::optional<ClaimName> ParseClaimName(const ObjectInfo& object) {
  std::string_view rest = object.key;
  rest.remove_prefix(kClaimPrefix.size());
  constexpr size_t kPlainLength = kFolderDigits + 1 + kEpochDigits + 1 + 2 * kIdBytes;
  if (rest.size() < kPlainLength || rest[kFolderDigits] != '/') return {};
  ClaimName name;
  name.folder = rest.substr(0, kFolderDigits);
  rest.remove_prefix(kFolderDigits + 1);
  const std::string_view digits = rest.substr(0, kEpochDigits);
  const auto [end, error] =
      std::from_chars(digits.data(), digits.data() + digits.size(), name.epoch);
  if (error != std::errc() || end != digits.data() + digits.size() || name.epoch == 0 ||
      rest[kEpochDigits] != '-') {
    return {};
  }
  rest.remove_prefix(kEpochDigits + 1);
  name.id = rest.substr(0, 2 * kIdBytes);
  rest.remove_prefix(2 * kIdBytes);
  name.base = rest == kBaseSuffix;
  name.modified_ns = object.modified_ns;
  if (!IsHex(name.folder) || !IsHex(name.id) || !(rest.empty() || name.base)) return {};
  return name;
}

Status StoreClaim(RepositoryImpl* repository, const ClaimName& name, const format::Claim& claim) {
  const Bytes bytes = EncodeClaim(repository->sealer(), claim);
  if (bytes.size() > kClaimBytesMax) {
    return Status::InvalidArgument(
        fmt::format("{} snapshots are too many for a claim", claim.snapshots_size()));
  }
  const ByteSpan parts[] = {bytes};
  // That it existed can only mean that an answer was lost: nobody else knows the id.
  const auto put = repository->store().PutIfAbsent(name.key(), parts);
  if (!put.ok()) return put.status().WithContext("store claim " + name.key().text());
  return {};
}

format::Claim MessageOf(const Claim& claim) {
  format::Claim message;
  std::array<uint8_t, kIdBytes> id{};
  (void)HexDecode(claim.id, id);
  message.set_id(id.data(), id.size());
  message.set_epoch(claim.epoch);
  message.set_name(claim.name);
  message.set_time_ns(claim.time_ns);
  message.set_host(claim.host);
  message.set_instance(claim.instance);
  message.set_process(claim.process);
  return message;
}

ClaimName NameOf(const RepositoryImpl& repository, const Claim& claim) {
  return {.folder = ClaimFolder(repository.config().hash_secret, claim.name),
          .epoch = claim.epoch,
          .id = claim.id};
}

// The claims on one name, bases or not.
Result<std::vector<ClaimName>> ClaimsIn(RepositoryImpl* repository, const std::string& folder,
                                        bool base) {
  std::vector<ClaimName> found;
  const Status listed = ListClaims(repository->store(), folder, [&](ClaimName name) {
    if (name.base == base) found.push_back(std::move(name));
  });
  if (!listed.ok()) return listed.WithContext("list claims");
  // Of several with one epoch none is held; which is told of does not matter.
  std::sort(found.begin(), found.end(), [](const ClaimName& a, const ClaimName& b) {
    return std::tie(a.epoch, a.id) > std::tie(b.epoch, b.id);
  });
  return found;
}

}  // namespace

ObjectKey ClaimName::key() const {
  return ObjectKey(fmt::format("{}{}/{:0{}}-{}{}", kClaimPrefix, folder, epoch, kEpochDigits, id,
                               base ? kBaseSuffix : ""));
}

std::string ClaimFolder(const HashSecret& secret, std::string_view name) {
  const Digest inner = Sha256::Of(AsBytes(name));
  const ByteSpan parts[] = {secret.bytes, inner.bytes};
  return Sha256::OfParts(parts).ToHex().substr(0, kFolderDigits);
}

Status ListClaims(ObjectStore& store, std::string_view folder,
                  const std::function<void(ClaimName)>& visit) {
  const std::string prefix =
      folder.empty() ? std::string(kClaimPrefix) : fmt::format("{}{}/", kClaimPrefix, folder);
  return store.List(prefix, [&](const ObjectInfo& object) {
    if (std::optional<ClaimName> name = ParseClaimName(object)) visit(std::move(*name));
    return Status();
  });
}

Bytes EncodeClaim(const Sealer& sealer, const format::Claim& claim) {
  Bytes out;
  ByteWriter writer(&out);
  writer.Raw(AsBytes(kClaimMagic));
  writer.U16(kFormatVersion);
  writer.U16(static_cast<uint16_t>(sealer.flags()));
  const std::string body = claim.SerializeAsString();
  const size_t overhead = sealer.encrypted() ? Sealer::kBoxOverhead : 0;
  writer.U32(static_cast<uint32_t>(body.size() + overhead));
  const Bytes sealed = sealer.SealBox(SealedKind::kClaim, out, AsBytes(body));
  writer.Raw(sealed);
  const Digest digest = Sha256::Of(out);
  writer.Raw(digest.bytes);
  return out;
}

Result<format::Claim> DecodeClaim(const Sealer& sealer, const ClaimName& name, ByteSpan bytes) {
  constexpr size_t kDigestBytes = sizeof(Digest::bytes);
  if (bytes.size() < kClaimHeaderBytes + kDigestBytes) {
    return Status::Corruption("claim is cut short");
  }
  const ByteSpan content = bytes.first(bytes.size() - kDigestBytes);
  const Digest digest = Sha256::Of(content);
  if (!std::equal(digest.bytes.begin(), digest.bytes.end(), bytes.end() - kDigestBytes)) {
    return Status::Corruption("claim does not match its checksum");
  }
  ByteReader reader(content);
  if (AsText(reader.Raw(kClaimMagic.size())) != kClaimMagic) {
    return Status::Corruption("not a claim");
  }
  const uint16_t version = reader.U16();
  const uint16_t flags = reader.U16();
  const uint32_t length = reader.U32();
  if (version != kFormatVersion) {
    return Status::Unsupported(fmt::format("claim version {} is newer than this program", version));
  }
  SNAP_RETURN_IF_ERROR(sealer.CheckFlags(flags, "claim"));
  const ByteSpan stored = reader.Raw(length);
  if (!reader.ok() || !reader.empty()) return Status::Corruption("claim is inconsistent");
  const Result<Bytes> body =
      sealer.OpenBox(SealedKind::kClaim, content.first(kClaimHeaderBytes), stored);
  if (!body.ok()) return body.status().WithContext("claim");
  format::Claim claim;
  if (!claim.ParseFromArray(body->data(), static_cast<int>(body->size()))) {
    return Status::Corruption("claim is inconsistent");
  }
  if (claim.epoch() != name.epoch || claim.base() != name.base ||
      HexEncode(AsBytes(claim.id())) != name.id) {
    return Status::Corruption("claim is another one's");
  }
  for (const std::string& snapshot : claim.snapshots()) {
    if (snapshot.size() != kDigestBytes) return Status::Corruption("claim is inconsistent");
  }
  return claim;
}

Result<format::Claim> ReadClaim(ObjectStore& store, const Sealer& sealer, const ClaimName& name) {
  Result<Bytes> bytes = store.Get(name.key(), kClaimBytesMax);
  if (bytes.status().Is(StatusCode::kInvalidArgument)) {
    bytes = Status::Corruption(bytes.status().message());
  }
  if (!bytes.ok()) return bytes.status().WithContext(name.key().text());
  Result<format::Claim> claim = DecodeClaim(sealer, name, *bytes);
  if (!claim.ok()) return claim.status().WithContext(name.key().text());
  return claim;
}

Result<std::vector<ObjectKey>> SupersededClaims(ObjectStore& store, int64_t before_ns) {
  std::map<std::string, std::vector<ClaimName>> folders;
  SNAP_RETURN_IF_ERROR(
      ListClaims(store, "", [&](const ClaimName& name) { folders[name.folder].push_back(name); }));
  std::vector<ObjectKey> superseded;
  for (const auto& [folder, names] : folders) {
    uint64_t newest = 0;
    for (const ClaimName& name : names) {
      if (name.base && name.modified_ns < before_ns) newest = std::max(newest, name.epoch);
    }
    for (const ClaimName& name : names) {
      if (name.epoch < newest) superseded.push_back(name.key());
    }
  }
  return superseded;
}

Result<Claim> TakeClaim(Repository& repository, const ClaimRequest& request) {
  RepositoryImpl* const impl = &RepositoryImpl::Of(repository);
  const std::string folder = ClaimFolder(impl->config().hash_secret, request.name);
  Claim claim{.name = request.name,
              .time_ns = WallNanos(),
              .host = HostName(),
              .instance = request.instance,
              .process = static_cast<uint64_t>(::getpid())};
  uint64_t highest = request.above;
  for (int attempt = 0; attempt < kClaimAttempts; ++attempt) {
    // The bases, too: their claims may have been taken away.
    SNAP_RETURN_IF_ERROR(ListClaims(impl->store(), folder, [&](const ClaimName& name) {
                           highest = std::max(highest, name.epoch);
                         }).WithContext("list claims"));
    std::array<uint8_t, kIdBytes> id{};
    SecureRandom(id);
    const uint64_t step = attempt == 0 ? 1 : 1 + id[0] % kStepMax;
    if (highest > UINT64_MAX - step) break;
    claim.epoch = highest + step;
    claim.id = HexEncode(id);
    SNAP_RETURN_IF_ERROR(StoreClaim(impl, NameOf(*impl, claim), MessageOf(claim)));
    // Of two with one epoch the later to be put sees the other, and takes a higher one.
    bool own = false;
    bool others = false;
    SNAP_RETURN_IF_ERROR(ListClaims(impl->store(), folder, [&](const ClaimName& name) {
                           if (name.id == claim.id) {
                             own = true;
                           } else {
                             others = others || name.epoch >= claim.epoch;
                           }
                         }).WithContext("list claims"));
    if (!own) {
      return Status::Io("the store does not list what was just put into it (" +
                        NameOf(*impl, claim).key().text() + "): no claim can be relied on there");
    }
    if (!others) return claim;
  }
  return Status::Conflict(
      fmt::format("'{}' is claimed by others again and again: is it started in several places at "
                  "once, or is there a claim with the highest of all numbers?",
                  request.name));
}

Result<std::optional<Claim>> FindHigherClaim(Repository& repository, const std::string& name,
                                             uint64_t epoch) {
  RepositoryImpl* const impl = &RepositoryImpl::Of(repository);
  const std::string folder = ClaimFolder(impl->config().hash_secret, name);
  ClaimName highest;
  const Status listed = ListClaims(impl->store(), folder, [&](ClaimName found) {
    if (found.epoch > std::max(epoch, highest.epoch)) highest = std::move(found);
  });
  if (!listed.ok()) return listed.WithContext("list claims");
  if (highest.epoch == 0) return std::optional<Claim>();
  Claim claim{.name = name, .epoch = highest.epoch, .id = highest.id};
  // That it is there decides; what it says is for people.
  if (const auto read = ReadClaim(impl->store(), impl->sealer(), highest); read.ok()) {
    claim.time_ns = read->time_ns();
    claim.host = read->host();
    claim.instance = read->instance();
    claim.process = read->process();
  }
  return std::optional<Claim>(std::move(claim));
}

Status RecordClaimBase(Repository& repository, const Claim& claim,
                       const std::vector<std::string>& snapshots) {
  RepositoryImpl* const impl = &RepositoryImpl::Of(repository);
  ClaimName name = NameOf(*impl, claim);
  name.base = true;
  format::Claim message = MessageOf(claim);
  message.set_base(true);
  for (const std::string& snapshot : snapshots) {
    SNAP_ASSIGN_OR_RETURN(const Digest id, Digest::FromHex(snapshot));
    message.add_snapshots(id.bytes.data(), id.bytes.size());
  }
  return StoreClaim(impl, name, message);
}

Result<ClaimBase> NewestClaimBase(Repository& repository, const std::string& name,
                                  Observer* observer) {
  RepositoryImpl* const impl = &RepositoryImpl::Of(repository);
  const std::string folder = ClaimFolder(impl->config().hash_secret, name);
  SNAP_ASSIGN_OR_RETURN(const std::vector<ClaimName> bases, ClaimsIn(impl, folder, true));
  for (const ClaimName& one : bases) {
    const Result<format::Claim> read = ReadClaim(impl->store(), impl->sealer(), one);
    if (!read.ok()) {
      // A prune takes away only what a higher one makes needless, and that was listed before it.
      if (!IsDamage(read.status())) return read.status();
      if (observer != nullptr) observer->OnWarning({one.key().text(), read.status()});
      continue;
    }
    ClaimBase base{.epoch = one.epoch};
    for (const std::string& snapshot : read->snapshots()) {
      base.snapshots.insert(HexEncode(AsBytes(snapshot)));
    }
    return base;
  }
  return ClaimBase();
}

}  // namespace snapstore
