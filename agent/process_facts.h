// What /proc tells of one process: the raw material of the preflight and of the unlisted files.
//
// Thread safety: free functions; none share state.
#ifndef SNAPSTORE_AGENT_PROCESS_FACTS_H_
#define SNAPSTORE_AGENT_PROCESS_FACTS_H_

#include <sys/stat.h>
#include <sys/types.h>

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "snapstore/status.h"

namespace snapstore::agent {

struct Descriptor {
  int number = 0;
  std::string target;  // "/var/log/x", "socket:[123]", "anon_inode:[eventfd]"
  std::string info;    // /proc/PID/fdinfo/N
  struct stat status {};
};

// A line of /proc/PID/maps.
struct Mapping {
  std::string addresses;  // "7f00-7f01", as in /proc/PID/map_files
  bool writable = false;
  bool shared = false;
  std::string path;  // or "[heap]", or empty
};

struct ProcessFacts {
  pid_t pid = 0;
  std::string name;
  std::string status;  // /proc/PID/status
  std::vector<Descriptor> descriptors;
  std::vector<Mapping> mappings;

  // "/proc/PID/<rest>".
  std::string Path(std::string_view rest) const;
};

// A process that ended and waits for its parent has neither descriptors nor mappings. NotFound: no
// such process; PermissionDenied.
Result<ProcessFacts> ReadProcessFacts(pid_t pid);

// A small file of /proc as text; empty when it cannot be read.
std::string ReadProcText(const std::string& path);

// Where a link of /proc leads; empty when it cannot be read.
std::string ReadProcLink(const std::string& path);

// The number behind a line's beginning, as in "clockid: 9"; -1 when there is no such line.
int64_t NumberBehind(std::string_view text, std::string_view key, int base = 10);

// The number in "socket:[123]" or "pipe:[123]".
uint32_t InodeOf(std::string_view target);

}  // namespace snapstore::agent

#endif  // SNAPSTORE_AGENT_PROCESS_FACTS_H_
