#include "engine/pack_writer.h"

#include <algorithm>

#include "base/check.h"
#include "base/status_macros.h"

namespace snapstore {
namespace {

// One that is ready keeps an uploader busy; more would only hold memory.
constexpr size_t kUploadQueue = 1;
constexpr size_t kFramesQueuedPerThread = 1;
// Room beyond the sealing size for the last frame and the footer.
constexpr size_t kPackSlack = 4 << 20;

}  // namespace

PendingRef::PendingRef(const ChunkId& id, std::shared_ptr<FrameSlot> slot, uint16_t chunk_in_frame)
    : slot_(std::move(slot)) {
  ref_.id = id;
  ref_.chunk_in_frame = chunk_in_frame;
}

ChunkRef PendingRef::Resolve() const {
  SNAP_CHECK(resolved());
  ChunkRef ref = ref_;
  if (slot_ != nullptr) {
    ref.pack = slot_->pack;
    ref.frame_offset = slot_->offset;
    ref.frame_length = slot_->length;
  }
  return ref;
}

PackWriter::PackWriter(ObjectStore* store, const Sealer* sealer, ChunkIndex* index,
                       SegmentPublisher* publisher, PackTable* table,
                       const PackWriterOptions& options)
    : store_(store),
      sealer_(sealer),
      index_(index),
      publisher_(publisher),
      table_(table),
      options_(options),
      level_(options.compression_level, options.uploads),
      frame_queue_(kFramesQueuedPerThread * options.threads),
      upload_queue_(kUploadQueue) {
  for (unsigned i = 0; i < options_.threads; ++i) threads_.emplace_back([this] { CompressLoop(); });
  for (unsigned i = 0; i < options_.uploads; ++i) threads_.emplace_back([this] { UploadLoop(); });
}

PackWriter::~PackWriter() {
  Fail(Status::Cancelled("pack writer closed"));
  frame_queue_.Cancel();
  upload_queue_.Cancel();
  for (std::thread& thread : threads_) thread.join();
}

Result<PendingRef> PackWriter::Put(PackKind kind, const ChunkId& id, ByteSpan content) {
  const NewChunk chunk{id, content};
  SNAP_RETURN_IF_ERROR(PutMany(kind, {&chunk, 1}, &put_one_));
  return std::move(put_one_.front());
}

Status PackWriter::Find(PackKind kind, std::span<const ChunkId> ids,
                        std::vector<std::optional<PendingRef>>* refs) {
  refs->assign(ids.size(), std::nullopt);
  unknown_.clear();
  unknown_ids_.clear();
  {
    std::lock_guard lock(mutex_);
    SNAP_RETURN_IF_ERROR(error_);
    for (size_t i = 0; i < ids.size(); ++i) {
      if (const auto it = session_.find(ids[i]); it != session_.end()) {
        (*refs)[i].emplace(ids[i], it->second.slot, it->second.chunk_in_frame);
      } else {
        unknown_.push_back(i);
        unknown_ids_.push_back(ids[i]);
      }
    }
  }
  if (unknown_.empty()) return {};
  SNAP_RETURN_IF_ERROR(index_->FindMany(unknown_ids_, &found_)
                           .WithContext("chunk index, which 'snapstore repair index' makes anew"));
  for (size_t i = 0; i < unknown_.size(); ++i) {
    SNAP_ASSIGN_OR_RETURN(const bool usable, IsUsable(kind, found_[i]));
    if (!usable) continue;
    const ChunkLocation& at = *found_[i];
    (*refs)[unknown_[i]].emplace(ChunkRef{unknown_ids_[i], table_->OrdinalOf(at.pack),
                                          at.frame_offset, at.frame_length, at.chunk_in_frame});
  }
  return {};
}

Result<bool> PackWriter::IsUsable(PackKind kind, const std::optional<ChunkLocation>& found) {
  if (!found.has_value()) return false;
  if (options_.guard == nullptr) return true;
  return options_.guard->MayReferTo(kind, found->pack);
}

Status PackWriter::PutMany(PackKind kind, std::span<const NewChunk> chunks,
                           std::vector<PendingRef>* refs, std::vector<size_t>* collided) {
  put_ids_.clear();
  for (const NewChunk& chunk : chunks) {
    SNAP_CHECK(chunk.id.length == chunk.content.size() && chunk.id.length > 0);
    put_ids_.push_back(chunk.id);
  }
  SNAP_RETURN_IF_ERROR(Find(kind, put_ids_, &put_found_));
  std::vector<size_t> others;
  if (compares()) SNAP_RETURN_IF_ERROR(CompareFound(kind, chunks, &others));
  refs->clear();
  refs->reserve(chunks.size());
  for (size_t i = 0; i < chunks.size(); ++i) {
    if (put_found_[i].has_value()) {
      refs->push_back(std::move(*put_found_[i]));
      continue;
    }
    bool other = false;
    SNAP_ASSIGN_OR_RETURN(PendingRef ref, Add(kind, chunks[i], &other));
    if (other) others.push_back(i);
    refs->push_back(std::move(ref));
  }
  if (collided != nullptr) {
    *collided = std::move(others);
  } else if (!others.empty()) {
    return Status::Conflict("other bytes are stored under the id of chunk " +
                            chunks[others.front()].id.ToHex());
  }
  return {};
}

Status PackWriter::CompareFound(PackKind kind, std::span<const NewChunk> chunks,
                                std::vector<size_t>* collided) {
  std::vector<StoredChunk> stored;
  std::vector<size_t> ordinals;
  for (size_t i = 0; i < chunks.size(); ++i) {
    if (!put_found_[i].has_value()) continue;
    {
      std::lock_guard lock(mutex_);
      if (const auto it = session_.find(chunks[i].id); it != session_.end()) {
        if (it->second.sha256 != Sha256::Of(chunks[i].content)) collided->push_back(i);
        continue;
      }
    }
    const ChunkRef ref = put_found_[i]->Resolve();
    SNAP_ASSIGN_OR_RETURN(const PackId pack, table_->PackAt(ref.pack));
    stored.push_back({ref.id, pack, ref.frame_offset, ref.frame_length, ref.chunk_in_frame});
    ordinals.push_back(i);
  }
  if (stored.empty()) return {};
  // Small files come one at a time, many to a frame.
  return options_.compare->ReadKept(
      kind, stored,
      [&](std::span<const FetchedChunk> fetched) {
        for (const FetchedChunk& each : fetched) {
          const size_t i = ordinals[each.ordinal];
          if (!std::ranges::equal(each.bytes, chunks[i].content)) collided->push_back(i);
        }
        return Status();
      },
      [&](size_t ordinal, const Status& status) {
        if (!status.Is(StatusCode::kCorruption)) return status;
        put_found_[ordinals[ordinal]].reset();
        return Status();
      });
}

Result<PendingRef> PackWriter::Add(PackKind kind, const NewChunk& chunk, bool* collided) {
  OpenFrame& frame = frame_of(kind);
  if (frame.slot == nullptr) StartFrame(&frame);
  const auto ordinal = static_cast<uint16_t>(frame.plain.chunks.size());
  const Digest sha256 = compares() ? Sha256::Of(chunk.content) : Digest();
  {
    std::lock_guard lock(mutex_);
    const auto [it, is_new] = session_.try_emplace(chunk.id, Known{frame.slot, ordinal, sha256});
    if (!is_new) {  // the same chunk, a moment ago
      *collided = it->second.sha256 != sha256;
      return PendingRef(chunk.id, it->second.slot, it->second.chunk_in_frame);
    }
    if (kind == PackKind::kData) {
      ++stats_.chunks_new;
      stats_.bytes_new += chunk.content.size();
    }
  }
  PendingRef ref(chunk.id, frame.slot, ordinal);
  frame.plain.data.insert(frame.plain.data.end(), chunk.content.begin(), chunk.content.end());
  frame.plain.chunks.push_back(chunk.id);
  if (frame.plain.Full()) SNAP_RETURN_IF_ERROR(CloseFrame(kind));
  return ref;
}

void PackWriter::StartFrame(OpenFrame* frame) {
  frame->slot = std::make_shared<FrameSlot>();
  {
    std::lock_guard lock(mutex_);
    if (!spare_frames_.empty()) {
      frame->plain = std::move(spare_frames_.back());
      spare_frames_.pop_back();
    }
  }
  frame->plain.data.reserve(kFramePlainTarget + kChunkBytesMax / 4);
}

Status PackWriter::CloseFrame(PackKind kind) {
  // One may have been started for a chunk that then turned out to be in the frame before.
  if (frame_of(kind).plain.chunks.empty()) return {};
  FrameJob job{kind, std::exchange(frame_of(kind), OpenFrame())};
  {
    std::lock_guard lock(mutex_);
    ++frames_in_flight_;
  }
  if (!frame_queue_.Push(std::move(job))) return error();
  return {};
}

Status PackWriter::Wait(const PendingRef& ref) {
  if (ref.resolved()) return {};
  for (PackKind kind : {PackKind::kData, PackKind::kMeta}) {
    if (frame_of(kind).slot.get() == ref.slot()) SNAP_RETURN_IF_ERROR(CloseFrame(kind));
  }
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [&] { return ref.resolved() || !error_.ok(); });
  return error_;
}

