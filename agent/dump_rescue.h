// DumpRescue: what is left to put in order when CRIU dies in the middle of a dump.
//
// The kernel lets the application run on by itself when its tracer is gone. Two things stay behind
// and cut its established TCP connections off for ever: the nftables table by which CRIU keeps
// packets away during a dump ("inet CRIU-<id of the run>"), and sockets in repair mode (the option
// TCP_REPAIR, since Linux 3.5).
//
// What there was before a dump is noted in a file, so that the next agent can put in order what one
// that was killed, and its CRIU with it, has left.
//
// Thread safety: none.
#ifndef SNAPSTORE_AGENT_DUMP_RESCUE_H_
#define SNAPSTORE_AGENT_DUMP_RESCUE_H_

#include <sys/types.h>

#include <string>
#include <vector>

#include "agent/cell.h"
#include "snapstore/status.h"

namespace snapstore::agent {

class DumpRescue {
 public:
  // `directory`: CRIU's working directory of this application.
  explicit DumpRescue(const std::string& directory) : path_(directory + "/locks-before") {}

  // Before a dump: notes which tables are there and not CRIU's of this dump.
  Status Begin(const Cell& cell);
  // After a dump that CRIU has ended by itself, whether or not it failed.
  void End();
  // Whether a dump was begun and not ended.
  bool IsPending() const;

  // REQUIRES: the CRIU of this dump has ended. Takes away what it has left, and ends the dump. Its
  // table is known by the connections that it blocks; one that blocks none of the cell's goes only
  // while no other CRIU is at work in the same network.
  Status Rescue(const Cell& cell);

 private:
  const std::string path_;
};

// Keeps the application from running on between the death of a CRIU that has to be killed and the
// rescue: it would get errors from sockets that are in repair mode. The signals wait until CRIU is
// gone. A CRIU that others kill leaves no time for that.
class StandStill {
 public:
  // `cell` must outlive it.
  explicit StandStill(Cell* cell) : cell_(cell) {}
  ~StandStill() { End(); }
  StandStill(const StandStill&) = delete;
  StandStill& operator=(const StandStill&) = delete;

  void Begin();
  void End();  // what stands still runs on

 private:
  Cell* const cell_;
  std::vector<pid_t> stopped_;
};

// When an application was taken over from an agent that died: its CRIU, too, if it is still there,
// and what that has left, are put in order.
Status PutDumpInOrder(const Cell& cell, const std::string& directory);

// Ends whatever processes are in the cell beside its init's descendants: a CRIU whose agent has
// died. They get a second to end by themselves.
Status EndForeignProcesses(const Cell& cell);

}  // namespace snapstore::agent

#endif  // SNAPSTORE_AGENT_DUMP_RESCUE_H_
