#include "agent/lazy_ranges.h"

#include <algorithm>
#include <vector>

namespace snapstore::agent {

void LazyRanges::Add(uint64_t address, uint64_t bytes, uint64_t origin) {
  if (bytes == 0) return;
  ranges_[address] = {address + bytes, origin};
  bytes_ += bytes;
}

void LazyRanges::SplitAt(uint64_t at) {
  auto after = ranges_.upper_bound(at);
  if (after == ranges_.begin()) return;
  const auto holder = std::prev(after);
  if (holder->first == at || holder->second.end <= at) return;
  ranges_[at] = {holder->second.end, holder->second.origin + (at - holder->first)};
  holder->second.end = at;
}

void LazyRanges::Remove(uint64_t begin, uint64_t end) {
  SplitAt(begin);
  SplitAt(end);
  const auto first = ranges_.lower_bound(begin);
  auto last = first;
  for (; last != ranges_.end() && last->first < end; ++last) {
    bytes_ -= last->second.end - last->first;
  }
  ranges_.erase(first, last);
}

void LazyRanges::Move(uint64_t from, uint64_t to, uint64_t bytes) {
  std::vector<LazyRange> moved;
  for (uint64_t at = from; const auto range = Next(at, from + bytes);) {
    moved.push_back(*range);
    at = range->address + range->bytes;
  }
  Remove(from, from + bytes);
  for (const LazyRange& range : moved) Add(range.address - from + to, range.bytes, range.origin);
}

std::optional<LazyRange> LazyRanges::Next(uint64_t at, uint64_t end) const {
  auto it = ranges_.upper_bound(at);
  if (it != ranges_.begin() && std::prev(it)->second.end > at) --it;
  if (it == ranges_.end() || it->first >= end || at >= end) return std::nullopt;
  const uint64_t address = std::max(at, it->first);
  const uint64_t origin = it->second.origin + (address - it->first);
  uint64_t until = it->second.end;
  for (auto next = std::next(it); next != ranges_.end() && until < end; ++next) {
    if (next->first != until || next->second.origin != origin + (until - address)) break;
    until = next->second.end;
  }
  return LazyRange{address, std::min(until, end) - address, origin};
}

bool LazyRanges::IsMissing(uint64_t address) const {
  const auto range = Next(address, address + 1);
  return range && range->address == address;
}

}  // namespace snapstore::agent
