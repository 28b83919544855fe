// SourceReader: walks the sources of a snapshot and turns them into events, in entry order.
//
// Directories are read with descriptors, never by long paths, so depth and length do not matter;
// symbolic links are recorded, never followed. A file that the parent snapshot holds unchanged is
// taken over without opening it.
//
// Thread safety: Run belongs to one thread.
#ifndef SNAPSTORE_ENGINE_SOURCE_READER_H_
#define SNAPSTORE_ENGINE_SOURCE_READER_H_

#include <map>
#include <memory>
#include <string>
#include <utility>

#include "engine/event_sink.h"
#include "engine/extent_reader.h"
#include "engine/parent_entries.h"
#include "engine/source_tree.h"

namespace snapstore {

struct SourceReaderOptions {
  const SnapshotRequest* request = nullptr;
  const SourceNode* root = nullptr;
  const OpenedSnapshot* parent = nullptr;  // may be null
  int64_t time_ns = 0;                     // modification time of what is no path
  IoBackend io = IoBackend::kAuto;
  size_t buffers_ahead = 8;
};

class SourceReader {
 public:
  // What `options` points to, and `sink`, must outlive the reader.
  SourceReader(const SourceReaderOptions& options, EventSink* sink);

  // Emits all events. An error is one that ends the snapshot; single sources only cause warnings.
  Status Run();

  // Of what it read itself: small files are read by the sink's workers.
  uint64_t bytes_read() const { return bytes_read_; }

 private:
  using FileId = std::pair<uint64_t, uint64_t>;  // device, inode
  using Directory = std::shared_ptr<const UniqueFd>;

  // Each emits the entry at `path` (without a leading '/') and what lies below it.
  Status VisitNode(const std::string& path, const SourceNode& node);
  Status VisitChildren(const std::string& path, const SourceNode& node);
  Status VisitRoot(const std::string& path);
  Status VisitRealDirectory(const std::string& path);
  Status VisitAt(const Directory& dir, const std::string& name, const std::string& path);
  Status VisitDirectory(const Directory& parent, const std::string& name, format::Entry entry);
  Status VisitNames(const Directory& dir, const std::string& path);
  Status VisitFile(const Directory& dir, const std::string& name, const struct stat& stat,
                   format::Entry entry);
  Status VisitVolume(const std::string& path);
  Status VisitStream(const std::string& path, const StreamSource& stream);
  Status VisitImage(const std::string& path, const MemorySource& image);
  Status VisitVolumeSource(const std::string& path, const VolumeSource& volume);

  // Of a source that is no path: a regular file of now.
  format::Entry MadeEntry(const std::string& path, uint32_t mode) const;

  Status ReadFileContent(int fd, format::Entry entry, const format::Entry* parent);
  // Bytes changed, widened to the parent's chunks.
  Result<std::vector<ByteRange>> WidenChanges(const format::Content& parent, uint64_t size);
  Result<std::optional<format::Content>> ParentContent(const std::string& path, EntryType type);
  bool Excluded(const std::string& path, const std::string& name) const;
  Status Skip(const std::string& path, const Status& status);

  const SourceReaderOptions options_;
  EventSink* const sink_;
  ParentEntries parent_entries_;
  std::unique_ptr<ExtentReader> extents_;
  std::map<FileId, std::string> hard_links_;  // files with several names: the first one's path
  uint64_t root_device_ = 0;
  uint64_t bytes_read_ = 0;
};

}  // namespace snapstore

#endif  // SNAPSTORE_ENGINE_SOURCE_READER_H_
