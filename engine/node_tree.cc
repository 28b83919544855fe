#include "engine/node_tree.h"

#include <algorithm>

#include "base/check.h"
#include "base/status_macros.h"
#include "engine/format.pb.h"

namespace snapstore {
namespace {

// A list that fits into this many bytes is kept in its owner.
constexpr size_t kInlineLeafMax = 4 << 10;
// An inner node ends after a child whose id is 0 modulo kNodeCutModulus, within these bounds.
constexpr size_t kNodeChildrenMin = 32;
constexpr size_t kNodeChildrenMax = 1024;
constexpr uint64_t kNodeCutModulus = 128;
// Children whose place may be open at once; bounds memory.
constexpr size_t kPendingLeavesMax = 64;
// An inner node leads to a hundred leaves, so few are needed ahead.
constexpr size_t kInnerFramesAhead = 2;

bool CutsNode(const ChunkId& id) {
  return LoadLe<uint64_t>(id.hash.data() + 8) % kNodeCutModulus == 0;
}

}  // namespace

void AppendChunkRef(const ChunkRef& ref, Bytes* out) {
  ByteWriter writer(out);
  writer.Raw(ref.id.hash);
  writer.Varint(ref.id.length);
  writer.Varint(ref.pack);
  writer.Varint(ref.frame_offset);
  writer.Varint(ref.frame_length);
  writer.Varint(ref.chunk_in_frame);
}

Result<ChunkRef> ParseChunkRef(ByteReader* reader) {
  ChunkRef ref;
  const ByteSpan hash = reader->Raw(ref.id.hash.size());
  const uint64_t length = reader->Varint();
  const uint64_t pack = reader->Varint();
  const uint64_t frame_offset = reader->Varint();
  const uint64_t frame_length = reader->Varint();
  const uint64_t chunk_in_frame = reader->Varint();
  if (!reader->ok() || length == 0 || length > kChunkBytesMax || pack > UINT32_MAX ||
      frame_offset > kPackBytesMax || frame_length > kFrameStoredMax ||
      chunk_in_frame > UINT16_MAX) {
    return Status::Corruption("reference to a metadata chunk is inconsistent");
  }
  std::copy(hash.begin(), hash.end(), ref.id.hash.begin());
  ref.id.length = static_cast<uint32_t>(length);
  ref.pack = static_cast<uint32_t>(pack);
  ref.frame_offset = static_cast<uint32_t>(frame_offset);
  ref.frame_length = static_cast<uint32_t>(frame_length);
  ref.chunk_in_frame = static_cast<uint16_t>(chunk_in_frame);
  return ref;
}

void AppendNodeRef(const NodeRef& ref, Bytes* out) {
  AppendChunkRef(ref.chunk, out);
  ByteWriter writer(out);
  writer.Varint(ref.span);
  writer.Varint(ref.items);
}

Result<std::vector<NodeRef>> ParseNode(ByteSpan node, uint64_t span) {
  std::vector<NodeRef> refs;
  ByteReader reader(node);
  uint64_t total = 0;
  while (!reader.empty()) {
    NodeRef ref;
    SNAP_ASSIGN_OR_RETURN(ref.chunk, ParseChunkRef(&reader));
    ref.span = reader.Varint();
    ref.items = reader.Varint();
    if (!reader.ok() || ref.span > UINT64_MAX - total) {
      return Status::Corruption("metadata node is inconsistent");
    }
    total += ref.span;
    refs.push_back(ref);
  }
  if (total != span) return Status::Corruption("metadata node has a wrong span");
  return refs;
}

Status NodeTreeWriter::AddLeaf(ByteSpan leaf, uint64_t span, uint64_t items) {
  const ChunkId id = ComputeChunkId(*secret_, leaf);
  SNAP_ASSIGN_OR_RETURN(PendingRef ref, packs_->Put(PackKind::kMeta, id, leaf));
  return AddChild(0, {std::move(ref), span, items});
}

Status NodeTreeWriter::AddStoredLeaf(const NodeRef& leaf) {
  return AddChild(0, {PendingRef(leaf.chunk), leaf.span, leaf.items});
}

Status NodeTreeWriter::AddChild(size_t level, Pending child) {
  if (levels_.size() <= level) levels_.resize(level + 1);
  levels_[level].pending.push_back(std::move(child));
  return Drain(level, /*all=*/false);
}

Status NodeTreeWriter::Drain(size_t level, bool all) {
  while (!levels_[level].pending.empty()) {
    const Pending& front = levels_[level].pending.front();
    if (!front.ref.resolved()) {
      if (!all && levels_[level].pending.size() <= kPendingLeavesMax) return {};
      SNAP_RETURN_IF_ERROR(packs_->Wait(front.ref));
    }
    Level& open = levels_[level];
    AppendNodeRef({front.ref.Resolve(), front.span, front.items}, &open.node);
    open.span += front.span;
    open.items += front.items;
    ++open.children;
    const bool cut = open.children >= kNodeChildrenMax ||
                     (open.children >= kNodeChildrenMin && CutsNode(front.ref.id()));
    open.pending.pop_front();
    if (cut) SNAP_RETURN_IF_ERROR(CloseNode(level));
  }
  return {};
}

Status NodeTreeWriter::CloseNode(size_t level) {
  Level& open = levels_[level];
  const Bytes node = std::exchange(open.node, {});
  const uint64_t span = std::exchange(open.span, 0);
  const uint64_t items = std::exchange(open.items, 0);
  open.children = 0;
  ++open.nodes_closed;
  const ChunkId id = ComputeChunkId(*secret_, node);
  SNAP_ASSIGN_OR_RETURN(PendingRef ref, packs_->Put(PackKind::kMeta, id, node));
  return AddChild(level + 1, {std::move(ref), span, items});
}

bool NodeTreeWriter::FitsRoot(ByteSpan rest) const {
  return levels_.empty() && rest.size() <= kInlineLeafMax;
}

Status NodeTreeWriter::Finish(ByteSpan rest, uint64_t span, format::StreamRoot* root) {
  if (FitsRoot(rest)) {
    root->set_depth(0);
    root->set_nodes(rest.data(), rest.size());
    root->set_span(span);
    return {};
  }
  if (!rest.empty()) SNAP_RETURN_IF_ERROR(AddLeaf(rest, span));
  for (size_t level = 0;; ++level) {
    SNAP_RETURN_IF_ERROR(Drain(level, /*all=*/true));
    Level& open = levels_[level];
    if (open.nodes_closed == 0 && open.node.size() <= kInlineLeafMax) {
      root->set_depth(static_cast<uint32_t>(level + 1));
      root->set_nodes(open.node.data(), open.node.size());
      root->set_span(open.span);
      return {};
    }
    if (open.children > 0) SNAP_RETURN_IF_ERROR(CloseNode(level));
  }
}

Result<StoredChunk> NodeSource::Resolve(const ChunkRef& ref) const {
  SNAP_ASSIGN_OR_RETURN(const PackId pack, table_->PackAt(ref.pack));
  return StoredChunk{ref.id, pack, ref.frame_offset, ref.frame_length, ref.chunk_in_frame};
}

Status NodeSource::ReadNode(const ChunkRef& ref, Bytes* out) const {
  SNAP_ASSIGN_OR_RETURN(const StoredChunk chunk, Resolve(ref));
  out->clear();
  Status read = fetcher_->Read(PackKind::kMeta, chunk, out);
  if (read.Is(StatusCode::kCorruption)) damaged_ = true;
  return read;
}

void NodeSource::ReadAhead(std::span<const NodeRef> nodes) const {
  std::vector<StoredChunk> chunks;
  chunks.reserve(nodes.size());
  for (const NodeRef& node : nodes) {
    // What is wrong with a reference is for its reader to find out.
    if (const Result<StoredChunk> chunk = Resolve(node.chunk); chunk.ok()) chunks.push_back(*chunk);
  }
  fetcher_->ReadAhead(PackKind::kMeta, chunks);
}

NodeTreeReader::NodeTreeReader(const NodeSource* source, const format::StreamRoot& root)
    : source_(source), depth_(root.depth()), span_(root.span()) {
  const ByteSpan nodes = AsBytes(root.nodes());
  root_.assign(nodes.begin(), nodes.end());
}

Status NodeTreeReader::Open() {
  if (depth_ > kNodeDepthMax) return Status::Corruption("metadata tree is too deep");
  stack_.clear();
  inline_done_ = false;
  leaves_read_ = 0;
  opened_ = true;
  if (depth_ == 0) return {};
  Frame top;
  SNAP_ASSIGN_OR_RETURN(top.children, ParseNode(root_, span_));
  top.end = span_;
  stack_.push_back(std::move(top));
  return {};
}

Status NodeTreeReader::Seek(uint64_t at) {
  if (!opened_ || (depth_ > 0 && stack_.empty())) SNAP_RETURN_IF_ERROR(Open());
  if (depth_ == 0) {
    inline_done_ = at >= span_;
    return {};
  }
  while (stack_.size() > 1 && (at < stack_.back().first || at >= stack_.back().end)) {
    stack_.pop_back();
  }
  Frame& top = stack_.back();
  top.next = top.ahead = top.ahead_from = 0;
  top.begin = top.first;
  leaves_read_ = 0;
  return Descend(at);
}

// Positions every frame of the stack on the child that holds `at`.
Status NodeTreeReader::Descend(uint64_t at) {
  while (true) {
    Frame& top = stack_.back();
    while (top.next < top.children.size() && top.begin + top.children[top.next].span <= at) {
      top.begin += top.children[top.next].span;
      ++top.next;
    }
    if (stack_.size() == depth_ || top.next == top.children.size()) return {};
    Frame below;
    below.begin = below.first = top.begin;
    below.end = top.begin + top.children[top.next].span;
    Bytes node;
    ReadAhead(&top, top.next, kInnerFramesAhead);
    SNAP_RETURN_IF_ERROR(source_->ReadNode(top.children[top.next].chunk, &node));
    SNAP_ASSIGN_OR_RETURN(below.children, ParseNode(node, top.children[top.next].span));
    top.begin += top.children[top.next].span;
    ++top.next;
    stack_.push_back(std::move(below));
  }
}

Result<bool> NodeTreeReader::NextRef(Leaf* leaf) {
  if (!opened_) SNAP_RETURN_IF_ERROR(Open());
  if (depth_ == 0) {
    if (inline_done_ || (root_.empty() && span_ == 0)) return false;
    inline_done_ = true;
    *leaf = Leaf{root_, 0, span_, false, {}};
    return true;
  }
  while (!stack_.empty()) {
    Frame& top = stack_.back();
    if (top.next == top.children.size()) {
      if (stack_.size() == 1) return false;
      stack_.pop_back();
      continue;
    }
    if (stack_.size() < depth_) {
      SNAP_RETURN_IF_ERROR(Descend(top.begin));
      continue;
    }
    const NodeRef& ref = top.children[top.next];
    *leaf = Leaf{{}, top.begin, ref.span, true, ref};
    top.begin += ref.span;
    ++top.next;
    return true;
  }
  return false;
}

Status NodeTreeReader::ReadBytes(Leaf* leaf) const {
  return leaf->stored ? source_->ReadNode(leaf->ref.chunk, &leaf->bytes) : Status();
}

void NodeTreeReader::ReadAhead(Frame* frame, size_t at, size_t frames_max) const {
  const size_t frames_ahead = source_->fetcher()->frames_ahead();
  // Who reads one leaf may not want another; who goes on wants more and more.
  if (frames_ahead == 0 || leaves_read_ == 0 || at < frame->ahead_from) return;
  // Twice that many: what was asked for before may not be used up.
  const size_t frames_wanted =
      std::min({frames_max, leaves_read_, std::max<size_t>(1, frames_ahead / 2)});
  const std::vector<NodeRef>& children = frame->children;
  const size_t begin = std::max(frame->ahead, at + 1);
  size_t end = begin;
  size_t frames = 0;
  for (; end < children.size(); ++end) {
    const bool new_frame = end == begin || !children[end].chunk.SameFrame(children[end - 1].chunk);
    if (new_frame && ++frames > frames_wanted) break;
  }
  frame->ahead_from = begin;
  frame->ahead = end;
  source_->ReadAhead(std::span(children).subspan(begin, end - begin));
}

Result<bool> NodeTreeReader::Next(Leaf* leaf) {
  SNAP_ASSIGN_OR_RETURN(const bool more, NextRef(leaf));
  if (more && leaf->stored) {
    Frame& bottom = stack_.back();
    ReadAhead(&bottom, bottom.next - 1, SIZE_MAX);
    ++leaves_read_;
  }
  if (more) SNAP_RETURN_IF_ERROR(ReadBytes(leaf));
  return more;
}

}  // namespace snapstore
