// ExternalCapture: the external files of one application from checkpoint to checkpoint. While the
// application is frozen it reads no more of them than is needed to have them as they are then.
//
// What each file costs in the freeze, the first that applies:
//   unchanged  inode, size, mtime and ctime are those of the last checkpoint: nothing is read.
//              Exact, since the kernel gives each change a new ctime, while nobody sets the clock
//              back; a ctime less than two seconds before the last checkpoint is not relied on.
//   clone      the file system shares the file's blocks with a file of ours (FICLONE; XFS, btrfs):
//              nothing is read before the thaw. Exact.
//   tail       the file is at least as long as at the last checkpoint, and whoever of the
//              application has it open for writing appends (O_APPEND): only what is behind its
//              former end is read. That the rest is as it was is not known then, since a file may
//              be truncated and written anew: it is compared after the thaw, by a 128-bit hash, and
//              when it differs, or somebody opened the file meanwhile, the checkpoint has to be
//              taken once more with whole files. So the result is exact, unless a process truncates
//              a file in which other bytes stood at the freeze and appends, in the moments between
//              thaw and comparison, the very bytes that the last checkpoint holds; or one outside
//              the application writes them through a descriptor that it had open before.
//   whole      all of it is read: files below 1 MiB, files on network file systems, whose
//              times other machines set, and files that the application maps shared, whose changes
//              show in no time.
// With `exact` a tail's comparison is made in the freeze.
//
// Unchanged and tail lean on the content that the parent snapshot holds, and are for that parent
// only.
//
// Thread safety: none.
#ifndef SNAPSTORE_AGENT_EXTERNAL_CAPTURE_H_
#define SNAPSTORE_AGENT_EXTERNAL_CAPTURE_H_

#include <sys/stat.h>
#include <sys/types.h>

#include <array>
#include <cstdint>
#include <map>
#include <memory>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "agent/arena.h"
#include "agent/external_files.h"
#include "base/unique_fd.h"
#include "snapstore/snapshot.h"
#include "snapstore/status.h"

namespace snapstore::agent {

enum class CaptureKind { kWhole, kClone, kUnchanged, kTail };

// XXH3, 128 bits (https://github.com/Cyan4973/xxHash): finds chance changes, not forged ones.
class RunningHash {
 public:
  RunningHash();
  RunningHash(const RunningHash& other);
  RunningHash& operator=(const RunningHash& other);
  RunningHash(RunningHash&&) noexcept = default;
  RunningHash& operator=(RunningHash&&) noexcept = default;
  void Update(std::span<const uint8_t> bytes);
  std::array<uint64_t, 2> Digest() const;

 private:
  struct Free {
    void operator()(void* state) const;
  };
  std::unique_ptr<void, Free> state_;  // XXH3_state_t
};

struct CapturedFile {
  ExternalFile info;
  CaptureKind kind = CaptureKind::kWhole;
  ArenaFile content;   // named `path`: of a tail what is behind `known`, of whole files all
  uint64_t known = 0;  // bytes from the front that are the parent snapshot's
  UniqueFd file;       // the clone, or the file itself
  int watch = -1;      // of a tail: inotify's number
  RunningHash hash;    // of all bytes, from Finish on
  uint64_t device = 0;
  uint64_t inode = 0;
  int64_t ctime_ns = 0;
  bool lasting = false;  // its ctime tells of every later change
};

class ExternalCapture {
 public:
  // `clone_directory`: where clones are made, without names.
  ExternalCapture(std::vector<std::string> paths, std::string clone_directory);

  // Before the freeze: the bytes that Capture is likely to read, to prepare the arena with. What
  // waits to be written to a disk where clones are made is written now, since cloning waits for it.
  uint64_t Prepare(const std::string& parent_id) const;

  // While all `pids`, the application, are frozen. `parent_id` is the snapshot that the next one is
  // compared with. The first file that is missing or no regular file fails the whole capture; the
  // message begins with "external file <path>".
  Result<std::vector<CapturedFile>> Capture(const std::vector<pid_t>& pids,
                                            const std::string& parent_id, bool exact, Arena* arena);

  // After the thaw, before the files are stored. Conflict: one of them is not what it was taken
  // for; capture again, which will read it whole.
  Status Finish(std::vector<CapturedFile>* files);

  // They are stored in that snapshot: the next Capture may lean on it.
  void Committed(const std::vector<CapturedFile>& files, const std::string& snapshot_id);
  // Lean on nothing before the next commit.
  void Forget() { known_.clear(); }

 private:
  struct Known {
    std::string snapshot_id;
    uint64_t device = 0;
    uint64_t inode = 0;
    uint64_t size = 0;
    int64_t mtime_ns = 0;
    int64_t ctime_ns = 0;
    bool lasting = false;
    bool cloned = false;
    RunningHash hash;
  };

  Result<CapturedFile> CaptureOne(const std::string& path, const std::vector<pid_t>& pids,
                                  const std::string& parent_id, bool exact, Arena* arena);
  // What is known of the file if that is of this parent and the file may have grown since.
  const Known* KnownOf(const std::string& path, const std::string& parent_id,
                       const struct stat& now) const;
  Status ReadToArena(CapturedFile* file, uint64_t begin, Arena* arena) const;
  Status FinishOne(CapturedFile* file);

  const std::vector<std::string> paths_;
  const std::string clone_directory_;
  std::map<std::string, Known> known_;
  std::map<std::string, unsigned> distrusted_;  // captures to come that read it whole
  UniqueFd opened_;  // inotify: who opens a file of which only the tail was read
};

// The source of a snapshot that holds the file, under this name; refers to `file` and the arena.
class CapturedFileReader : public VolumeReader {
 public:
  explicit CapturedFileReader(const CapturedFile* file);
  VolumeSource Source(std::string name);

  Status NextPart(uint64_t offset, uint64_t* begin, uint64_t* end) override;
  Status ReadAt(uint64_t offset, std::span<uint8_t> out) override;

 private:
  const CapturedFile* const file_;
  std::vector<uint64_t> offsets_;  // of the content's parts, behind `known`
};

}  // namespace snapstore::agent

#endif  // SNAPSTORE_AGENT_EXTERNAL_CAPTURE_H_
