#include "snapstore/reader.h"

#include <algorithm>
#include <vector>

#include "base/status_macros.h"
#include "engine/content_range.h"
#include "engine/entry_list.h"
#include "engine/entry_tree.h"
#include "engine/entry_walk.h"
#include "engine/manifest.h"
#include "engine/repository_impl.h"
#include "engine/run_list.h"
#include "engine/shared_content.h"

namespace snapstore {
namespace {

// Sequential readers are served from a window that is read ahead; it grows as they go on.
constexpr size_t kWindowBytesMin = 256 << 10;
constexpr size_t kWindowBytesMax = 4 << 20;
// What a long read fetches at once. Contents that were changed bit by bit need a frame here and
// there from many packs, each for pages of a wide range: these are decoded once for all of it.
constexpr size_t kFetchBytesMax = 64 << 20;
// Shorter random reads keep the frames they meet in the fetcher's cache.
constexpr size_t kSmallReadBytes = 128 << 10;

class ContentReaderImpl final : public ContentReader {
 public:
  ContentReaderImpl(const NodeSource* source, const format::Entry& entry)
      : source_(source),
        path_(entry.path()),
        size_(entry.size()),
        runs_(source, entry.content().runs()) {}

  uint64_t size() const override { return size_; }

  Status ReadAt(uint64_t offset, std::span<uint8_t> out) override {
    SNAP_RETURN_IF_ERROR(CheckRange(offset, out.size()));
    while (!out.empty()) {
      size_t step = 0;
      if (offset >= window_begin_ && offset - window_begin_ < window_.size()) {
        const size_t at = offset - window_begin_;
        step = std::min(out.size(), window_.size() - at);
        std::copy_n(window_.begin() + static_cast<ptrdiff_t>(at), step, out.begin());
      } else if (offset == next_offset_ && out.size() < ahead_bytes_) {
        SNAP_RETURN_IF_ERROR(FillWindow(offset).WithContext(path_));
        ahead_bytes_ = std::min(2 * ahead_bytes_, kWindowBytesMax);
        continue;
      } else {
        if (offset != next_offset_) ahead_bytes_ = kWindowBytesMin;
        step = std::min(out.size(), kFetchBytesMax);
        SNAP_RETURN_IF_ERROR(Fetch(offset, out.first(step)).WithContext(path_));
      }
      out = out.subspan(step);
      offset += step;
      next_offset_ = offset;
    }
    return {};
  }

  Status Visit(uint64_t offset, uint64_t length, const PartVisitor& visit) override {
    SNAP_RETURN_IF_ERROR(CheckRange(offset, length));
    for (uint64_t done = 0; done < length;) {
      const uint64_t step = std::min<uint64_t>(length - done, kFetchBytesMax);
      SNAP_RETURN_IF_ERROR(
          VisitRange(*source_, &runs_, offset + done, step, KeepingFor(step), visit)
              .WithContext(path_));
      done += step;
    }
    return {};
  }

  Status VisitAlong(uint64_t at, uint64_t offset, uint64_t length,
                    const PartVisitor& visit) override {
    SNAP_RETURN_IF_ERROR(CheckRange(offset, length));
    SNAP_RETURN_IF_ERROR(CheckHolds(offset, length, at));
    return snapstore::VisitAlong(*source_, &runs_, at, offset, length, visit).WithContext(path_);
  }

  Status NextData(uint64_t offset, uint64_t* begin, uint64_t* end) override {
    return FindNextData(&runs_, offset, begin, end).WithContext(path_);
  }

 private:
  Status CheckRange(uint64_t offset, uint64_t length) const {
    if (offset <= size_ && length <= size_ - offset) return {};
    return Status::InvalidArgument("read beyond the end of '" + path_ + "'");
  }

  static KeepFrames KeepingFor(uint64_t length) {
    return length <= kSmallReadBytes ? KeepFrames::kYes : KeepFrames::kNo;
  }

  // How far to read ahead of `offset`: about ahead_bytes_, to where a frame ends, so that the next
  // window does not begin with fetching it again.
  Result<size_t> WindowBytes(uint64_t offset) {
    const uint64_t least = std::min<uint64_t>(ahead_bytes_, size_ - offset);
    const uint64_t most = std::min<uint64_t>(ahead_bytes_ + kFramePlainTarget, size_ - offset);
    SNAP_RETURN_IF_ERROR(runs_.Seek(offset));
    std::optional<ChunkRef> last;
    uint64_t length = 0;
    while (length < most) {
      SNAP_ASSIGN_OR_RETURN(const Run* const run, runs_.Next());
      if (run == nullptr) break;
      if (length >= least && (run->hole || !last.has_value() || !run->chunk.SameFrame(*last)))
        break;
      length = run->offset + run->length - offset;
      last = run->hole ? std::nullopt : std::optional(run->chunk);
    }
    return std::clamp(length, least, most);
  }

  Status FillWindow(uint64_t offset) {
    SNAP_ASSIGN_OR_RETURN(const size_t length, WindowBytes(offset));
    Bytes bytes = std::move(window_);
    window_.clear();
    bytes.resize(length);
    SNAP_RETURN_IF_ERROR(Fetch(offset, bytes));
    window_ = std::move(bytes);
    window_begin_ = offset;
    return {};
  }

  Status Fetch(uint64_t offset, MutableByteSpan out) {
    return ReadRange(*source_, &runs_, offset, out, KeepingFor(out.size()));
  }

