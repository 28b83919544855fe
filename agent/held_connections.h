// Held connections: TCP connections that no socket belongs to for the moment, because their
// application is in a checkpoint. What their peers send is dropped, unanswered, instead of being
// answered with a reset as the kernel does by itself; the peers send it again.
//
// They are held by an nftables table in the network namespace of the calling thread, one for each
// application by its name: it stays when the agent ends, until it is let go or the machine goes.
//
// Thread safety: free functions.
#ifndef SNAPSTORE_AGENT_HELD_CONNECTIONS_H_
#define SNAPSTORE_AGENT_HELD_CONNECTIONS_H_

#include <string>
#include <vector>

#include "agent/criu_image.h"
#include "snapstore/status.h"

namespace snapstore::agent {

// In the place of those of this application that were held before. Connections over loopback are
// passed over: both of their ends are here.
Status HoldConnections(const std::string& app, const std::vector<TcpConnection>& connections);

// Nothing is held any more of this application. OK as well when nothing was.
Status LetGoOfConnections(const std::string& app);

}  // namespace snapstore::agent

#endif  // SNAPSTORE_AGENT_HELD_CONNECTIONS_H_
