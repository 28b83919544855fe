// Reading the CRIU images the agent must understand: page maps, the process tree, dump statistics.
//
// An image is two 32-bit magic numbers and then records, each a 32-bit length and a protobuf
// message (https://criu.org/Images). All input is foreign: every length and sum is checked.
#ifndef SNAPSTORE_AGENT_CRIU_IMAGE_H_
#define SNAPSTORE_AGENT_CRIU_IMAGE_H_

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "agent/address_set.h"
#include "base/bytes.h"
#include "snapstore/status.h"

namespace snapstore::agent {

inline constexpr uint64_t kPageBytes = 4096;

// Pages that lie one after another both in memory and in the pages image.
struct PageRun {
  uint64_t address = 0;  // virtual address, or offset in shared memory; multiple of 4 KiB
  uint64_t bytes = 0;    // multiple of 4 KiB
  bool lazy = false;     // may be put in after the process runs
};

struct Pagemap {
  uint32_t pages_id = 0;      // pages-<id>.img holds the bytes of all runs, without gaps
  std::vector<PageRun> runs;  // in the order of the pages image
  uint64_t bytes = 0;         // of all runs
  bool ascending = true;      // by address, without overlap
  uint64_t lazy_bytes = 0;    // of the runs that may come later

  // Of all runs. REQUIRES: ascending.
  AddressSet Addresses() const;

  // Adds a run behind all others; one that continues the last joins it. REQUIRES: whole pages.
  void Append(const PageRun& run);

  // As CRIU would have written it.
  Bytes ToImage() const;

  // Corruption when it is no page map. Pages that are in a parent image are not in `runs`.
  static Result<Pagemap> Parse(ByteSpan image);
};

struct ProcessTree {
  int root_pid = 0;
  std::vector<int> pids;  // all process, thread, group and session ids, sorted, distinct
  size_t processes = 0;
  std::map<int, std::vector<int>> threads;  // by process, whose first thread has its id

  static Result<ProcessTree> Parse(ByteSpan image);

  // A pid after which at least `spare` ones below `pid_max` are not used in the images, so that a
  // restorer that gets the next pids is in nobody's way.
  int FreePidsAfter(int pid_max, int spare) const;
};

// A TCP connection that has a peer. Addresses: "10.0.0.1", "fd00::1", "::ffff:10.0.0.1".
struct TcpConnection {
  std::string local;
  std::string remote;
  uint16_t local_port = 0;
  uint16_t remote_port = 0;
};

// Of files.img. Corruption when it is no such image.
Result<std::vector<TcpConnection>> ParseTcpConnections(ByteSpan image);

// Of mm-PID.img: a mapping of a process, and whether its pages may be put in after it runs.
struct MappedArea {
  uint64_t begin = 0;
  uint64_t end = 0;
  bool lazy = false;
};

// Ascending. Corruption when it is no such image or they overlap.
Result<std::vector<MappedArea>> ParseMappings(ByteSpan image);

// What the page map should say of which pages may come later: all in such areas. CRIU says so of
// none at all when a stack pointer of the process happens to be a multiple of the page size
// (is_stack in criu/mem.c of 4.2.1), of no use to a restore. REQUIRES: map.ascending.
Pagemap WithLazyOf(const Pagemap& map, const std::vector<MappedArea>& areas);

// Of core-TID.img of x86-64: the thread's stack pointer. Corruption when it is no such image.
Result<uint64_t> ParseStackPointer(ByteSpan image);

struct DumpStats {
  uint64_t freezing_us = 0;
  uint64_t frozen_us = 0;
  uint64_t memory_dump_us = 0;
  uint64_t pages_written = 0;

  static Result<DumpStats> Parse(ByteSpan image);
};

}  // namespace snapstore::agent

#endif  // SNAPSTORE_AGENT_CRIU_IMAGE_H_
