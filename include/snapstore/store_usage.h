// StoreUsage: what a store that bills by the request was asked for, and what that costs about.
//
// Thread safety: values only.
#ifndef SNAPSTORE_STORE_USAGE_H_
#define SNAPSTORE_STORE_USAGE_H_

#include <cstdint>

namespace snapstore {

struct StoreUsage {
  // The store counts its requests; false for directories, where all the rest is 0.
  bool metered = false;
  // Every attempt counts, as on the bill. Classes of requests are S3's.
  uint64_t writes = 0;     // PUT, POST and LIST
  uint64_t reads = 0;      // GET and HEAD
  uint64_t deletes = 0;    // free of charge
  uint64_t retries = 0;    // of the above: the same request once more
  uint64_t throttled = 0;  // answers that ask for less
  uint64_t bytes_up = 0;   // of bodies
  uint64_t bytes_down = 0;
  double usd = 0;  // an estimate by list prices, without what storing costs: docs/stores.md

  uint64_t requests() const { return writes + reads + deletes; }
};

}  // namespace snapstore

#endif  // SNAPSTORE_STORE_USAGE_H_
