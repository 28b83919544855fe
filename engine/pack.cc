#include "engine/pack.h"

#include <fmt/format.h>
#include <xxhash.h>

#include <algorithm>
#include <array>

#include "base/check.h"
#include "base/random.h"
#include "base/status_macros.h"
#include "engine/frame.h"
#include "engine/reread.h"

namespace snapstore {
namespace {

constexpr std::string_view kPackMagic = "SNAPPACK";
constexpr std::string_view kTrailerMagic = "PACKTAIL";

struct Trailer {
  uint64_t footer_checksum = 0;
  uint32_t footer_offset = 0;
  uint32_t footer_length = 0;
  PackKind kind = PackKind::kData;
};
constexpr size_t kChecksumBytes = sizeof(Trailer::footer_checksum);

SealedKind KindOfFooter(PackKind kind) {
  return kind == PackKind::kData ? SealedKind::kDataFooter : SealedKind::kMetaFooter;
}

// Layout: footer checksum u64, footer offset u32, footer length u32, version u16, kind u8,
// flags u8, zero u32, magic. All but the checksum is what a sealed footer is bound to.
void AppendTrailer(const Trailer& trailer, uint32_t flags, Bytes* out) {
  ByteWriter writer(out);
  writer.U64(trailer.footer_checksum);
  writer.U32(trailer.footer_offset);
  writer.U32(trailer.footer_length);
  writer.U16(kFormatVersion);
  writer.U8(static_cast<uint8_t>(trailer.kind));
  writer.U8(static_cast<uint8_t>(flags));
  writer.U32(0);
  writer.Raw(AsBytes(kTrailerMagic));
}

Result<PackKind> ParseKind(uint8_t kind) {
  if (kind != static_cast<uint8_t>(PackKind::kData) &&
      kind != static_cast<uint8_t>(PackKind::kMeta)) {
    return Status::Corruption(fmt::format("pack of unknown kind {}", kind));
  }
  return static_cast<PackKind>(kind);
}

Result<Trailer> ParseTrailer(const Sealer& sealer, ByteSpan bytes, uint64_t pack_size) {
  SNAP_CHECK(bytes.size() == kPackTrailerBytes);
  ByteReader reader(bytes);
  Trailer trailer;
  trailer.footer_checksum = reader.U64();
  trailer.footer_offset = reader.U32();
  trailer.footer_length = reader.U32();
  const uint16_t version = reader.U16();
  const uint8_t kind = reader.U8();
  const uint8_t flags = reader.U8();
  const uint32_t zero = reader.U32();
  if (AsText(reader.Raw(kTrailerMagic.size())) != kTrailerMagic) {
    return Status::Corruption("pack trailer is missing");
  }
  if (version != kFormatVersion) {
    return Status::Unsupported(fmt::format("pack version {} is newer than this program", version));
  }
  SNAP_ASSIGN_OR_RETURN(trailer.kind, ParseKind(kind));
  SNAP_RETURN_IF_ERROR(sealer.CheckFlags(flags, "pack"));
  if (zero != 0 || trailer.footer_offset < PackHeaderBytes(sealer) ||
      trailer.footer_length < sealer.part_overhead() ||
      uint64_t{trailer.footer_offset} + trailer.footer_length + kPackTrailerBytes != pack_size) {
    return Status::Corruption("pack trailer does not fit the pack");
  }
  return trailer;
}

// `stored` and `end`: the footer and the trailer as they stand in the pack.
Result<PackFooter> ParseFooter(const Sealer& sealer, const Trailer& trailer, ByteSpan stored,
                               ByteSpan end) {
  if (XXH3_64bits(stored.data(), stored.size()) != trailer.footer_checksum) {
    return Status::Corruption("pack footer checksum does not match");
  }
  ByteSpan footer = stored;
  Bytes opened;
  if (sealer.encrypted()) {
    opened.resize(stored.size() - Sealer::kPartOverhead);
    SNAP_RETURN_IF_ERROR(sealer
                             .OpenPart(KindOfFooter(trailer.kind), trailer.footer_offset,
                                       end.subspan(kChecksumBytes), stored, opened)
                             .WithContext("pack footer"));
    footer = opened;
  }
  ByteReader reader(footer);
  PackFooter out;
  out.kind = trailer.kind;
  SNAP_ASSIGN_OR_RETURN(out.chunks, ParseFooterBody(&reader));
  if (!reader.empty()) return Status::Corruption("pack footer has bytes left over");
  for (const PackChunk& chunk : out.chunks) {
    if (chunk.frame_offset < PackHeaderBytes(sealer) ||
        uint64_t{chunk.frame_offset} + chunk.frame_length > trailer.footer_offset) {
      return Status::Corruption("pack footer names a frame outside the pack");
    }
  }
  return out;
}

Result<PackFooter> ReadFooterOnce(ObjectStore& store, const Sealer& sealer, PackKind kind,
                                  const PackId& id, uint64_t size, uint64_t* bytes_read) {
  constexpr uint64_t kFirstRead = 64 << 10;
  if (size < PackHeaderBytes(sealer) + kPackTrailerBytes || size > kPackBytesMax) {
    return Status::Corruption(fmt::format("pack of {} bytes", size));
  }
  const ObjectKey key = PackKey(kind, id);
  Bytes tail(std::min(size, kFirstRead));
  SNAP_RETURN_IF_ERROR(store.GetRange(key, size - tail.size(), tail));
  if (bytes_read != nullptr) *bytes_read += tail.size();
  SNAP_ASSIGN_OR_RETURN(const Trailer trailer,
                        ParseTrailer(sealer, ByteSpan(tail).last(kPackTrailerBytes), size));
  if (trailer.kind != kind) return Status::Corruption("pack is of another kind than its key says");
  const uint64_t needed = uint64_t{trailer.footer_length} + kPackTrailerBytes;
  if (needed > tail.size()) {
    tail.resize(needed);
    SNAP_RETURN_IF_ERROR(store.GetRange(key, size - needed, tail));
    if (bytes_read != nullptr) *bytes_read += needed;
  }
  const ByteSpan end = ByteSpan(tail).last(needed);
  return ParseFooter(sealer, trailer, end.first(trailer.footer_length),
                     end.last(kPackTrailerBytes));
}

}  // namespace

PackBuilder::PackBuilder(const Sealer* sealer, PackKind kind, Bytes storage) : sealer_(sealer) {
  pack_.kind = kind;
  pack_.bytes = std::move(storage);
  Bytes header;
  ByteWriter writer(&header);
  writer.Raw(AsBytes(kPackMagic));
  writer.U16(kFormatVersion);
  writer.U8(static_cast<uint8_t>(kind));
  writer.U8(static_cast<uint8_t>(sealer->flags()));
  // Else equal content would be a pack of the same name, which a prune may be about to delete.
  std::array<uint8_t, 4> unique{};
  SecureRandom(unique);
  writer.Raw(unique);
  if (sealer->encrypted()) {
    SecureRandom(salt_);
    writer.Raw(salt_);
  }
  Write(header);
}

PackBuilder::Placed PackBuilder::Append(ByteSpan frame, std::span<const ChunkId> chunks) {
  SNAP_CHECK(size_ + frame.size() + Sealer::kPartOverhead < kPackBytesMax);
  const Placed placed{static_cast<uint32_t>(size_),
                      static_cast<uint32_t>(frame.size() + sealer_->part_overhead())};
  if (sealer_->encrypted()) {
    SealFrame(*sealer_, salt_, {pack_.kind, placed.offset}, frame, Extend(placed.length));
  } else {
    Write(frame);
  }
  uint16_t ordinal = 0;
  for (const ChunkId& id : chunks) {
    pack_.chunks.push_back({id, placed.offset, placed.length, ordinal});
    ++ordinal;
  }
  HashNew();
  return placed;
}

MutableByteSpan PackBuilder::Extend(size_t bytes) {
  const size_t begin = size_;
  size_ += bytes;
  if (pack_.bytes.size() < size_) pack_.bytes.resize(size_);
  return MutableByteSpan(pack_.bytes).subspan(begin, bytes);
}

void PackBuilder::Write(ByteSpan bytes) {
  std::memcpy(Extend(bytes.size()).data(), bytes.data(), bytes.size());
}

void PackBuilder::HashNew() {
  hash_.Update(ByteSpan(pack_.bytes).subspan(hashed_, size_ - hashed_));
  hashed_ = size_;
}

SealedPack PackBuilder::Seal() && {
  SNAP_CHECK(!pack_.chunks.empty());
  Bytes footer;
  AppendFooterBody(pack_.chunks, &footer);
  Trailer trailer;
  trailer.kind = pack_.kind;
  trailer.footer_offset = static_cast<uint32_t>(size_);
  trailer.footer_length = static_cast<uint32_t>(footer.size() + sealer_->part_overhead());
  if (sealer_->encrypted()) {
    Bytes end;
    AppendTrailer(trailer, sealer_->flags(), &end);
    Bytes sealed(trailer.footer_length);
    sealer_->SealPart(KindOfFooter(pack_.kind), salt_, trailer.footer_offset,
                      ByteSpan(end).subspan(kChecksumBytes), footer, sealed);
    footer = std::move(sealed);
  }
  trailer.footer_checksum = XXH3_64bits(footer.data(), footer.size());
  AppendTrailer(trailer, sealer_->flags(), &footer);
  Write(footer);
  HashNew();
  pack_.bytes.resize(size_);
  pack_.id = hash_.Finish();
  return std::move(pack_);
}

void AppendFooterBody(std::span<const PackChunk> chunks, Bytes* out) {
  ByteWriter writer(out);
  uint32_t frame_count = 0;
  for (const PackChunk& chunk : chunks) frame_count += chunk.chunk_in_frame == 0 ? 1 : 0;
  writer.U32(frame_count);
  writer.U32(static_cast<uint32_t>(chunks.size()));
  for (size_t i = 0; i < chunks.size();) {
    size_t end = i + 1;
    while (end < chunks.size() && chunks[end].chunk_in_frame != 0) ++end;
    writer.U32(chunks[i].frame_offset);
    writer.U32(chunks[i].frame_length);
    writer.U16(static_cast<uint16_t>(end - i));
    i = end;
  }
  for (const PackChunk& chunk : chunks) {
    writer.Raw(chunk.id.hash);
    writer.U32(chunk.id.length);
  }
}

uint64_t ChunkTableHash(std::span<const PackChunk> chunks) {
  Bytes body;
  AppendFooterBody(chunks, &body);
  return XXH3_64bits(body.data(), body.size());
}

Result<std::vector<PackChunk>> ParseFooterBody(ByteReader* reader) {
  constexpr size_t kFrameRecordBytes = 10;
  constexpr size_t kChunkRecordBytes = 20;
  const uint32_t frame_count = reader->U32();
  const uint32_t chunk_count = reader->U32();
  if (!reader->ok() || reader->remaining() < uint64_t{frame_count} * kFrameRecordBytes +
                                                 uint64_t{chunk_count} * kChunkRecordBytes) {
    return Status::Corruption("chunk table is cut short");
  }
  std::vector<PackChunk> chunks;
  chunks.reserve(chunk_count);
  for (uint32_t i = 0; i < frame_count; ++i) {
    PackChunk chunk;
    chunk.frame_offset = reader->U32();
    chunk.frame_length = reader->U32();
    const uint16_t in_frame = reader->U16();
    if (in_frame == 0 || in_frame > chunk_count - chunks.size() ||
        chunk.frame_length <= kFrameHeaderBytes || chunk.frame_length > kFrameStoredMax) {
      return Status::Corruption("chunk table is inconsistent");
    }
    for (uint16_t j = 0; j < in_frame; ++j) {
      chunk.chunk_in_frame = j;
      chunks.push_back(chunk);
    }
  }
  if (chunks.size() != chunk_count) return Status::Corruption("chunk table is inconsistent");
  for (PackChunk& chunk : chunks) {
    const ByteSpan hash = reader->Raw(chunk.id.hash.size());
    std::copy(hash.begin(), hash.end(), chunk.id.hash.begin());
    chunk.id.length = reader->U32();
    if (chunk.id.length == 0 || chunk.id.length > kChunkBytesMax) {
      return Status::Corruption("chunk table names a chunk of impossible length");
    }
  }
  return chunks;
}

Result<PackFooter> ReadPackFooter(ObjectStore& store, const Sealer& sealer, PackKind kind,
                                  const PackId& id, uint64_t size, uint64_t* bytes_read) {
  return ReadAgainIfDamaged(
      [&] { return ReadFooterOnce(store, sealer, kind, id, size, bytes_read); });
}

Result<Sealer::Salt> ParsePackHeader(const Sealer& sealer, ByteSpan header, PackKind kind) {
  ByteReader reader(header);
  if (AsText(reader.Raw(kPackMagic.size())) != kPackMagic) {
    return Status::Corruption("pack header is missing");
  }
  const uint16_t version = reader.U16();
  const uint8_t stored_kind = reader.U8();
  const uint8_t flags = reader.U8();
  reader.U32();  // any
  if (version != kFormatVersion) {
    return Status::Unsupported(fmt::format("pack version {} is newer than this program", version));
  }
  SNAP_RETURN_IF_ERROR(sealer.CheckFlags(flags, "pack"));
  Sealer::Salt salt{};
  if (sealer.encrypted()) {
    const ByteSpan bytes = reader.Raw(salt.size());
    std::copy(bytes.begin(), bytes.end(), salt.begin());
  }
  if (!reader.ok() || stored_kind != static_cast<uint8_t>(kind)) {
    return Status::Corruption("pack header is inconsistent");
  }
  return salt;
}

Result<PackFooter> ParsePack(const Sealer& sealer, ByteSpan pack) {
  const uint32_t header_bytes = PackHeaderBytes(sealer);
  if (pack.size() < header_bytes + kPackTrailerBytes) {
    return Status::Corruption("pack is cut short");
  }
  const ByteSpan end = pack.last(kPackTrailerBytes);
  SNAP_ASSIGN_OR_RETURN(const Trailer trailer, ParseTrailer(sealer, end, pack.size()));
  SNAP_ASSIGN_OR_RETURN(const Sealer::Salt salt,
                        ParsePackHeader(sealer, pack.first(header_bytes), trailer.kind));
  const ByteSpan footer = pack.subspan(trailer.footer_offset, trailer.footer_length);
  if (sealer.encrypted() && !std::equal(salt.begin(), salt.end(), footer.begin())) {
    return Status::Corruption("pack footer is another pack's");
  }
  return ParseFooter(sealer, trailer, footer, end);
}

}  // namespace snapstore
