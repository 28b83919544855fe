#include "engine/segment.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/check.h"
#include "base/status_macros.h"
#include "engine/pack.h"

namespace snapstore {
namespace {

constexpr std::string_view kSegmentMagic = "SNAPSIDX";
constexpr size_t kSegmentFlagsOffset = 10;
constexpr size_t kPackCountOffset = 12;
constexpr size_t kSegmentHeaderBytes = 16;

}  // namespace

SegmentBuilder::SegmentBuilder() {
  ByteWriter writer(&bytes_);
  writer.Raw(AsBytes(kSegmentMagic));
  writer.U16(kFormatVersion);
  writer.U16(0);
  writer.U32(0);  // number of packs, set by Finish
}

void SegmentBuilder::Add(PackKind kind, const PackId& id, std::span<const PackChunk> chunks) {
  ByteWriter writer(&bytes_);
  writer.Raw(id.bytes);
  writer.U8(static_cast<uint8_t>(kind));
  AppendFooterBody(chunks, &bytes_);
  ++pack_count_;
}

Bytes SegmentBuilder::Finish(const Sealer& sealer) && {
  StoreLe<uint32_t>(bytes_.data() + kPackCountOffset, pack_count_);
  if (!sealer.encrypted()) return std::move(bytes_);
  StoreLe<uint16_t>(bytes_.data() + kSegmentFlagsOffset, static_cast<uint16_t>(sealer.flags()));
  const ByteSpan header = ByteSpan(bytes_).first(kSegmentHeaderBytes);
  const Bytes body =
      sealer.SealBox(SealedKind::kSegment, header, ByteSpan(bytes_).subspan(kSegmentHeaderBytes));
  bytes_.resize(kSegmentHeaderBytes);
  bytes_.insert(bytes_.end(), body.begin(), body.end());
  return std::move(bytes_);
}

Status ParseSegment(const Sealer& sealer, const Digest& id, ByteSpan bytes,
                    const std::function<Status(const SegmentPack&)>& visit) {
  if (Sha256::Of(bytes) != id) {
    return Status::Corruption("index segment does not match its name");
  }
  ByteReader reader(bytes);
  if (AsText(reader.Raw(kSegmentMagic.size())) != kSegmentMagic) {
    return Status::Corruption("not an index segment");
  }
  const uint16_t version = reader.U16();
  const uint16_t flags = reader.U16();
  const uint32_t pack_count = reader.U32();
  if (!reader.ok()) return Status::Corruption("index segment is cut short");
  if (version != kFormatVersion) {
    return Status::Unsupported(
        fmt::format("index segment version {} is newer than this program", version));
  }
  SNAP_RETURN_IF_ERROR(sealer.CheckFlags(flags, "index segment"));
  Bytes opened;
  if (sealer.encrypted()) {
    Result<Bytes> body = sealer.OpenBox(SealedKind::kSegment, bytes.first(kSegmentHeaderBytes),
                                        bytes.subspan(kSegmentHeaderBytes));
    if (!body.ok()) return body.status().WithContext("index segment");
    opened = std::move(*body);
    reader = ByteReader(opened);
  }
  for (uint32_t i = 0; i < pack_count; ++i) {
    SegmentPack pack;
    const ByteSpan name = reader.Raw(pack.id.bytes.size());
    const uint8_t kind = reader.U8();
    if (!reader.ok() || (kind != static_cast<uint8_t>(PackKind::kData) &&
                         kind != static_cast<uint8_t>(PackKind::kMeta))) {
      return Status::Corruption("index segment is inconsistent");
    }
    std::copy(name.begin(), name.end(), pack.id.bytes.begin());
    pack.kind = static_cast<PackKind>(kind);
    SNAP_ASSIGN_OR_RETURN(pack.chunks, ParseFooterBody(&reader));
    SNAP_RETURN_IF_ERROR(visit(pack));
  }
  if (!reader.empty()) return Status::Corruption("index segment has bytes left over");
  return {};
}

}  // namespace snapstore
