// How processes use one file, as /proc shows it.
#ifndef SNAPSTORE_AGENT_FILE_USERS_H_
#define SNAPSTORE_AGENT_FILE_USERS_H_

#include <sys/stat.h>
#include <sys/types.h>

#include <vector>

namespace snapstore::agent {

struct FileUse {
  bool mapped_shared = false;  // by a mapping through which it may have been written
  bool all_append = true;      // every descriptor that may write appends (O_APPEND)
};

// Of the file that `file` was got of. What cannot be told counts as the worse. A file of another
// device with the same inode number counts as mapped: maps name devices in their own way.
// Meant for processes that stand still.
FileUse UseOf(const std::vector<pid_t>& pids, const struct stat& file);

}  // namespace snapstore::agent

#endif  // SNAPSTORE_AGENT_FILE_USERS_H_
