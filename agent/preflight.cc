#include "agent/preflight.h"

#include <fmt/format.h>

#include "agent/preflight_parts.h"
#include "base/status_macros.h"

namespace snapstore::agent {
namespace {

// The last number of "NSpid:\t4711\t12".
int64_t InnermostPid(const ProcessFacts& process) {
  const size_t at = process.status.find("\nNSpid:");
  if (at == std::string::npos) return process.pid;
  const std::string line =
      process.status.substr(at + 1, process.status.find('\n', at + 1) - at - 1);
  return NumberBehind(line.substr(line.find_last_of(" \t")), "", 10);
}

void Index(InspectedTree* tree) {
  for (const ProcessFacts& process : tree->processes) {
    tree->pids.insert(process.pid);
    tree->inner_pids.insert(InnermostPid(process));
    for (const Descriptor& descriptor : process.descriptors) {
      const std::string& target = descriptor.target;
      if (target.starts_with("socket:")) tree->sockets.insert(InodeOf(target));
      if (target.starts_with("pipe:")) ++tree->pipes[InodeOf(target)];
      const int64_t terminal = NumberBehind(descriptor.info, "tty-index:");
      if (terminal >= 0) tree->terminals.insert(terminal);
    }
  }
}

void InspectDescriptors(const InspectedTree& tree, Findings* findings) {
  for (const ProcessFacts& process : tree.processes) {
    for (const Descriptor& descriptor : process.descriptors) {
      if (descriptor.target.starts_with("socket:")) {
        InspectSocket(process, descriptor, tree, findings);
      } else {
        InspectFile(process, descriptor, tree, findings);
      }
    }
  }
}

void InspectUnlisted(const InspectedTree& tree, const ListedFiles& listed, Findings* findings) {
  std::set<std::string> told;
  for (const ProcessFacts& process : tree.processes) {
    for (const std::string& path : UnlistedFilesOf({process}, listed)) {
      if (!told.insert(path).second) continue;
      findings->Warn(process, fmt::format("file {}", path),
                     "is written, and neither an external file nor on a declared volume: after a "
                     "restore it is missing or of another time");
    }
  }
}

}  // namespace

std::string NameOf(const Descriptor& descriptor) {
  return fmt::format("descriptor {} ({})", descriptor.number, descriptor.target);
}

Result<std::vector<Finding>> InspectProcesses(const std::vector<pid_t>& pids,
                                              const ListedFiles& listed) {
  InspectedTree tree;
  Status first_error = Status::NotFound("no such process");
  for (const pid_t pid : pids) {
    auto process = ReadProcessFacts(pid);
    if (process.ok()) {
      tree.processes.push_back(std::move(*process));
    } else if (tree.processes.empty()) {
      first_error = process.status();
    }
  }
  if (tree.processes.empty()) return first_error;
  SNAP_ASSIGN_OR_RETURN(tree.unix_sockets, ListUnixSockets());
  Index(&tree);
  Findings findings;
  InspectDescriptors(tree, &findings);
  for (const ProcessFacts& process : tree.processes) {
    InspectMappings(process, &findings);
    InspectAttributes(process, tree.processes.front(), &findings);
  }
  InspectSharing(tree, &findings);
  InspectUnlisted(tree, listed, &findings);
  return findings.Take();
}

}  // namespace snapstore::agent
