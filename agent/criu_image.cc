#include "agent/criu_image.h"

#include <fmt/format.h>

#include <algorithm>

#include "agent/criu_images.pb.h"
#include "base/status_macros.h"

namespace snapstore::agent {
namespace {

// criu/include/magic.h
constexpr uint32_t kImageMagic = 0x54564319;
constexpr uint32_t kServiceMagic = 0x55105940;
constexpr uint32_t kPagemapMagic = 0x56084025;
constexpr uint32_t kPstreeMagic = 0x50273030;
constexpr uint32_t kStatsMagic = 0x57093306;

// criu/include/pagemap.h
constexpr uint32_t kPageInParent = 1;
constexpr uint32_t kPagePresent = 4;

// The highest address a page can have, and so the largest sparse file they are kept in.
constexpr uint64_t kAddressMax = uint64_t{1} << 62;

Status CheckMagic(ByteReader* reader, uint32_t first, uint32_t second, std::string_view what) {
  if (reader->U32() != first || reader->U32() != second || !reader->ok()) {
    return Status::Corruption(fmt::format("CRIU image: not a {}", what));
  }
  return Status::Ok();
}

template <typename Message>
Status NextRecord(ByteReader* reader, Message* message, std::string_view what) {
  const uint32_t length = reader->U32();
  const ByteSpan bytes = reader->Raw(length);
  if (!reader->ok() || length > (64u << 20) ||
      !message->ParseFromArray(bytes.data(), static_cast<int>(bytes.size()))) {
    return Status::Corruption(fmt::format("CRIU image: damaged {}", what));
  }
  return Status::Ok();
}

}  // namespace

Result<Pagemap> Pagemap::Parse(ByteSpan image) {
  constexpr std::string_view kWhat = "page map";
  ByteReader reader(image);
  SNAP_RETURN_IF_ERROR(CheckMagic(&reader, kImageMagic, kPagemapMagic, kWhat));
  criu::PagemapHead head;
  SNAP_RETURN_IF_ERROR(NextRecord(&reader, &head, kWhat));
  if (!head.has_pages_id()) return Status::Corruption("CRIU image: page map without its pages");
  Pagemap map;
  map.pages_id = head.pages_id();
  uint64_t end = 0;
  while (!reader.empty()) {
    criu::PagemapEntry entry;
    SNAP_RETURN_IF_ERROR(NextRecord(&reader, &entry, kWhat));
    const uint64_t pages = entry.has_nr_pages() ? entry.nr_pages() : entry.compat_nr_pages();
    const uint64_t address = entry.vaddr();
    if (!entry.has_vaddr() || address % kPageBytes != 0 || address >= kAddressMax ||
        pages > kAddressMax / kPageBytes || pages * kPageBytes > kAddressMax - address ||
        pages * kPageBytes > kAddressMax - map.bytes) {
      return Status::Corruption("CRIU image: page map with an impossible address");
    }
    const bool present = entry.has_flags() ? (entry.flags() & kPagePresent) != 0 &&
                                                 (entry.flags() & kPageInParent) == 0
                                           : !entry.in_parent();
    if (!present || pages == 0) continue;
    const uint64_t bytes = pages * kPageBytes;
    if (address < end) map.ascending = false;
    if (!map.runs.empty() && address == end) {
      map.runs.back().bytes += bytes;
    } else {
      map.runs.push_back({address, bytes});
    }
    end = address + bytes;
    map.bytes += bytes;
  }
  return map;
}

Result<ProcessTree> ProcessTree::Parse(ByteSpan image) {
  constexpr std::string_view kWhat = "process tree";
  ByteReader reader(image);
  SNAP_RETURN_IF_ERROR(CheckMagic(&reader, kImageMagic, kPstreeMagic, kWhat));
  ProcessTree tree;
  while (!reader.empty()) {
    criu::PstreeEntry entry;
    SNAP_RETURN_IF_ERROR(NextRecord(&reader, &entry, kWhat));
    if (tree.processes++ == 0) tree.root_pid = static_cast<int>(entry.pid());
    for (const uint32_t id : {entry.pid(), entry.pgid(), entry.sid()}) {
      tree.pids.push_back(static_cast<int>(id));
    }
    for (const uint32_t thread : entry.threads()) tree.pids.push_back(static_cast<int>(thread));
  }
  std::sort(tree.pids.begin(), tree.pids.end());
  tree.pids.erase(std::unique(tree.pids.begin(), tree.pids.end()), tree.pids.end());
  if (tree.processes == 0 || tree.root_pid <= 0 || tree.pids.front() < 0) {
    return Status::Corruption("CRIU image: process tree without a root");
  }
  return tree;
}

int ProcessTree::FreePidsAfter(int pid_max, int spare) const {
  if (pid_max - pids.back() > spare) return pids.back();
  int best = pids.back();
  int best_gap = pid_max - pids.back();
  for (size_t i = 0; i + 1 < pids.size(); ++i) {
    if (pids[i + 1] - pids[i] > best_gap) {
      best = pids[i];
      best_gap = pids[i + 1] - pids[i];
    }
  }
  return best;
}

Result<DumpStats> DumpStats::Parse(ByteSpan image) {
  ByteReader reader(image);
  SNAP_RETURN_IF_ERROR(CheckMagic(&reader, kServiceMagic, kStatsMagic, "statistics image"));
  criu::Stats stats;
  SNAP_RETURN_IF_ERROR(NextRecord(&reader, &stats, "statistics image"));
  return DumpStats{stats.dump().freezing_time(), stats.dump().frozen_time(),
                   stats.dump().memdump_time(), stats.dump().pages_written()};
}

}  // namespace snapstore::agent
