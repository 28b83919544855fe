// FrameCache: decoded frames, each loaded by one thread however many want it.
//
// Decoding a frame takes about a millisecond and fetching it from an object store tens of them; the
// threads of a mount, and those that read ahead for it, ask for the same frames at the same time.
//
// Thread safety: all calls may run concurrently.
#ifndef SNAPSTORE_ENGINE_FRAME_CACHE_H_
#define SNAPSTORE_ENGINE_FRAME_CACHE_H_

#include <condition_variable>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <utility>

#include "engine/format.h"
#include "engine/frame.h"
#include "engine/lru_cache.h"
#include "snapstore/status.h"

namespace snapstore {

using FrameKey = std::pair<PackId, uint32_t>;  // pack, and where in it the frame begins
using FramePtr = std::shared_ptr<const DecodedFrame>;

class FrameCache {
 public:
  // `bytes_max` bounds what is kept. `cancelled` may be null; it is polled by threads that wait for
  // another's load.
  FrameCache(size_t bytes_max, std::function<bool()> cancelled);

  // The frame, kept from before or loaded: by `load`, or by whoever is at it already, whose failure
  // is then shared (unless that was only cancelled). Cancelled while waiting for another.
  Result<FramePtr> Get(const FrameKey& key, const std::function<Result<FramePtr>()>& load);

  // For whoever loads several at once: true if the frame is neither kept nor being loaded. The
  // caller then has to call Finish for it, and must not wait for other frames in between.
  bool Claim(const FrameKey& key);
  void Finish(const FrameKey& key, const Result<FramePtr>& frame);

 private:
  struct Load {
    bool done = false;
    Status status;
    FramePtr frame;
  };

  const std::function<bool()> cancelled_;
  std::mutex mutex_;  // guards what follows
  std::condition_variable finished_;
  LruCache<FrameKey, FramePtr> kept_;
  std::map<FrameKey, std::shared_ptr<Load>> loads_;
};

}  // namespace snapstore

#endif  // SNAPSTORE_ENGINE_FRAME_CACHE_H_
