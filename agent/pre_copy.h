// Pre-copy: memory that is stored while its processes run, ahead of a checkpoint that has none to
// build upon, so that this captures only what is written meanwhile.
//
// It lies in a snapshot of its own, of the kind "precopy", which is no checkpoint: nobody restores
// it, and it is forgotten once the checkpoint is there or has failed.
//
// Thread safety: free functions.
#ifndef SNAPSTORE_AGENT_PRE_COPY_H_
#define SNAPSTORE_AGENT_PRE_COPY_H_

#include <string>
#include <vector>

#include "agent/checkpoint_image.h"
#include "agent/dirty_tracker.h"
#include "snapstore/repository.h"
#include "snapstore/snapshot.h"

namespace snapstore::agent {

struct PreCopy {
  SnapshotInfo info;
  PagesByMap pages;  // that it holds
};

// Stores what can be read of `memory`; pages that are given up meanwhile are left out. `app`: the
// application's name; `parent`: a checkpoint that may hold much of it, or empty. Errors: of the
// repository.
Result<PreCopy> CopyBeforehand(Repository* repository, const std::string& app,
                               const std::string& parent,
                               const std::vector<DirtyTracker::Watched>& memory);

// Forgets all of this application's, also what an agent that died has left.
Status ForgetPreCopies(Repository* repository, const std::string& app);

}  // namespace snapstore::agent

#endif  // SNAPSTORE_AGENT_PRE_COPY_H_
