// MemoryStore: an ObjectStore in a map, for tests and benchmarks of the layers above.
//
// Thread safety: all calls may run concurrently.
#ifndef SNAPSTORE_UPLOADER_MEMORY_STORE_H_
#define SNAPSTORE_UPLOADER_MEMORY_STORE_H_

#include <cstdint>
#include <functional>
#include <memory>

#include "base/clock.h"
#include "uploader/object_store.h"

namespace snapstore {

// `clock` gives the store's time in ns since 1970, for ObjectInfo::modified_ns.
std::unique_ptr<ObjectStore> NewMemoryStore(std::function<int64_t()> clock = WallNanos);

}  // namespace snapstore

#endif  // SNAPSTORE_UPLOADER_MEMORY_STORE_H_
