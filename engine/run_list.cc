#include "engine/run_list.h"

#include <algorithm>

#include "base/check.h"
#include "base/status_macros.h"
#include "engine/format.pb.h"

namespace snapstore {
namespace {

// References whose place may be open at once, per list; bounds memory.
constexpr size_t kPendingChunksMax = 16384;
// A leaf that ends where the parent's does has at least this many items, so that lists do not fall
// to pieces when content goes away.
constexpr size_t kSharedEndItemsMin = 16;
// Changes are stored instead of a leaf when they take no more than this part of it: the more there
// are, the more each later snapshot has to repeat.
constexpr size_t kChangesPart = 3;

}  // namespace

RunListWriter::RunListWriter(PackWriter* packs, const HashSecret* secret,
                             const NodeSource* parent_nodes, const format::StreamRoot* parent)
    : packs_(packs), secret_(secret), parent_nodes_(parent_nodes), tree_(packs, secret) {
  if (parent != nullptr) parent_ = std::make_unique<NodeTreeReader>(parent_nodes, *parent);
}

Status RunListWriter::AddHole(uint64_t length) {
  if (length == 0) return {};
  size_ += length;
  if (pending_.empty()) return EncodeHole(length);
  if (Hole* const last = std::get_if<Hole>(&pending_.back()); last != nullptr) {
    last->length += length;
    return {};
  }
  pending_.emplace_back(Hole{length});
  return {};
}

Status RunListWriter::AddChunk(PendingRef chunk) {
  size_ += chunk.id().length;
  ++chunks_;
  pending_.emplace_back(std::move(chunk));
  return Drain(kPendingChunksMax);
}

Status RunListWriter::AddStoredLeaf(const NodeRef& leaf) {
  size_ += leaf.span;
  chunks_ += leaf.items;
  pending_.emplace_back(leaf);
  return Drain(kPendingChunksMax);
}

Status RunListWriter::EndLeafHere() {
  if (pending_.empty()) return EndLeaf();
  pending_.emplace_back(LeafEnd{});
  return {};
}

Status RunListWriter::Poll() { return Drain(kPendingChunksMax); }

Status RunListWriter::Drain(size_t pending_max) {
  while (!pending_.empty()) {
    const PendingRef* const chunk = std::get_if<PendingRef>(&pending_.front());
    if (chunk != nullptr && !chunk->resolved()) {
      if (pending_.size() <= pending_max) return {};
      SNAP_RETURN_IF_ERROR(packs_->Wait(*chunk));
    }
    SNAP_RETURN_IF_ERROR(Encode(pending_.front()));
    pending_.pop_front();
  }
  return {};
}

Status RunListWriter::Encode(const Item& item) {
  if (const Hole* const hole = std::get_if<Hole>(&item); hole != nullptr) {
    return EncodeHole(hole->length);
  }
  if (const NodeRef* const leaf = std::get_if<NodeRef>(&item); leaf != nullptr) {
    SNAP_RETURN_IF_ERROR(EndLeaf());
    leaf_begin_ += leaf->span;
    return tree_.AddStoredLeaf(*leaf);
  }
  if (std::holds_alternative<LeafEnd>(item)) return EndLeaf();
  return EncodeChunk(std::get<PendingRef>(item).Resolve());
}

Status RunListWriter::StartLeaf() {
  parent_end_ = 0;
  if (parent_ == nullptr) return {};
  while (parent_leaf_.begin + parent_leaf_.span <= leaf_begin_) {
    SNAP_ASSIGN_OR_RETURN(const bool more, parent_->NextRef(&parent_leaf_));
    if (more) continue;
    parent_ = nullptr;
    return {};
  }
  if (parent_leaf_.stored && parent_leaf_.begin == leaf_begin_) {
    parent_end_ = leaf_begin_ + parent_leaf_.span;
  }
  return {};
}

Status RunListWriter::EncodeHole(uint64_t length) {
  while (length > 0) {
    if (leaf_.empty()) SNAP_RETURN_IF_ERROR(StartLeaf());
    const bool ends_within = parent_end_ > position() && parent_end_ - position() <= length;
    const uint64_t step = ends_within ? parent_end_ - position() : length;
    leaf_.AddHole(step);
    length -= step;
    const bool shared_end = ends_within && leaf_.items() >= kSharedEndItemsMin;
    if (shared_end && !keep_leaves_) SNAP_RETURN_IF_ERROR(EndLeaf());
  }
  return {};
}

Status RunListWriter::EncodeChunk(const ChunkRef& chunk) {
  if (leaf_.empty()) SNAP_RETURN_IF_ERROR(StartLeaf());
  leaf_.AddChunk(chunk);
  if (keep_leaves_) return leaf_.Full() ? EndLeaf() : Status();
  const bool shared_end = position() == parent_end_ && leaf_.items() >= kSharedEndItemsMin;
  const bool own_end = position() >= parent_end_ && leaf_.EndsHere();
  return shared_end || own_end || leaf_.Full() ? EndLeaf() : Status();
}

Status RunListWriter::EndLeaf() {
  if (leaf_.empty()) return {};
  const uint64_t span = leaf_.span();
  const uint64_t chunks = leaf_.chunks();
  SNAP_RETURN_IF_ERROR(PutLeaf(leaf_.Take(), span, chunks));
  leaf_begin_ += span;
  return {};
}

Status RunListWriter::PutLeaf(const Bytes& leaf, uint64_t span, uint64_t chunks) {
  if (parent_end_ != leaf_begin_ + span) return tree_.AddLeaf(leaf, span, chunks);
  if (ComputeChunkId(*secret_, leaf) == parent_leaf_.ref.chunk.id) {
    return tree_.AddStoredLeaf(parent_leaf_.ref);
  }
  SNAP_RETURN_IF_ERROR(parent_->ReadBytes(&parent_leaf_));
  SNAP_ASSIGN_OR_RETURN(const std::optional<ChunkRef> grandparent, RunLeafBase(parent_leaf_.bytes));
  const ChunkRef base = grandparent.value_or(parent_leaf_.ref.chunk);
  if (grandparent.has_value()) {
    SNAP_RETURN_IF_ERROR(parent_nodes_->ReadNode(base, &parent_leaf_.bytes));
  }
  std::vector<Run> base_runs;
  SNAP_RETURN_IF_ERROR(
      ParseRunLeaf(parent_leaf_.bytes, leaf_begin_, span, /*bases=*/nullptr, &base_runs));
  std::vector<Run> runs;
  SNAP_RETURN_IF_ERROR(ParseRunLeaf(leaf, leaf_begin_, span, /*bases=*/nullptr, &runs));
  const Bytes changes = EncodeRunLeafChanges(base, base_runs, runs);
  return tree_.AddLeaf(changes.size() * kChangesPart <= leaf.size() ? changes : leaf, span, chunks);
}

Status RunListWriter::Finish(format::StreamRoot* root) {
  SNAP_RETURN_IF_ERROR(Drain(0));
  const uint64_t span = leaf_.span();
  const uint64_t chunks = leaf_.chunks();
  const Bytes rest = leaf_.Take();
  if (rest.empty() || tree_.FitsRoot(rest)) return tree_.Finish(rest, span, root);
  SNAP_RETURN_IF_ERROR(PutLeaf(rest, span, chunks));
  return tree_.Finish({}, 0, root);
}

RunListReader::RunListReader(const NodeSource* source, const format::StreamRoot& root)
    : source_(source), tree_(source, root) {}

Status RunListReader::Seek(uint64_t offset) {
  if (!runs_.empty() && offset >= runs_.front().offset &&
      offset < runs_.back().offset + runs_.back().length) {
    const auto after =
        std::upper_bound(runs_.begin(), runs_.end(), offset,
                         [](uint64_t value, const Run& run) { return value < run.offset; });
    next_ = static_cast<size_t>(after - runs_.begin()) - 1;
    return {};
  }
  runs_.clear();
  next_ = 0;
  SNAP_RETURN_IF_ERROR(tree_.Seek(offset));
  NodeTreeReader::Leaf leaf;
  SNAP_ASSIGN_OR_RETURN(const bool more, tree_.Next(&leaf));
  if (!more) return {};
  SNAP_RETURN_IF_ERROR(ParseRunLeaf(leaf.bytes, leaf.begin, leaf.span, source_, &runs_));
  while (next_ < runs_.size() && runs_[next_].offset + runs_[next_].length <= offset) ++next_;
  return {};
}

Result<const Run*> RunListReader::Next() {
  while (next_ == runs_.size()) {
    NodeTreeReader::Leaf leaf;
    SNAP_ASSIGN_OR_RETURN(const bool more, tree_.Next(&leaf));
    if (!more) return static_cast<const Run*>(nullptr);
    SNAP_RETURN_IF_ERROR(ParseRunLeaf(leaf.bytes, leaf.begin, leaf.span, source_, &runs_));
    next_ = 0;
  }
  return static_cast<const Run*>(&runs_[next_++]);
}

}  // namespace snapstore
