// Unlisted files: files an application writes that are not saved with its memory. After a restore
// on another machine they are missing, or of another time than the memory that knows them.
//
// Thread safety: free functions; none share state.
#ifndef SNAPSTORE_AGENT_UNLISTED_FILES_H_
#define SNAPSTORE_AGENT_UNLISTED_FILES_H_

#include <sys/types.h>

#include <string>
#include <vector>

#include "agent/process_facts.h"

namespace snapstore::agent {

// What is accounted for. Both are absolute paths.
struct ListedFiles {
  std::vector<std::string> files;    // saved with the memory, or the agent's own log
  std::vector<std::string> folders;  // on volumes that go along with the application
};

// Whether a checkpoint, or a declared volume, holds that file. Symbolic links of the listed paths
// are followed, of `path` they are expected to have been.
bool IsListed(const std::string& path, const ListedFiles& listed);

// Regular files (sorted, each once) that are open for writing or mapped for it by these processes,
// and not listed. Deleted ones are not among them: they are in the images.
std::vector<std::string> UnlistedFilesOf(const std::vector<ProcessFacts>& processes,
                                         const ListedFiles& listed);

// The same of running processes; those that are gone count nothing.
std::vector<std::string> UnlistedFiles(const std::vector<pid_t>& pids, const ListedFiles& listed);

}  // namespace snapstore::agent

#endif  // SNAPSTORE_AGENT_UNLISTED_FILES_H_
