// TrackedProcess: which pages of one process are still what a checkpoint holds.
//
// A userfaultfd of the process's memory has the kernel note writes (agent/page_scan.h). The base is
// the set of pages that the newest committed checkpoint holds and that were not written since it
// was taken. Pages leave it for good: a page that was written is back only after a later checkpoint
// with it is committed, so one that fails loses nothing.
//
// Only private anonymous mappings are followed. New ones, moved ones, what exec makes, all others
// (files, shared memory) never are in the base before they were scanned once.
//
// Thread safety: none.
#ifndef SNAPSTORE_AGENT_TRACKED_PROCESS_H_
#define SNAPSTORE_AGENT_TRACKED_PROCESS_H_

#include <sys/types.h>

#include <memory>
#include <string>

#include "agent/address_set.h"
#include "agent/arena.h"
#include "base/unique_fd.h"
#include "snapstore/status.h"

namespace snapstore::agent {

class TrackedProcess {
 public:
  // Stops the process for a moment. `watch`: in which it is scanned as well. Errors as of
  // MakeRemoteUserfaultfd.
  static Result<std::unique_ptr<TrackedProcess>> Start(pid_t pid, bool watch);

  pid_t pid() const { return pid_; }
  int inner_pid() const { return inner_pid_; }  // in its cell
  // What CRIU calls the page map of its memory.
  const std::string& pagemap_name() const { return pagemap_name_; }

  bool IsAlive() const;
  // It has another memory than the one that is tracked (exec): no page will ever be in the base.
  bool IsStale() const { return stale_; }

  // Takes what was written since the last scan out of the base and begins anew. REQUIRES: nothing
  // of the process runs. Cannot fail: when in doubt the base is empty.
  void Scan();

  const AddressSet& base() const { return base_; }
  // A checkpoint of the last scan's instant that holds `pages` is committed; or what of them was
  // Watched has been read and stored since.
  void SetBase(const AddressSet& pages) { base_ = pages.Intersect(protected_), carried_ = 0; }
  void DropBase() { base_ = {}, protected_ = {}; }

  // Pages that are there now and whose writes were noted since the last scan: whoever reads them
  // now has what will be in the next base's, if nothing is noted. Errors: of /proc.
  Result<AddressSet> Watched() const;

  // Bytes of private memory written since the base was taken. Errors: of /proc.
  Result<uint64_t> DirtyBytes() const;

  // Appends `pages` of its memory to `file`. NoSpace: they do not fit into the arena. REQUIRES:
  // nothing of the process runs, and the file ends with a whole page.
  Status Read(const AddressSet& pages, Arena* arena, ArenaFile* file) const;

 private:
  TrackedProcess(pid_t pid, int inner_pid, UniqueFd pidfd, UniqueFd userfaultfd,
                 std::string pagemap_name)
      : pid_(pid),
        inner_pid_(inner_pid),
        pidfd_(std::move(pidfd)),
        userfaultfd_(std::move(userfaultfd)),
        pagemap_name_(std::move(pagemap_name)) {}
  Result<UniqueFd> OpenPagemap() const;
  Status ScanAll();

  const pid_t pid_;
  const int inner_pid_;
  const UniqueFd pidfd_;
  const UniqueFd userfaultfd_;
  const std::string pagemap_name_;
  AddressSet base_;
  AddressSet protected_;  // at the last scan: writes to it are noted
  uint64_t carried_ = 0;  // bytes written before the last scan and after the base
  bool stale_ = false;
};

}  // namespace snapstore::agent

#endif  // SNAPSTORE_AGENT_TRACKED_PROCESS_H_