Status PackWriter::Flush() {
  SNAP_RETURN_IF_ERROR(CloseFrame(PackKind::kData));
  SNAP_RETURN_IF_ERROR(CloseFrame(PackKind::kMeta));
  {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return frames_in_flight_ == 0 || !error_.ok(); });
    SNAP_RETURN_IF_ERROR(error_);
  }
  for (OpenPack& open : packs_) {
    std::unique_lock lock(pack_mutex_);
    OpenPack pack = std::exchange(open, OpenPack());
    lock.unlock();
    SNAP_RETURN_IF_ERROR(Seal(std::move(pack)));
  }
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [&] { return uploads_in_flight_ == 0 || !error_.ok(); });
  return error_;
}

void PackWriter::CompressLoop() {
  FrameEncoder encoder(sealer_->encrypted());
  while (std::optional<FrameJob> job = frame_queue_.Pop()) {
    const Result<ByteSpan> stored = encoder.Encode(&job->frame.plain, level_.level());
    const Status status = stored.ok() ? PlaceFrame(std::move(*job), *stored) : stored.status();
    if (!status.ok()) {
      Fail(status);
      return;
    }
  }
}

Status PackWriter::PlaceFrame(FrameJob job, ByteSpan stored) {
  OpenPack full;
  FrameSlot& slot = *job.frame.slot;
  {
    std::lock_guard lock(pack_mutex_);
    OpenPack& pack = pack_of(job.kind);
    if (pack.builder == nullptr) {
      pack.builder = std::make_unique<PackBuilder>(sealer_, job.kind, TakePackStorage());
      pack.ordinal = table_->Reserve();
    }
    slot.pack = pack.ordinal;
    const PackBuilder::Placed placed = pack.builder->Append(stored, job.frame.plain.chunks);
    slot.offset = placed.offset;
    slot.length = placed.length;
    if (pack.builder->size() >= options_.pack_bytes) full = std::exchange(pack, OpenPack());
  }
  SNAP_RETURN_IF_ERROR(Seal(std::move(full)));
  job.frame.plain.data.clear();
  job.frame.plain.chunks.clear();
  std::lock_guard lock(mutex_);
  slot.placed.store(true, std::memory_order_release);
  spare_frames_.push_back(std::move(job.frame.plain));
  --frames_in_flight_;
  changed_.notify_all();
  return {};
}

