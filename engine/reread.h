// Reading once more what looks damaged: a bit that flipped on its way is right the second time, and
// only what is wrong twice is called damage.
//
// Thread safety: free functions only.
#ifndef SNAPSTORE_ENGINE_REREAD_H_
#define SNAPSTORE_ENGINE_REREAD_H_

#include <utility>

#include "base/bytes.h"
#include "snapstore/status.h"
#include "uploader/object_store.h"

namespace snapstore {

// What `read` (a function that returns a Result) gives; of a second call when the first says
// Corruption.
template <typename Read>
auto ReadAgainIfDamaged(Read&& read) {
  auto first = read();
  return first.status().Is(StatusCode::kCorruption) ? read() : std::move(first);
}

// A whole object that is named by the SHA-256 of its bytes. They are those of a second read when
// they do not fit the name; the caller compares.
Result<Bytes> GetNamed(ObjectStore& store, const ObjectKey& key, size_t bytes_max);

}  // namespace snapstore

#endif  // SNAPSTORE_ENGINE_REREAD_H_
