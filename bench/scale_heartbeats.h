// The heartbeats of many agents to one controller: each agent's at its interval, spread evenly over
// it, each over a connection of its own, as agents do.
//
// Thread safety: free functions and values only.
#ifndef SNAPSTORE_BENCH_SCALE_HEARTBEATS_H_
#define SNAPSTORE_BENCH_SCALE_HEARTBEATS_H_

#include "bench/scale_load.h"

namespace snapstore::bench {

// Sends until standard input ends. `options`: where to, with which token, over how many
// connections at a time; `ids_file` names instances. JSON as RunLoad's of all requests; latency
// counts from when a heartbeat was due. Io: the controller cannot be reached.
Result<std::string> RunHeartbeats(const LoadOptions& options, double interval_seconds);

}  // namespace snapstore::bench

#endif  // SNAPSTORE_BENCH_SCALE_HEARTBEATS_H_
