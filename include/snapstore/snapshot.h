// TakeSnapshot: files, trees, volumes, streams and memory images into one new snapshot.
//
// A snapshot exists exactly when its manifest does; the manifest is written last, after everything
// it refers to is durable. What fails or crashes before that leaves earlier snapshots whole.
#ifndef SNAPSTORE_SNAPSHOT_H_
#define SNAPSTORE_SNAPSHOT_H_

#include <cstdint>
#include <functional>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "snapstore/observer.h"
#include "snapstore/pipeline_stage.h"
#include "snapstore/repository.h"
#include "snapstore/status.h"

namespace snapstore {

// How content is cut into chunks.
enum class Profile {
  kAuto,     // aligned for block devices, file system images and memory; cdc for the rest
  kCdc,      // by content, at any byte
  kAligned,  // by content, at multiples of 4 KiB
};

// A stream of unknown length, stored as a regular file.
class ByteStream {
 public:
  virtual ~ByteStream() = default;
  // Fills a prefix of `out`; 0 means the end.
  virtual Result<size_t> Read(std::span<uint8_t> out) = 0;
};

struct StreamSource {
  std::string name;              // path within the snapshot, without a leading '/'
  ByteStream* stream = nullptr;  // the caller's; used during the call only
  uint32_t mode = 0600;          // permission bits
  Profile profile = Profile::kAuto;
};

// Bytes in memory, stored as one sparse file: holes between the extents. With page-sized extents at
// their virtual addresses, a process image is compared with its parent page by page.
struct MemorySource {
  struct Extent {
    uint64_t offset = 0;             // in the file; multiple of 4 KiB if the file has several
    std::span<const uint8_t> bytes;  // the caller's; must stay unchanged during the call
    // In place of bytes: so many are what the parent holds there, and are not looked at. Between
    // multiples of 4 KiB, of a profile that is not kCdc; the parent must reach that far.
    uint64_t unchanged = 0;
  };
  std::string name;             // path within the snapshot, without a leading '/'
  uint64_t size = 0;            // of the file; at least the end of the last extent
  std::vector<Extent> extents;  // ascending, not overlapping
  // kAligned cuts every 4 KiB block on its own; kAuto is kAligned.
  Profile profile = Profile::kAuto;
};

// Reads a volume that is on no block device of this machine.
class VolumeReader {
 public:
  virtual ~VolumeReader() = default;
  // The next part that is to be read, at or after `offset`: [*begin, *end), *begin == the volume's
  // size if there is none. A long part may come in pieces: the next one then begins at *end.
  // Offsets ascend from call to call, of one thread.
  virtual Status NextPart(uint64_t offset, uint64_t* begin, uint64_t* end) = 0;
  // Fills `out` from `offset`, which lies in a part that was named. Called from several threads at
  // once; each byte is asked for once.
  virtual Status ReadAt(uint64_t offset, std::span<uint8_t> out) = 0;
};

// A volume that is read by calls, stored as a regular file. An error of its reader ends the
// snapshot.
struct VolumeSource {
  std::string name;                // path within the snapshot, without a leading '/'
  uint64_t size = 0;               // in bytes
  VolumeReader* reader = nullptr;  // the caller's; used during the call only
  // What is in no part: false: zeros; true: as in the parent, which must exist and hold it with the
  // same size, or with a smaller one: then parts hold all that is behind its end there.
  bool rest_unchanged = false;
  // A call of ReadAt asks for bytes between two multiples of this; at most 1 MiB.
  uint32_t read_bytes = 512 << 10;
  unsigned reads = 16;  // calls of ReadAt at once, at most; fewer if memory is short
  // kAuto is kAligned.
  Profile profile = Profile::kAuto;
  bool single_blocks = false;  // cut every 4 KiB block on its own, as memory is, whatever `profile`
};

// A part of a volume that differs from the parent snapshot's.
struct ByteRange {
  uint64_t offset = 0;
  uint64_t length = 0;
  bool operator==(const ByteRange&) const = default;
};

struct SnapshotRequest {
  // Files, directories, block devices; relative paths are resolved against the working directory.
  // One that is missing is counted as unreadable.
  std::vector<std::string> paths;
  std::vector<StreamSource> streams;
  std::vector<MemorySource> images;
  std::vector<VolumeSource> volumes;

  std::map<std::string, std::string> tags;
  std::string host;  // empty: this machine's name
  // "auto": newest snapshot of the same host and sources; "none"; or a reference to a snapshot.
  std::string parent = "auto";
  Profile profile = Profile::kAuto;
  // Only these parts of the single volume or file in `paths` are read, the rest is taken from the
  // parent (which must exist and hold it with the same size).
  bool have_changed_ranges = false;
  std::vector<ByteRange> changed_ranges;

  // Compare, byte by byte, what is taken for stored already because of its id. A file of which a
  // chunk turns out to be another one with the same id is left out as unreadable. Files that look
  // unchanged are still not read; `reread` does that.
  bool paranoid = false;
  bool reread = false;                // also files that look like what the parent holds
  bool one_file_system = false;       // do not descend into other mounts
  std::vector<std::string> excludes;  // fnmatch patterns against the absolute path
  // Of zstd, 1 to 19; 0: low while compression holds the snapshot up, higher while the store does.
  int compression_level = 0;
  // Asked last, when everything but the manifest is stored; an error ends the snapshot with it.
  std::function<Status()> before_commit = nullptr;
};

struct SnapshotSummary {
  SnapshotInfo info;  // as it was committed
  // read (files and volumes, and small files by workers of their own), cut (and name, and look up),
  // compress, store
  std::vector<PipelineStage> stages;
};

// Sources that cannot be read are warned about, counted in info.unreadable and left out.
// Errors: Cancelled, NoSpace, Io, … of the store; NotFound when no source at all could be read;
// InvalidArgument for a bad request.
Result<SnapshotSummary> TakeSnapshot(Repository& repository, const SnapshotRequest& request,
                                     Observer* observer);

}  // namespace snapstore

#endif  // SNAPSTORE_SNAPSHOT_H_