  const NodeSource* const source_;
  const std::string path_;
  const uint64_t size_;
  RunListReader runs_;
  Bytes window_;
  uint64_t window_begin_ = 0;
  uint64_t next_offset_ = 0;  // where a sequential reader goes on
  size_t ahead_bytes_ = kWindowBytesMin;
};

class SnapshotReaderImpl final : public SnapshotReader {
 public:
  SnapshotReaderImpl(OpenedSnapshot snapshot, EntryLeafCache* leaves)
      : snapshot_(std::move(snapshot)),
        info_(InfoFromManifest(snapshot_.id, snapshot_.manifest)),
        tree_(snapshot_.nodes.get(), snapshot_.manifest.tree(), leaves) {}

  const SnapshotInfo& info() const override { return info_; }

  Status ForEachEntry(std::string_view path,
                      const std::function<Status(const Entry&)>& visit) const override {
    return WalkEntries(snapshot_, NormalizePath(path),
                       [&](const format::Entry& entry) { return visit(EntryFromProto(entry)); });
  }

  Result<Entry> Lookup(std::string_view path) const override {
    SNAP_ASSIGN_OR_RETURN(const format::Entry entry, FindEntry(snapshot_, NormalizePath(path)));
    return EntryFromProto(entry);
  }

  Result<std::unique_ptr<ContentReader>> OpenContent(std::string_view path) const override {
    SNAP_ASSIGN_OR_RETURN(const format::Entry entry, FindEntry(snapshot_, NormalizePath(path)));
    SNAP_ASSIGN_OR_RETURN(const format::Entry content, WithContent(entry));
    return std::unique_ptr<ContentReader>(
        std::make_unique<ContentReaderImpl>(snapshot_.nodes.get(), content));
  }

  Result<PlacedEntry> EntryAt(uint64_t position) const override {
    SNAP_ASSIGN_OR_RETURN(const format::Entry entry, tree_.At(position));
    return Placed(position, entry);
  }

  Result<PlacedEntry> LookupIn(std::optional<uint64_t> directory,
                               std::string_view name) const override {
    SNAP_ASSIGN_OR_RETURN(const uint64_t position, tree_.FindIn(directory, name));
    return EntryAt(position);
  }

  Status ForEachChild(std::optional<uint64_t> directory, std::optional<uint64_t> after,
                      const std::function<Result<bool>(const PlacedEntry&)>& visit) const override {
    return tree_.ForEachChild(
        directory, after, [&](uint64_t position, const format::Entry& entry) -> Result<bool> {
          SNAP_ASSIGN_OR_RETURN(const PlacedEntry placed, Placed(position, entry));
          return visit(placed);
        });
  }

  Result<std::unique_ptr<SharedContentReader>> OpenShared(uint64_t position) const override {
    SNAP_ASSIGN_OR_RETURN(const format::Entry entry, tree_.At(position));
    SNAP_ASSIGN_OR_RETURN(const format::Entry content, WithContent(entry));
    return std::unique_ptr<SharedContentReader>(
        std::make_unique<SharedContent>(snapshot_.nodes.get(), content));
  }

 private:
  // The entry that has the content of `entry`.
  Result<format::Entry> WithContent(const format::Entry& entry) const {
    SNAP_ASSIGN_OR_RETURN(format::Entry content, FindContent(snapshot_, entry));
    if (content.size() > 0 && !content.has_content()) {
      return Status::Corruption("'" + content.path() + "' has no content");
    }
    return content;
  }

  Result<PlacedEntry> Placed(uint64_t position, const format::Entry& entry) const {
    PlacedEntry placed;
    placed.position = placed.content_position = position;
    placed.entry = EntryFromProto(entry);
    const format::Entry* content = &entry;
    format::Entry first;
    if (!entry.hard_link_to().empty()) {
      Result<uint64_t> found = tree_.Find(entry.hard_link_to());
      if (found.status().Is(StatusCode::kNotFound)) {
        return Status::Corruption("'" + entry.path() + "' is a hard link to nothing");
      }
      SNAP_RETURN_IF_ERROR(found.status());
      placed.content_position = *found;
      SNAP_ASSIGN_OR_RETURN(first, tree_.At(*found));
      content = &first;
    }
    if (content->has_content()) placed.data_bytes = EstimateDataBytes(content->content().runs());
    return placed;
  }

  const OpenedSnapshot snapshot_;
  const SnapshotInfo info_;
  const EntryTree tree_;
};

}  // namespace

std::string_view EntryTypeName(EntryType type) {
  switch (type) {
    case EntryType::kFile:
      return "file";
    case EntryType::kDirectory:
      return "dir";
    case EntryType::kSymlink:
      return "symlink";
    case EntryType::kFifo:
      return "fifo";
    case EntryType::kSocket:
      return "socket";
    case EntryType::kCharDevice:
      return "chardev";
    case EntryType::kBlockDevice:
      return "blockdev";
    case EntryType::kVolume:
      return "volume";
  }
  return "unknown";
}

Result<std::unique_ptr<SnapshotReader>> SnapshotReader::Open(Repository& repository,
                                                             const std::string& id) {
  SNAP_ASSIGN_OR_RETURN(const Digest digest, Digest::FromHex(id));
  RepositoryImpl& opened = RepositoryImpl::Of(repository);
  SNAP_ASSIGN_OR_RETURN(OpenedSnapshot snapshot, opened.OpenSnapshot(digest));
  return std::unique_ptr<SnapshotReader>(
      std::make_unique<SnapshotReaderImpl>(std::move(snapshot), &opened.entry_leaves()));
}

}  // namespace snapstore
