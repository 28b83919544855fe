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
#include "snapstore/reader.h"
#include "snapstore/snapshot.h"

namespace snapstore {

// Which chunks hold the data of [offset, offset + length), in order of content. REQUIRES: that is
// within the content.
Result<std::vector<StoredChunk>> FindChunks(const NodeSource& source, RunListReader* runs,
                                            uint64_t offset, uint64_t length);

// Whether frames that a read meets are kept for others, as for short reads at random.
enum class KeepFrames { kNo, kYes };

// ContentReader::Visit. REQUIRES: the range is within the content.
Status VisitRange(const NodeSource& source, RunListReader* runs, uint64_t offset, uint64_t length,
                  KeepFrames keep, const PartVisitor& visit);
// InvalidArgument when `at` is not in [offset, offset + length).
Status CheckHolds(uint64_t offset, uint64_t length, uint64_t at);
// ContentReader::VisitAlong. REQUIRES: the range is within the content, and `at` in it.
Status VisitAlong(const NodeSource& source, RunListReader* runs, uint64_t at, uint64_t offset,
                  uint64_t length, const PartVisitor& visit);
// VisitRange into memory.
Status ReadRange(const NodeSource& source, RunListReader* runs, uint64_t offset,
                 MutableByteSpan out, KeepFrames keep);

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
