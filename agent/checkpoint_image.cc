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

uint64_t WindowOf(uint64_t address) { return address / kWindowBytes * kWindowBytes; }

// The memory files of one page map, filled in order of addresses.
class MemoryPlacer {
 public:
  MemoryPlacer(std::string_view pagemap_name, std::vector<MemorySource>* sources)
      : pagemap_name_(pagemap_name), sources_(sources), first_(sources->size()) {}

  // Places what `bytes` holds, or `unchanged` bytes; ends at the window's border and returns how
  // many were placed.
  uint64_t Place(uint64_t address, std::span<const uint8_t> bytes, uint64_t unchanged) {
    if (sources_->size() == first_ || WindowOf(address) != window_) {
      window_ = WindowOf(address);
      sources_->emplace_back();
      sources_->back().name = MemoryFileName(pagemap_name_, address);
    }
    const uint64_t most = window_ + kWindowBytes - address;
    bytes = bytes.first(std::min<uint64_t>(bytes.size(), most));
    unchanged = std::min(unchanged, most);
    MemorySource& source = sources_->back();
    source.extents.push_back({address - window_, bytes, unchanged});
    source.size = address - window_ + bytes.size() + unchanged;
    return bytes.size() + unchanged;
  }

 private:
  const std::string_view pagemap_name_;
  std::vector<MemorySource>* const sources_;
  const size_t first_;
  uint64_t window_ = 0;
};

// Reads or skips the bytes of an arena's file from the front.
class PartReader {
 public:
  explicit PartReader(const ArenaFile& file) : file_(file) {}

  // What lies next, at most `bytes`; empty at the end.
  std::span<const uint8_t> Next(uint64_t bytes) const {
    if (part_ == file_.parts.size()) return {};
    const std::span<const uint8_t> rest = file_.parts[part_].subspan(offset_);
    return rest.first(std::min<uint64_t>(rest.size(), bytes));
  }
  // REQUIRES: there are so many.
  void Skip(uint64_t bytes) {
    while (bytes != 0) {
      const uint64_t here = std::min<uint64_t>(file_.parts[part_].size() - offset_, bytes);
      bytes -= here;
      offset_ += here;
      if (offset_ == file_.parts[part_].size()) ++part_, offset_ = 0;
    }
  }

 private:
  const ArenaFile& file_;
  size_t part_ = 0;
  uint64_t offset_ = 0;
};

// Places the bytes of `pages`, in order, at the addresses that are not `unchanged`, and these as
// such.
void AddMemory(std::string_view pagemap_name, const AddressSet& all, const AddressSet& unchanged,
               const ArenaFile& pages, std::vector<MemorySource>* sources) {
  MemoryPlacer placer(pagemap_name, sources);
  PartReader reader(pages);
  auto next_unchanged = unchanged.ranges().begin();
  for (const AddressRange& range : all.ranges()) {
    for (uint64_t at = range.begin; at < range.end;) {
      while (next_unchanged != unchanged.ranges().end() && next_unchanged->end <= at) {
        ++next_unchanged;
      }
      const bool more = next_unchanged != unchanged.ranges().end();
      if (more && next_unchanged->begin <= at) {
        const uint64_t placed = placer.Place(at, {}, std::min(range.end, next_unchanged->end) - at);
        if (!pages.only_changed) reader.Skip(placed);
        at += placed;
        continue;
      }
      const uint64_t end = more ? std::min(range.end, next_unchanged->begin) : range.end;
      const uint64_t placed = placer.Place(at, reader.Next(end - at), 0);
      reader.Skip(placed);
      at += placed;
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

uint64_t BytesIn(const ArenaFile& file) {
  uint64_t bytes = 0;
  for (const auto& part : file.parts) bytes += part.size();
  return bytes;
}

}  // namespace

bool PartsArePages(const ArenaFile& file) {
  return std::all_of(file.parts.begin(), file.parts.end(),
                     [](const auto& part) { return part.size() % kPageBytes == 0; });
}

std::string PagesImageName(uint32_t pages_id) { return fmt::format("pages-{}.img", pages_id); }

bool IsPagemapName(std::string_view name) {
  return name.starts_with("pagemap-") && name.ends_with(".img");
}

bool IsPagesName(std::string_view name) {
  return name.starts_with("pages-") && name.ends_with(".img");
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
    source.extents.push_back({offset, part, 0});
    offset += part.size();
  }
  return source;
}

Result<std::vector<MemorySource>> ImageSources(const std::vector<ArenaFile>& files,
                                               const PagesByMap& unchanged, PagesByMap* placed) {
  std::map<std::string, const ArenaFile*> by_name;
  for (const ArenaFile& file : files) by_name[file.name] = &file;
  std::vector<MemorySource> sources;
  std::set<std::string> done;
  for (const auto& [name, file] : by_name) {
    if (!IsPagemapName(name)) continue;
    const Bytes image = Flatten(*file);
    auto map = Pagemap::Parse(image);
    if (!map.ok()) return map.status().WithContext(name);
    const auto pages = by_name.find(PagesImageName(map->pages_id));
    if (pages == by_name.end() || !map->ascending || pages->second->size != map->bytes ||
        !PartsArePages(*pages->second) || !done.insert(pages->first).second) {
      continue;
    }
    const AddressSet all = map->Addresses();
    const auto known = unchanged.find(name);
    const AddressSet kept = known == unchanged.end() ? AddressSet() : all.Intersect(known->second);
    const uint64_t wanted = pages->second->only_changed ? map->bytes - kept.bytes() : map->bytes;
    if (BytesIn(*pages->second) != wanted) {
      return Status::Internal(
          fmt::format("{}: holds {} of {} bytes", pages->first, BytesIn(*pages->second), wanted));
    }
    AddMemory(name, all, kept, *pages->second, &sources);
    if (placed != nullptr) (*placed)[name] = all;
  }
  for (const auto& [name, file] : by_name) {
    if (done.contains(name)) continue;
    if (file->only_changed) return Status::Internal(name + ": was let go, but no page map has it");
    sources.push_back(FileSource(*file, kImageFolder + name));
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
