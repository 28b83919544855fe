// CopyWindow: a stretch of a snapshot on its way into another repository.
//
// Entries and their runs are gathered in order; Flush finds out which chunks the destination lacks,
// fetches those in order of their place in the source, stores them, and then writes the run and
// entry lists. A window holds references only, never content.
//
// Thread safety: one thread at a time; the threads inside are its own.
#ifndef SNAPSTORE_ENGINE_COPY_WINDOW_H_
#define SNAPSTORE_ENGINE_COPY_WINDOW_H_

#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <unordered_map>
#include <variant>
#include <vector>

#include "engine/chunk_fetcher.h"
#include "engine/entry_list.h"
#include "engine/progress.h"
#include "engine/write_session.h"

namespace snapstore {

struct CopyWindowOptions {
  ChunkFetcher* source = nullptr;
  unsigned threads = 1;  // that fetch at once
  // Both repositories give a chunk the same id.
  bool same_ids = false;
  // The destination's snapshot that this one is compared with; null without one.
  const NodeSource* base_nodes = nullptr;
};

class CopyWindow {
 public:
  // Gets the path of an entry that cannot be copied, and why.
  using FailedFn = std::function<void(const std::string& path, const Status& status)>;

  // All must outlive the window.
  CopyWindow(const CopyWindowOptions& options, WriteSession* session, EntryListWriter* entries,
             ProgressReporter* progress, FailedFn failed);

  // An entry as it is.
  Status AddEntry(format::Entry entry);
  // An entry whose content follows. `base`: what the base has at its path, if anything.
  Status BeginContent(format::Entry entry, const std::optional<format::Content>& base);
  Status AddHole(uint64_t length);
  // `count` times a chunk of the source, or one whose place in the destination is known.
  Status AddChunk(const StoredChunk& chunk, uint64_t count);
  Status AddKnown(const ChunkRef& chunk, uint64_t count);
  // A leaf of the base's run list.
  Status AddStoredLeaf(const NodeRef& leaf);
  // Ends the leaf of the run list, as the source's does here.
  Status EndLeaf();
  // Part of the content is lost.
  Status Lose(const Status& cause);
  Status EndContent();

  Status Flush();

  uint64_t entries_failed() const { return entries_failed_; }

 private:
  struct Begin {
    format::Entry entry;
    std::optional<format::Content> base;
  };
  struct Hole {
    uint64_t length = 0;
  };
  struct Chunk {
    size_t wanted = 0;  // in wanted_
    uint64_t count = 0;
  };
  struct Known {
    ChunkRef ref;
    uint64_t count = 0;
  };
  struct Loss {
    Status cause;
  };
  struct LeafEnd {};
  struct End {};
  using Step = std::variant<format::Entry, Begin, Hole, Chunk, Known, NodeRef, LeafEnd, Loss, End>;
  // A chunk of the source that some step needs.
  struct Wanted {
    StoredChunk chunk;
    std::optional<PendingRef> placed;
    Status failure;
  };

  Status Add(Step step);
  Status FindPlaced();
  Status FetchMissing();
  Status Fetch(std::span<const size_t> wanted);
  Status Store(std::span<const size_t> wanted, std::span<const FetchedChunk> fetched);

  Status Write(Step* step);
  Status WriteBegin(Begin* begin);
  Status WriteChunk(const Chunk& chunk);
  Status WriteEnd();

  const CopyWindowOptions options_;
  WriteSession* const session_;
  EntryListWriter* const entries_;
  ProgressReporter* const progress_;
  const FailedFn failed_;

  std::vector<Step> steps_;
  std::vector<Wanted> wanted_;
  std::unordered_map<ChunkId, size_t> ordinals_;  // in wanted_
  std::mutex store_mutex_;                        // PackWriter has one caller at a time

  // The entry being written; its steps may lie in several windows.
  std::optional<format::Entry> entry_;
  std::unique_ptr<RunListWriter> runs_;
  Status loss_;
  uint64_t entries_failed_ = 0;
};

}  // namespace snapstore

#endif  // SNAPSTORE_ENGINE_COPY_WINDOW_H_
