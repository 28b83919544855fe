#include "engine/source_reader.h"

#include <dirent.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <fnmatch.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "base/check.h"
#include "base/file.h"
#include "base/status_macros.h"
#include "engine/content_range.h"
#include "engine/file_metadata.h"
#include "engine/image_sniffer.h"
#include "engine/run_list.h"
#include "engine/volume_feed.h"

namespace snapstore {
namespace {

constexpr uint32_t kVirtualDirectoryMode = 0700;
constexpr uint32_t kMadeMode = 0600;

// Names in a directory, in byte order.
Result<std::vector<std::string>> ReadNames(int dir_fd) {
  const int copy = ::fcntl(dir_fd, F_DUPFD_CLOEXEC, 0);
  if (copy < 0) return Status::FromErrno(errno, "read directory");
  DIR* const dir = ::fdopendir(copy);
  if (dir == nullptr) {
    ::close(copy);
    return Status::FromErrno(errno, "read directory");
  }
  std::vector<std::string> names;
  errno = 0;
  while (const struct dirent* found = ::readdir(dir)) {
    const std::string_view name = found->d_name;
    if (name != "." && name != "..") names.emplace_back(name);
    errno = 0;
  }
  const int error = errno;
  ::closedir(dir);
  if (error != 0) return Status::FromErrno(error, "read directory");
  std::sort(names.begin(), names.end());
  return names;
}

std::string Join(const std::string& path, const std::string& name) {
  return path.empty() ? name : path + "/" + name;
}

EntryType TypeOf(const format::Entry& entry) { return static_cast<EntryType>(entry.type()); }

// What the parent snapshot holds of a file; `entry` may be null.
std::optional<format::Content> ContentOf(const format::Entry* entry) {
  if (entry == nullptr || TypeOf(*entry) != EntryType::kFile || !entry->has_content()) return {};
  return entry->content();
}

}  // namespace

SourceReader::SourceReader(const SourceReaderOptions& options, EventSink* sink)
    : options_(options), sink_(sink), parent_entries_(options.parent) {}

Status SourceReader::Run() {
  SNAP_ASSIGN_OR_RETURN(extents_, ExtentReader::Create(options_.io, sink_, options_.buffers_ahead));
  Status status = options_.root->kind == SourceNode::Kind::kPath
                      ? VisitRoot("")
                      : VisitChildren("", *options_.root);
  if (status.ok()) status = sink_->Flush();
  bytes_read_ += extents_->bytes_read();
  return status;
}

Status SourceReader::Skip(const std::string& path, const Status& status) {
  return sink_->Warn("/" + path, status);
}

Status SourceReader::VisitNode(const std::string& path, const SourceNode& node) {
  switch (node.kind) {
    case SourceNode::Kind::kPath:
      return VisitRoot(path);
    case SourceNode::Kind::kStream:
      return VisitStream(path, *node.stream);
    case SourceNode::Kind::kImage:
      return VisitImage(path, *node.image);
    case SourceNode::Kind::kVolume:
      return VisitVolumeSource(path, *node.volume);
    case SourceNode::Kind::kRealDirectory:
      SNAP_RETURN_IF_ERROR(VisitRealDirectory(path));
      return VisitChildren(path, node);
    case SourceNode::Kind::kVirtualDirectory: {
      format::Entry entry;
      entry.set_path(path);
      entry.set_type(static_cast<uint32_t>(EntryType::kDirectory));
      entry.set_mode(kVirtualDirectoryMode);
      SNAP_RETURN_IF_ERROR(sink_->OnTheWay(std::move(entry)));
      return VisitChildren(path, node);
    }
  }
  return Status::Internal("unknown kind of source");
}

Status SourceReader::VisitChildren(const std::string& path, const SourceNode& node) {
  for (const auto& [name, child] : node.children) {
    SNAP_RETURN_IF_ERROR(VisitNode(Join(path, name), child));
  }
  return {};
}

// A directory on the way to a source. Links are followed here: it is a directory by that name.
Status SourceReader::VisitRealDirectory(const std::string& path) {
  struct stat stat {};
  if (::stat(("/" + path).c_str(), &stat) != 0 || !S_ISDIR(stat.st_mode)) {
    return {};  // the source below it will say so
  }
  SNAP_ASSIGN_OR_RETURN(format::Entry entry, EntryFromStat(path, stat));
  return sink_->OnTheWay(std::move(entry));
}

Status SourceReader::VisitRoot(const std::string& path) {
  const size_t slash = path.rfind('/');
  const std::string folder = slash == std::string::npos ? "/" : "/" + path.substr(0, slash);
  const std::string name = slash == std::string::npos ? path : path.substr(slash + 1);
  const int fd = ::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return Skip(path, Status::FromErrno(errno, "open " + folder));
  const auto dir = std::make_shared<const UniqueFd>(fd);
  const Result<struct stat> stat = StatAt(dir->get(), name.empty() ? "." : name);
  if (!stat.ok()) return Skip(path, stat.status());
  root_device_ = stat->st_dev;
  if (name.empty()) return VisitNames(dir, "");
  if (S_ISBLK(stat->st_mode)) return VisitVolume(path);
  return VisitAt(dir, name, path);
}

bool SourceReader::Excluded(const std::string& path, const std::string& name) const {
  const std::string absolute = "/" + path;
  return std::any_of(options_.request->excludes.begin(), options_.request->excludes.end(),
                     [&](const std::string& pattern) {
                       return ::fnmatch(pattern.c_str(), absolute.c_str(), 0) == 0 ||
                              ::fnmatch(pattern.c_str(), name.c_str(), 0) == 0;
                     });
}

Status SourceReader::VisitAt(const Directory& dir, const std::string& name,
                             const std::string& path) {
  if (Excluded(path, name)) return {};
  const Result<struct stat> stat = StatAt(dir->get(), name);
  if (!stat.ok()) return Skip(path, stat.status());
  Result<format::Entry> entry = EntryFromStat(path, *stat);
  if (!entry.ok()) return Skip(path, entry.status());
  if (TypeOf(*entry) == EntryType::kFile) return VisitFile(dir, name, *stat, std::move(*entry));
  if (const Status extra = ReadExtraMetadata(dir->get(), name, &*entry); !extra.ok()) {
    return Skip(path, extra);
  }
  if (TypeOf(*entry) == EntryType::kDirectory) return VisitDirectory(dir, name, std::move(*entry));
  if (entry->links() > 1) {
    const auto [first, is_first] =
        hard_links_.try_emplace(FileId(entry->device(), entry->inode()), path);
    if (!is_first) entry->set_hard_link_to(first->second);
  }
  return sink_->Complete(std::move(*entry));
}

Status SourceReader::VisitDirectory(const Directory& parent, const std::string& name,
                                    format::Entry entry) {
  const std::string path = entry.path();
  const bool foreign = options_.request->one_file_system && entry.device() != root_device_;
  SNAP_RETURN_IF_ERROR(sink_->Complete(std::move(entry)));
  if (foreign) return {};
  Result<UniqueFd> dir = OpenAt(parent->get(), name, O_RDONLY | O_DIRECTORY);
  if (!dir.ok()) return Skip(path, dir.status());
  return VisitNames(std::make_shared<const UniqueFd>(std::move(*dir)), path);
}

Status SourceReader::VisitNames(const Directory& dir, const std::string& path) {
  const Result<std::vector<std::string>> names = ReadNames(dir->get());
  if (!names.ok()) return Skip(path, names.status());
  for (const std::string& name : *names) {
    SNAP_RETURN_IF_ERROR(VisitAt(dir, name, Join(path, name)));
  }
  return {};
}

Status SourceReader::VisitFile(const Directory& dir, const std::string& name,
                               const struct stat& stat, format::Entry entry) {
  const FileId file_id(entry.device(), entry.inode());
  if (entry.links() > 1) {
    if (const auto first = hard_links_.find(file_id); first != hard_links_.end()) {
      entry.set_hard_link_to(first->second);
      return sink_->Complete(std::move(entry));
    }
  }
  SNAP_ASSIGN_OR_RETURN(const format::Entry* parent, parent_entries_.Find(entry.path()));
  if (parent != nullptr && !options_.request->have_changed_ranges && !options_.request->reread &&
      SameContent(*parent, entry, options_.parent->manifest.time_ns())) {
    if (entry.links() > 1) hard_links_[file_id] = entry.path();
    // Everything ctime guards is the parent's, but a link count or device number may differ.
    format::Entry same = *parent;
    same.set_links(entry.links());
    same.set_device(entry.device());
    return sink_->Complete(std::move(same));
  }
  // Files with several names wait for each other.
  if (sink_->TakesFile(entry.size()) && entry.links() <= 1 &&
      !options_.request->have_changed_ranges) {
    auto file = std::make_unique<SmallFile>();
    file->directory = dir;
    file->name = name;
    file->stat = stat;
    file->profile = options_.request->profile;
    file->parent = ContentOf(parent);
    return sink_->File(std::move(entry), std::move(file));
  }
  const Result<UniqueFd> opened = OpenAt(dir->get(), name, O_RDONLY | O_NONBLOCK);
  if (!opened.ok()) return Skip(entry.path(), opened.status());
  if (const Status extra = ReadXattrs(opened->get(), &entry); !extra.ok()) {
    return Skip(entry.path(), extra);
  }
  return ReadFileContent(opened->get(), std::move(entry), parent);
}

Status SourceReader::ReadFileContent(int fd, format::Entry entry, const format::Entry* parent) {
  struct stat before {};
  if (::fstat(fd, &before) != 0 || !S_ISREG(before.st_mode)) {
    return Skip(entry.path(), Status::Io("is another file than a moment ago"));
  }
  entry.set_size(static_cast<uint64_t>(before.st_size));
  const CutRule rule =
      RuleFor(options_.request->profile,
              options_.request->profile == Profile::kAuto && LooksLikeImage(fd, entry.size()));
  const std::optional<format::Content> parent_content = ContentOf(parent);
  SNAP_RETURN_IF_ERROR(sink_->Begin(entry, rule, parent_content));

  Status status;
  if (options_.request->have_changed_ranges) {
    if (!parent_content.has_value()) {
      status = Status::InvalidArgument("the parent snapshot does not hold it");
    } else {
      Result<std::vector<ByteRange>> changed = WidenChanges(*parent_content, entry.size());
      status = changed.ok() ? extents_->ReadChanged(fd, entry.size(), *changed, entry.path())
                            : changed.status();
    }
    if (status.Is(StatusCode::kInvalidArgument)) return status.WithContext("/" + entry.path());
  } else {
    const Result<uint64_t> length = extents_->ReadFile(fd, entry.size(), entry.path());
    status = length.status();
    if (length.ok()) entry.set_size(*length);
  }
  if (status.Is(StatusCode::kCancelled)) return status;

  struct stat after {};
  if (status.ok() && ::fstat(fd, &after) != 0) status = Status::FromErrno(errno, "stat");
  if (status.ok() && !SameModification(before, after)) entry.set_changed_while_read(true);
  if (status.ok() && entry.links() > 1) {
    hard_links_[FileId(entry.device(), entry.inode())] = entry.path();
  }
  return sink_->End(std::move(entry), status);
}

Status SourceReader::VisitVolume(const std::string& path) {
  const std::string device = "/" + path;
  const Result<UniqueFd> fd = OpenFile(device, O_RDONLY);
  if (!fd.ok()) return Skip(path, fd.status());
  struct stat stat {};
  uint64_t size = 0;
  if (::fstat(fd->get(), &stat) != 0 || ::ioctl(fd->get(), BLKGETSIZE64, &size) != 0) {
    return Skip(path, Status::FromErrno(errno, "size of device"));
  }
  SNAP_ASSIGN_OR_RETURN(format::Entry entry, EntryFromStat(path, stat));
  entry.set_type(static_cast<uint32_t>(EntryType::kVolume));
  entry.set_size(size);
  SNAP_ASSIGN_OR_RETURN(const std::optional<format::Content> parent,
                        ParentContent(path, EntryType::kVolume));
  SNAP_RETURN_IF_ERROR(
      sink_->Begin(entry, RuleFor(options_.request->profile, /*image=*/true), parent));
  Status status;
  if (options_.request->have_changed_ranges) {
    if (!parent.has_value()) {
      return Status::InvalidArgument(device + ": the parent snapshot does not hold it");
    }
    SNAP_ASSIGN_OR_RETURN(const std::vector<ByteRange> changed, WidenChanges(*parent, size));
    status = extents_->ReadChanged(fd->get(), size, changed, path);
  } else {
    const Result<uint64_t> length = extents_->ReadFile(fd->get(), size, path);
    status = length.status();
    if (length.ok() && *length < size) status = Status::Io("ends before its size");
  }
  if (status.Is(StatusCode::kCancelled)) return status;
  return sink_->End(std::move(entry), status);
}

Result<std::optional<format::Content>> SourceReader::ParentContent(const std::string& path,
                                                                   EntryType type) {
  SNAP_ASSIGN_OR_RETURN(const format::Entry* parent, parent_entries_.Find(path));
  if (parent == nullptr || TypeOf(*parent) != type || !parent->has_content()) {
    return std::optional<format::Content>();
  }
  return std::optional<format::Content>(parent->content());
}

Result<std::vector<ByteRange>> SourceReader::WidenChanges(const format::Content& parent,
                                                          uint64_t size) {
  if (parent.runs().span() != size) {
    return Status::InvalidArgument("its size differs from the parent snapshot's");
  }
  RunListReader runs(options_.parent->nodes.get(), parent.runs());
  std::vector<ByteRange> widened;
  for (const ByteRange& range : options_.request->changed_ranges) {
    if (range.length == 0) continue;
    if (range.offset >= size || range.length > size - range.offset) {
      return Status::InvalidArgument("a changed range lies beyond its end");
    }
    SNAP_ASSIGN_OR_RETURN(const ByteRange first, ChunkAround(&runs, range.offset));
    SNAP_ASSIGN_OR_RETURN(const ByteRange last,
                          ChunkAround(&runs, range.offset + range.length - 1));
    widened.push_back({first.offset, last.offset + last.length - first.offset});
  }
  std::sort(widened.begin(), widened.end(),
            [](const ByteRange& a, const ByteRange& b) { return a.offset < b.offset; });
  std::vector<ByteRange> merged;
  for (const ByteRange& range : widened) {
    if (!merged.empty() && range.offset <= merged.back().offset + merged.back().length) {
      const uint64_t end =
          std::max(merged.back().offset + merged.back().length, range.offset + range.length);
      merged.back().length = end - merged.back().offset;
    } else {
      merged.push_back(range);
    }
  }
  return merged;
}

format::Entry SourceReader::MadeEntry(const std::string& path, uint32_t mode) const {
  format::Entry entry;
  entry.set_path(path);
  entry.set_type(static_cast<uint32_t>(EntryType::kFile));
  entry.set_mode(mode);
  entry.set_links(1);
  entry.set_mtime_ns(options_.time_ns);
  return entry;
}

Status SourceReader::VisitStream(const std::string& path, const StreamSource& stream) {
  format::Entry entry = MadeEntry(path, stream.mode);
  SNAP_ASSIGN_OR_RETURN(const std::optional<format::Content> parent,
                        ParentContent(path, EntryType::kFile));
  SNAP_RETURN_IF_ERROR(sink_->Begin(entry, RuleFor(stream.profile, /*image=*/false), parent));
  Status status;
  uint64_t size = 0;
  while (status.ok()) {
    SNAP_ASSIGN_OR_RETURN(PooledBuffer buffer, sink_->TakeBuffer());
    size_t filled = 0;
    while (filled < sink_->buffer_bytes()) {
      const Result<size_t> got =
          stream.stream->Read({buffer.data() + filled, sink_->buffer_bytes() - filled});
      status = got.status();
      if (!got.ok() || *got == 0) break;
      filled += *got;
    }
    size += filled;
    bytes_read_ += filled;
    const bool full = filled == sink_->buffer_bytes();
    if (filled > 0) SNAP_RETURN_IF_ERROR(sink_->Data(std::move(buffer), filled));
    if (!full) break;
  }
  entry.set_size(size);
  return sink_->End(std::move(entry), status);
}

Status SourceReader::VisitImage(const std::string& path, const MemorySource& image) {
  format::Entry entry = MadeEntry(path, kMadeMode);
  entry.set_size(image.size);
  SNAP_ASSIGN_OR_RETURN(const std::optional<format::Content> parent,
                        ParentContent(path, EntryType::kFile));
  const CutRule rule = image.profile == Profile::kCdc ? CutRule::kCdc : CutRule::kAlignedBlocks;
  SNAP_RETURN_IF_ERROR(sink_->Begin(entry, rule, parent));
  uint64_t at = 0;
  const uint64_t parent_size = parent.has_value() ? parent->runs().span() : 0;
  for (const MemorySource::Extent& extent : image.extents) {
    const uint64_t length = std::max<uint64_t>(extent.bytes.size(), extent.unchanged);
    if (extent.offset < at || extent.offset > image.size || length > image.size - extent.offset) {
      return Status::InvalidArgument(path + ": extents overlap or exceed the size");
    }
    SNAP_RETURN_IF_ERROR(sink_->Hole(extent.offset - at));
    at = extent.offset;
    if (extent.unchanged != 0) {
      if (!extent.bytes.empty() || rule == CutRule::kCdc || at + length > parent_size) {
        return Status::InvalidArgument(fmt::format(
            "{}: bytes {} to {} are not in the parent snapshot", path, at, at + length));
      }
      SNAP_RETURN_IF_ERROR(sink_->Unchanged(length));
      at += length;
      continue;
    }
    // In pieces, so that progress and cancellation are seen.
    for (size_t done = 0; done < extent.bytes.size();) {
      const size_t piece = std::min(sink_->buffer_bytes(), extent.bytes.size() - done);
      SNAP_RETURN_IF_ERROR(sink_->BorrowedData(extent.bytes.subspan(done, piece)));
      done += piece;
    }
    at += extent.bytes.size();
    bytes_read_ += extent.bytes.size();
  }
  SNAP_RETURN_IF_ERROR(sink_->Hole(image.size - at));
  return sink_->End(std::move(entry), Status());
}

Status SourceReader::VisitVolumeSource(const std::string& path, const VolumeSource& volume) {
  if (volume.reader == nullptr || volume.read_bytes == 0 ||
      volume.read_bytes > sink_->buffer_bytes()) {
    return Status::InvalidArgument(path + ": it cannot be read in such pieces");
  }
  format::Entry entry = MadeEntry(path, kMadeMode);
  entry.set_size(volume.size);
  SNAP_ASSIGN_OR_RETURN(const std::optional<format::Content> parent,
                        ParentContent(path, EntryType::kFile));
  format::Entry before = entry;
  if (parent.has_value()) *before.mutable_content() = *parent;
  if (volume.rest_unchanged && !parent.has_value()) {
    return Status::InvalidArgument(path + ": the parent snapshot does not hold it");
  }
  if (volume.rest_unchanged && parent->runs().span() > volume.size) {
    return Status::InvalidArgument(path + ": it is smaller than the parent snapshot's");
  }
  const CutRule rule =
      volume.single_blocks ? CutRule::kAlignedBlocks : RuleFor(volume.profile, /*image=*/true);
  SNAP_RETURN_IF_ERROR(sink_->Begin(entry, rule, parent));
  VolumeFeed feed(volume, sink_, options_.buffers_ahead,
                  options_.parent == nullptr ? nullptr : options_.parent->nodes.get(), &before);
  const Status status = feed.Run();
  bytes_read_ += feed.bytes_read();
  if (!status.ok()) return status.WithContext(path);
  return sink_->End(std::move(entry), Status());
}

}  // namespace snapstore
