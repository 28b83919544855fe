// Arena: memory for one checkpoint's captured bytes, kept from checkpoint to checkpoint.
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
#include <vector>

#include "base/bytes.h"
#include "snapstore/status.h"

namespace snapstore::agent {

// What a checkpoint may take up unless told otherwise: half of this machine's memory, or of what
// this process may have of it.
uint64_t DefaultArenaLimit();

class Arena {
 public:
  // Reserves addresses for `bytes_max`; memory is used only as it is prepared or taken.
  static Result<std::unique_ptr<Arena>> Create(uint64_t bytes_max);
  ~Arena();
  Arena(const Arena&) = delete;
  Arena& operator=(const Arena&) = delete;

  // Makes at least `bytes` (capped at the limit) ready for use. NoSpace when the machine cannot.
  Status Prepare(uint64_t bytes);

  // `bytes` of memory behind what was taken last, so that two calls in a row give one piece; empty
  // when the limit does not allow it. REQUIRES: a multiple of kBlockBytes.
  std::span<uint8_t> Take(uint64_t bytes);

  // Gives back the last `bytes` taken, if `end` is where the last piece taken ends.
  void GiveBack(const uint8_t* end, uint64_t bytes);

  // All pieces are free again. Memory stays ready.
  void Clear();

  // Gives what is ready beyond `bytes` back to the system. REQUIRES: nothing is taken.
  void Trim(uint64_t bytes);

  // What to say when Take has nothing left: NoSpace.
  Status Full() const;

  static constexpr uint64_t kBlockBytes = 4096;

  uint64_t bytes_max() const { return bytes_max_; }
  uint64_t ready() const { return ready_; }
  uint64_t used() const { return used_; }
  // Of what was taken since Clear, bytes that were not ready beforehand.
  uint64_t grown() const { return used_max_ > ready_ ? used_max_ - ready_ : 0; }

 private:
  Arena(uint8_t* base, uint64_t bytes_max) : base_(base), bytes_max_(bytes_max) {}

  uint8_t* base_;
  uint64_t bytes_max_;
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

  // Where the next bytes go, never empty unless the arena's limit is reached.
  std::span<uint8_t> Space();
  // REQUIRES: at most Space().size().
  void Advance(uint64_t bytes);
  // The file; unused memory at its end goes back if it still can. The writer is done.
  ArenaFile Finish();

 private:
  Arena* arena_;
  ArenaFile file_;
  std::span<uint8_t> space_;
};

}  // namespace snapstore::agent

#endif  // SNAPSTORE_AGENT_ARENA_H_
