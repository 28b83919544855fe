// The environment that the agent hands to programs which are not its own.
#ifndef SNAPSTORE_AGENT_ENVIRONMENT_H_
#define SNAPSTORE_AGENT_ENVIRONMENT_H_

#include <string>
#include <vector>

namespace snapstore::agent {

// The agent's environment ("NAME=value") without what is its own: its secrets would end up in
// memory images, and in programs that have no use for them.
std::vector<std::string> ApplicationEnvironment();

// As execve takes it; valid as long as `strings` is neither changed nor moved.
std::vector<char*> ExecPointers(std::vector<std::string>* strings);

}  // namespace snapstore::agent

#endif  // SNAPSTORE_AGENT_ENVIRONMENT_H_
