// DeleteFailures: gathers what went wrong while many objects were deleted, for one message.
//
// Thread safety: none.
#ifndef SNAPSTORE_UPLOADER_INTERNAL_DELETE_FAILURES_H_
#define SNAPSTORE_UPLOADER_INTERNAL_DELETE_FAILURES_H_

#include <cstddef>
#include <string>

#include "snapstore/status.h"

namespace snapstore::internal {

class DeleteFailures {
 public:
  // What came of deleting `key`; a missing object is as good as a deleted one. False when the store
  // would meet the same with the next object, so that there is no use in going on.
  bool Add(const std::string& key, const Status& status);

  // OK without failures. Else the first failure, with the names of some of `keys`; `untried` of
  // them were not reached.
  Status ToStatus(size_t keys, size_t untried = 0) const;

 private:
  size_t count_ = 0;
  Status first_;
  std::string names_;  // of the first few
};

}  // namespace snapstore::internal

#endif  // SNAPSTORE_UPLOADER_INTERNAL_DELETE_FAILURES_H_
