// Leader: carries out what the API is asked for, as long as this controller is the one that may.
//
// With an embedded store that is always so. With etcd the controllers compete: one leads, the
// others serve the API and wait. A leader that loses its claim stops before another one begins: its
// later writes are refused by the store.
//
// Thread safety: Start and destruction belong to one thread.
#ifndef SNAPSTORE_TOOLS_SNAPSTORE_CONTROLLER_LEADER_H_
#define SNAPSTORE_TOOLS_SNAPSTORE_CONTROLLER_LEADER_H_

#include <CLI/CLI.hpp>
#include <memory>
#include <string>

#include "orchestrator/lifecycle/lifecycle.h"
#include "orchestrator/state/state_store.h"

namespace snapstore::spot {

struct LeaderOptions {
  int64_t poll_seconds = 5;
  int64_t snapshot_seconds = 300;
  int64_t retention_hours = 96;
  bool purge_unflagged = false;
  int64_t revert_seconds = 3600;
  int64_t agent_silence_seconds = 120;
  int64_t script_seconds = 600;
  int workers = 16;
  std::string prices_file = {};  // of on-demand prices; empty: those that are built in

  void AddTo(CLI::App* app);
};

class Leader {
 public:
  // `store` must outlive it. Region, endpoints and credentials are those of AWS's own tools.
  // InvalidArgument: no region is set.
  static Result<std::unique_ptr<Leader>> Start(StateStore* store, const std::string& name,
                                               const LeaderOptions& options);
  ~Leader();

  // That it works in.
  const std::string& region() const;

 private:
  struct Impl;
  explicit Leader(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace snapstore::spot

#endif  // SNAPSTORE_TOOLS_SNAPSTORE_CONTROLLER_LEADER_H_
