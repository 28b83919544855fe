// Arena: memory for one checkpoint's captured bytes, kept from checkpoint to checkpoint; behind it,
// at the addresses that follow, a spool on a disk for what exceeds it.
//
// Reading gigabytes into fresh memory costs more than anything else while the application is
// frozen: every page is faulted in and cleared. The arena is therefore touched beforehand (Prepare)
// and only handed out again afterwards (Clear). Taking more than was prepared works, at that cost,
// and is counted.
//
// Thread safety: none.
#ifndef SNAPSTORE_AGENT_ARENA_H_
#define SNAPSTORE_AGENT_ARENA_H_

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "agent/spool.h"
#include "base/bytes.h"
#include "snapstore/status.h"

namespace snapstore::agent {

// What a checkpoint may take up unless told otherwise: half of this machine's memory, or of what
// this process may have of it.
uint64_t DefaultArenaLimit();

class Arena {
 public:
  // Reserves addresses for `bytes_max` and the spool; memory is used only as it is prepared or
  // taken. Errors of the spool.
  static Result<std::unique_ptr<Arena>> Create(uint64_t bytes_max, const SpoolOptions& spool = {});
  ~Arena();
  Arena(const Arena&) = delete;
  Arena& operator=(const Arena&) = delete;

  // Makes at least `bytes` (capped at the limits) ready for use. NoSpace when the machine or the
  // spool's disk cannot.
  Status Prepare(uint64_t bytes);

  // `bytes` of memory behind what was taken last, so that two calls in a row give one piece, but
  // for one that would lie partly in the spool and so begins there; empty when the limits do not
  // allow it. Writing to the spool's addresses is slow; ArenaWriter does not. REQUIRES: a multiple
  // of kBlockBytes.
  std::span<uint8_t> Take(uint64_t bytes);

  // Gives back the last `bytes` taken, if `end` is where the last piece taken ends.
  void GiveBack(const uint8_t* end, uint64_t bytes);

  // All pieces are free again. Memory stays ready.
  void Clear();

  // Gives memory that is ready beyond `bytes` back to the system. REQUIRES: nothing is taken.
  void Trim(uint64_t bytes);

  static constexpr uint64_t kBlockBytes = 4096;

  // Whether what was taken since Clear could be written; else what of the spool failed.
  const Status& status() const { return status_; }
  // Whether what was taken can be read; else what of the spool failed, and zeros were read there.
  // To be asked when everything was read.
  Status ReadStatus() const;
  // Why Take gave nothing: "<what> does not fit into …", or status().
  Status Full(std::string_view what = "the application's memory") const;

  uint64_t bytes_max() const { return bytes_max_; }  // of memory
  uint64_t ready() const { return ready_; }
  uint64_t used() const { return used_; }
  // Of what was taken since Clear, bytes that were not ready beforehand.
  uint64_t grown() const { return used_max_ > ready_ ? used_max_ - ready_ : 0; }

 private:
  friend class ArenaWriter;

  Arena(uint8_t* base, uint64_t bytes_max, std::unique_ptr<Spool> spool)
      : base_(base), bytes_max_(bytes_max), spool_(std::move(spool)) {}
  uint64_t Limit() const { return bytes_max_ + (spool_ == nullptr ? 0 : spool_->bytes_max()); }
  Status PrepareMemory(uint64_t bytes);
  Status MapSpool();
  // As Take, but gives nothing where that would begin in the spool.
  std::span<uint8_t> TakeNext(uint64_t bytes);
  bool IsSpool(const uint8_t* piece) const { return piece >= base_ + bytes_max_; }
  void WriteToSpool(const uint8_t* piece, ByteSpan bytes);

  uint8_t* base_;
  uint64_t bytes_max_;
  std::unique_ptr<Spool> spool_;  // null: none
  std::vector<uint8_t> bounce_;   // what is on its way to the spool
  Status status_;
  uint64_t ready_ = 0;
  uint64_t used_ = 0;
  uint64_t used_max_ = 0;
};

// One file held in an arena: its parts in order. All but the last are multiples of 4 KiB long.
struct ArenaFile {
  std::string name;
  uint64_t size = 0;
  std::vector<std::span<uint8_t>> parts;
  // Of a pages image: what is unchanged was let go, so the parts hold less than `size`.
  bool only_changed = false;
};

// The file's bytes in one piece.
Bytes Flatten(const ArenaFile& file);

// Fills an ArenaFile from the front, taking memory in growing steps.
class ArenaWriter {
 public:
  ArenaWriter(Arena* arena, std::string name) : arena_(arena) { file_.name = std::move(name); }

  // Where the next bytes go, never empty unless the arena's limit is reached or its spool fails.
  // Good until Advance, or until another writer of this arena is asked for space.
  std::span<uint8_t> Space();
  // REQUIRES: at most Space().size(). An error of the spool shows in the arena's status().
  void Advance(uint64_t bytes);
  // The file; unused memory at its end goes back if it still can. The writer is done.
  ArenaFile Finish();

 private:
  bool TakePiece();

  Arena* arena_;
  ArenaFile file_;
  std::span<uint8_t> space_;
};

}  // namespace snapstore::agent

#endif  // SNAPSTORE_AGENT_ARENA_H_
