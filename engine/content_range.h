// Ranges of one content: which chunks hold the bytes of a range, and where these belong.
//
// Thread safety: free functions; a RunListReader belongs to one thread at a time.
#ifndef SNAPSTORE_ENGINE_CONTENT_RANGE_H_
#define SNAPSTORE_ENGINE_CONTENT_RANGE_H_

#include <cstdint>
#include <vector>

#include "base/bytes.h"
#include "engine/chunk_fetcher.h"
#include "engine/run_list.h"
#include "snapstore/snapshot.h"

namespace snapstore {

// Where one chunk stands in the content, with the repetitions that follow it.
struct ContentPiece {
  uint64_t offset = 0;  // of the first repetition
  uint64_t length = 0;  // of all of them
};

// The chunks of a range in order of content, each with its piece of the same index; holes have
// none.
struct ContentRange {
  std::vector<StoredChunk> chunks;
  std::vector<ContentPiece> pieces;
};

// What lies in [offset, offset + length). REQUIRES: that is within the content.
Result<ContentRange> FindContentRange(const NodeSource& source, RunListReader* runs,
                                      uint64_t offset, uint64_t length);

// Copies what of the piece's repetitions of `chunk` lies in `out`, which begins at `offset`.
void PlacePiece(const ContentPiece& piece, ByteSpan chunk, uint64_t offset, MutableByteSpan out);

// The chunk, or of a hole the block, that holds `at`: where a content may be cut to take over what
// lies beside it. REQUIRES: that is within the content.
Result<ByteRange> ChunkAround(RunListReader* runs, uint64_t at);

// ContentReader::NextData.
Status FindNextData(RunListReader* runs, uint64_t offset, uint64_t* begin, uint64_t* end);

// Bytes of the content that are no holes. Exact for a list that lies in its owner as a whole; for a
// longer one an estimate from above, without reading any of it, that finds large holes only.
uint64_t EstimateDataBytes(const format::StreamRoot& runs);

}  // namespace snapstore

#endif  // SNAPSTORE_ENGINE_CONTENT_RANGE_H_
