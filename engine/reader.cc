#include "snapstore/reader.h"

#include <algorithm>
#include <vector>

#include "base/status_macros.h"
#include "engine/entry_list.h"
#include "engine/entry_walk.h"
#include "engine/manifest.h"
#include "engine/repository_impl.h"
#include "engine/run_list.h"

namespace snapstore {
namespace {

// Sequential readers are served from a window that is read ahead; it grows as they go on.
constexpr size_t kWindowBytesMin = 256 << 10;
constexpr size_t kWindowBytesMax = 4 << 20;
// Shorter random reads keep the frames they meet in the fetcher's cache.
constexpr size_t kSmallReadBytes = 128 << 10;
// NextData looks no further ahead than this.
constexpr uint64_t kDataPartMax = 64 << 20;

class ContentReaderImpl final : public ContentReader {
 public:
  ContentReaderImpl(const NodeSource* source, const format::Entry& entry)
      : source_(source),
        path_(entry.path()),
        size_(entry.size()),
        runs_(source, entry.content().runs()) {}

  uint64_t size() const override { return size_; }

  Status ReadAt(uint64_t offset, std::span<uint8_t> out) override {
    if (offset > size_ || out.size() > size_ - offset) {
      return Status::InvalidArgument("read beyond the end of '" + path_ + "'");
    }
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
        step = std::min(out.size(), kWindowBytesMax);
        SNAP_RETURN_IF_ERROR(Fetch(offset, out.first(step)).WithContext(path_));
      }
      out = out.subspan(step);
      offset += step;
      next_offset_ = offset;
    }
    return {};
  }

  Status NextData(uint64_t offset, uint64_t* begin, uint64_t* end) override {
    *begin = *end = size_;
    if (offset >= size_) return {};
    SNAP_RETURN_IF_ERROR(runs_.Seek(offset).WithContext(path_));
    while (true) {
      const Result<const Run*> run = runs_.Next();
      if (!run.ok()) return run.status().WithContext(path_);
      if (*run == nullptr) break;
      const bool found = *begin < size_;
      if ((*run)->hole) {
        if (found) break;
        continue;
      }
      if (!found) *begin = std::max(offset, (*run)->offset);
      *end = (*run)->offset + (*run)->length;
      if (*end - *begin >= kDataPartMax) break;
    }
    return {};
  }

 private:
  struct Piece {
    uint64_t offset = 0;  // in the content, of the first repetition
    uint64_t length = 0;  // of all repetitions
  };

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

  // Copies what of the piece's repetitions of `chunk` lies in `out`, which begins at `offset`.
  static void Place(const Piece& piece, ByteSpan chunk, uint64_t offset, MutableByteSpan out) {
    const uint64_t from = std::max(piece.offset, offset);
    const uint64_t to = std::min(piece.offset + piece.length, offset + out.size());
    for (uint64_t at = from; at < to;) {
      const uint64_t skip = (at - piece.offset) % chunk.size();
      const uint64_t step = std::min(chunk.size() - skip, to - at);
      std::copy_n(chunk.begin() + static_cast<ptrdiff_t>(skip), step,
                  out.begin() + static_cast<ptrdiff_t>(at - offset));
      at += step;
    }
  }

  Status Fetch(uint64_t offset, MutableByteSpan out) {
    std::fill(out.begin(), out.end(), uint8_t{0});
    std::vector<StoredChunk> chunks;
    std::vector<Piece> pieces;
    SNAP_RETURN_IF_ERROR(runs_.Seek(offset));
    uint64_t covered = offset;
    while (covered < offset + out.size()) {
      SNAP_ASSIGN_OR_RETURN(const Run* const run, runs_.Next());
      if (run == nullptr || run->offset > covered) {
        return Status::Corruption("run list is inconsistent");
      }
      covered = run->offset + run->length;
      if (run->hole) continue;
      SNAP_ASSIGN_OR_RETURN(const StoredChunk chunk, source_->Resolve(run->chunk));
      chunks.push_back(chunk);
      pieces.push_back({run->offset, run->length});
    }
    ChunkFetcher* const fetcher = source_->fetcher();
    if (out.size() <= kSmallReadBytes) {
      Bytes bytes;
      for (size_t i = 0; i < chunks.size(); ++i) {
        bytes.clear();
        SNAP_RETURN_IF_ERROR(fetcher->Read(PackKind::kData, chunks[i], &bytes));
        Place(pieces[i], bytes, offset, out);
      }
      return {};
    }
    return fetcher->ReadMany(
        PackKind::kData, chunks,
        [&](std::span<const FetchedChunk> fetched) {
          for (const auto& [i, bytes] : fetched) Place(pieces[i], bytes, offset, out);
          return Status();
        },
        [](size_t, const Status& status) { return status; });
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
  explicit SnapshotReaderImpl(OpenedSnapshot snapshot)
      : snapshot_(std::move(snapshot)), info_(InfoFromManifest(snapshot_.id, snapshot_.manifest)) {}

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
    SNAP_ASSIGN_OR_RETURN(const format::Entry content, FindContent(snapshot_, entry));
    if (content.size() > 0 && !content.has_content()) {
      return Status::Corruption("'" + content.path() + "' has no content");
    }
    return std::unique_ptr<ContentReader>(
        std::make_unique<ContentReaderImpl>(snapshot_.nodes.get(), content));
  }

 private:
  const OpenedSnapshot snapshot_;
  const SnapshotInfo info_;
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
  SNAP_ASSIGN_OR_RETURN(OpenedSnapshot snapshot,
                        RepositoryImpl::Of(repository).OpenSnapshot(digest));
  return std::unique_ptr<SnapshotReader>(std::make_unique<SnapshotReaderImpl>(std::move(snapshot)));
}

}  // namespace snapstore
