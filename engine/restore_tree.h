// TreeRestorer: the selected entries of a snapshot back below a directory.
//
// Entries are taken in their order: directories and nodes are made at once, files go into windows,
// hard links follow at the end of the window. A second walk gives directories their metadata, from
// the deepest up, since only then nothing is written into them any more.
//
// Thread safety: belongs to one thread.
#ifndef SNAPSTORE_ENGINE_RESTORE_TREE_H_
#define SNAPSTORE_ENGINE_RESTORE_TREE_H_

#include <atomic>
#include <future>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "engine/repository_impl.h"
#include "engine/restore_execute.h"
#include "engine/restore_output.h"
#include "engine/restore_plan.h"
#include "engine/restore_report.h"
#include "engine/restore_target.h"

namespace snapstore {

// Plans the content of files, window by window; while one is carried out, the next is planned.
class ContentRestorer {
 public:
  // All must outlive the restorer.
  ContentRestorer(RepositoryImpl* repository, const OpenedSnapshot* snapshot,
                  OutputContext* context);
  // Ends what is under way.
  ~ContentRestorer();
  ContentRestorer(const ContentRestorer&) = delete;
  ContentRestorer& operator=(const ContentRestorer&) = delete;

  // Restores what `content` (an entry with content of its own) holds to `output`; it may be done
  // only after Finish.
  Status Add(const std::shared_ptr<RestoreOutput>& output, const format::Entry& content);
  // Makes a hard link once everything added so far is done.
  Status AddLink(Entry entry);
  // Everything that was added is done when it returns OK.
  Status Finish();

 private:
  RestoreWindow& window() { return windows_[current_]; }
  Status StartIfWorthIt();
  // Has the window that was planned carried out, when the one before is done.
  Status Start();
  Status Join();
  Status CarryOut(RestoreWindow* window);
  Status PlanRuns(const std::shared_ptr<RestoreOutput>& output, const format::Entry& content);
  Status MakeLink(const Entry& entry);

  const OpenedSnapshot* const snapshot_;
  OutputContext* const context_;
  RestoreReport* const report_;
  std::atomic<bool> abandoned_ = false;
  RestoreExecutor executor_;
  const size_t early_bytes_;  // what a window holds at least when it starts before it is full
  RestoreWindow windows_[2];
  int current_ = 0;              // the window being planned
  std::future<Status> running_;  // carries out the other; last: it ends before what it uses
};

class TreeRestorer {
 public:
  // `roots`: selected paths, normalized, ascending, none within another; one empty path for all.
  TreeRestorer(RepositoryImpl* repository, const OpenedSnapshot* snapshot,
               std::vector<std::string> roots, OutputContext* context);

  Status Run();

 private:
  Status Visit(const format::Entry& proto);
  Status MakeEntry(const Entry& entry);
  Status FinishEntry(const Entry& entry);
  Status AddFile(Entry entry, const format::Entry& content);
  Status AddHardLink(Entry entry, const format::Entry& proto);
  Status FinishDirectories();
  Status FinishParents();
  Status FinishDirectory(const Entry& entry);
  bool Selected(std::string_view path) const;

  const OpenedSnapshot* const snapshot_;
  const std::vector<std::string> roots_;
  TargetTree* const tree_;
  OutputContext* const context_;
  RestoreReport* const report_;
  // Hard links whose first name is not selected: where its content went instead.
  std::map<std::string, std::string> stand_ins_;
  std::mutex parents_mutex_;
  std::set<std::string> parents_made_;  // above the roots
  ContentRestorer content_;             // last: what it drops on an error may still make parents
};

}  // namespace snapstore

#endif  // SNAPSTORE_ENGINE_RESTORE_TREE_H_
