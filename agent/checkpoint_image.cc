#include "agent/checkpoint_image.h"

#include <fmt/format.h>

#include <algorithm>
#include <deque>
#include <functional>
#include <future>
#include <map>
#include <set>

#include "base/file.h"
#include "base/status_macros.h"

namespace snapstore::agent {
namespace {

Bytes Flatten(const ArenaFile& file) {
  Bytes bytes;
  bytes.reserve(file.size);
  for (const auto& part : file.parts) bytes.insert(bytes.end(), part.begin(), part.end());
  return bytes;
}

uint64_t WindowOf(uint64_t address) { return address / kWindowBytes * kWindowBytes; }

// Places the bytes of `pages`, in order, at the addresses of the map's runs.
void AddMemory(std::string_view pagemap_name, const Pagemap& map, const ArenaFile& pages,
               std::vector<MemorySource>* sources) {
  size_t part = 0;
  uint64_t offset_in_part = 0;
  const size_t first = sources->size();
  uint64_t window = 0;
  for (const PageRun& run : map.runs) {
    uint64_t done = 0;
    while (done < run.bytes) {
      const uint64_t address = run.address + done;
      if (sources->size() == first || WindowOf(address) != window) {
        window = WindowOf(address);
        sources->emplace_back();
        sources->back().name = MemoryFileName(pagemap_name, address);
      }
      const auto& memory = pages.parts[part];
      const uint64_t length = std::min(
          {run.bytes - done, memory.size() - offset_in_part, window + kWindowBytes - address});
      MemorySource& source = sources->back();
      source.extents.push_back({address - window, memory.subspan(offset_in_part, length)});
      source.size = address - window + length;
      done += length;
      offset_in_part += length;
      if (offset_in_part == memory.size()) {
        ++part;
        offset_in_part = 0;
      }
    }
  }
}

// The runs, cut at the windows' borders and grouped by window, in order.
std::vector<std::vector<PageRun>> SplitByWindow(const std::vector<PageRun>& runs) {
  std::vector<std::vector<PageRun>> windows;
  for (const PageRun& run : runs) {
    for (uint64_t done = 0; done < run.bytes;) {
      const uint64_t address = run.address + done;
      const uint64_t length =
          std::min(run.bytes - done, WindowOf(address) + kWindowBytes - address);
      if (windows.empty() || WindowOf(windows.back().front().address) != WindowOf(address)) {
        windows.emplace_back();
      }
      windows.back().push_back({address, length});
      done += length;
    }
  }
  return windows;
}

// Parts of whole pages, so that no page is split between two extents.
bool PartsArePages(const ArenaFile& file) {
  return std::all_of(file.parts.begin(), file.parts.end(),
                     [](const auto& part) { return part.size() % kPageBytes == 0; });
}

}  // namespace

std::string PagesImageName(uint32_t pages_id) { return fmt::format("pages-{}.img", pages_id); }

bool IsPagemapName(std::string_view name) {
  return name.starts_with("pagemap-") && name.ends_with(".img");
}

std::string MemoryFileName(std::string_view pagemap_name, uint64_t address) {
  return fmt::format("{}{}/{:016x}", kMemoryFolder, pagemap_name, WindowOf(address));
}

MemorySource FileSource(const ArenaFile& file, std::string name) {
  MemorySource source;
  source.name = std::move(name);
  source.size = file.size;
  uint64_t offset = 0;
  for (const auto& part : file.parts) {
    source.extents.push_back({offset, part});
    offset += part.size();
  }
  return source;
}

Result<std::vector<MemorySource>> ImageSources(const std::vector<ArenaFile>& files) {
  std::map<std::string, const ArenaFile*> by_name;
  for (const ArenaFile& file : files) by_name[file.name] = &file;
  std::vector<MemorySource> sources;
  std::set<std::string> placed;
  for (const auto& [name, file] : by_name) {
    if (!IsPagemapName(name)) continue;
    const Bytes image = Flatten(*file);
    auto map = Pagemap::Parse(image);
    if (!map.ok()) return map.status().WithContext(name);
    const auto pages = by_name.find(PagesImageName(map->pages_id));
    if (pages == by_name.end() || !map->ascending || pages->second->size != map->bytes ||
        !PartsArePages(*pages->second) || !placed.insert(pages->first).second) {
      continue;
    }
    AddMemory(name, *map, *pages->second, &sources);
  }
  for (const auto& [name, file] : by_name) {
    if (!placed.contains(name)) sources.push_back(FileSource(*file, kImageFolder + name));
  }
  return sources;
}

Status WritePages(const std::vector<PageRun>& runs, const ReadWindowFunction& read_window,
                  unsigned ahead, int fd) {
  const std::vector<std::vector<PageRun>> windows = SplitByWindow(runs);
  auto read = [&](const std::vector<PageRun>& window) -> Result<Bytes> {
    uint64_t total = 0;
    for (const PageRun& run : window) total += run.bytes;
    Bytes bytes(total);
    SNAP_RETURN_IF_ERROR(read_window(window, bytes));
    return bytes;
  };
  // Futures of std::async wait in their destructors: nothing runs on after an early return.
  std::deque<std::future<Result<Bytes>>> reading;
  size_t next = 0;
  while (next < windows.size() || !reading.empty()) {
    while (next < windows.size() && reading.size() < std::max(ahead, 1U)) {
      reading.push_back(std::async(std::launch::async, read, std::cref(windows[next++])));
    }
    SNAP_ASSIGN_OR_RETURN(const Bytes bytes, reading.front().get());
    reading.pop_front();
    SNAP_RETURN_IF_ERROR(WriteFull(fd, bytes, "pages"));
  }
  return Status::Ok();
}

}  // namespace snapstore::agent
