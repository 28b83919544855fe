// How much memory this process may use, and how much it does.
//
// The cgroup rules are those of the kernel's cgroup-v2 and cgroup-v1/memory documents: a limit
// holds for a group and everything below it, so the tightest one on the way to the root counts.
//
// Every function takes the root of the tree that holds /proc and /sys, so that tests can bring
// their own. Thread safety: all calls may run concurrently.
#ifndef SNAPSTORE_BASE_MEMORY_LIMIT_H_
#define SNAPSTORE_BASE_MEMORY_LIMIT_H_

#include <cstdint>
#include <optional>
#include <string>

#include "snapstore/status.h"

namespace snapstore {

// The tightest memory limit (bytes) that a cgroup, v2 or v1, sets for this process; empty when
// there is none or it cannot be found out.
std::optional<uint64_t> CgroupMemoryLimit(const std::string& root = "");

// `requested` bytes, but no more than three quarters of the cgroup's limit: the rest is for code,
// stacks and the kernel's share.
uint64_t EffectiveMemoryLimit(uint64_t requested, const std::string& root = "");

struct MemoryUsage {
  uint64_t rss_bytes = 0;       // resident now
  uint64_t rss_bytes_peak = 0;  // most since this program was executed
};

Result<MemoryUsage> ReadMemoryUsage(const std::string& root = "");

// Freed memory that the allocator keeps for later goes back to the system. Takes some milliseconds
// for each hundred MiB.
void ReturnFreeMemory();

}  // namespace snapstore

#endif  // SNAPSTORE_BASE_MEMORY_LIMIT_H_
