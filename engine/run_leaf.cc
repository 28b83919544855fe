#include "engine/run_leaf.h"

#include <algorithm>
#include <utility>

#include "base/check.h"
#include "base/status_macros.h"

namespace snapstore {
namespace {

// Low two bits of a record's first varint; the rest is the count. Stored: do not renumber.
enum RecordKind : uint64_t {
  kHoleRecord = 0,
  kFrameRecord = 1,
  kRepeatRecord = 2,
  kBaseRecord = 3
};

// A leaf ends after a chunk whose id is 0 modulo kRunCutModulus, within these bounds.
constexpr size_t kLeafItemsMin = 128;
constexpr size_t kLeafItemsMax = 4096;
constexpr uint64_t kRunCutModulus = 512;

bool CutsLeaf(const ChunkId& id) {
  return LoadLe<uint64_t>(id.hash.data() + 8) % kRunCutModulus == 0;
}

Status Inconsistent() { return Status::Corruption("run list is inconsistent"); }

// Bytes from `at` on in which `run` of the one leaf and `base` of the other say the same; 0 if they
// do not. REQUIRES: `at` lies in both, and at the beginning of a repetition of run's chunk.
uint64_t SameFrom(uint64_t at, const Run& run, const Run& base) {
  const uint64_t end = std::min(run.offset + run.length, base.offset + base.length);
  if (run.hole || base.hole) return run.hole && base.hole ? end - at : 0;
  const bool in_step = (at - base.offset) % base.chunk.id.length == 0;
  return run.chunk == base.chunk && in_step ? end - at : 0;
}

// The runs of one leaf as its records bring them.
class RunCollector {
 public:
  RunCollector(uint64_t begin, uint64_t span, std::vector<Run>* out)
      : begin_(begin), span_(span), out_(out) {
    out_->clear();
  }

  bool Add(Run run) {
    if (run.length == 0 || run.length > span_ - done_) return false;
    run.offset = begin_ + done_;
    done_ += run.length;
    out_->push_back(run);
    return true;
  }

  bool Repeat(uint64_t count) {
    if (out_->empty() || out_->back().hole || count == 0) return false;
    Run& last = out_->back();
    if (count > (span_ - done_) / last.chunk.id.length) return false;
    last.count += count;
    last.length += count * last.chunk.id.length;
    done_ += count * last.chunk.id.length;
    return true;
  }

  // Takes over what `base` has in the next `length` bytes.
  bool Keep(const std::vector<Run>& base, uint64_t length) {
    if (length == 0 || length > span_ - done_) return false;
    const uint64_t end = begin_ + done_ + length;
    for (uint64_t at = begin_ + done_; at < end;) {
      while (next_kept_ < base.size() && base[next_kept_].offset + base[next_kept_].length <= at) {
        ++next_kept_;
      }
      if (next_kept_ == base.size()) return false;
      const Run& from = base[next_kept_];
      Run kept = from;
      kept.length = std::min(end, from.offset + from.length) - at;
      if (!kept.hole) {
        const uint64_t unit = kept.chunk.id.length;
        if ((at - from.offset) % unit != 0 || kept.length % unit != 0) return false;
        kept.count = kept.length / unit;
      }
      if (!Add(kept)) return false;
      at += kept.length;
    }
    return true;
  }

  bool complete() const { return done_ == span_; }

