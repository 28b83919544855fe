// Constants of the stored format and the references that tie chunks together.
// The format itself is docs/format.md; numbers here are stored and must not change.
#ifndef SNAPSTORE_ENGINE_FORMAT_H_
#define SNAPSTORE_ENGINE_FORMAT_H_

#include <cstddef>
#include <cstdint>
#include <string_view>

#include "chunker/chunk_id.h"
#include "index/chunk_index.h"
#include "uploader/object_store.h"

namespace snapstore {

inline constexpr uint16_t kFormatVersion = 1;

// Granularity of holes, and of the aligned profile.
inline constexpr size_t kBlockBytes = 4096;

// What a pack holds. Metadata lies apart so that a cold restore touches few objects for it.
enum class PackKind : uint8_t {
  kData = 1,
  kMeta = 2,
};

// Object keys. Packs are spread over 256 folders by the first two hex digits of their name.
ObjectKey ConfigKey();
ObjectKey PackKey(PackKind kind, const PackId& id);
std::string_view PackPrefix(PackKind kind);
ObjectKey SegmentKey(const Digest& id);
ObjectKey ManifestKey(const Digest& id);
ObjectKey KeySlotKey(const Digest& id);
inline constexpr std::string_view kConfigName = "config";
inline constexpr std::string_view kDataPrefix = "data/";
inline constexpr std::string_view kMetaPrefix = "meta/";
inline constexpr std::string_view kSegmentPrefix = "index/";
inline constexpr std::string_view kManifestPrefix = "snapshots/";
inline constexpr std::string_view kKeyPrefix = "keys/";

// The digest at the end of an object key; InvalidArgument for any other key.
Result<Digest> DigestOfKey(std::string_view key);

// A chunk and a hint where it lies. The pack is an ordinal in the manifest's pack table.
struct ChunkRef {
  ChunkId id;
  uint32_t pack = 0;
  uint32_t frame_offset = 0;
  uint32_t frame_length = 0;
  uint16_t chunk_in_frame = 0;

  bool SameFrame(const ChunkRef& other) const {
    return pack == other.pack && frame_offset == other.frame_offset;
  }
  bool operator==(const ChunkRef&) const = default;
};

// Limits that a reader enforces before it allocates anything.
inline constexpr uint32_t kChunkBytesMax = 1u << 20;  // plain bytes of one chunk
inline constexpr uint32_t kFramePlainMax = 4u << 20;  // plain bytes of one frame
inline constexpr uint32_t kFrameStoredMax = kFramePlainMax + (64u << 10);
inline constexpr uint64_t kPackBytesMax = 256ull << 20;
inline constexpr uint64_t kSegmentBytesMax = 256ull << 20;
inline constexpr uint64_t kManifestBytesMax = 64ull << 20;

}  // namespace snapstore

#endif  // SNAPSTORE_ENGINE_FORMAT_H_
