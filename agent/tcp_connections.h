// The TCP connections in a checkpoint, and whether they can be taken up again here.
//
// An established connection goes on after a restore when its local address is assigned on this
// machine and nothing was executed since the checkpoint: else the peer is further than the image.
#ifndef SNAPSTORE_AGENT_TCP_CONNECTIONS_H_
#define SNAPSTORE_AGENT_TCP_CONNECTIONS_H_

#include <string>
#include <string_view>
#include <vector>

#include "agent/criu_image.h"
#include "snapstore/status.h"

namespace snapstore::agent {

// An IPv4 connection of an IPv6 socket is at an address of the interface's: "::ffff:10.0.0.1" is
// "10.0.0.1".
std::string_view Unmapped(std::string_view address);
// Of an unmapped one.
bool IsLoopback(std::string_view address);

// The first local address that this network namespace does not have; empty: all are here.
// Loopback is always here.
Result<std::string> FirstMissingAddress(const std::vector<TcpConnection>& connections);

// What a restore does with established connections. kAuto keeps those of a final checkpoint; so
// does kQuiet, which also takes a final checkpoint without a word to their peers, for a restore
// elsewhere.
enum class TcpChoice { kAuto, kQuiet, kKeep, kClose };
Result<TcpChoice> ParseTcpChoice(std::string_view name);

// What has become of them: "none", "kept", "closed".
enum class TcpOutcome { kNone, kKept, kClosed };
std::string_view TcpOutcomeName(TcpOutcome outcome);

}  // namespace snapstore::agent

#endif  // SNAPSTORE_AGENT_TCP_CONNECTIONS_H_
