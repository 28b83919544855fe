#include "agent/address_set.h"

#include <algorithm>

#include "base/check.h"

namespace snapstore::agent {

void AddressSet::Append(uint64_t begin, uint64_t end) {
  if (begin >= end) return;
  if (!ranges_.empty() && begin <= ranges_.back().end) {
    SNAP_CHECK(begin >= ranges_.back().begin);
    ranges_.back().end = std::max(ranges_.back().end, end);
    return;
  }
  ranges_.push_back({begin, end});
}

AddressSet AddressSet::Intersect(const AddressSet& other) const {
  AddressSet both;
  auto a = ranges_.begin();
  auto b = other.ranges_.begin();
  while (a != ranges_.end() && b != other.ranges_.end()) {
    both.Append(std::max(a->begin, b->begin), std::min(a->end, b->end));
    if (a->end < b->end) {
      ++a;
    } else {
      ++b;
    }
  }
  return both;
}

AddressSet AddressSet::Subtract(const AddressSet& other) const {
  AddressSet rest;
  auto b = other.ranges_.begin();
  for (AddressRange range : ranges_) {
    while (b != other.ranges_.end() && b->end <= range.begin) ++b;
    for (auto cut = b; cut != other.ranges_.end() && cut->begin < range.end; ++cut) {
      rest.Append(range.begin, cut->begin);
      range.begin = std::max(range.begin, cut->end);
    }
    rest.Append(range.begin, range.end);
  }
  return rest;
}

uint64_t AddressSet::bytes() const {
  uint64_t sum = 0;
  for (const AddressRange& range : ranges_) sum += range.end - range.begin;
  return sum;
}

}  // namespace snapstore::agent
