// PackScrubber: is one pack what it should be, and which of its chunks can be read.
//
// Packs are read front to back in windows, so memory does not grow with their size.
//
// Thread safety: one object, one thread at a time.
#ifndef SNAPSTORE_ENGINE_CHECK_PACK_H_
#define SNAPSTORE_ENGINE_CHECK_PACK_H_

#include <span>
#include <vector>

#include "base/sha256.h"
#include "engine/format.h"
#include "engine/frame.h"
#include "engine/pack.h"
#include "uploader/object_store.h"

namespace snapstore {

// A pack as the store lists it.
struct PackPlace {
  PackKind kind = PackKind::kData;
  PackId id;
  uint64_t size = 0;  // of the object, bytes
};

struct PackVerdict {
  Status status;                  // what is wrong; OK: nothing
  bool have_footer = false;       // `listed` is what the footer says
  std::vector<PackChunk> listed;  // by the footer
  std::vector<PackChunk> intact;  // that can be read, as far as was looked
};

class PackScrubber {
 public:
  // `store` and `sealer` must outlive the scrubber.
  PackScrubber(ObjectStore* store, const Sealer* sealer, const HashSecret& secret)
      : store_(store), sealer_(*sealer), secret_(secret), decoder_(sealer) {}

  // Both fail only when the store could not tell. `bytes_read` is raised by what was fetched.
  //
  // Reads the footer and believes it. When it is damaged, the whole pack is read.
  Result<PackVerdict> CheckFooter(const PackPlace& place, uint64_t* bytes_read);
  // Reads every byte: name, header, footer, frames and chunk ids.
  // What is damaged is read once more.
  Result<PackVerdict> CheckBytes(const PackPlace& place, uint64_t* bytes_read);

 private:
  Result<PackVerdict> ReadBytes(const PackPlace& place, uint64_t* bytes_read);
  // Makes bytes [begin, end) of the pack available in *out until the next call; windows only move
  // forward and everything passed is hashed.
  Status Window(uint64_t begin, uint64_t end, ByteSpan* out);
  Status ReadAll(PackVerdict* verdict);
  Status CheckListedFrames(PackVerdict* verdict);
  // Without a footer: frames describe themselves.
  Status SalvageFrames(PackVerdict* verdict);
  // Corruption when a frame that was decoded is another pack's.
  Status CheckSalt(ByteSpan stored) const;
  Status CheckFrame(std::span<const PackChunk> chunks, PackVerdict* verdict);

  ObjectStore* const store_;
  const Sealer& sealer_;
  const HashSecret secret_;
  FrameDecoder decoder_;
  DecodedFrame frame_;
  Sha256 hash_;

  PackPlace place_;
  Sealer::Salt salt_{};  // of the pack's header, if it could be read
  Bytes buffer_;
  uint64_t buffer_begin_ = 0;
  uint64_t fetched_ = 0;
};

}  // namespace snapstore

#endif  // SNAPSTORE_ENGINE_CHECK_PACK_H_
