// The two files by which the agent and the filter that is preloaded into CRIU (criu_filter.cc)
// speak to each other: what may be hidden, and what was. Numbers as the machine has them: neither
// file outlives a dump.
#ifndef SNAPSTORE_AGENT_CRIU_FILTER_FILTER_FORMAT_H_
#define SNAPSTORE_AGENT_CRIU_FILTER_FILTER_FORMAT_H_

#include <stdint.h>

namespace snapstore::agent::filter {

// The directory of both files, an absolute path.
inline constexpr const char* kDirectoryVariable = "SNAPSTORE_CRIU_FILTER";
inline constexpr const char* kKnownName = "/known-pages";    // written by the agent
inline constexpr const char* kHiddenName = "/hidden-pages";  // made by the filter

// The library's path, for the starter that tools/install-criu makes: that runs CRIU with a C
// library of its own and takes LD_PRELOAD away.
inline constexpr const char* kPreloadVariable = "SNAPSTORE_CRIU_PRELOAD";

// Addresses, multiples of 4 KiB; `end` is the first one behind.
struct Range {
  uint64_t begin;
  uint64_t end;
};

// A file of known pages is a KnownHead, that many KnownProcess and all their ranges, which ascend
// within a process and do not overlap.
inline constexpr uint64_t kKnownMagic = 0x31776f6e6b736e73;  // "snsknow1"
struct KnownHead {
  uint64_t magic;
  uint64_t processes;
  uint64_t ranges;
};
struct KnownProcess {
  uint64_t pid;    // as CRIU sees it
  uint64_t first;  // of the ranges
  uint64_t count;
};

// A file of hidden pages is kHiddenMagic and any number of these; the same page may be there twice.
inline constexpr uint64_t kHiddenMagic = 0x3164646968736e73;  // "snshidd1"
struct HiddenRange {
  uint64_t pid;
  Range range;
};

}  // namespace snapstore::agent::filter

#endif  // SNAPSTORE_AGENT_CRIU_FILTER_FILTER_FORMAT_H_
