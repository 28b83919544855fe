// FirstCriuError: the line of a CRIU log that says why it failed.
#ifndef SNAPSTORE_AGENT_CRIU_LOG_H_
#define SNAPSTORE_AGENT_CRIU_LOG_H_

#include <string>
#include <string_view>

namespace snapstore::agent {

// The text of the first error that is not known to be harmless, without time stamp and source
// position; empty when the log has none.
std::string FirstCriuError(std::string_view log);

}  // namespace snapstore::agent

#endif  // SNAPSTORE_AGENT_CRIU_LOG_H_
