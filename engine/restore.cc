#include "snapstore/restore.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "base/file.h"
#include "base/status_macros.h"
#include "engine/entry_list.h"
#include "engine/entry_walk.h"
#include "engine/restore_tree.h"

namespace snapstore {
namespace {

// Normalized, ascending, none within another.
std::vector<std::string> SelectRoots(const std::vector<std::string>& paths) {
  std::vector<std::string> sorted;
  sorted.reserve(paths.size());
  for (const std::string& path : paths) sorted.push_back(NormalizePath(path));
  if (sorted.empty()) sorted.emplace_back();
  std::sort(sorted.begin(), sorted.end(),
            [](const std::string& a, const std::string& b) { return ComparePaths(a, b) < 0; });
  std::vector<std::string> roots;
  for (std::string& path : sorted) {
    if (roots.empty() || !PathIsWithin(path, roots.back())) roots.push_back(std::move(path));
  }
  return roots;
}

// Says NotFound before anything is written, and how much is to come.
Status CountSelected(const OpenedSnapshot& snapshot, const std::vector<std::string>& roots,
                     ProgressReporter* progress) {
  if (roots.front().empty()) {
    progress->SetBytesTotal(snapshot.manifest.statistics().bytes_total());
    progress->SetItemsTotal(snapshot.manifest.statistics().entries());
    return {};
  }
  uint64_t bytes = 0;
  uint64_t items = 0;
  for (const std::string& root : roots) {
    SNAP_RETURN_IF_ERROR(WalkEntries(snapshot, root, [&](const format::Entry& entry) {
      // A hard link brings no bytes of its own.
      if (entry.hard_link_to().empty() && entry.has_content()) bytes += entry.size();
      ++items;
      return progress->Poll();
    }));
  }
  progress->SetBytesTotal(bytes);
  progress->SetItemsTotal(items);
  return {};
}

// The only file or volume in the selection.
Result<format::Entry> SelectSingle(const OpenedSnapshot& snapshot,
                                   const std::vector<std::string>& roots) {
  std::vector<format::Entry> found;
  const Status several = Status::Cancelled("");
  for (const std::string& root : roots) {
    const Status walked = WalkEntries(snapshot, root, [&](const format::Entry& entry) -> Status {
      const auto type = static_cast<EntryType>(entry.type());
      if (type == EntryType::kFile || type == EntryType::kVolume) found.push_back(entry);
      return found.size() > 1 ? several : Status();
    });
    if (found.size() > 1) {
      return Status::InvalidArgument(
          fmt::format("one file or volume can be written to one place, and several are selected: "
                      "{}, {}, …",
                      found[0].path(), found[1].path()));
    }
    SNAP_RETURN_IF_ERROR(walked);
  }
  if (found.empty()) return Status::InvalidArgument("no file or volume is selected");
  return found.front();
}

struct OpenedPlace {
  UniqueFd fd;
  bool device = false;
};

// Opens a file or block device for content of `size` bytes.
Result<OpenedPlace> OpenPlace(const std::string& to, uint64_t size, bool in_place) {
  OpenedPlace place;
  struct stat now;
  const bool device = ::stat(to.c_str(), &now) == 0 && S_ISBLK(now.st_mode);
  // O_EXCL: a device that is mounted must be refused; O_NONBLOCK: a FIFO too, and not waited for.
  const int flags = device ? O_RDWR | O_EXCL : O_RDWR | O_CREAT | O_NONBLOCK;
  SNAP_ASSIGN_OR_RETURN(place.fd, OpenFile(to, flags, 0600));
  if (::fstat(place.fd.get(), &now) != 0) return Status::FromErrno(errno, "stat " + to);
  if (S_ISBLK(now.st_mode)) {
    place.device = true;
    uint64_t device_bytes = 0;
    if (::ioctl(place.fd.get(), BLKGETSIZE64, &device_bytes) != 0) {
      return Status::FromErrno(errno, "size of device " + to);
    }
    if (device_bytes < size) {
      return Status::InvalidArgument(fmt::format(
          "device {} is too small: it has {} bytes, {} are needed", to, device_bytes, size));
    }
    return place;
  }
  if (!S_ISREG(now.st_mode)) {
    return Status::InvalidArgument(to + " is neither a regular file nor a block device");
  }
  if ((!in_place && ::ftruncate(place.fd.get(), 0) != 0) ||
      ::ftruncate(place.fd.get(), static_cast<off_t>(size)) != 0) {
    return Status::FromErrno(errno, "set the size of " + to);
  }
  return place;
}

Status RestoreToPlace(RepositoryImpl* repository, const OpenedSnapshot& snapshot,
                      const RestoreRequest& request, const std::vector<std::string>& roots,
                      OutputContext* context) {
  SNAP_ASSIGN_OR_RETURN(const format::Entry selected, SelectSingle(snapshot, roots));
  SNAP_ASSIGN_OR_RETURN(const format::Entry content, FindContent(snapshot, selected));
  SNAP_ASSIGN_OR_RETURN(OpenedPlace place, OpenPlace(request.to, content.size(), request.in_place));
  Entry entry = EntryFromProto(content);
  entry.path = selected.path();
  context->report->BeginEntry(entry);
  context->report->progress().SetBytesTotal(entry.size);
  context->report->progress().SetItemsTotal(1);
  const int fd = place.fd.get();
  const bool keep = place.device || request.in_place;
  auto output = std::make_shared<RestoreOutput>(context, std::move(entry), std::move(place.fd),
                                                place.device, keep ? std::string() : request.to);
  ContentRestorer restorer(repository, &snapshot, context);
  SNAP_RETURN_IF_ERROR(restorer.Add(output, content));
  SNAP_RETURN_IF_ERROR(restorer.Finish());
  return SyncFd(fd, request.to);
}

Result<RestoreSummary> Restore(RepositoryImpl* repository, const RestoreRequest& request,
                               Observer* observer) {
  const Stopwatch stopwatch;
  const uint64_t fetched_before = repository->fetcher().bytes_fetched();
  RestoreReport report(observer);
  SNAP_ASSIGN_OR_RETURN(const Digest id, Digest::FromHex(request.snapshot_id));
  SNAP_ASSIGN_OR_RETURN(const OpenedSnapshot snapshot, repository->OpenSnapshot(id));
  const std::vector<std::string> roots = SelectRoots(request.paths);
  OutputContext context{.report = &report, .in_place = request.in_place};
  Status status;
  if (!request.to.empty()) {
    status = RestoreToPlace(repository, snapshot, request, roots, &context);
  } else if (request.target.empty()) {
    return Status::InvalidArgument("no target directory given");
  } else {
    SNAP_RETURN_IF_ERROR(CountSelected(snapshot, roots, &report.progress()));
    SNAP_ASSIGN_OR_RETURN(const std::unique_ptr<TargetTree> tree, TargetTree::Open(request.target));
    context.tree = tree.get();
    status = TreeRestorer(repository, &snapshot, roots, &context).Run();
  }
  report.Deliver();
  SNAP_RETURN_IF_ERROR(status);
  SNAP_ASSIGN_OR_RETURN(RestoreSummary summary, report.Finish());
  summary.bytes_fetched = repository->fetcher().bytes_fetched() - fetched_before;
  summary.seconds = stopwatch.Seconds();
  return summary;
}

}  // namespace

Result<RestoreSummary> RestoreSnapshot(Repository& repository, const RestoreRequest& request,
                                       Observer* observer) {
  Result<RestoreSummary> summary = Restore(&RepositoryImpl::Of(repository), request, observer);
  if (!summary.ok()) return summary.status().WithContext("restore");
  return summary;
}

}  // namespace snapstore
