#include "agent/checkpoint_reader.h"

#include <fcntl.h>
#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <thread>

#include "agent/checkpoint_image.h"
#include "agent/checkpoint_order.h"
#include "base/file.h"
#include "base/log.h"
#include "base/status_macros.h"

namespace snapstore::agent {
namespace {

constexpr uint64_t kSmallImageBytesMax = 1 << 30;
constexpr size_t kCopyBytes = 1 << 20;
// Read at a time, for each pages image being served; each takes up to 64 MiB.
constexpr unsigned kWindowsAheadMax = 4;
constexpr const char* kProcessTreeName = "pstree.img";
constexpr const char* kFilesName = "files.img";

// A damaged manifest must not hide the good ones, but must be told of.
class WarningLogger : public Observer {
 public:
  void OnWarning(const Warning& warning) override {
    LogWarning("{}: {}", warning.item, warning.status.message());
  }
};

}  // namespace

Result<std::vector<SnapshotInfo>> ListCheckpoints(Repository* repository, const std::string& app,
                                                  std::vector<SnapshotInfo>* superseded) {
  WarningLogger logger;
  uint64_t damaged = 0;
  SNAP_ASSIGN_OR_RETURN(std::vector<SnapshotInfo> all,
                        repository->ListSnapshots(&logger, &damaged));
  std::vector<SnapshotInfo> checkpoints;
  for (SnapshotInfo& info : all) {
    const auto tag = info.tags.find(kAppTag);
    const auto kind = info.tags.find(kKindTag);
    if (tag == info.tags.end() || tag->second != app) continue;
    if (kind == info.tags.end() || kind->second != kCheckpointKind) continue;
    checkpoints.push_back(std::move(info));
  }
  if (checkpoints.empty() && damaged > 0) {
    return Status::Corruption(fmt::format(
        "{} snapshots cannot be read, and one of them may be a checkpoint of '{}'", damaged, app));
  }
  SNAP_ASSIGN_OR_RETURN(const ClaimBase base, NewestClaimBase(*repository, app, &logger));
  OrderedCheckpoints ordered = OrderCheckpoints(std::move(checkpoints), base);
  if (superseded != nullptr) *superseded = std::move(ordered.superseded);
  return std::move(ordered.valid);
}

Result<std::unique_ptr<CheckpointReader>> CheckpointReader::Open(Repository* repository,
                                                                 const std::string& id) {
  SNAP_ASSIGN_OR_RETURN(std::unique_ptr<SnapshotReader> reader,
                        SnapshotReader::Open(*repository, id));
  std::unique_ptr<CheckpointReader> checkpoint(new CheckpointReader(std::move(reader)));
  SNAP_RETURN_IF_ERROR(checkpoint->Load());
  return checkpoint;
}

Status CheckpointReader::Load() {
  SNAP_ASSIGN_OR_RETURN(const Bytes json, ReadSmall(kMetadataName));
  SNAP_ASSIGN_OR_RETURN(metadata_, CheckpointMetadata::FromJson(AsText(json)));
  SNAP_RETURN_IF_ERROR(reader_->ForEachEntry("criu", [this](const Entry& entry) {
    if (entry.type == EntryType::kFile) {
      images_[std::filesystem::path(entry.path).filename()] = entry.path;
    }
    return Status::Ok();
  }));
  for (const auto& [name, path] : images_) {
    if (!IsPagemapName(name)) continue;
    SNAP_ASSIGN_OR_RETURN(const Bytes image, ReadSmall(path));
    auto map = Pagemap::Parse(image);
    if (!map.ok()) return map.status().WithContext(path);
    std::string pages_name = PagesImageName(map->pages_id);
    if (images_.contains(pages_name)) {
      all_pages_placed_ = false;
      continue;
    }
    SNAP_RETURN_IF_ERROR(TellLazy(name, &*map).WithContext(path));
    pages_[std::move(pages_name)] = {name, std::move(*map)};
  }
  SNAP_ASSIGN_OR_RETURN(process_tree_, ReadSmall(std::string(kImageFolder) + kProcessTreeName));
  return Status::Ok();
}

// Of a process; shared memory has no list of mappings.
Status CheckpointReader::TellLazy(const std::string& pagemap_name, Pagemap* map) {
  const auto mappings = images_.find("mm-" + pagemap_name.substr(std::strlen("pagemap-")));
  if (map->lazy_bytes != 0 || !map->ascending || mappings == images_.end()) return Status::Ok();
  SNAP_ASSIGN_OR_RETURN(const Bytes image, ReadSmall(mappings->second));
  SNAP_ASSIGN_OR_RETURN(const std::vector<MappedArea> areas, ParseMappings(image));
  Pagemap told = WithLazyOf(*map, areas);
  if (told.lazy_bytes == 0) return Status::Ok();
  *map = std::move(told);
  made_[pagemap_name] = map->ToImage();
  return Status::Ok();
}

Result<Bytes> CheckpointReader::ReadSmall(const std::string& path) const {
  SNAP_ASSIGN_OR_RETURN(const auto content, reader_->OpenContent(path));
  if (content->size() > kSmallImageBytesMax) {
    return Status::Corruption(fmt::format("{}: {} bytes are too many", path, content->size()));
  }
  Bytes bytes(content->size());
  SNAP_RETURN_IF_ERROR(content->ReadAt(0, bytes));
  return bytes;
}

Status CheckpointReader::CopyTo(const std::string& path, int fd) const {
  SNAP_ASSIGN_OR_RETURN(const auto content, reader_->OpenContent(path));
  Bytes buffer(std::min<uint64_t>(kCopyBytes, content->size()));
  for (uint64_t done = 0; done < content->size();) {
    const uint64_t length = std::min<uint64_t>(buffer.size(), content->size() - done);
    const MutableByteSpan piece = MutableByteSpan(buffer).first(length);
    SNAP_RETURN_IF_ERROR(content->ReadAt(done, piece));
    SNAP_RETURN_IF_ERROR(WriteFull(fd, piece, path));
    done += length;
  }
  return Status::Ok();
}

Status CheckpointReader::PutBackFiles() {
  for (const ExternalFile& file : metadata_.external_files) {
    const Status status =
        PutBackExternalFile(file, [&](int fd) { return CopyTo(kFilesFolder + file.path, fd); });
    if (!status.ok()) return status.WithContext(fmt::format("external file {}", file.path));
  }
  if (metadata_.log_path.empty()) return Status::Ok();
  SNAP_RETURN_IF_ERROR(
      MakeDirectories(std::filesystem::path(metadata_.log_path).parent_path(), 0700));
  return OpenFile(metadata_.log_path, O_WRONLY | O_CREAT | O_APPEND | O_NOCTTY, metadata_.log_mode)
      .status();
}

bool CheckpointReader::Has(const std::string& name) const {
  return images_.contains(name) || pages_.contains(name);
}

Status CheckpointReader::WriteTo(const std::string& name, int fd) {
  const auto pages = pages_.find(name);
  if (const auto made = made_.find(name); made != made_.end()) {
    return WriteFull(fd, made->second, name);
  }
  if (pages == pages_.end()) return CopyTo(images_.at(name), fd);
  const PagesImage& image = pages->second;
  auto read_window = [&](const std::vector<PageRun>& runs, MutableByteSpan out) -> Status {
    SNAP_ASSIGN_OR_RETURN(const auto content, reader_->OpenContent(MemoryFileName(
                                                  image.pagemap_name, runs.front().address)));
    for (const PageRun& run : runs) {
      SNAP_RETURN_IF_ERROR(content->ReadAt(run.address % kWindowBytes, out.first(run.bytes)));
      out = out.subspan(run.bytes);
    }
    return Status::Ok();
  };
  std::vector<PageRun> runs = image.map.runs;
  if (leave_out_lazy_) std::erase_if(runs, [](const PageRun& run) { return run.lazy; });
  const unsigned ahead = std::clamp(std::thread::hardware_concurrency(), 1U, kWindowsAheadMax);
  return WritePages(runs, read_window, ahead, fd);
}

uint64_t CheckpointReader::memory_bytes() const {
  uint64_t bytes = 0;
  for (const auto& [name, image] : pages_) bytes += image.map.bytes;
  return bytes;
}

uint64_t CheckpointReader::lazy_bytes() const {
  uint64_t bytes = 0;
  if (!all_pages_placed_) return 0;
  for (const auto& [name, image] : pages_) bytes += image.map.lazy_bytes;
  return bytes;
}

std::vector<PageRun> CheckpointReader::LazyRuns(int pid) const {
  const std::string wanted = fmt::format("pagemap-{}.img", pid);
  std::vector<PageRun> runs;
  for (const auto& [name, image] : pages_) {
    if (image.pagemap_name != wanted) continue;
    for (const PageRun& run : image.map.runs) {
      if (run.lazy) runs.push_back(run);
    }
  }
  return runs;
}

Status CheckpointReader::VisitLazy(int pid, uint64_t address, uint64_t length,
                                   const MemoryVisitor& visit) {
  const std::string pagemap_name = fmt::format("pagemap-{}.img", pid);
  for (const uint64_t end = address + length; address < end;) {
    const uint64_t in_window = address % kWindowBytes;
    const uint64_t window = address - in_window;
    const uint64_t here = std::min(end - address, kWindowBytes - in_window);
    SNAP_ASSIGN_OR_RETURN(const auto content,
                          reader_->OpenContent(MemoryFileName(pagemap_name, address)));
    SNAP_RETURN_IF_ERROR(content->Visit(in_window, here, [&](const ContentPart& part) {
      return visit({window + part.offset, part.length, part.bytes});
    }));
    address += here;
  }
  return Status::Ok();
}

Status CheckpointReader::VisitTouched(int pid, uint64_t touched, uint64_t address, uint64_t length,
                                      const MemoryVisitor& visit) {
  const uint64_t window = touched - touched % kWindowBytes;
  const uint64_t begin = std::max(address, window);
  const uint64_t end = std::min(address + length, window + kWindowBytes);
  SNAP_ASSIGN_OR_RETURN(const auto content, reader_->OpenContent(MemoryFileName(
                                                fmt::format("pagemap-{}.img", pid), touched)));
  return content->VisitAlong(touched - window, begin - window, end - begin,
                             [&](const ContentPart& part) {
                               return visit({window + part.offset, part.length, part.bytes});
                             });
}

Result<std::vector<TcpConnection>> CheckpointReader::Connections() const {
  const auto files = images_.find(kFilesName);
  if (files == images_.end()) return std::vector<TcpConnection>();
  SNAP_ASSIGN_OR_RETURN(const Bytes image, ReadSmall(files->second));
  return ParseTcpConnections(image);
}

}  // namespace snapstore::agent
