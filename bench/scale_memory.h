// Memory that is counted apart: what a thread allocates while it is InCloud comes from a place of
// its own, so that the memory of a simulated cloud can be told from that of the controller in the
// same process. Replaces the program's operator new and delete.
//
// Thread safety: all calls may run concurrently.
#ifndef SNAPSTORE_BENCH_SCALE_MEMORY_H_
#define SNAPSTORE_BENCH_SCALE_MEMORY_H_

#include <cstddef>

namespace snapstore::bench {

// While it lives, the thread allocates there. May be nested.
class InCloud {
 public:
  InCloud();
  ~InCloud();
  InCloud(const InCloud&) = delete;
  InCloud& operator=(const InCloud&) = delete;

 private:
  const bool before_;
};

// Bytes that this place ever took: none is given back.
size_t CloudBytes();

}  // namespace snapstore::bench

#endif  // SNAPSTORE_BENCH_SCALE_MEMORY_H_
