#include "engine/chunk_fetcher.h"

#include <algorithm>
#include <numeric>

#include "base/status_macros.h"

namespace snapstore {
namespace {

// Neighbouring frames are fetched in one read up to this size; a gap up to kGapMax is read over.
constexpr uint64_t kReadBytesMax = 4 << 20;
constexpr uint64_t kGapMax = 64 << 10;

}  // namespace

ChunkFetcher::ChunkFetcher(ObjectStore* store, const HashSecret& secret, LocateFn locate,
                           size_t cache_bytes)
    : store_(store), secret_(secret), locate_(std::move(locate)), cache_bytes_max_(cache_bytes) {}

ChunkFetcher::~ChunkFetcher() = default;

Status ChunkFetcher::Read(PackKind kind, const StoredChunk& chunk, Bytes* out) {
  Status failure;
  SNAP_RETURN_IF_ERROR(VisitSingly(
      kind, chunk, 0,
      [&](size_t, ByteSpan bytes) {
        out->insert(out->end(), bytes.begin(), bytes.end());
        return Status();
      },
      [&](size_t, const Status& status) {
        failure = status;
        return Status();
      }));
  return failure;
}

Status ChunkFetcher::VisitSingly(PackKind kind, const StoredChunk& chunk, size_t ordinal,
                                 const std::function<Status(size_t, ByteSpan)>& visit,
                                 const std::function<Status(size_t, const Status&)>& failed) {
  StoredChunk place = chunk;
  ByteSpan bytes;
  Result<FramePtr> frame = Frame(kind, place.pack, place.frame_offset, place.frame_length);
  Status status = frame.ok() ? Verify(**frame, place, &bytes) : frame.status();
  if (status.Is(StatusCode::kNotFound) || status.Is(StatusCode::kCorruption)) {
    frame = Relocate(kind, &place, status);
    status = frame.ok() ? Verify(**frame, place, &bytes) : frame.status();
  }
  // The manifest promises the chunk: a pack that certainly is not there is damage.
  if (status.Is(StatusCode::kNotFound)) {
    status = Status::Corruption("its pack is missing: " + status.message());
  }
  return status.ok() ? visit(ordinal, bytes) : failed(ordinal, status);
}

Status ChunkFetcher::ReadMany(PackKind kind, std::span<const StoredChunk> chunks,
                              const std::function<Status(size_t, ByteSpan)>& visit,
                              const std::function<Status(size_t, const Status&)>& failed) {
  std::vector<size_t> order(chunks.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::sort(order.begin(), order.end(), [&](size_t a, size_t b) {
    const StoredChunk& x = chunks[a];
    const StoredChunk& y = chunks[b];
    return std::tie(x.pack, x.frame_offset, x.chunk_in_frame) <
           std::tie(y.pack, y.frame_offset, y.chunk_in_frame);
  });
  Bytes stored;
  for (size_t begin = 0; begin < order.size();) {
    const StoredChunk& first = chunks[order[begin]];
    uint64_t end_offset = uint64_t{first.frame_offset} + first.frame_length;
    size_t end = begin + 1;
    for (; end < order.size(); ++end) {
      const StoredChunk& next = chunks[order[end]];
      const uint64_t next_end = uint64_t{next.frame_offset} + next.frame_length;
      if (next.pack != first.pack || next.frame_offset > end_offset + kGapMax ||
          next_end - first.frame_offset > kReadBytesMax) {
        break;
      }
      end_offset = std::max(end_offset, next_end);
    }
    stored.resize(end_offset - first.frame_offset);
    const Status status = store_->GetRange(PackKey(kind, first.pack), first.frame_offset, stored);
    if (status.ok()) {
      std::lock_guard lock(mutex_);
      bytes_fetched_ += stored.size();
    } else {
      stored.clear();  // each frame is then tried alone
    }
    SNAP_RETURN_IF_ERROR(VisitRun(kind, chunks, std::span(order).subspan(begin, end - begin),
                                  stored, visit, failed));
    begin = end;
  }
  return {};
}

Status ChunkFetcher::VisitRun(PackKind kind, std::span<const StoredChunk> chunks,
                              std::span<const size_t> order, ByteSpan stored,
                              const std::function<Status(size_t, ByteSpan)>& visit,
                              const std::function<Status(size_t, const Status&)>& failed) {
  const uint32_t base = chunks[order.front()].frame_offset;
  FramePtr frame;
  uint32_t frame_offset = 0;
  for (const size_t ordinal : order) {
    const StoredChunk& chunk = chunks[ordinal];
    if (frame == nullptr || chunk.frame_offset != frame_offset) {
      frame = nullptr;
      frame_offset = chunk.frame_offset;
      const uint64_t at = frame_offset - base;
      if (at + chunk.frame_length <= stored.size()) {
        Result<FramePtr> decoded = Decode(stored.subspan(at, chunk.frame_length));
        if (decoded.ok()) frame = *decoded;
      }
    }
    ByteSpan bytes;
    if (frame != nullptr && Verify(*frame, chunk, &bytes).ok()) {
      SNAP_RETURN_IF_ERROR(visit(ordinal, bytes));
    } else {
      SNAP_RETURN_IF_ERROR(VisitSingly(kind, chunk, ordinal, visit, failed));
    }
  }
  return {};
}

Result<ChunkFetcher::FramePtr> ChunkFetcher::Frame(PackKind kind, const PackId& pack,
                                                   uint32_t offset, uint32_t length) {
  const FrameKey key(pack, offset);
  if (FramePtr frame = Cached(key); frame != nullptr) return frame;
  if (length <= kFrameHeaderBytes || length > kFrameStoredMax) {
    return Status::Corruption("reference to a frame of impossible length");
  }
  Bytes stored(length);
  Status read = store_->GetRange(PackKey(kind, pack), offset, stored);
  if (read.Is(StatusCode::kNotFound)) {
    // Equal bytes are one chunk, so metadata may lie in a data pack and the other way round.
    const PackKind other = kind == PackKind::kData ? PackKind::kMeta : PackKind::kData;
    read = store_->GetRange(PackKey(other, pack), offset, stored);
  }
  SNAP_RETURN_IF_ERROR(read);
  SNAP_ASSIGN_OR_RETURN(FramePtr frame, Decode(stored));
  Keep(key, frame);
  std::lock_guard lock(mutex_);
  bytes_fetched_ += length;
  return frame;
}

Result<ChunkFetcher::FramePtr> ChunkFetcher::Decode(ByteSpan stored) {
  std::unique_ptr<FrameDecoder> decoder;
  {
    std::lock_guard lock(mutex_);
    if (!decoders_.empty()) {
      decoder = std::move(decoders_.back());
      decoders_.pop_back();
    }
  }
  if (decoder == nullptr) decoder = std::make_unique<FrameDecoder>();
  auto frame = std::make_shared<DecodedFrame>();
  const Status status = decoder->Decode(stored, frame.get());
  std::lock_guard lock(mutex_);
  decoders_.push_back(std::move(decoder));
  if (!status.ok()) return status;
  return FramePtr(std::move(frame));
}

Status ChunkFetcher::Verify(const DecodedFrame& frame, const StoredChunk& chunk,
                            ByteSpan* out) const {
  if (chunk.chunk_in_frame >= frame.chunk_count()) {
    return Status::Corruption("chunk " + chunk.id.ToHex() + " is not in its frame");
  }
  const ByteSpan bytes = frame.chunk(chunk.chunk_in_frame);
  if (ComputeChunkId(secret_, bytes) != chunk.id) {
    return Status::Corruption("chunk " + chunk.id.ToHex() + " does not match its id");
  }
  *out = bytes;
  return {};
}

Result<ChunkFetcher::FramePtr> ChunkFetcher::Relocate(PackKind kind, StoredChunk* chunk,
                                                      const Status& cause) {
  SNAP_ASSIGN_OR_RETURN(const std::optional<ChunkLocation> found, locate_(chunk->id));
  const std::string name = "chunk " + chunk->id.ToHex();
  if (!found.has_value()) return cause.WithContext(name);
  if (*found ==
      ChunkLocation{chunk->pack, chunk->frame_offset, chunk->frame_length, chunk->chunk_in_frame}) {
    return cause.WithContext(name);
  }
  chunk->pack = found->pack;
  chunk->frame_offset = found->frame_offset;
  chunk->frame_length = found->frame_length;
  chunk->chunk_in_frame = found->chunk_in_frame;
  return Frame(kind, found->pack, found->frame_offset, found->frame_length);
}

ChunkFetcher::FramePtr ChunkFetcher::Cached(const FrameKey& key) {
  std::lock_guard lock(mutex_);
  const auto it = cache_.find(key);
  if (it == cache_.end()) return nullptr;
  recent_.splice(recent_.begin(), recent_, it->second);
  return it->second->second;
}

void ChunkFetcher::Keep(const FrameKey& key, const FramePtr& frame) {
  std::lock_guard lock(mutex_);
  if (cache_.contains(key)) return;
  recent_.emplace_front(key, frame);
  cache_[key] = recent_.begin();
  cache_bytes_ += frame->data.size();
  while (cache_bytes_ > cache_bytes_max_ && recent_.size() > 1) {
    cache_bytes_ -= recent_.back().second->data.size();
    cache_.erase(recent_.back().first);
    recent_.pop_back();
  }
}

uint64_t ChunkFetcher::bytes_fetched() const {
  std::lock_guard lock(mutex_);
  return bytes_fetched_;
}

}  // namespace snapstore
