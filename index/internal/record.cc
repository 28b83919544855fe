#include "index/internal/record.h"

#include <algorithm>
#include <cstring>
#include <limits>

#include "base/status_macros.h"

namespace snapstore::internal {
namespace {

constexpr size_t kPackNumberKeyBytes = 1 + sizeof(uint64_t);

template <typename T>
void StoreBigEndian(char* p, T value) {
  for (size_t n = sizeof(T); n-- > 0; value >>= 8) p[n] = static_cast<char>(value & 0xff);
}

}  // namespace

ChunkKey EncodeChunkKey(const ChunkId& id) {
  ChunkKey key;
  std::memcpy(key.data(), id.hash.data(), id.hash.size());
  StoreBigEndian(key.data() + id.hash.size(), id.length);
  return key;
}

Result<ChunkId> DecodeChunkKey(std::string_view key) {
  if (key.size() != std::tuple_size_v<ChunkKey>) return Status::Corruption("malformed chunk key");
  ChunkId id;
  std::memcpy(id.hash.data(), key.data(), id.hash.size());
  for (const char c : key.substr(id.hash.size())) {
    id.length = id.length << 8 | static_cast<uint8_t>(c);
  }
  return id;
}

void EncodeChunkRecord(const ChunkRecord& record, Bytes* out) {
  ByteWriter writer(out);
  writer.Varint(record.pack_number);
  writer.Varint(record.frame_offset);
  writer.Varint(record.frame_length);
  writer.Varint(record.chunk_in_frame);
}

Result<ChunkRecord> DecodeChunkRecord(std::string_view value) {
  ByteReader reader(AsBytes(value));
  const uint64_t pack_number = reader.Varint();
  const uint64_t frame_offset = reader.Varint();
  const uint64_t frame_length = reader.Varint();
  const uint64_t chunk_in_frame = reader.Varint();
  if (!reader.ok() || !reader.empty() || frame_offset > std::numeric_limits<uint32_t>::max() ||
      frame_length > std::numeric_limits<uint32_t>::max() ||
      chunk_in_frame > std::numeric_limits<uint16_t>::max()) {
    return Status::Corruption("malformed chunk record");
  }
  return ChunkRecord{pack_number, static_cast<uint32_t>(frame_offset),
                     static_cast<uint32_t>(frame_length), static_cast<uint16_t>(chunk_in_frame)};
}

Result<BaseRecord> MakeBaseRecord(const ChunkId& id, const ChunkRecord& record) {
  if (record.pack_number > std::numeric_limits<uint32_t>::max()) {
    return Status::Unsupported("index: too many packs for a base table");
  }
  return BaseRecord{.hash = id.hash,
                    .length = id.length,
                    .pack_number = static_cast<uint32_t>(record.pack_number),
                    .frame_offset = record.frame_offset,
                    .frame_length = record.frame_length,
                    .chunk_in_frame = record.chunk_in_frame,
                    .check = 0};
}

Result<BaseRecord> DecodeChunk(std::string_view key, std::string_view value) {
  SNAP_ASSIGN_OR_RETURN(const ChunkId id, DecodeChunkKey(key));
  SNAP_ASSIGN_OR_RETURN(const ChunkRecord record, DecodeChunkRecord(value));
  return MakeBaseRecord(id, record);
}

std::string EncodePackNumberKey(uint64_t number) {
  std::string key(kPackNumberKeyBytes, kPackByNumber);
  StoreBigEndian(key.data() + 1, number);
  return key;
}

Result<uint64_t> DecodePackNumberKey(std::string_view key) {
  if (key.size() != kPackNumberKeyBytes || key[0] != kPackByNumber) {
    return Status::Corruption("malformed pack number");
  }
  uint64_t number = 0;
  for (const char c : key.substr(1)) number = number << 8 | static_cast<uint8_t>(c);
  return number;
}

std::string EncodePackIdKey(const PackId& pack) {
  return kPackById + std::string(DigestText(pack));
}

std::string EncodePackRecord(const PackRecord& record) {
  Bytes bytes;
  ByteWriter writer(&bytes);
  writer.U64(record.number);
  writer.U8(record.published ? 1 : 0);
  return std::string(AsText(bytes));
}

Result<PackRecord> DecodePackRecord(std::string_view value) {
  ByteReader reader(AsBytes(value));
  const uint64_t number = reader.U64();
  const uint8_t published = reader.U8();
  if (!reader.ok() || !reader.empty() || published > 1) {
    return Status::Corruption("malformed pack record");
  }
  return PackRecord{number, published == 1};
}

std::string_view DigestText(const Digest& digest) { return AsText(digest.bytes); }

Result<Digest> DecodeDigest(std::string_view text) {
  Digest digest;
  if (text.size() != digest.bytes.size()) return Status::Corruption("malformed SHA-256 name");
  std::copy(text.begin(), text.end(), digest.bytes.begin());
  return digest;
}

}  // namespace snapstore::internal
