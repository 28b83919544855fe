#include "agent/criu_image.h"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <netinet/tcp.h>
#include <sys/mman.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>

#include "agent/criu_images.pb.h"
#include "base/status_macros.h"

namespace snapstore::agent {
namespace {

// criu/include/magic.h
constexpr uint32_t kImageMagic = 0x54564319;
constexpr uint32_t kServiceMagic = 0x55105940;
constexpr uint32_t kPagemapMagic = 0x56084025;
constexpr uint32_t kPstreeMagic = 0x50273030;
constexpr uint32_t kFilesMagic = 0x56303138;
constexpr uint32_t kStatsMagic = 0x57093306;
constexpr uint32_t kMmMagic = 0x57492820;
constexpr uint32_t kCoreMagic = 0x55053847;

// criu/include/image.h, of the status of a mapping
constexpr uint32_t kAreaVsyscall = 1 << 2;
constexpr uint32_t kAreaVdso = 1 << 3;
constexpr uint32_t kAreaVvar = 1 << 12;

// criu/include/pagemap.h
constexpr uint32_t kPageInParent = 1;
constexpr uint32_t kPageLazy = 2;
constexpr uint32_t kPagePresent = 4;

constexpr uint32_t kPidLimit = 1 << 22;  // PID_MAX_LIMIT of the kernel

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

template <typename Message>
void AppendRecord(const Message& message, Bytes* image) {
  const size_t length = message.ByteSizeLong();
  ByteWriter(image).U32(static_cast<uint32_t>(length));
  const size_t at = image->size();
  image->resize(at + length);
  message.SerializeWithCachedSizesToArray(image->data() + at);
}

// `words` are the bytes of an address, as they lie in memory.
template <typename Words>
Result<std::string> AddressText(uint32_t family, const Words& words) {
  std::array<uint32_t, 4> bytes{};
  const int wanted = family == AF_INET6 ? 4 : 1;
  if ((family != AF_INET && family != AF_INET6) || words.size() < wanted) {
    return Status::Corruption("CRIU image: socket with an impossible address");
  }
  std::copy_n(words.begin(), wanted, bytes.begin());
  std::array<char, INET6_ADDRSTRLEN> text{};
  inet_ntop(static_cast<int>(family), bytes.data(), text.data(), text.size());
  return std::string(text.data());
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
    map.Append({address, pages * kPageBytes, (entry.flags() & kPageLazy) != 0});
  }
  return map;
}

void Pagemap::Append(const PageRun& run) {
  const uint64_t end = runs.empty() ? 0 : runs.back().address + runs.back().bytes;
  if (run.address < end) ascending = false;
  if (!runs.empty() && run.address == end && runs.back().lazy == run.lazy) {
    runs.back().bytes += run.bytes;
  } else {
    runs.push_back(run);
  }
  bytes += run.bytes;
  if (run.lazy) lazy_bytes += run.bytes;
}

Bytes Pagemap::ToImage() const {
  Bytes image;
  ByteWriter writer(&image);
  writer.U32(kImageMagic);
  writer.U32(kPagemapMagic);
  criu::PagemapHead head;
  head.set_pages_id(pages_id);
  AppendRecord(head, &image);
  for (const PageRun& run : runs) {
    criu::PagemapEntry entry;
    entry.set_vaddr(run.address);
    entry.set_compat_nr_pages(0);
    entry.set_flags(kPagePresent | (run.lazy ? kPageLazy : 0));
    entry.set_nr_pages(run.bytes / kPageBytes);
    AppendRecord(entry, &image);
  }
  return image;
}

AddressSet Pagemap::Addresses() const {
  AddressSet addresses;
  for (const PageRun& run : runs) addresses.Append(run.address, run.address + run.bytes);
  return addresses;
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
    // Of a process that has ended and was not waited for, CRIU writes one that it never set.
    for (const uint32_t thread : entry.threads()) {
      if (thread > kPidLimit) continue;
      tree.pids.push_back(static_cast<int>(thread));
      tree.threads[static_cast<int>(entry.pid())].push_back(static_cast<int>(thread));
    }
  }
  std::sort(tree.pids.begin(), tree.pids.end());
  tree.pids.erase(std::unique(tree.pids.begin(), tree.pids.end()), tree.pids.end());
  if (tree.processes == 0 || tree.root_pid <= 0 || tree.pids.front() < 0) {
    return Status::Corruption(
        fmt::format("CRIU image: process tree of {} processes without a root (ids from {} on)",
                    tree.processes, tree.pids.empty() ? 0 : tree.pids.front()));
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

Result<std::vector<TcpConnection>> ParseTcpConnections(ByteSpan image) {
  constexpr std::string_view kWhat = "list of files";
  ByteReader reader(image);
  SNAP_RETURN_IF_ERROR(CheckMagic(&reader, kImageMagic, kFilesMagic, kWhat));
  std::vector<TcpConnection> connections;
  while (!reader.empty()) {
    criu::FileEntry entry;
    SNAP_RETURN_IF_ERROR(NextRecord(&reader, &entry, kWhat));
    if (!entry.has_isk() || entry.isk().type() != SOCK_STREAM) continue;
    const uint32_t state = entry.isk().state();
    if (state == TCP_LISTEN || state == TCP_CLOSE) continue;
    SNAP_ASSIGN_OR_RETURN(std::string local,
                          AddressText(entry.isk().family(), entry.isk().src_addr()));
    SNAP_ASSIGN_OR_RETURN(std::string remote,
                          AddressText(entry.isk().family(), entry.isk().dst_addr()));
    connections.push_back({std::move(local), std::move(remote),
                           static_cast<uint16_t>(entry.isk().src_port()),
                           static_cast<uint16_t>(entry.isk().dst_port())});
  }
  return connections;
}

Result<std::vector<MappedArea>> ParseMappings(ByteSpan image) {
  constexpr std::string_view kWhat = "list of mappings";
  ByteReader reader(image);
  SNAP_RETURN_IF_ERROR(CheckMagic(&reader, kImageMagic, kMmMagic, kWhat));
  criu::MmEntry memory;
  SNAP_RETURN_IF_ERROR(NextRecord(&reader, &memory, kWhat));
  std::vector<MappedArea> areas;
  for (const criu::VmaEntry& entry : memory.vmas()) {
    // vma_entry_can_be_lazy in criu/include/vma.h
    constexpr uint32_t kWanted = MAP_ANONYMOUS | MAP_PRIVATE;
    constexpr uint32_t kUnwanted = MAP_LOCKED | MAP_HUGETLB;
    const bool lazy = (entry.flags() & (kWanted | kUnwanted)) == kWanted &&
                      (entry.status() & (kAreaVdso | kAreaVvar | kAreaVsyscall)) == 0;
    if (entry.start() >= entry.end() || (!areas.empty() && entry.start() < areas.back().end)) {
      return Status::Corruption("CRIU image: mappings that overlap");
    }
    areas.push_back({entry.start(), entry.end(), lazy});
  }
  return areas;
}

Pagemap WithLazyOf(const Pagemap& map, const std::vector<MappedArea>& areas) {
  Pagemap told;
  told.pages_id = map.pages_id;
  auto area = areas.begin();
  for (const PageRun& run : map.runs) {
    const uint64_t end = run.address + run.bytes;
    for (uint64_t at = run.address; at < end;) {
      while (area != areas.end() && area->end <= at) ++area;
      const bool inside = area != areas.end() && area->begin <= at;
      const uint64_t border = area == areas.end() ? end : inside ? area->end : area->begin;
      const uint64_t stop = std::min(end, border);
      told.Append({at, stop - at, run.lazy || (inside && area->lazy)});
      at = stop;
    }
  }
  return told;
}

Result<uint64_t> ParseStackPointer(ByteSpan image) {
  constexpr std::string_view kWhat = "thread's registers";
  ByteReader reader(image);
  SNAP_RETURN_IF_ERROR(CheckMagic(&reader, kImageMagic, kCoreMagic, kWhat));
  criu::CoreEntry core;
  SNAP_RETURN_IF_ERROR(NextRecord(&reader, &core, kWhat));
  if (!core.thread_info().gpregs().has_sp()) {
    return Status::Corruption("CRIU image: thread without a stack pointer");
  }
  return core.thread_info().gpregs().sp();
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
