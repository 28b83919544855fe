// The parts of the preflight: each looks at one kind of thing and adds what it finds. Only for
// preflight.cc.
//
// Thread safety: free functions; none share state.
#ifndef SNAPSTORE_AGENT_PREFLIGHT_PARTS_H_
#define SNAPSTORE_AGENT_PREFLIGHT_PARTS_H_

#include <map>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "agent/preflight.h"
#include "agent/process_facts.h"
#include "agent/unix_peers.h"

namespace snapstore::agent {

struct InspectedTree {
  std::vector<ProcessFacts> processes;
  std::set<pid_t> pids;           // as this process sees them
  std::set<int64_t> inner_pids;   // as they see themselves
  std::set<uint32_t> sockets;     // inodes of those they hold
  std::map<uint32_t, int> pipes;  // how many descriptors lead to a pipe
  std::set<int64_t> terminals;    // indices of pseudo-terminals whose master they hold
  std::map<uint32_t, UnixSocket> unix_sockets;
};

class Findings {
 public:
  void Block(const ProcessFacts& process, std::string object, std::string_view reason) {
    Add(Finding::Severity::kBlocker, process, std::move(object), reason);
  }
  void Warn(const ProcessFacts& process, std::string object, std::string_view reason) {
    Add(Finding::Severity::kWarning, process, std::move(object), reason);
  }
  std::vector<Finding> Take() { return std::move(list_); }

 private:
  void Add(Finding::Severity severity, const ProcessFacts& process, std::string object,
           std::string_view reason) {
    list_.push_back({severity, process.pid, process.name, std::move(object), std::string(reason)});
  }
  std::vector<Finding> list_;
};

// "descriptor 5 (anon_inode:[io_uring])".
std::string NameOf(const Descriptor& descriptor);

void InspectFile(const ProcessFacts& process, const Descriptor& descriptor,
                 const InspectedTree& tree, Findings* findings);
void InspectSocket(const ProcessFacts& process, const Descriptor& descriptor,
                   const InspectedTree& tree, Findings* findings);
void InspectMappings(const ProcessFacts& process, Findings* findings);
// Of one process: owner, tracer, namespaces, scheduling.
void InspectAttributes(const ProcessFacts& process, const ProcessFacts& first, Findings* findings);
// What processes and threads share that CRIU takes for separate, and the other way round.
void InspectSharing(const InspectedTree& tree, Findings* findings);

}  // namespace snapstore::agent

#endif  // SNAPSTORE_AGENT_PREFLIGHT_PARTS_H_
