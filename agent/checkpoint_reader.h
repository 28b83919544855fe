// CheckpointReader: a checkpoint in a repository, served to CRIU and to the file system.
//
// Thread safety: Has, WriteTo and what LazyMemory has may run concurrently.
#ifndef SNAPSTORE_AGENT_CHECKPOINT_READER_H_
#define SNAPSTORE_AGENT_CHECKPOINT_READER_H_

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "agent/checkpoint_metadata.h"
#include "agent/criu_image.h"
#include "agent/image_serve.h"
#include "agent/lazy_restore.h"
#include "base/bytes.h"
#include "snapstore/reader.h"
#include "snapstore/repository.h"

namespace snapstore::agent {

// The checkpoints of an application, newest first (agent/checkpoint_order.h). "Could not tell" is
// an error, never an empty list. `superseded` gets those that do not count; may be null.
Result<std::vector<SnapshotInfo>> ListCheckpoints(Repository* repository, const std::string& app,
                                                  std::vector<SnapshotInfo>* superseded = nullptr);

class CheckpointReader : public ImageSource, public LazyMemory {
 public:
  // `id`: a snapshot's full id. Corruption when it is no checkpoint.
  static Result<std::unique_ptr<CheckpointReader>> Open(Repository* repository,
                                                        const std::string& id);

  const CheckpointMetadata& metadata() const { return metadata_; }
  const Bytes& process_tree() const { return process_tree_; }  // pstree.img

  // Puts every external file back where it was, and makes the application's log file if it is gone
  // (CRIU opens it by name).
  Status PutBackFiles();

  // Established TCP connections, by their local addresses. Corruption: damaged images.
  Result<std::vector<TcpConnection>> Connections() const;

  uint64_t memory_bytes() const;  // of all processes
  // Of these, what may come after the processes run; 0 when this checkpoint cannot do that.
  uint64_t lazy_bytes() const;
  // Whether from now on pages that come later are left out of what CRIU is given; at first not.
  void LeaveOutLazy(bool left_out) { leave_out_lazy_ = left_out; }

  bool Has(const std::string& name) const override;
  Status WriteTo(const std::string& name, int fd) override;

  std::vector<PageRun> LazyRuns(int pid) const override;
  Status VisitLazy(int pid, uint64_t address, uint64_t length, const MemoryVisitor& visit) override;
  Status VisitTouched(int pid, uint64_t touched, uint64_t address, uint64_t length,
                      const MemoryVisitor& visit) override;

 private:
  explicit CheckpointReader(std::unique_ptr<SnapshotReader> reader) : reader_(std::move(reader)) {}
  Status Load();
  Status TellLazy(const std::string& pagemap_name, Pagemap* map);
  Result<Bytes> ReadSmall(const std::string& path) const;
  Status CopyTo(const std::string& path, int fd) const;

  struct PagesImage {
    std::string pagemap_name;
    Pagemap map;
  };

  std::unique_ptr<SnapshotReader> reader_;
  CheckpointMetadata metadata_;
  Bytes process_tree_;
  std::map<std::string, std::string> images_;  // name: path in the snapshot
  std::map<std::string, Bytes> made_;          // page maps that say more than CRIU's
  std::map<std::string, PagesImage> pages_;    // by name of the pages image
  bool all_pages_placed_ = true;               // by address, so that each can be found
  bool leave_out_lazy_ = false;
};

}  // namespace snapstore::agent

#endif  // SNAPSTORE_AGENT_CHECKPOINT_READER_H_
