// LazyRanges: which pages of one address space have not arrived yet, and where they were when the
// checkpoint was taken.
//
// Addresses and lengths are multiples of the page size. The application may unmap, drop and move
// missing pages before they have arrived; a moved page keeps the address that its content is found
// by.
//
// Thread safety: none. Copies are independent: a forked child begins with its parent's.
#ifndef SNAPSTORE_AGENT_LAZY_RANGES_H_
#define SNAPSTORE_AGENT_LAZY_RANGES_H_

#include <cstdint>
#include <map>
#include <optional>

namespace snapstore::agent {

struct LazyRange {
  uint64_t address = 0;  // where the pages are missing now
  uint64_t bytes = 0;
  uint64_t origin = 0;  // where the first of them was in the checkpoint
};

class LazyRanges {
 public:
  // REQUIRES: nothing of [address, address + bytes) is missing yet.
  void Add(uint64_t address, uint64_t bytes, uint64_t origin);

  // What of [begin, end) is missing is so no more: it has arrived, or nobody wants it.
  void Remove(uint64_t begin, uint64_t end);

  // What is missing of [from, from + bytes) is now missing at the same distance from `to`, where
  // nothing is missing.
  void Move(uint64_t from, uint64_t to, uint64_t bytes);

  // The missing pages that begin at `at` or, if that is not missing, after it and before `end`, as
  // far as they are neighbours in both address and origin, cut at `end`.
  std::optional<LazyRange> Next(uint64_t at, uint64_t end) const;

  bool IsMissing(uint64_t address) const;
  bool empty() const { return ranges_.empty(); }
  uint64_t bytes() const { return bytes_; }

 private:
  struct Rest {
    uint64_t end = 0;
    uint64_t origin = 0;
  };
  // Cuts the range that holds `at` in two, so that one begins there.
  void SplitAt(uint64_t at);

  std::map<uint64_t, Rest> ranges_;  // by address
  uint64_t bytes_ = 0;
};

}  // namespace snapstore::agent

#endif  // SNAPSTORE_AGENT_LAZY_RANGES_H_
