// Frame: the unit of compression, up to a MiB of consecutive new chunks.
//
// Small chunks deduplicate finely; compressing many of them together keeps the ratio of large ones.
// Whoever reads one chunk decodes all of its frame, so frames of memory, which is read page by page
// while its process waits, are short.
// A frame describes itself (docs/format.md, "Frame"): header, then the chunks' bytes and their
// lengths, compressed with zstd or raw where that does not pay, and sealed for its place in a pack
// if the repository is encrypted.
//
// Thread safety: FrameEncoder and FrameDecoder belong to one thread at a time (each owns a zstd
// context); the rest are values.
#ifndef SNAPSTORE_ENGINE_FRAME_H_
#define SNAPSTORE_ENGINE_FRAME_H_

#include <cstdint>
#include <memory>
#include <vector>

#include "base/bytes.h"
#include "chunker/chunk_id.h"
#include "engine/format.h"
#include "engine/sealer.h"
#include "snapstore/status.h"

namespace snapstore {

inline constexpr uint32_t kFrameHeaderBytes = 24;
// A frame is closed once it holds this many plain bytes.
inline constexpr uint32_t kFramePlainTarget = 1u << 20;
// If all it holds are single blocks: memory and volumes cut as finely.
inline constexpr uint32_t kBlockFramePlainTarget = 128u << 10;
inline constexpr uint16_t kFrameChunksMax = 4096;

// Chunks on their way into a frame.
struct PlainFrame {
  Bytes data;  // the chunks' content, one after the other
  std::vector<ChunkId> chunks;

  bool Full() const {
    // Other chunks are of this length on average only by chance.
    const bool of_blocks = data.size() == chunks.size() * kBlockBytes;
    return data.size() >= (of_blocks ? kBlockFramePlainTarget : kFramePlainTarget) ||
           chunks.size() >= kFrameChunksMax;
  }
};

class FrameEncoder {
 public:
  // With `to_be_sealed` the checksum is left to SealFrame, which makes it of what is stored.
  explicit FrameEncoder(bool to_be_sealed = false);
  ~FrameEncoder();
  FrameEncoder(const FrameEncoder&) = delete;
  FrameEncoder& operator=(const FrameEncoder&) = delete;

  // The stored form of `frame`, compressed at a zstd `level` and not sealed; valid until the next
  // call. `frame->data` is used as scratch. REQUIRES: at least one chunk.
  Result<ByteSpan> Encode(PlainFrame* frame, int level);

 private:
  struct Context;
  const bool to_be_sealed_;
  std::unique_ptr<Context> context_;
};

// What the header says of the length of the whole stored frame; not verified. REQUIRES:
// kFrameHeaderBytes.
uint64_t StoredFrameLength(ByteSpan header);

// Where a frame lies.
struct FramePlace {
  PackKind kind = PackKind::kData;
  uint64_t offset = 0;  // in its pack
};

// Seals a frame as an encoder gave it for a place in a pack with this salt: fills `out`, which is
// Sealer::kPartOverhead longer and apart from it. REQUIRES: sealer.encrypted().
void SealFrame(const Sealer& sealer, const Sealer::Salt& salt, const FramePlace& place,
               ByteSpan frame, MutableByteSpan out);

// The reverse, for a frame that is to be stored elsewhere: verified as Decode does, but not
// unpacked. Of a repository that is not encrypted, the bytes as they are.
Result<Bytes> OpenFrame(const Sealer& sealer, const FramePlace& place, ByteSpan stored);

// The salt of a sealed frame, which is its pack's. REQUIRES: the stored frame of an encrypted
// repository, verified.
Sealer::Salt FrameSalt(ByteSpan stored);

// A decoded frame.
struct DecodedFrame {
  Bytes data;                     // the chunks' content
  std::vector<uint32_t> offsets;  // of each chunk, and the end of the last

  size_t chunk_count() const { return offsets.empty() ? 0 : offsets.size() - 1; }
  // REQUIRES: ordinal < chunk_count().
  ByteSpan chunk(size_t ordinal) const {
    return ByteSpan(data).subspan(offsets[ordinal], offsets[ordinal + 1] - offsets[ordinal]);
  }
};

class FrameDecoder {
 public:
  // `sealer` must outlive the decoder.
  explicit FrameDecoder(const Sealer* sealer);
  ~FrameDecoder();
  FrameDecoder(const FrameDecoder&) = delete;
  FrameDecoder& operator=(const FrameDecoder&) = delete;

  // Verifies the checksum of `stored` (exactly one frame), opens and unpacks it. Corruption if it
  // is not what an encoder wrote and a sealer sealed for this place. Chunk ids are not verified
  // here.
  Status Decode(const FramePlace& place, ByteSpan stored, DecodedFrame* out);

 private:
  struct Context;
  std::unique_ptr<Context> context_;
};

}  // namespace snapstore

#endif  // SNAPSTORE_ENGINE_FRAME_H_
