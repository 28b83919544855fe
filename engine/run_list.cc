#include "engine/run_list.h"

#include <algorithm>

#include "base/check.h"
#include "base/status_macros.h"
#include "engine/format.pb.h"

namespace snapstore {
namespace {

// Low two bits of a record's first varint; the rest is the count. Stored: do not renumber.
enum RecordKind : uint64_t { kHoleRecord = 0, kFrameRecord = 1, kRepeatRecord = 2 };

// A leaf ends after a chunk whose id is 0 modulo kRunCutModulus, within these bounds.
constexpr size_t kLeafItemsMin = 128;
constexpr size_t kLeafItemsMax = 4096;
constexpr uint64_t kRunCutModulus = 512;

// References whose place may be open at once, per list; bounds memory.
constexpr size_t kPendingChunksMax = 16384;

bool CutsLeaf(const ChunkId& id) {
  return LoadLe<uint64_t>(id.hash.data() + 8) % kRunCutModulus == 0;
}

}  // namespace

void RunLeafBuilder::AddHole(uint64_t length) {
  SNAP_CHECK(length > 0);
  CloseGroup();
  have_last_ = false;
  if (hole_ == 0) ++items_;
  hole_ += length;
  span_ += length;
}

void RunLeafBuilder::AddChunk(const ChunkRef& chunk) {
  SNAP_CHECK(chunk.id.length > 0);
  CloseHole();
  span_ += chunk.id.length;
  if (have_last_ && chunk == last_) {
    ++repeat_;
    return;
  }
  CloseRepeat();
  if (!group_.empty() && (!chunk.SameFrame(group_.back()) ||
                          chunk.chunk_in_frame != group_.back().chunk_in_frame + 1)) {
    CloseGroup();
  }
  group_.push_back(chunk);
  last_ = chunk;
  have_last_ = true;
  ++items_;
  full_ = items_ >= kLeafItemsMax || (items_ >= kLeafItemsMin && CutsLeaf(chunk.id));
}

void RunLeafBuilder::CloseHole() {
  if (hole_ == 0) return;
  ByteWriter writer(&bytes_);
  writer.Varint(kHoleRecord);
  writer.Varint(hole_);
  hole_ = 0;
}

void RunLeafBuilder::CloseRepeat() {
  if (repeat_ == 0) return;
  const uint64_t repeat = std::exchange(repeat_, 0);
  CloseGroup();
  ByteWriter(&bytes_).Varint(repeat << 2 | kRepeatRecord);
}

void RunLeafBuilder::CloseGroup() {
  if (!group_.empty()) {
    ByteWriter writer(&bytes_);
    const ChunkRef& first = group_.front();
    writer.Varint(group_.size() << 2 | kFrameRecord);
    writer.Varint(first.pack);
    writer.Varint(first.frame_offset);
    writer.Varint(first.frame_length);
    writer.Varint(first.chunk_in_frame);
    for (const ChunkRef& chunk : group_) {
      writer.Raw(chunk.id.hash);
      writer.Varint(chunk.id.length);
    }
    group_.clear();
  }
  CloseRepeat();
}

Bytes RunLeafBuilder::Take() {
  CloseHole();
  CloseGroup();
  Bytes out = std::move(bytes_);
  *this = RunLeafBuilder();
  return out;
}

Status ParseRunLeaf(ByteSpan leaf, uint64_t begin, uint64_t span, std::vector<Run>* out) {
  const auto bad = [] { return Status::Corruption("run list is inconsistent"); };
  out->clear();
  ByteReader reader(leaf);
  uint64_t done = 0;
  const auto add = [&](Run run) {
    if (run.length == 0 || run.length > span - done) return false;
    run.offset = begin + done;
    done += run.length;
    out->push_back(run);
    return true;
  };
  while (!reader.empty()) {
    const uint64_t head = reader.Varint();
    const uint64_t count = head >> 2;
    if ((head & 3) == kHoleRecord) {
      if (!add({.length = reader.Varint(), .hole = true, .chunk = {}})) return bad();
    } else if ((head & 3) == kRepeatRecord) {
      if (out->empty() || out->back().hole || count == 0) return bad();
      Run& last = out->back();
      if (count > (span - done) / last.chunk.id.length) return bad();
      last.count += count;
      last.length += count * last.chunk.id.length;
      done += count * last.chunk.id.length;
    } else if ((head & 3) == kFrameRecord) {
      ChunkRef chunk;
      const uint64_t pack = reader.Varint();
      const uint64_t offset = reader.Varint();
      const uint64_t length = reader.Varint();
      const uint64_t first = reader.Varint();
      if (!reader.ok() || count == 0 || count > kFrameChunksMax || first + count > UINT16_MAX ||
          pack > UINT32_MAX || offset > kPackBytesMax || length > kFrameStoredMax) {
        return bad();
      }
      chunk.pack = static_cast<uint32_t>(pack);
      chunk.frame_offset = static_cast<uint32_t>(offset);
      chunk.frame_length = static_cast<uint32_t>(length);
      for (uint64_t i = 0; i < count; ++i) {
        const ByteSpan hash = reader.Raw(chunk.id.hash.size());
        const uint64_t bytes = reader.Varint();
        if (!reader.ok() || bytes > kChunkBytesMax) return bad();
        std::copy(hash.begin(), hash.end(), chunk.id.hash.begin());
        chunk.id.length = static_cast<uint32_t>(bytes);
        chunk.chunk_in_frame = static_cast<uint16_t>(first + i);
        if (!add({.length = bytes, .chunk = chunk})) return bad();
      }
    } else {
      return bad();
    }
  }
  return reader.ok() && done == span ? Status() : bad();
}

RunListWriter::RunListWriter(PackWriter* packs, const HashSecret* secret)
    : packs_(packs), tree_(packs, secret) {}

Status RunListWriter::AddHole(uint64_t length) {
  if (length == 0) return {};
  size_ += length;
  if (pending_.empty()) return Encode({length, {}});
  if (pending_.back().hole > 0) {
    pending_.back().hole += length;
    return {};
  }
  pending_.push_back({length, {}});
  return {};
}

Status RunListWriter::AddChunk(PendingRef chunk) {
  size_ += chunk.id().length;
  ++chunks_;
  pending_.push_back({0, std::move(chunk)});
  return Drain(kPendingChunksMax);
}

Status RunListWriter::Poll() { return Drain(kPendingChunksMax); }

Status RunListWriter::Drain(size_t pending_max) {
  while (!pending_.empty()) {
    const Item& front = pending_.front();
    if (front.hole == 0 && !front.chunk.resolved()) {
      if (pending_.size() <= pending_max) return {};
      SNAP_RETURN_IF_ERROR(packs_->Wait(front.chunk));
    }
    SNAP_RETURN_IF_ERROR(Encode(front));
    pending_.pop_front();
  }
  return {};
}

Status RunListWriter::Encode(const Item& item) {
  if (item.hole > 0) {
    leaf_.AddHole(item.hole);
    return {};
  }
  leaf_.AddChunk(item.chunk.Resolve());
  if (!leaf_.Full()) return {};
  const uint64_t span = leaf_.span();
  return tree_.AddLeaf(leaf_.Take(), span);
}

Status RunListWriter::Finish(format::StreamRoot* root) {
  SNAP_RETURN_IF_ERROR(Drain(0));
  const uint64_t span = leaf_.span();
  return tree_.Finish(leaf_.Take(), span, root);
}

RunListReader::RunListReader(const NodeSource* source, const format::StreamRoot& root)
    : tree_(source, root) {}

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
  SNAP_RETURN_IF_ERROR(ParseRunLeaf(leaf.bytes, leaf.begin, leaf.span, &runs_));
  while (next_ < runs_.size() && runs_[next_].offset + runs_[next_].length <= offset) ++next_;
  return {};
}

Result<const Run*> RunListReader::Next() {
  while (next_ == runs_.size()) {
    NodeTreeReader::Leaf leaf;
    SNAP_ASSIGN_OR_RETURN(const bool more, tree_.Next(&leaf));
    if (!more) return static_cast<const Run*>(nullptr);
    SNAP_RETURN_IF_ERROR(ParseRunLeaf(leaf.bytes, leaf.begin, leaf.span, &runs_));
    next_ = 0;
  }
  return static_cast<const Run*>(&runs_[next_++]);
}

}  // namespace snapstore