Bytes PackWriter::TakePackStorage() {
  Bytes storage;
  {
    std::lock_guard lock(mutex_);
    if (!spare_packs_.empty()) {
      storage = std::move(spare_packs_.back());
      spare_packs_.pop_back();
    }
  }
  storage.reserve(options_.pack_bytes + kPackSlack);
  return storage;
}

Status PackWriter::Seal(OpenPack pack) {
  if (pack.builder == nullptr) return {};
  {
    std::lock_guard lock(mutex_);
    if (pack.builder->size() >= options_.pack_bytes) level_.OnPackFull(uploads_in_flight_);
    ++uploads_in_flight_;
  }
  UploadJob job{std::move(*pack.builder).Seal(), pack.ordinal};
  return upload_queue_.Push(std::move(job)) ? Status() : error();
}

void PackWriter::UploadLoop() {
  while (std::optional<UploadJob> job = upload_queue_.Pop()) {
    if (Status status = Upload(&*job); !status.ok()) {
      Fail(status);
      return;
    }
  }
}

Status PackWriter::Upload(UploadJob* job) {
  SealedPack& pack = job->pack;
  const ByteSpan parts[] = {pack.bytes};
  const auto put = store_->PutIfAbsent(PackKey(pack.kind, pack.id), parts);
  if (!put.ok()) return put.status().WithContext("store pack " + pack.id.ToHex());
  table_->Name(job->ordinal, pack.id);
  if (options_.guard != nullptr) options_.guard->OnStored(pack.id);
  SNAP_RETURN_IF_ERROR(index_->AddPack(pack.id, pack.chunks, /*published=*/false));
  SNAP_RETURN_IF_ERROR(publisher_->Add(pack.kind, pack.id, pack.chunks));
  std::lock_guard lock(mutex_);
  for (const PackChunk& chunk : pack.chunks) session_.erase(chunk.id);
  stats_.bytes_stored += pack.bytes.size();
  spare_packs_.push_back(std::move(pack.bytes));
  --uploads_in_flight_;
  changed_.notify_all();
  return {};
}

void PackWriter::Fail(const Status& status) {
  {
    std::lock_guard lock(mutex_);
    if (error_.ok()) error_ = status;
  }
  changed_.notify_all();
  frame_queue_.Cancel();
  upload_queue_.Cancel();
}

Status PackWriter::error() const {
  std::lock_guard lock(mutex_);
  return error_.ok() ? Status::Cancelled("pack writer closed") : error_;
}

std::vector<PipelineStage> PackWriter::Stages() const {
  const double seconds = stopwatch_.Seconds();
  const double compress =
      options_.threads * seconds - frame_queue_.pop_waited() - upload_queue_.push_waited();
  const double store = options_.uploads * seconds - upload_queue_.pop_waited();
  return {{"compress", options_.threads, seconds, compress},
          {"store", options_.uploads, seconds, store}};
}

PackWriterStats PackWriter::stats() const {
  std::lock_guard lock(mutex_);
  return stats_;
}

}  // namespace snapstore
