// Put: an object of one piece.
#ifndef SNAPSTORE_TESTS_UPLOADER_PUT_H_
#define SNAPSTORE_TESTS_UPLOADER_PUT_H_

#include <array>
#include <string>

#include "uploader/object_store.h"

namespace snapstore {

inline Result<PutOutcome> Put(ObjectStore* store, const std::string& key, ByteSpan bytes) {
  const std::array<ByteSpan, 1> parts = {bytes};
  return store->PutIfAbsent(ObjectKey(key), parts);
}

}  // namespace snapstore

#endif  // SNAPSTORE_TESTS_UPLOADER_PUT_H_
