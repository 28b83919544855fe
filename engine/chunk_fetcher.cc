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

ChunkFetcher::ChunkFetcher(ObjectStore* store, const Sealer* sealer, const HashSecret& secret,
                           LocateFn locate, size_t cache_bytes, std::function<bool()> cancelled)
    : store_(store),
      sealer_(sealer),
      secret_(secret),
      locate_(std::move(locate)),
      frames_(cache_bytes, std::move(cancelled)) {}

ChunkFetcher::~ChunkFetcher() = default;

Status ChunkFetcher::Read(PackKind kind, const StoredChunk& chunk, Bytes* out) {
  Status failure;
  SNAP_RETURN_IF_ERROR(VisitSingly(
      kind, chunk, 0,
      [&](std::span<const FetchedChunk> chunks) {
        const ByteSpan bytes = chunks.front().bytes;
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
                                 const VisitFn& visit, const FailedFn& failed) {
  StoredChunk place = chunk;
  ByteSpan bytes;
  Result<FramePtr> frame = Frame(kind, place.pack, place.frame_offset, place.frame_length);
  Status status = frame.ok() ? Verify(**frame, place, &bytes) : frame.status();
  if (status.Is(StatusCode::kNotFound) || status.Is(StatusCode::kCorruption)) {
    frame = Relocate(kind, &place, status);
    status = frame.ok() ? Verify(**frame, place, &bytes) : frame.status();
  }
  if (status.Is(StatusCode::kNotFound)) {
    SNAP_RETURN_IF_ERROR(RefreshFor(place.pack));
    frame = Relocate(kind, &place, status);
    status = frame.ok() ? Verify(**frame, place, &bytes) : frame.status();
  }
  // The manifest promises the chunk: a pack that certainly is not there is damage.
  if (status.Is(StatusCode::kNotFound)) {
    status = Status::Corruption("its pack is missing: " + status.message());
  }
  if (!status.ok()) return failed(ordinal, status);
  const FetchedChunk fetched{ordinal, bytes};
  return visit({&fetched, 1});
}

Status ChunkFetcher::ReadMany(PackKind kind, std::span<const StoredChunk> chunks,
                              const VisitFn& visit, const FailedFn& failed) {
  std::vector<size_t> order(chunks.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::sort(order.begin(), order.end(), [&](size_t a, size_t b) {
    const StoredChunk& x = chunks[a];
    const StoredChunk& y = chunks[b];
    return std::tie(x.pack, x.frame_offset, x.chunk_in_frame, a) <
           std::tie(y.pack, y.frame_offset, y.chunk_in_frame, b);
  });
  const auto chunk_at = [&](size_t i) -> const StoredChunk& { return chunks[order[i]]; };
  Bytes stored;
  DecodedFrame scratch;
  for (size_t begin = 0; begin < order.size();) {
    const StoredChunk& first = chunk_at(begin);
    uint64_t end_offset = uint64_t{first.frame_offset} + first.frame_length;
    size_t end = begin + 1;
    for (; end < order.size(); ++end) {
      const StoredChunk& next = chunk_at(end);
      const uint64_t next_end = uint64_t{next.frame_offset} + next.frame_length;
      if (next.pack != first.pack || next.frame_offset > end_offset + kGapMax ||
          next_end - first.frame_offset > kReadBytesMax) {
        break;
      }
      end_offset = std::max(end_offset, next_end);
    }
    stored.resize(end_offset - first.frame_offset);
    const Status status = Fetch(kind, first.pack, first.frame_offset, stored);
    if (!status.ok()) stored.clear();  // each frame is then tried alone
    for (size_t at = begin; at < end;) {
      size_t frame_end = at + 1;
      while (frame_end < end && chunk_at(frame_end).frame_offset == chunk_at(at).frame_offset) {
        ++frame_end;
      }
      ByteSpan frame;
      const uint64_t in_read = chunk_at(at).frame_offset - first.frame_offset;
      if (!stored.empty()) {
        frame = ByteSpan(stored).subspan(in_read, chunk_at(at).frame_length);
      }
      SNAP_RETURN_IF_ERROR(VisitFrame(kind, chunks, std::span(order).subspan(at, frame_end - at),
                                      frame, &scratch, visit, failed));
      at = frame_end;
    }
    begin = end;
  }
  return {};
}

Status ChunkFetcher::VisitFrame(PackKind kind, std::span<const StoredChunk> chunks,
                                std::span<const size_t> order, ByteSpan stored,
                                DecodedFrame* scratch, const VisitFn& visit,
                                const FailedFn& failed) {
  const FramePlace place{kind, chunks[order.front()].frame_offset};
  const bool decoded = !stored.empty() && Decode(place, stored, scratch).ok();
  std::vector<FetchedChunk> fetched;
  fetched.reserve(order.size());
  std::vector<size_t> missed;
  const StoredChunk* last = nullptr;  // verified
  for (const size_t ordinal : order) {
    const StoredChunk& chunk = chunks[ordinal];
    ByteSpan bytes;
    if (last != nullptr && last->chunk_in_frame == chunk.chunk_in_frame && last->id == chunk.id) {
      fetched.push_back({ordinal, fetched.back().bytes});
    } else if (decoded && Verify(*scratch, chunk, &bytes).ok()) {
      fetched.push_back({ordinal, bytes});
      last = &chunk;
    } else {
      missed.push_back(ordinal);
    }
  }
  if (!fetched.empty()) SNAP_RETURN_IF_ERROR(visit(fetched));
  for (const size_t ordinal : missed) {
    SNAP_RETURN_IF_ERROR(VisitSingly(kind, chunks[ordinal], ordinal, visit, failed));
  }
  return {};
}

Result<FramePtr> ChunkFetcher::Frame(PackKind kind, const PackId& pack, uint32_t offset,
                                     uint32_t length) {
  return frames_.Get({pack, offset}, [&] { return LoadFrame(kind, pack, offset, length); });
}

Result<FramePtr> ChunkFetcher::LoadFrame(PackKind kind, const PackId& pack, uint32_t offset,
                                         uint32_t length) {
  if (length <= kFrameHeaderBytes || length > kFrameStoredMax) {
    return Status::Corruption("reference to a frame of impossible length");
  }
  Bytes stored(length);
  Status read = Fetch(kind, pack, offset, stored);
  if (read.Is(StatusCode::kNotFound)) {
    // Equal bytes are one chunk, so metadata may lie in a data pack and the other way round.
    kind = kind == PackKind::kData ? PackKind::kMeta : PackKind::kData;
    read = Fetch(kind, pack, offset, stored);
  }
  SNAP_RETURN_IF_ERROR(read);
  auto frame = std::make_shared<DecodedFrame>();
  SNAP_RETURN_IF_ERROR(Decode({kind, offset}, stored, frame.get()));
  return FramePtr(std::move(frame));
}

Status ChunkFetcher::ReadKept(PackKind kind, std::span<const StoredChunk> chunks,
                              const VisitFn& visit, const FailedFn& failed) {
  std::vector<FetchedChunk> fetched;
  std::vector<size_t> missed;
  for (size_t begin = 0; begin < chunks.size();) {
    const StoredChunk& first = chunks[begin];
    size_t end = begin + 1;
    while (end < chunks.size() && chunks[end].pack == first.pack &&
           chunks[end].frame_offset == first.frame_offset &&
           chunks[end].frame_length == first.frame_length) {
      ++end;
    }
    fetched.clear();
    missed.clear();
    const Result<FramePtr> frame = Frame(kind, first.pack, first.frame_offset, first.frame_length);
    for (size_t i = begin; i < end; ++i) {
      ByteSpan bytes;
      if (frame.ok() && Verify(**frame, chunks[i], &bytes).ok()) {
        fetched.push_back({i, bytes});
      } else {
        missed.push_back(i);
      }
    }
    if (!fetched.empty()) SNAP_RETURN_IF_ERROR(visit(fetched));
    // These are looked for elsewhere, where that can help.
    const bool unreachable = !frame.ok() && !frame.status().Is(StatusCode::kNotFound) &&
                             !frame.status().Is(StatusCode::kCorruption);
    for (const size_t i : missed) {
      SNAP_RETURN_IF_ERROR(unreachable ? failed(i, frame.status())
                                       : VisitSingly(kind, chunks[i], i, visit, failed));
    }
    begin = end;
  }
  return {};
}

Status ChunkFetcher::Prefetch(PackKind kind, std::span<const StoredChunk> chunks) {
  std::vector<StoredChunk> frames;  // one chunk of each
  const auto place = [](const StoredChunk& chunk) {
    return std::tie(chunk.pack, chunk.frame_offset);
  };
  for (const StoredChunk& chunk : chunks) {
    if (chunk.frame_length <= kFrameHeaderBytes || chunk.frame_length > kFrameStoredMax) continue;
    if (frames.empty() || place(frames.back()) != place(chunk)) frames.push_back(chunk);
  }
  std::sort(frames.begin(), frames.end(),
            [&](const StoredChunk& a, const StoredChunk& b) { return place(a) < place(b); });
  frames.erase(
      std::unique(frames.begin(), frames.end(),
                  [&](const StoredChunk& a, const StoredChunk& b) { return place(a) == place(b); }),
      frames.end());
  std::vector<StoredChunk> claimed;
  for (const StoredChunk& frame : frames) {
    if (!claimed.empty()) {
      const StoredChunk& last = claimed.back();
      const uint64_t end = uint64_t{last.frame_offset} + last.frame_length;
      if (frame.pack != last.pack || frame.frame_offset < end ||
          frame.frame_offset > end + kGapMax ||
          uint64_t{frame.frame_offset} + frame.frame_length - claimed.front().frame_offset >
              kReadBytesMax) {
        SNAP_RETURN_IF_ERROR(LoadClaimed(kind, std::exchange(claimed, {})));
      }
    }
    if (frames_.Claim({frame.pack, frame.frame_offset})) claimed.push_back(frame);
  }
  return claimed.empty() ? Status() : LoadClaimed(kind, claimed);
}

Status ChunkFetcher::LoadClaimed(PackKind kind, std::span<const StoredChunk> frames) {
  const uint64_t begin = frames.front().frame_offset;
  Bytes stored(frames.back().frame_offset + frames.back().frame_length - begin);
  Status status = Fetch(kind, frames.front().pack, frames.front().frame_offset, stored);
  for (const StoredChunk& frame : frames) {
    const FrameKey key(frame.pack, frame.frame_offset);
    if (!status.ok()) {
      // Whoever waits for it tries by itself: this read was larger than what it needs.
      frames_.Finish(key, Status::Cancelled("not read ahead"));
      continue;
    }
    auto decoded = std::make_shared<DecodedFrame>();
    const Status whole = Decode(
        {kind, frame.frame_offset},
        ByteSpan(stored).subspan(frame.frame_offset - begin, frame.frame_length), decoded.get());
    frames_.Finish(key, whole.ok() ? Result<FramePtr>(FramePtr(std::move(decoded)))
                                   : Result<FramePtr>(Status::Cancelled("not read ahead")));
  }
  return status.Is(StatusCode::kCancelled) ? status : Status();
}

Status ChunkFetcher::Fetch(PackKind kind, const PackId& pack, uint32_t offset,
                           MutableByteSpan out) {
  const BusyClock::Scope busy(&fetching_);
  SNAP_RETURN_IF_ERROR(store_->GetRange(PackKey(kind, pack), offset, out));
  bytes_fetched_ += out.size();
  return {};
}

Status ChunkFetcher::Decode(const FramePlace& place, ByteSpan stored, DecodedFrame* out) {
  std::unique_ptr<FrameDecoder> decoder;
  {
    std::lock_guard lock(mutex_);
    if (!decoders_.empty()) {
      decoder = std::move(decoders_.back());
      decoders_.pop_back();
    }
  }
  if (decoder == nullptr) decoder = std::make_unique<FrameDecoder>(sealer_);
  Status status = decoder->Decode(place, stored, out);
  std::lock_guard lock(mutex_);
  decoders_.push_back(std::move(decoder));
  return status;
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

Status ChunkFetcher::RefreshFor(const PackId& pack) {
  if (refresh_ == nullptr) return {};
  {
    const std::lock_guard lock(mutex_);
    if (refreshed_for_.contains(pack)) return {};
  }
  SNAP_RETURN_IF_ERROR(refresh_());
  const std::lock_guard lock(mutex_);
  refreshed_for_.insert(pack);
  return {};
}

Result<FramePtr> ChunkFetcher::Relocate(PackKind kind, StoredChunk* chunk, const Status& cause) {
  SNAP_ASSIGN_OR_RETURN(const std::optional<ChunkLocation> found, locate_(chunk->id));
  const ChunkLocation tried{chunk->pack, chunk->frame_offset, chunk->frame_length,
                            chunk->chunk_in_frame};
  if (!found.has_value() || *found == tried) {
    // There is no other place. A bit that flipped on its way is right the second time.
    Result<FramePtr> frame =
        cause.Is(StatusCode::kCorruption)
            ? Frame(kind, chunk->pack, chunk->frame_offset, chunk->frame_length)
            : Result<FramePtr>(cause);
    if (!frame.ok()) return frame.status().WithContext("chunk " + chunk->id.ToHex());
    return frame;
  }
  chunk->pack = found->pack;
  chunk->frame_offset = found->frame_offset;
  chunk->frame_length = found->frame_length;
  chunk->chunk_in_frame = found->chunk_in_frame;
  return Frame(kind, found->pack, found->frame_offset, found->frame_length);
}

}  // namespace snapstore
