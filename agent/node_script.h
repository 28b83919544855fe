// NodeScript: the shutdown script of a node, run once in the life of a boot of an instance. It runs
// on if the agent dies; the next agent finds out how it ended.
//
// Thread safety: all calls may run concurrently.
#ifndef SNAPSTORE_AGENT_NODE_SCRIPT_H_
#define SNAPSTORE_AGENT_NODE_SCRIPT_H_

#include <mutex>
#include <string>
#include <vector>

#include "base/unique_fd.h"
#include "snapstore/status.h"

namespace snapstore::agent {

// A name of this boot of the instance.
std::string RunOf(const std::string& instance_id);

class NodeScript {
 public:
  enum class State { kNone, kRunning, kDone };
  struct Standing {
    State state = State::kNone;
    int exit_code = 0;  // when it is done; -1: it was killed from outside, nobody knows
  };

  // In `directory` it keeps shutdown-script and, beside it, .log, .run (the run it was started in)
  // and .exit. `run`: RunOf. `environment` is the script's.
  NodeScript(std::string directory, std::string run, std::vector<std::string> environment);

  // Starts it, unless it was started before.
  Status Start(const std::string& script);
  Standing standing() const;

 private:
  bool WasStarted() const;
  Status Spawn() const;

  const std::string path_;
  const std::string run_;  // the content of .run
  const std::vector<std::string> environment_;
  mutable std::mutex mutex_;
};

}  // namespace snapstore::agent

#endif  // SNAPSTORE_AGENT_NODE_SCRIPT_H_
