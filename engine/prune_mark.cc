#include "engine/prune_mark.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/status_macros.h"

namespace snapstore {
namespace {

constexpr std::string_view kMarkMagic = "SNAPMARK";
constexpr size_t kMarkHeaderBytes = 12;

}  // namespace

Bytes EncodeMark(const Sealer& sealer, std::span<const CondemnedPack> packs) {
  Bytes out;
  ByteWriter header(&out);
  header.Raw(AsBytes(kMarkMagic));
  header.U16(kFormatVersion);
  header.U16(static_cast<uint16_t>(sealer.flags()));
  Bytes body;
  ByteWriter writer(&body);
  writer.U32(static_cast<uint32_t>(packs.size()));
  for (const CondemnedPack& pack : packs) {
    writer.U8(static_cast<uint8_t>(pack.kind));
    writer.Raw(pack.id.bytes);
  }
  const Bytes box = sealer.SealBox(SealedKind::kSweepMark, out, body);
  out.insert(out.end(), box.begin(), box.end());
  return out;
}

Result<std::vector<CondemnedPack>> DecodeMark(const Sealer& sealer, const Digest& id,
                                              ByteSpan bytes) {
  constexpr size_t kPackRecordBytes = 33;
  if (Sha256::Of(bytes) != id) return Status::Corruption("prune mark does not match its name");
  ByteReader header(bytes);
  if (AsText(header.Raw(kMarkMagic.size())) != kMarkMagic) {
    return Status::Corruption("not a prune mark");
  }
  const uint16_t version = header.U16();
  const uint16_t flags = header.U16();
  if (!header.ok()) return Status::Corruption("prune mark is cut short");
  if (version != kFormatVersion) {
    return Status::Unsupported(
        fmt::format("prune mark version {} is newer than this program", version));
  }
  SNAP_RETURN_IF_ERROR(sealer.CheckFlags(flags, "prune mark"));
  SNAP_ASSIGN_OR_RETURN(const Bytes body,
                        sealer.OpenBox(SealedKind::kSweepMark, bytes.first(kMarkHeaderBytes),
                                       bytes.subspan(kMarkHeaderBytes)));
  ByteReader reader(body);
  const uint32_t count = reader.U32();
  if (!reader.ok() || reader.remaining() != uint64_t{count} * kPackRecordBytes) {
    return Status::Corruption("prune mark is inconsistent");
  }
  std::vector<CondemnedPack> packs(count);
  for (CondemnedPack& pack : packs) {
    const uint8_t kind = reader.U8();
    if (kind != static_cast<uint8_t>(PackKind::kData) &&
        kind != static_cast<uint8_t>(PackKind::kMeta)) {
      return Status::Corruption("prune mark names a pack of unknown kind");
    }
    pack.kind = static_cast<PackKind>(kind);
    const ByteSpan name = reader.Raw(pack.id.bytes.size());
    std::copy(name.begin(), name.end(), pack.id.bytes.begin());
  }
  return packs;
}

}  // namespace snapstore