 private:
  const uint64_t begin_;
  const uint64_t span_;
  std::vector<Run>* const out_;
  uint64_t done_ = 0;
  size_t next_kept_ = 0;
};

bool ParseFrameRecord(uint64_t count, ByteReader* reader, RunCollector* runs) {
  ChunkRef chunk;
  const uint64_t pack = reader->Varint();
  const uint64_t offset = reader->Varint();
  const uint64_t length = reader->Varint();
  const uint64_t first = reader->Varint();
  if (!reader->ok() || count == 0 || count > kFrameChunksMax || first + count > UINT16_MAX ||
      pack > UINT32_MAX || offset > kPackBytesMax || length > kFrameStoredMax) {
    return false;
  }
  chunk.pack = static_cast<uint32_t>(pack);
  chunk.frame_offset = static_cast<uint32_t>(offset);
  chunk.frame_length = static_cast<uint32_t>(length);
  for (uint64_t i = 0; i < count; ++i) {
    const ByteSpan hash = reader->Raw(chunk.id.hash.size());
    const uint64_t bytes = reader->Varint();
    if (!reader->ok() || bytes > kChunkBytesMax) return false;
    std::copy(hash.begin(), hash.end(), chunk.id.hash.begin());
    chunk.id.length = static_cast<uint32_t>(bytes);
    chunk.chunk_in_frame = static_cast<uint16_t>(first + i);
    if (!runs->Add({.length = bytes, .chunk = chunk})) return false;
  }
  return true;
}

// `base` is empty in a leaf that stands on its own.
Status ParseRecords(ByteReader* reader, uint64_t begin, uint64_t span, const std::vector<Run>& base,
                    std::vector<Run>* out) {
  RunCollector runs(begin, span, out);
  bool after_kept = false;
  while (!reader->empty()) {
    const uint64_t head = reader->Varint();
    const uint64_t count = head >> 2;
    bool good = reader->ok();
    switch (head & 3) {
      case kHoleRecord:
        good = good && runs.Add({.length = reader->Varint(), .hole = true, .chunk = {}});
        break;
      case kFrameRecord:
        good = good && ParseFrameRecord(count, reader, &runs);
        break;
      case kRepeatRecord:
        good = good && !after_kept && runs.Repeat(count);
        break;
      default:
        good = good && runs.Keep(base, count);
    }
    if (!good) return Inconsistent();
    after_kept = (head & 3) == kBaseRecord;
  }
  return reader->ok() && runs.complete() ? Status() : Inconsistent();
}

}  // namespace

void RunLeafBuilder::AddHole(uint64_t length) {
  SNAP_CHECK(length > 0);
  CloseKept();
  CloseGroup();
  have_last_ = false;
  if (hole_ == 0) ++items_;
  hole_ += length;
  span_ += length;
}

void RunLeafBuilder::AddChunk(const ChunkRef& chunk) {
  SNAP_CHECK(chunk.id.length > 0);
  CloseHole();
  CloseKept();
  span_ += chunk.id.length;
  ++chunks_;
  if (have_last_ && chunk == last_) {
    ++repeat_;
    ends_here_ = false;
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
  ends_here_ = items_ >= kLeafItemsMin && CutsLeaf(chunk.id);
}

bool RunLeafBuilder::Full() const { return items_ >= kLeafItemsMax; }

void RunLeafBuilder::StartFrom(const ChunkRef& base) {
  SNAP_CHECK(empty() && bytes_.empty());
  ByteWriter(&bytes_).Varint(kBaseRecord);
  AppendChunkRef(base, &bytes_);
}

void RunLeafBuilder::Keep(uint64_t length) {
  SNAP_CHECK(length > 0);
  CloseHole();
  CloseGroup();
  have_last_ = false;
  kept_ += length;
  span_ += length;
}

void RunLeafBuilder::CloseKept() {
  if (kept_ == 0) return;
  ByteWriter(&bytes_).Varint(kept_ << 2 | kBaseRecord);
  kept_ = 0;
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
  CloseKept();
  CloseGroup();
  Bytes out = std::move(bytes_);
  *this = RunLeafBuilder();
  return out;
}

Result<std::optional<ChunkRef>> RunLeafBase(ByteSpan leaf) {
  ByteReader reader(leaf);
  if (reader.empty() || reader.Varint() != kBaseRecord) return std::optional<ChunkRef>();
  SNAP_ASSIGN_OR_RETURN(const ChunkRef base, ParseChunkRef(&reader));
  return std::optional<ChunkRef>(base);
}

Status ParseRunLeaf(ByteSpan leaf, uint64_t begin, uint64_t span, const NodeSource* bases,
                    std::vector<Run>* out) {
  ByteReader reader(leaf);
  std::vector<Run> base_runs;
  SNAP_ASSIGN_OR_RETURN(const std::optional<ChunkRef> base, RunLeafBase(leaf));
  if (base.has_value()) {
    if (bases == nullptr) return Inconsistent();
    Bytes bytes;
    SNAP_RETURN_IF_ERROR(bases->ReadNode(*base, &bytes));
    SNAP_RETURN_IF_ERROR(ParseRunLeaf(bytes, begin, span, /*bases=*/nullptr, &base_runs));
    SNAP_CHECK(reader.Varint() == kBaseRecord && ParseChunkRef(&reader).ok());
  }
  return ParseRecords(&reader, begin, span, base_runs, out);
}

Bytes EncodeRunLeafChanges(const ChunkRef& base, std::span<const Run> base_runs,
                           std::span<const Run> runs) {
  RunLeafBuilder builder;
  builder.StartFrom(base);
  size_t in_base = 0;
  for (const Run& run : runs) {
    const uint64_t end = run.offset + run.length;
    for (uint64_t at = run.offset; at < end;) {
      while (base_runs[in_base].offset + base_runs[in_base].length <= at) ++in_base;
      const Run& old = base_runs[in_base];
      if (const uint64_t same = SameFrom(at, run, old); same > 0) {
        builder.Keep(same);
        at += same;
      } else if (run.hole) {
        const uint64_t step = std::min(end, old.offset + old.length) - at;
        builder.AddHole(step);
        at += step;
      } else {
        builder.AddChunk(run.chunk);
        at += run.chunk.id.length;
      }
    }
  }
  return builder.Take();
}

}  // namespace snapstore
