#include "agent/criu_filter.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <utility>

#include "agent/criu_filter/filter_format.h"
#include "base/file.h"
#include "base/status_macros.h"

namespace snapstore::agent {
namespace {

constexpr const char* kLibraryName = "snapstore-criu-filter.so";
// Of a list of hidden pages: more pages than a process can have.
constexpr size_t kHiddenBytesMax = 1 << 30;

Status RemoveOld(const std::string& path) {
  if (unlink(path.c_str()) == 0 || errno == ENOENT) return Status::Ok();
  return Status::FromErrno(errno, fmt::format("remove old {}", path));
}

template <typename T>
void AppendBytes(const T& value, Bytes* bytes) {
  const auto* const begin = reinterpret_cast<const uint8_t*>(&value);
  bytes->insert(bytes->end(), begin, begin + sizeof(value));
}

// They may overlap, as CRIU may ask twice.
AddressSet UnionOf(std::vector<AddressRange> ranges) {
  std::sort(ranges.begin(), ranges.end(),
            [](const AddressRange& a, const AddressRange& b) { return a.begin < b.begin; });
  AddressSet pages;
  for (const AddressRange& range : ranges) pages.Append(range.begin, range.end);
  return pages;
}

}  // namespace

std::string CriuFilter::FindLibrary() {
  std::error_code error;
  const std::filesystem::path program = std::filesystem::read_symlink("/proc/self/exe", error);
  if (error) return "";
  const std::filesystem::path folder = program.parent_path();
  for (const char* const place : {SNAPSTORE_LIBRARY_FOLDER, "../../agent/criu_filter"}) {
    std::string path = (folder / place / kLibraryName).lexically_normal();
    // The loader takes these for the end of the name.
    if (path.find_first_of(" :") != std::string::npos) continue;
    if (access(path.c_str(), R_OK) == 0) return path;
  }
  return "";
}

CriuFilter::CriuFilter(std::string library, std::string directory)
    : library_(std::move(library)), directory_(std::move(directory)) {}

CriuFilter::~CriuFilter() {
  for (const char* const name : {filter::kKnownName, filter::kHiddenName}) {
    (void)unlink((directory_ + name).c_str());
  }
}

Status CriuFilter::Prepare(const PagesByProcess& known) {
  SNAP_RETURN_IF_ERROR(RemoveOld(directory_ + filter::kHiddenName));
  filter::KnownHead head{filter::kKnownMagic, known.size(), 0};
  Bytes processes;
  Bytes ranges;
  for (const auto& [pid, pages] : known) {
    const uint64_t count = pages.ranges().size();
    AppendBytes(filter::KnownProcess{static_cast<uint64_t>(pid), head.ranges, count}, &processes);
    for (const AddressRange& range : pages.ranges()) {
      AppendBytes(filter::Range{range.begin, range.end}, &ranges);
    }
    head.ranges += count;
  }
  Bytes file;
  file.reserve(sizeof(head) + processes.size() + ranges.size());
  AppendBytes(head, &file);
  file.insert(file.end(), processes.begin(), processes.end());
  file.insert(file.end(), ranges.begin(), ranges.end());
  // Nobody reads it after a crash, so it need not be on the disk.
  const std::string path = directory_ + filter::kKnownName;
  SNAP_RETURN_IF_ERROR(RemoveOld(path));
  SNAP_ASSIGN_OR_RETURN(const UniqueFd fd, OpenFile(path, O_WRONLY | O_CREAT | O_EXCL, 0600));
  return WriteFull(fd.get(), file, path);
}

std::vector<std::string> CriuFilter::Environment() const {
  return {fmt::format("{}={}", filter::kDirectoryVariable, directory_),
          fmt::format("{}={}", filter::kPreloadVariable, library_),
          fmt::format("LD_PRELOAD={}", library_)};
}

bool CriuFilter::TookEffect() const {
  const auto hidden = Hidden();
  return !hidden.ok() || hidden->has_value();
}

Result<std::optional<PagesByProcess>> CriuFilter::Hidden() const {
  const std::string path = directory_ + filter::kHiddenName;
  const Result<Bytes> bytes = ReadWholeFile(path, kHiddenBytesMax);
  if (bytes.status().Is(StatusCode::kNotFound)) return std::optional<PagesByProcess>();
  SNAP_RETURN_IF_ERROR(bytes.status());
  uint64_t magic = 0;
  // It could not even write that.
  if (bytes->size() < sizeof(magic)) return std::optional<PagesByProcess>();
  std::memcpy(&magic, bytes->data(), sizeof(magic));
  if (magic != filter::kHiddenMagic ||
      (bytes->size() - sizeof(magic)) % sizeof(filter::HiddenRange) != 0) {
    return Status::Corruption(fmt::format("{}: no list of hidden pages", path));
  }
  std::map<int, std::vector<AddressRange>> ranges;
  for (size_t at = sizeof(magic); at < bytes->size(); at += sizeof(filter::HiddenRange)) {
    filter::HiddenRange one{};
    std::memcpy(&one, bytes->data() + at, sizeof(one));
    ranges[static_cast<int>(one.pid)].push_back({one.range.begin, one.range.end});
  }
  PagesByProcess hidden;
  for (auto& [pid, list] : ranges) hidden[pid] = UnionOf(std::move(list));
  return std::optional<PagesByProcess>(std::move(hidden));
}

}  // namespace snapstore::agent
