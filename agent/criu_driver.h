// CriuDriver: runs CRIU's command line inside a cell.
//
// A dump is given up by closing its image sink (ImageCapture does). CRIU is killed only if it does
// not end then, for one that is killed leaves connections locked and sockets half repaired.
//
// Thread safety: const calls on different cells may run concurrently.
#ifndef SNAPSTORE_AGENT_CRIU_DRIVER_H_
#define SNAPSTORE_AGENT_CRIU_DRIVER_H_

#include <functional>
#include <string>
#include <vector>

#include "agent/arena.h"
#include "agent/cell.h"
#include "agent/criu_image.h"
#include "agent/image_capture.h"
#include "agent/image_serve.h"
#include "snapstore/status.h"

namespace snapstore::agent {

// A deleted file that is still open goes into the images up to this size on disk.
inline constexpr uint64_t kDeletedFileBytesMax = 100 << 20;

struct DumpedImages {
  std::vector<ArenaFile> files;  // in the arena
  DumpStats stats;
};

class CriuDriver {
 public:
  // Looks at SNAPSTORE_CRIU, then for criu in /opt/snapstore/bin, PATH and /usr/local/bin, and asks
  // it for its version. NotFound when there is none; Unsupported when it does not work.
  static Result<CriuDriver> Find();

  const std::string& path() const { return path_; }
  const std::string& version() const { return version_; }  // "4.2.1"
  void set_patience(const ImageCapture::Patience& patience) { patience_ = patience; }

  // Unsupported, with what CRIU says, when the kernel lacks what it needs. Needs root.
  Status Check() const;

  // Dumps the application of `cell`, which runs on afterwards, into `arena`. `directory` (short,
  // private) gets the log. `while_frozen` is called while nothing of the application runs; its
  // error fails the dump, and the application runs on as well. A CRIU that hangs is killed, and
  // what a CRIU that was killed leaves behind is put in order.
  // `plan`: null, or what of its memory need not be captured.
  Result<DumpedImages> Dump(Cell* cell, const std::string& directory, Arena* arena,
                            const std::function<Status()>& while_frozen,
                            const CapturePlan* plan = nullptr) const;

  struct RestoreOptions {
    bool keep_connections = false;  // established ones; else they are closed
    bool lazy = false;              // a LazyRestore is listening in the directory
    // If set: called when all is restored and nothing of it runs yet; its error fails the restore.
    std::function<Status()> before_resume;
  };
  // Restores into a new cell in which nothing was started. `process_tree` is pstree.img. On failure
  // the cell is of no further use.
  Status Restore(Cell* cell, const std::string& directory, ImageSource* images,
                 ByteSpan process_tree, const RestoreOptions& options) const;
  Status Restore(Cell* cell, const std::string& directory, ImageSource* images,
                 ByteSpan process_tree) const {
    return Restore(cell, directory, images, process_tree, RestoreOptions());
  }

 private:
  CriuDriver(std::string path, std::string version)
      : path_(std::move(path)), version_(std::move(version)) {}

  std::string path_;
  std::string version_;
  ImageCapture::Patience patience_;
};

}  // namespace snapstore::agent

#endif  // SNAPSTORE_AGENT_CRIU_DRIVER_H_
