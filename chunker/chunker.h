// Chunker: where to cut a stream of bytes into chunks.
//
// A chunker is a pure function of bytes and parameters: same bytes, same cuts, on every CPU. Two
// profiles exist (docs/chunking.md gives both algorithms exactly):
//
// - cdc: byte-granular and content-defined, so that an insertion moves cuts only near itself. For
//   files and streams.
// - aligned: cuts only at multiples of a block (4 KiB). Blocks are either chunks themselves or are
//   grouped by content. For memory images and volumes, whose data never shifts by single bytes.
//
// NextCut works on a window of the stream that starts at a chunk's first byte; the caller keeps the
// rest of an unfinished chunk and calls again with more bytes after it.
//
// Thread safety: const after construction; share freely.
#ifndef SNAPSTORE_CHUNKER_CHUNKER_H_
#define SNAPSTORE_CHUNKER_CHUNKER_H_

#include <cstdint>
#include <memory>

#include "base/bytes.h"
#include "snapstore/status.h"

namespace snapstore {

// Stored in the repository's configuration: do not renumber.
enum class ChunkerKind : uint8_t {
  kCdc = 1,
  kAligned = 2,
};

// Sizes in bytes. REQUIRES (checked by Chunker::Create): powers of two for block and average;
// cdc: 256 <= min < avg < max and avg >= 1024; aligned: min is the block, 512 <= block <= avg <=
// max, max a multiple of block; max <= 16 MiB.
//
// The mean length of cdc chunks of random data is avg when min <= 3/4 avg and max >= 2 avg.
struct ChunkerParams {
  static constexpr uint32_t kCdcBytesMinLeast = 256;
  static constexpr uint32_t kCdcBytesAvgLeast = 1024;
  static constexpr uint32_t kAlignedBlockLeast = 512;
  static constexpr uint32_t kBytesMaxMost = 16 << 20;

  ChunkerKind kind = ChunkerKind::kCdc;
  uint32_t bytes_min = 4 << 10;
  uint32_t bytes_avg = 16 << 10;
  uint32_t bytes_max = 64 << 10;
  uint64_t seed = 0;  // from the repository, so that chunk sizes do not betray known files

  static ChunkerParams Cdc(uint64_t seed);
  // Content-defined groups of 4 KiB blocks, 16 KiB on average: volumes.
  static ChunkerParams AlignedGroups(uint64_t seed);
  // Each 4 KiB block a chunk: memory.
  static ChunkerParams AlignedBlocks();

  bool operator==(const ChunkerParams&) const = default;
};

class Chunker {
 public:
  static Result<std::unique_ptr<Chunker>> Create(const ChunkerParams& params);
  virtual ~Chunker() = default;

  const ChunkerParams& params() const { return params_; }

  // The length of the chunk that starts at window[0].
  //   0            no cut can be decided yet: call again with a longer window
  //   otherwise    in [1, bytes_max], at most window.size()
  // With `last` the stream ends with the window, so a non-empty window always has a cut. A window
  // of bytes_max bytes or more always has one too.
  virtual size_t NextCut(ByteSpan window, bool last) const = 0;

 protected:
  explicit Chunker(const ChunkerParams& params) : params_(params) {}

 private:
  ChunkerParams params_;
};

// Whether all bytes are zero, at memory speed.
bool IsZero(ByteSpan bytes);

}  // namespace snapstore

#endif  // SNAPSTORE_CHUNKER_CHUNKER_H_
