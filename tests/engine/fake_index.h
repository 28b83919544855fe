// FakeIndex: a ChunkIndex in maps, for tests of what uses one.
#ifndef SNAPSTORE_TESTS_ENGINE_FAKE_INDEX_H_
#define SNAPSTORE_TESTS_ENGINE_FAKE_INDEX_H_

#include <map>
#include <mutex>
#include <set>
#include <unordered_map>
#include <vector>

#include "index/chunk_index.h"

namespace snapstore {

class FakeIndex final : public ChunkIndex {
 public:
  Status AddPack(const PackId& pack, std::span<const PackChunk> chunks, bool published) override {
    std::lock_guard lock(mutex_);
    if (!packs_.emplace(pack, published).second) return {};
    for (const PackChunk& chunk : chunks) {
      chunks_[chunk.id] = {pack, chunk.frame_offset, chunk.frame_length, chunk.chunk_in_frame};
    }
    return {};
  }
  Result<std::optional<ChunkLocation>> Find(const ChunkId& id) override {
    std::lock_guard lock(mutex_);
    const auto it = chunks_.find(id);
    return it == chunks_.end() ? std::nullopt : std::optional(it->second);
  }
  Status FindMany(std::span<const ChunkId> ids,
                  std::vector<std::optional<ChunkLocation>>* out) override {
    out->clear();
    for (const ChunkId& id : ids) out->push_back(*Find(id));
    return {};
  }
  Result<bool> HasPack(const PackId& pack) override {
    std::lock_guard lock(mutex_);
    return packs_.contains(pack);
  }
  Result<std::unique_ptr<ChunkLoad>> StartLoad() override {
    return Status::Unsupported("no load in a test's index");
  }
  bool LoadPays(uint64_t) override { return false; }
  Status ForEachPack(const std::function<Status(const PackId&, bool)>& visit) override {
    for (const auto& [pack, published] : packs_) {
      if (Status status = visit(pack, published); !status.ok()) return status;
    }
    return {};
  }
  Status MarkPublished(std::span<const PackId> packs) override {
    std::lock_guard lock(mutex_);
    for (const PackId& pack : packs) packs_[pack] = true;
    return {};
  }
  Status DropPacks(std::span<const PackId> packs) override {
    std::lock_guard lock(mutex_);
    for (const PackId& pack : packs) packs_.erase(pack);
    std::erase_if(chunks_, [&](const auto& at) { return !packs_.contains(at.second.pack); });
    return {};
  }
  Status DropSegments(std::span<const Digest> segments) override {
    std::lock_guard lock(mutex_);
    for (const Digest& segment : segments) segments_.erase(segment);
    return {};
  }
  Result<bool> HasSegment(const Digest& segment) override { return segments_.contains(segment); }
  Status AddSegment(const Digest& segment) override {
    std::lock_guard lock(mutex_);
    segments_.insert(segment);
    return {};
  }
  Status ForEachSegment(const std::function<Status(const Digest&)>& visit) override {
    for (const Digest& segment : segments_) {
      if (Status status = visit(segment); !status.ok()) return status;
    }
    return {};
  }
  uint64_t ApproximateChunkCount() override { return chunks_.size(); }

 private:
  std::mutex mutex_;
  std::unordered_map<ChunkId, ChunkLocation> chunks_;
  std::map<PackId, bool> packs_;
  std::set<Digest> segments_;
};

}  // namespace snapstore

#endif  // SNAPSTORE_TESTS_ENGINE_FAKE_INDEX_H_
