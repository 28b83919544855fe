#include "engine/content_writer.h"

#include <algorithm>

#include "base/check.h"
#include "base/status_macros.h"
#include "engine/format.h"

namespace snapstore {
namespace {

// Chunks that are looked up together.
constexpr size_t kLookUpChunks = 128;

size_t ZeroPrefix(ByteSpan data) {
  size_t zeros = 0;
  while (zeros + kBlockBytes <= data.size() && IsZero(data.subspan(zeros, kBlockBytes))) {
    zeros += kBlockBytes;
  }
  return zeros;
}

}  // namespace

Result<std::unique_ptr<CutRules>> CutRules::Create(uint64_t seed) {
  auto rules = std::make_unique<CutRules>();
  SNAP_ASSIGN_OR_RETURN(rules->cdc_, Chunker::Create(ChunkerParams::Cdc(seed)));
  SNAP_ASSIGN_OR_RETURN(rules->groups_, Chunker::Create(ChunkerParams::AlignedGroups(seed)));
  SNAP_ASSIGN_OR_RETURN(rules->blocks_, Chunker::Create(ChunkerParams::AlignedBlocks()));
  return rules;
}

const Chunker& CutRules::For(CutRule rule) const {
  switch (rule) {
    case CutRule::kAlignedGroups:
      return *groups_;
    case CutRule::kAlignedBlocks:
      return *blocks_;
    case CutRule::kCdc:
      return *cdc_;
    case CutRule::kNone:
      break;
  }
  SNAP_CHECK(rule != CutRule::kNone);
  return *cdc_;
}

ContentWriter::ContentWriter(const Chunker* chunker, const HashSecret* secret, PackWriter* packs,
                             const NodeSource* parent_nodes,
                             const std::optional<format::Content>& parent)
    : chunker_(chunker), secret_(secret), packs_(packs) {
  const bool continues = parent_nodes != nullptr && parent.has_value();
  if (continues) {
    parent_ = std::make_unique<RunListReader>(parent_nodes, parent->runs());
    parent_leaves_ = std::make_unique<NodeTreeReader>(parent_nodes, parent->runs());
  }
  runs_ = std::make_unique<RunListWriter>(packs, secret, parent_nodes,
                                          continues ? &parent->runs() : nullptr);
}

Status ContentWriter::Add(ByteSpan data) {
  SNAP_RETURN_IF_ERROR(aligned() ? AddBlocks(data) : AddStream(data));
  return FlushChunks();
}

// Zero blocks are holes wherever they stand; what lies between two is cut on its own.
Status ContentWriter::AddBlocks(ByteSpan data) {
  if (!carry_.empty() && carry_.size() % kBlockBytes != 0) {
    const size_t missing = std::min(data.size(), kBlockBytes - carry_.size() % kBlockBytes);
    carry_.insert(carry_.end(), data.begin(), data.begin() + static_cast<ptrdiff_t>(missing));
    data = data.subspan(missing);
    if (data.empty()) return {};
  }
  while (!data.empty()) {
    const size_t zeros = ZeroPrefix(data);
    if (zeros > 0) {
      SNAP_RETURN_IF_ERROR(FlushCarry());
      SNAP_RETURN_IF_ERROR(EmitHole(zeros));
      data = data.subspan(zeros);
      continue;
    }
    size_t filled = std::min(kBlockBytes, data.size());
    while (filled < data.size() &&
           !(filled + kBlockBytes <= data.size() && IsZero(data.subspan(filled, kBlockBytes)))) {
      filled += std::min(kBlockBytes, data.size() - filled);
    }
    SNAP_RETURN_IF_ERROR(AddStream(data.first(filled)));
    data = data.subspan(filled);
  }
  return {};
}

Status ContentWriter::AddStream(ByteSpan data) {
  const size_t chunk_max = chunker_->params().bytes_max;
  while (!carry_.empty() && !data.empty()) {
    // Enough for a certain cut, and no more: the rest is cut where it lies, without a copy.
    const size_t before = carry_.size();
    const size_t taken = std::min(data.size(), chunk_max - std::min(chunk_max, before));
    carry_.insert(carry_.end(), data.begin(), data.begin() + static_cast<ptrdiff_t>(taken));
    // A zero run that began in the last piece is a hole all the same: runs must not depend on how
    // the content was read.
    const size_t zeros = aligned() ? 0 : ZeroPrefix(carry_);
    const size_t cut = zeros > 0 ? zeros : chunker_->NextCut(carry_, /*last=*/false);
    if (cut == 0) {
      data = data.subspan(taken);
      SNAP_CHECK(data.empty());
      return {};
    }
    SNAP_RETURN_IF_ERROR(zeros > 0 ? EmitHole(zeros) : EmitChunk(ByteSpan(carry_).first(cut)));
    SNAP_RETURN_IF_ERROR(FlushChunks());
    if (cut >= before) {
      data = data.subspan(cut - before);
      carry_.clear();
    } else {
      carry_.erase(carry_.begin(), carry_.begin() + static_cast<ptrdiff_t>(cut));
      carry_.resize(before - cut);
    }
  }
  SNAP_ASSIGN_OR_RETURN(const size_t consumed, CutFrom(data, /*last=*/false));
  data = data.subspan(consumed);
  carry_.insert(carry_.end(), data.begin(), data.end());
  return {};
}

Result<size_t> ContentWriter::CutFrom(ByteSpan data, bool last) {
  size_t consumed = 0;
  while (consumed < data.size()) {
    const ByteSpan rest = data.subspan(consumed);
    if (!aligned()) {
      if (const size_t zeros = ZeroPrefix(rest); zeros > 0) {
        SNAP_RETURN_IF_ERROR(EmitHole(zeros));
        consumed += zeros;
        continue;
      }
    }
    const size_t cut = chunker_->NextCut(rest, last);
    if (cut == 0) break;
    SNAP_RETURN_IF_ERROR(EmitChunk(rest.first(cut)));
    consumed += cut;
  }
  return consumed;
}

Status ContentWriter::FlushCarry() {
  if (carry_.empty()) return {};
  const Bytes rest = std::exchange(carry_, {});
  SNAP_ASSIGN_OR_RETURN(const size_t consumed, CutFrom(rest, /*last=*/true));
  SNAP_CHECK(consumed == rest.size());
  return FlushChunks();
}

Status ContentWriter::AddHole(uint64_t length) {
  SNAP_RETURN_IF_ERROR(FlushCarry());
  return EmitHole(length);
}

Status ContentWriter::EmitHole(uint64_t length) {
  SNAP_RETURN_IF_ERROR(FlushChunks());
  offset_ += length;
  return refused_.ok() ? runs_->AddHole(length) : Status();
}

Status ContentWriter::EmitChunk(ByteSpan chunk) {
  const ChunkId id = ComputeChunkId(*secret_, chunk);
  SNAP_ASSIGN_OR_RETURN(const std::optional<ChunkRef> known, ParentChunkAt(offset_, id));
  offset_ += chunk.size();
  known_.push_back(known);
  if (!known.has_value()) unknown_.push_back({id, chunk});
  return known_.size() >= kLookUpChunks ? FlushChunks() : Status();
}

Status ContentWriter::FlushChunks() {
  if (known_.empty()) return {};
  SNAP_RETURN_IF_ERROR(packs_->PutMany(PackKind::kData, unknown_, &refs_, &collided_));
  if (!collided_.empty() && refused_.ok()) {
    refused_ = Status::Conflict("other bytes are stored under the id of its chunk " +
                                unknown_[collided_.front()].id.ToHex() +
                                ": the two cannot be in one repository");
  }
  if (!refused_.ok()) {
    known_.clear();
    unknown_.clear();
    return {};
  }
  size_t next = 0;
  for (const std::optional<ChunkRef>& known : known_) {
    SNAP_RETURN_IF_ERROR(
        runs_->AddChunk(known.has_value() ? PendingRef(*known) : std::move(refs_[next++])));
  }
  known_.clear();
  unknown_.clear();
  return {};
}

Result<std::optional<ChunkRef>> ContentWriter::ParentChunkAt(uint64_t offset, const ChunkId& id) {
  // What is to be compared has to go through the look-up.
  if (parent_ == nullptr || packs_->compares()) return std::optional<ChunkRef>();
  while (parent_run_ == nullptr || parent_run_->offset + parent_run_->length <= offset) {
    SNAP_ASSIGN_OR_RETURN(parent_run_, parent_->Next());
    if (parent_run_ == nullptr) {
      parent_ = nullptr;
      return std::optional<ChunkRef>();
    }
  }
  const Run& run = *parent_run_;
  if (run.hole || offset < run.offset || run.chunk.id != id ||
      (offset - run.offset) % run.chunk.id.length != 0) {
    return std::optional<ChunkRef>();
  }
  return std::optional<ChunkRef>(run.chunk);
}

Status ContentWriter::AddUnchanged(uint64_t length) {
  SNAP_RETURN_IF_ERROR(FlushCarry());
  if (parent_ == nullptr) return Status::Internal("no parent content to take over");
  const uint64_t end = offset_ + length;
  if (!refused_.ok()) {
    offset_ = end;
    return {};
  }
  SNAP_RETURN_IF_ERROR(parent_leaves_->Seek(offset_));
  while (offset_ < end) {
    NodeTreeReader::Leaf leaf;
    SNAP_ASSIGN_OR_RETURN(const bool more, parent_leaves_->NextRef(&leaf));
    if (!more) return Status::Corruption("the parent's run list ends early");
    const uint64_t leaf_end = leaf.begin + leaf.span;
    if (leaf.stored && leaf.begin == offset_ && leaf_end <= end) {
      SNAP_RETURN_IF_ERROR(runs_->AddStoredLeaf(leaf.ref));  // unread
      offset_ = leaf_end;
    } else {
      SNAP_RETURN_IF_ERROR(CopyUnchanged(std::min(end, leaf_end)));
    }
  }
  parent_run_ = nullptr;
  return parent_->Seek(offset_);
}

Status ContentWriter::CopyUnchanged(uint64_t end) {
  SNAP_RETURN_IF_ERROR(parent_->Seek(offset_));
  while (offset_ < end) {
    SNAP_ASSIGN_OR_RETURN(parent_run_, parent_->Next());
    if (parent_run_ == nullptr) return Status::Corruption("the parent's run list ends early");
    const Run& run = *parent_run_;
    const uint64_t run_end = std::min(end, run.offset + run.length);
    if (run.hole) {
      SNAP_RETURN_IF_ERROR(EmitHole(run_end - offset_));
      continue;
    }
    if ((offset_ - run.offset) % run.chunk.id.length != 0 ||
        (run_end - run.offset) % run.chunk.id.length != 0) {
      return Status::Internal("unchanged part ends inside a chunk");
    }
    for (; offset_ < run_end; offset_ += run.chunk.id.length) {
      SNAP_RETURN_IF_ERROR(runs_->AddChunk(PendingRef(run.chunk)));
    }
  }
  return {};
}

Result<std::unique_ptr<RunListWriter>> ContentWriter::Finish() {
  SNAP_RETURN_IF_ERROR(FlushCarry());
  return std::move(runs_);
}

}  // namespace snapstore
