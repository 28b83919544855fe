// QuietConnections: the established TCP connections of processes that stand still, kept from saying
// anything to their peers, so that they can be taken up on another machine.
//
// While it exists nothing that a peer sends is received, and so not acknowledged either: the peer
// will send it again. Without that, bytes that came after the checkpoint would be lost for both.
#ifndef SNAPSTORE_AGENT_QUIET_CONNECTIONS_H_
#define SNAPSTORE_AGENT_QUIET_CONNECTIONS_H_

#include <sys/types.h>

#include <string>
#include <vector>

#include "agent/criu_image.h"
#include "base/unique_fd.h"

namespace snapstore::agent {

class QuietConnections {
 public:
  // Of processes of which none runs. What cannot be silenced is left as it is, and logged.
  explicit QuietConnections(const std::vector<pid_t>& pids);

  // The processes will run on: their connections do, too.
  void Undo();
  // The processes will be killed: their connections vanish without a word, the last of them when
  // this object does, and are held from now on (agent/held_connections.h), as those of `app`.
  void Finish(const std::string& app);

  size_t size() const { return sockets_.size(); }

 private:
  std::vector<UniqueFd> sockets_;
  std::vector<TcpConnection> ends_;  // of those
};

}  // namespace snapstore::agent

#endif  // SNAPSTORE_AGENT_QUIET_CONNECTIONS_H_
