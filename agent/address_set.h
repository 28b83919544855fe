// AddressSet: addresses as sorted ranges that neither overlap nor touch.
//
// Every operation takes time in proportion to the ranges involved. Thread safety: none.
#ifndef SNAPSTORE_AGENT_ADDRESS_SET_H_
#define SNAPSTORE_AGENT_ADDRESS_SET_H_

#include <cstdint>
#include <vector>

namespace snapstore::agent {

struct AddressRange {
  uint64_t begin = 0;
  uint64_t end = 0;  // first one behind it
  bool operator==(const AddressRange&) const = default;
};

class AddressSet {
 public:
  AddressSet() = default;

  // REQUIRES: nothing that was added before lies behind `begin`, but for what ends or lies there
  // anyway. An empty range adds nothing.
  void Append(uint64_t begin, uint64_t end);

  AddressSet Intersect(const AddressSet& other) const;
  AddressSet Subtract(const AddressSet& other) const;

  const std::vector<AddressRange>& ranges() const { return ranges_; }
  bool empty() const { return ranges_.empty(); }
  uint64_t bytes() const;

 private:
  std::vector<AddressRange> ranges_;
};

}  // namespace snapstore::agent

#endif  // SNAPSTORE_AGENT_ADDRESS_SET_H_
