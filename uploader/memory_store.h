// MemoryStore: an ObjectStore in a map, for tests and benchmarks of the layers above.
//
// Thread safety: all calls may run concurrently.
#ifndef SNAPSTORE_UPLOADER_MEMORY_STORE_H_
#define SNAPSTORE_UPLOADER_MEMORY_STORE_H_

#include <memory>

#include "uploader/object_store.h"

namespace snapstore {

std::unique_ptr<ObjectStore> NewMemoryStore();

}  // namespace snapstore

#endif  // SNAPSTORE_UPLOADER_MEMORY_STORE_H_
