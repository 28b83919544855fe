// CheckpointReader: a checkpoint in a repository, served to CRIU and to the file system.
//
// Thread safety: Has and WriteTo may run concurrently.
#ifndef SNAPSTORE_AGENT_CHECKPOINT_READER_H_
#define SNAPSTORE_AGENT_CHECKPOINT_READER_H_

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "agent/checkpoint_metadata.h"
#include "agent/criu_image.h"
#include "agent/image_serve.h"
#include "base/bytes.h"
#include "snapstore/reader.h"
#include "snapstore/repository.h"

namespace snapstore::agent {

// The checkpoints of an application, newest first (agent/checkpoint_order.h). "Could not tell" is
// an error, never an empty list. `superseded` gets those that do not count; may be null.
Result<std::vector<SnapshotInfo>> ListCheckpoints(Repository* repository, const std::string& app,
                                                  std::vector<SnapshotInfo>* superseded = nullptr);

class CheckpointReader : public ImageSource {
 public:
  // `id`: a snapshot's full id. Corruption when it is no checkpoint.
  static Result<std::unique_ptr<CheckpointReader>> Open(Repository* repository,
                                                        const std::string& id);

  const CheckpointMetadata& metadata() const { return metadata_; }
  const Bytes& process_tree() const { return process_tree_; }  // pstree.img

  // Puts every external file back where it was, and makes the application's log file if it is gone
  // (CRIU opens it by name).
  Status PutBackFiles();

  bool Has(const std::string& name) const override;
  Status WriteTo(const std::string& name, int fd) override;

 private:
  explicit CheckpointReader(std::unique_ptr<SnapshotReader> reader) : reader_(std::move(reader)) {}
  Status Load();
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
  std::map<std::string, PagesImage> pages_;    // by name of the pages image
};

}  // namespace snapstore::agent

#endif  // SNAPSTORE_AGENT_CHECKPOINT_READER_H_
