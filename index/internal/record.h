// Keys and values of the index's column families. Private to index/.
//
//   chunks    hash (16) length (4, big-endian)   -> varints: pack number, frame offset,
//                                                   frame length, chunk in frame
//   packs     'n' pack number (8, big-endian)    -> pack id (32); empty: dropped
//             'p' pack id (32)                   -> pack number (8), published (1)
//   segments  segment name (32)                  -> empty
//   meta      "schema"                           -> version (4)
//             "base"                             -> generation (8) of the base table; none: no
//             table
//
// The family "chunks" holds what was added since the base table was written, and wins over it.
//
// Chunks name their pack by a small number: a pack id in each record would double its size. Numbers
// are given once, in the order packs come in, and mean nothing outside this index.
//
// Change the version when any of this changes: an index of another version is thrown away and
// filled again, never converted.
#ifndef SNAPSTORE_INDEX_INTERNAL_RECORD_H_
#define SNAPSTORE_INDEX_INTERNAL_RECORD_H_

#include <array>
#include <cstdint>
#include <string>
#include <string_view>

#include "index/chunk_index.h"
#include "index/internal/base_table.h"

namespace snapstore::internal {

inline constexpr uint32_t kSchemaVersion = 3;
inline constexpr std::string_view kSchemaKey = "schema";
inline constexpr std::string_view kBaseKey = "base";
inline constexpr char kPackByNumber = 'n';
inline constexpr char kPackById = 'p';

using ChunkKey = std::array<char, 20>;
ChunkKey EncodeChunkKey(const ChunkId& id);
Result<ChunkId> DecodeChunkKey(std::string_view key);

// A ChunkLocation with the number in place of the id.
struct ChunkRecord {
  uint64_t pack_number = 0;
  uint32_t frame_offset = 0;
  uint32_t frame_length = 0;
  uint16_t chunk_in_frame = 0;
};
// Appends to `out`.
void EncodeChunkRecord(const ChunkRecord& record, Bytes* out);
Result<ChunkRecord> DecodeChunkRecord(std::string_view value);

// What the family holds, as the base table does. Unsupported: a pack number above 32 bits.
Result<BaseRecord> DecodeChunk(std::string_view key, std::string_view value);
Result<BaseRecord> MakeBaseRecord(const ChunkId& id, const ChunkRecord& record);

std::string EncodePackNumberKey(uint64_t number);
Result<uint64_t> DecodePackNumberKey(std::string_view key);
std::string EncodePackIdKey(const PackId& pack);

struct PackRecord {
  uint64_t number = 0;
  bool published = false;
};
std::string EncodePackRecord(const PackRecord& record);
Result<PackRecord> DecodePackRecord(std::string_view value);

std::string_view DigestText(const Digest& digest);
Result<Digest> DecodeDigest(std::string_view text);

}  // namespace snapstore::internal

#endif  // SNAPSTORE_INDEX_INTERNAL_RECORD_H_
