#include "engine/manifest.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/status_macros.h"

namespace snapstore {
namespace {

constexpr std::string_view kManifestMagic = "SNAPMANI";
constexpr size_t kManifestHeaderBytes = 16;

Status AppendPackIds(ByteSpan bytes, std::vector<PackId>* out) {
  if (bytes.size() % sizeof(PackId::bytes) != 0) {
    return Status::Corruption("pack table is inconsistent");
  }
  ByteReader reader(bytes);
  while (!reader.empty()) {
    PackId id;
    const ByteSpan name = reader.Raw(id.bytes.size());
    std::copy(name.begin(), name.end(), id.bytes.begin());
    out->push_back(id);
  }
  return {};
}

}  // namespace

Bytes EncodeManifest(const Sealer& sealer, const format::Manifest& manifest) {
  Bytes out;
  ByteWriter writer(&out);
  writer.Raw(AsBytes(kManifestMagic));
  writer.U16(kFormatVersion);
  writer.U16(static_cast<uint16_t>(sealer.flags()));
  const std::string body = manifest.SerializeAsString();
  const size_t overhead = sealer.encrypted() ? Sealer::kBoxOverhead : 0;
  writer.U32(static_cast<uint32_t>(body.size() + overhead));
  const Bytes sealed = sealer.SealBox(SealedKind::kManifest, out, AsBytes(body));
  writer.Raw(sealed);
  return out;
}

Result<format::Manifest> DecodeManifest(const Sealer& sealer, const Digest& id, ByteSpan bytes) {
  if (Sha256::Of(bytes) != id) return Status::Corruption("manifest does not match its name");
  ByteReader reader(bytes);
  if (AsText(reader.Raw(kManifestMagic.size())) != kManifestMagic) {
    return Status::Corruption("not a manifest");
  }
  const uint16_t version = reader.U16();
  const uint16_t flags = reader.U16();
  const uint32_t length = reader.U32();
  if (!reader.ok()) return Status::Corruption("manifest is cut short");
  if (version != kFormatVersion) {
    return Status::Unsupported(
        fmt::format("manifest version {} is newer than this program", version));
  }
  SNAP_RETURN_IF_ERROR(sealer.CheckFlags(flags, "manifest"));
  const ByteSpan stored = reader.Raw(length);
  if (!reader.ok() || !reader.empty()) return Status::Corruption("manifest is inconsistent");
  const Result<Bytes> body =
      sealer.OpenBox(SealedKind::kManifest, bytes.first(kManifestHeaderBytes), stored);
  if (!body.ok()) return body.status().WithContext("manifest");
  format::Manifest manifest;
  if (!manifest.ParseFromArray(body->data(), static_cast<int>(body->size()))) {
    return Status::Corruption("manifest is inconsistent");
  }
  return manifest;
}

SnapshotInfo InfoFromManifest(const Digest& id, const format::Manifest& manifest) {
  SnapshotInfo info;
  info.id = id.ToHex();
  info.parent_id = HexEncode(AsBytes(manifest.parent()));
  info.time_ns = manifest.time_ns();
  info.host = manifest.host();
  info.user = manifest.user();
  info.paths.assign(manifest.paths().begin(), manifest.paths().end());
  for (const format::Tag& tag : manifest.tags()) info.tags[tag.key()] = tag.value();
  const format::Statistics& statistics = manifest.statistics();
  info.entries = statistics.entries();
  info.unreadable = statistics.unreadable();
  info.bytes_total = statistics.bytes_total();
  info.bytes_read = statistics.bytes_read();
  info.bytes_new = statistics.bytes_new();
  info.bytes_stored = statistics.bytes_stored();
  info.chunks_total = statistics.chunks_total();
  info.chunks_new = statistics.chunks_new();
  info.seconds = static_cast<double>(statistics.duration_ms()) / 1000;
  info.original_repository = HexEncode(AsBytes(manifest.original_repository()));
  info.original_id = HexEncode(AsBytes(manifest.original()));
  info.repaired_from = HexEncode(AsBytes(manifest.repaired_from()));
  return info;
}

Result<StoredChunk> PackTableChunk(const format::PackTableLeaf& leaf) {
  StoredChunk chunk;
  if (leaf.hash().size() != chunk.id.hash.size() || leaf.pack().size() != chunk.pack.bytes.size() ||
      leaf.chunk_in_frame() > UINT16_MAX || leaf.length() > kChunkBytesMax) {
    return Status::Corruption("pack table is inconsistent");
  }
  std::copy(leaf.hash().begin(), leaf.hash().end(), chunk.id.hash.begin());
  chunk.id.length = leaf.length();
  std::copy(leaf.pack().begin(), leaf.pack().end(), chunk.pack.bytes.begin());
  chunk.frame_offset = leaf.frame_offset();
  chunk.frame_length = leaf.frame_length();
  chunk.chunk_in_frame = static_cast<uint16_t>(leaf.chunk_in_frame());
  return chunk;
}

Result<std::vector<PackId>> ReadPackTable(const format::Manifest& manifest, ChunkFetcher* fetcher) {
  std::vector<StoredChunk> leaves;
  for (const format::PackTableLeaf& leaf : manifest.pack_table()) {
    SNAP_ASSIGN_OR_RETURN(const StoredChunk chunk, PackTableChunk(leaf));
    leaves.push_back(chunk);
  }
  if (fetcher->frames_ahead() > 0) fetcher->ReadAhead(PackKind::kMeta, leaves);
  std::vector<PackId> packs;
  for (const StoredChunk& chunk : leaves) {
    Bytes bytes;
    SNAP_RETURN_IF_ERROR(fetcher->Read(PackKind::kMeta, chunk, &bytes));
    SNAP_RETURN_IF_ERROR(AppendPackIds(bytes, &packs));
  }
  SNAP_RETURN_IF_ERROR(AppendPackIds(AsBytes(manifest.pack_table_tail()), &packs));
  return packs;
}

}  // namespace snapstore
