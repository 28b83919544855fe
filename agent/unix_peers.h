// ListUnixSockets: the kernel's Unix sockets and who is connected to whom, by sock_diag(7).
#ifndef SNAPSTORE_AGENT_UNIX_PEERS_H_
#define SNAPSTORE_AGENT_UNIX_PEERS_H_

#include <cstdint>
#include <map>
#include <vector>

#include "snapstore/status.h"

namespace snapstore::agent {

struct UnixSocket {
  int type = 0;  // SOCK_STREAM, …
  bool connected = false;
  bool closed = false;            // the other end is gone
  uint32_t peer = 0;              // inode of the other end, 0: gone, or not accepted yet
  std::vector<uint32_t> waiting;  // of a listener: who connected and was not accepted yet
};

// By inode, of this process's network namespace.
Result<std::map<uint32_t, UnixSocket>> ListUnixSockets();

}  // namespace snapstore::agent

#endif  // SNAPSTORE_AGENT_UNIX_PEERS_H_
