// ContentWriter: cuts one entry's bytes into chunks, finds what is known, stores what is new.
//
// A chunk that the parent's content has at the same position is taken over without any look-up;
// zero runs become holes. docs/format.md, "From bytes to runs".
//
// Thread safety: belongs to one thread at a time.
#ifndef SNAPSTORE_ENGINE_CONTENT_WRITER_H_
#define SNAPSTORE_ENGINE_CONTENT_WRITER_H_

#include <cstdint>
#include <memory>
#include <optional>

#include "base/bytes.h"
#include "chunker/chunker.h"
#include "engine/node_tree.h"
#include "engine/run_list.h"
#include "engine/source_event.h"

namespace snapstore {

// The chunkers of one repository.
class CutRules {
 public:
  static Result<std::unique_ptr<CutRules>> Create(uint64_t seed);
  // REQUIRES: rule != kNone.
  const Chunker& For(CutRule rule) const;

 private:
  std::unique_ptr<Chunker> cdc_;
  std::unique_ptr<Chunker> groups_;
  std::unique_ptr<Chunker> blocks_;
};

class ContentWriter {
 public:
  // All pointers must outlive the writer. `parent_nodes` is null when there is no parent content.
  ContentWriter(const Chunker* chunker, const HashSecret* secret, PackWriter* packs,
                const NodeSource* parent_nodes, const std::optional<format::Content>& parent);

  Status Add(ByteSpan data);
  Status AddHole(uint64_t length);
  // The parent's runs for the next `length` bytes. REQUIRES: both ends lie on boundaries of the
  // parent's chunks or inside its holes.
  Status AddUnchanged(uint64_t length);
  // Ends the content. The run list may still wait for places.
  Result<std::unique_ptr<RunListWriter>> Finish();

  uint64_t size() const { return offset_ + carry_.size(); }
  // Not OK once a chunk was found that cannot be stored, since other bytes have its id: then the
  // content as a whole cannot.
  const Status& refused() const { return refused_; }

 private:
  bool aligned() const { return chunker_->params().kind == ChunkerKind::kAligned; }
  Status AddBlocks(ByteSpan data);
  Status AddStream(ByteSpan data);
  // Chunks from the front of `data`; returns how much was consumed.
  Result<size_t> CutFrom(ByteSpan data, bool last);
  Status FlushCarry();
  // The parent's runs from offset_ to `end`.
  Status CopyUnchanged(uint64_t end);
  Status EmitChunk(ByteSpan chunk);
  Status EmitHole(uint64_t length);
  // Looks up what is gathered. Before the memory that it lies in changes.
  Status FlushChunks();
  Result<std::optional<ChunkRef>> ParentChunkAt(uint64_t offset, const ChunkId& id);

  const Chunker* const chunker_;
  const HashSecret* const secret_;
  PackWriter* const packs_;
  std::unique_ptr<RunListReader> parent_;  // null without one, and at its end
  std::unique_ptr<NodeTreeReader> parent_leaves_;
  const Run* parent_run_ = nullptr;  // the parent's run at or after offset_
  std::unique_ptr<RunListWriter> runs_;
  // Chunks to look up together: for each, in order, where the parent has it; the others.
  std::vector<std::optional<ChunkRef>> known_;
  std::vector<NewChunk> unknown_;
  std::vector<PendingRef> refs_;
  std::vector<size_t> collided_;
  Status refused_;
  Bytes carry_;          // bytes of the chunk that is still open
  uint64_t offset_ = 0;  // of the first byte of carry_
};

}  // namespace snapstore

#endif  // SNAPSTORE_ENGINE_CONTENT_WRITER_H_
