#include "engine/chunk_fetcher.h"

#include <algorithm>
#include <numeric>

#include "base/status_macros.h"

namespace snapstore {
namespace {

// A gap between frames up to this size is read over.
constexpr uint64_t kGapMax = 64 << 10;

// Two readers, one of entries and one of contents, leave room for what they have in use.
size_t FramesAhead(const FetchLimits& limits) {
  if (limits.reads <= 1) return 0;
  const size_t room = limits.cache_bytes / kFramePlainTarget / 3;
  return std::clamp<size_t>(room, 2, std::max(2u, limits.reads));
}

bool PossibleLength(const StoredChunk& chunk) {
  return chunk.frame_length > kFrameHeaderBytes && chunk.frame_length <= kFrameStoredMax;
}

// Whether it may help to look for the chunk in another place, or once more.
bool IsOfThePlace(const Status& status) {
  return status.Is(StatusCode::kNotFound) || status.Is(StatusCode::kCorruption);
}

FrameKey KeyOf(const StoredChunk& chunk) { return {chunk.pack, chunk.frame_offset}; }

uint64_t EndOf(const StoredChunk& chunk) {
  return uint64_t{chunk.frame_offset} + chunk.frame_length;
}

// Whether one read is to bring the frame of `next` too, after others from `begin` to `end` of the
// same pack.
bool ExtendsRead(uint64_t begin, uint64_t end, const StoredChunk& next) {
  return next.frame_offset <= end + kGapMax && EndOf(next) - begin <= ChunkFetcher::kReadBytesMax;
}

}  // namespace

ChunkFetcher::ChunkFetcher(ObjectStore* store, const Sealer* sealer, const HashSecret& secret,
                           LocateFn locate, const FetchLimits& limits,
                           std::function<bool()> cancelled)
    : store_(store),
      sealer_(sealer),
      secret_(secret),
      locate_(std::move(locate)),
      frames_ahead_(FramesAhead(limits)),
      far_(limits.reads > 1),
      decoding_(std::max(1u, limits.decoders)),
      frames_(limits.cache_bytes, std::move(cancelled)),
      background_(limits.reads) {}

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
  Result<FramePtr> frame = Frame(kind, place);
  Status status = frame.ok() ? Verify(**frame, place, &bytes) : frame.status();
  const auto relocate = [&] {
    frame = Relocate(kind, &place, status);
    status = frame.ok() ? Verify(**frame, place, &bytes) : frame.status();
  };
  if (IsOfThePlace(status)) relocate();
  if (status.Is(StatusCode::kNotFound)) {
    SNAP_RETURN_IF_ERROR(RefreshFor(place.pack));
    relocate();
  }
  if (status.Is(StatusCode::kNotFound) && reload_ != nullptr) {
    Status reloaded = reload_();
    if (!reloaded.ok() && !IsOfThePlace(reloaded)) return reloaded;
    // A damaged segment hides where this chunk is; it keeps none from being read whose place is
    // good.
    if (reloaded.ok()) {
      relocate();
    } else {
      status = std::move(reloaded);
    }
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
  const auto before = [&](size_t a, size_t b) {
    const StoredChunk& x = chunks[a];
    const StoredChunk& y = chunks[b];
    return std::tie(x.pack, x.frame_offset, x.chunk_in_frame, a) <
           std::tie(y.pack, y.frame_offset, y.chunk_in_frame, b);
  };
  // What was never changed lies in order, in tens of thousands of chunks.
  if (!std::is_sorted(order.begin(), order.end(), before)) {
    std::sort(order.begin(), order.end(), before);
  }
  const auto chunk_at = [&](size_t i) -> const StoredChunk& { return chunks[order[i]]; };
  const auto buffer = buffers_.Borrow();
  for (size_t begin = 0; begin < order.size();) {
    const StoredChunk& first = chunk_at(begin);
    const OneRead read = CutRead(chunks, order, begin);
    // It only ever grows: what is made longer is filled with zeros first.
    if (buffer->size() < read.bytes) buffer->resize(read.bytes);
    MutableByteSpan stored = MutableByteSpan(*buffer).first(read.bytes);
    Status read_status;
    {
      const BusyClock::Scope fetching(&fetching_);
      read_status = Fetch(kind, first.pack, first.frame_offset, stored);
    }
    if (!read_status.ok()) stored = {};  // each frame is then tried alone
    if (far_ && !read_status.ok() && !IsOfThePlace(read_status)) {
      // The store was asked until the deadline; each frame alone would wait as long again.
      for (size_t at = begin; at < read.end; ++at) {
        SNAP_RETURN_IF_ERROR(failed(order[at], read_status));
      }
      begin = read.end;
      continue;
    }
    const Turns::Scope turn(&decoding_, &queueing_);
    const auto scratch = scratch_.Borrow();
    for (size_t at = begin; at < read.end;) {
      size_t frame_end = at + 1;
      while (frame_end < read.end &&
             chunk_at(frame_end).frame_offset == chunk_at(at).frame_offset) {
        ++frame_end;
      }
      ByteSpan frame;
      const uint64_t in_read = chunk_at(at).frame_offset - first.frame_offset;
      if (!stored.empty()) frame = stored.subspan(in_read, chunk_at(at).frame_length);
      SNAP_RETURN_IF_ERROR(VisitFrame(kind, chunks, std::span(order).subspan(at, frame_end - at),
                                      frame, &*scratch, visit, failed));
      at = frame_end;
    }
    begin = read.end;
  }
  return {};
}

ChunkFetcher::OneRead ChunkFetcher::CutRead(std::span<const StoredChunk> chunks,
                                            std::span<const size_t> order, size_t begin) {
  const StoredChunk& first = chunks[order[begin]];
  uint64_t end_offset = EndOf(first);
  size_t end = begin + 1;
  for (; end < order.size(); ++end) {
    const StoredChunk& next = chunks[order[end]];
    if (next.pack != first.pack || !ExtendsRead(first.frame_offset, end_offset, next)) break;
    end_offset = std::max(end_offset, EndOf(next));
  }
  return {end, end_offset - first.frame_offset};
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

Result<FramePtr> ChunkFetcher::Frame(PackKind kind, const StoredChunk& chunk) {
  return frames_.Get(KeyOf(chunk), [&] { return LoadFrame(kind, chunk); });
}

Result<FramePtr> ChunkFetcher::LoadFrame(PackKind kind, const StoredChunk& chunk) {
  if (!PossibleLength(chunk)) {
    return Status::Corruption("reference to a frame of impossible length");
  }
  const auto buffer = buffers_.Borrow();
  if (buffer->size() < chunk.frame_length) buffer->resize(chunk.frame_length);
  const MutableByteSpan stored = MutableByteSpan(*buffer).first(chunk.frame_length);
  Status read = Fetch(kind, chunk.pack, chunk.frame_offset, stored);
  if (read.Is(StatusCode::kNotFound)) {
    // Equal bytes are one chunk, so metadata may lie in a data pack and the other way round.
    kind = kind == PackKind::kData ? PackKind::kMeta : PackKind::kData;
    read = Fetch(kind, chunk.pack, chunk.frame_offset, stored);
  }
  SNAP_RETURN_IF_ERROR(read);
  auto frame = std::make_shared<DecodedFrame>();
  SNAP_RETURN_IF_ERROR(Decode({kind, chunk.frame_offset}, stored, frame.get()));
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
    const Result<FramePtr> frame = Frame(kind, first);
    for (size_t i = begin; i < end; ++i) {
      ByteSpan bytes;
      if (frame.ok() && Verify(**frame, chunks[i], &bytes).ok()) {
        fetched.push_back({i, bytes});
      } else {
        missed.push_back(i);
      }
    }
    if (!fetched.empty()) SNAP_RETURN_IF_ERROR(visit(fetched));
    const bool unreachable = !frame.ok() && !IsOfThePlace(frame.status());
    for (const size_t i : missed) {
      SNAP_RETURN_IF_ERROR(unreachable ? failed(i, frame.status())
                                       : VisitSingly(kind, chunks[i], i, visit, failed));
    }
    begin = end;
  }
  return {};
}

Status ChunkFetcher::Prefetch(PackKind kind, std::span<const StoredChunk> chunks) {
  return ClaimFrames(
      chunks, [&](const std::vector<StoredChunk>& frames) { return LoadClaimed(kind, frames); });
}

void ChunkFetcher::ReadAhead(PackKind kind, std::span<const StoredChunk> chunks) {
  (void)ClaimFrames(chunks, [&](std::vector<StoredChunk> frames) {
    background_.Push([this, kind, claimed = std::move(frames)](bool run) {
      if (run) {
        (void)LoadClaimed(kind, claimed);
        return;
      }
      for (const StoredChunk& frame : claimed) {
        frames_.Finish(KeyOf(frame), Status::Cancelled("not read ahead"));
      }
    });
    return Status();
  });
}

Status ChunkFetcher::ClaimFrames(std::span<const StoredChunk> chunks, const LoadFn& load) {
  std::vector<StoredChunk> frames;  // one chunk of each
  for (const StoredChunk& chunk : chunks) {
    if (!PossibleLength(chunk)) continue;
    if (frames.empty() || KeyOf(frames.back()) != KeyOf(chunk)) frames.push_back(chunk);
  }
  const auto before = [](const StoredChunk& a, const StoredChunk& b) {
    return KeyOf(a) < KeyOf(b);
  };
  const auto same = [](const StoredChunk& a, const StoredChunk& b) { return KeyOf(a) == KeyOf(b); };
  std::sort(frames.begin(), frames.end(), before);
  frames.erase(std::unique(frames.begin(), frames.end(), same), frames.end());
  std::vector<StoredChunk> claimed;
  for (const StoredChunk& frame : frames) {
    // Frames that overlap are damage; each is then loaded by itself.
    const bool extends = !claimed.empty() && frame.pack == claimed.back().pack &&
                         frame.frame_offset >= EndOf(claimed.back()) &&
                         ExtendsRead(claimed.front().frame_offset, EndOf(claimed.back()), frame);
    if (!claimed.empty() && !extends) SNAP_RETURN_IF_ERROR(load(std::exchange(claimed, {})));
    if (frames_.Claim(KeyOf(frame))) claimed.push_back(frame);
  }
  return claimed.empty() ? Status() : load(std::move(claimed));
}

Status ChunkFetcher::LoadClaimed(PackKind kind, std::span<const StoredChunk> frames) {
  const uint64_t begin = frames.front().frame_offset;
  const uint64_t length = EndOf(frames.back()) - begin;
  const auto buffer = buffers_.Borrow();
  if (buffer->size() < length) buffer->resize(length);
  const MutableByteSpan stored = MutableByteSpan(*buffer).first(length);
  const Status status = Fetch(kind, frames.front().pack, frames.front().frame_offset, stored);
  for (const StoredChunk& frame : frames) {
    auto decoded = std::make_shared<DecodedFrame>();
    const bool loaded =
        status.ok() &&
        Decode({kind, frame.frame_offset},
               stored.subspan(frame.frame_offset - begin, frame.frame_length), decoded.get())
            .ok();
    // Whoever waits for it tries by itself: this read was larger than what it needs.
    frames_.Finish(KeyOf(frame), loaded ? Result<FramePtr>(FramePtr(std::move(decoded)))
                                        : Result<FramePtr>(Status::Cancelled("not read ahead")));
  }
  return status.Is(StatusCode::kCancelled) ? status : Status();
}

Status ChunkFetcher::Fetch(PackKind kind, const PackId& pack, uint32_t offset,
                           MutableByteSpan out) {
  SNAP_RETURN_IF_ERROR(store_->GetRange(PackKey(kind, pack), offset, out));
  bytes_fetched_ += out.size();
  return {};
}

Status ChunkFetcher::Decode(const FramePlace& place, ByteSpan stored, DecodedFrame* out) {
  return decoders_.Borrow(sealer_)->Decode(place, stored, out);
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
        cause.Is(StatusCode::kCorruption) ? Frame(kind, *chunk) : Result<FramePtr>(cause);
    if (!frame.ok()) return frame.status().WithContext("chunk " + chunk->id.ToHex());
    return frame;
  }
  chunk->pack = found->pack;
  chunk->frame_offset = found->frame_offset;
  chunk->frame_length = found->frame_length;
  chunk->chunk_in_frame = found->chunk_in_frame;
  return Frame(kind, *chunk);
}

}  // namespace snapstore
