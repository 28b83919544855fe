#include "engine/entry_walk.h"

#include "base/status_macros.h"
#include "engine/entry_list.h"
#include "engine/entry_tree.h"

namespace snapstore {
namespace {

Status NothingAt(std::string_view path) {
  return Status::NotFound("nothing at '" + std::string(path) + "' in the snapshot");
}

// Position in the list of the first entry at or after `path`.
Result<uint64_t> FindStart(const OpenedSnapshot& snapshot, std::string_view path) {
  if (path.empty()) return uint64_t{0};
  return EntryTree(snapshot.nodes.get(), snapshot.manifest.tree(), /*cache=*/nullptr)
      .LowerBound(path);
}

}  // namespace

std::string NormalizePath(std::string_view path) {
  std::string out;
  while (!path.empty()) {
    const size_t slash = path.find('/');
    const std::string_view part = path.substr(0, slash);
    path = slash == std::string_view::npos ? std::string_view() : path.substr(slash + 1);
    if (part.empty() || part == ".") continue;
    if (!out.empty()) out += '/';
    out += part;
  }
  return out;
}

Status WalkEntries(const OpenedSnapshot& snapshot, std::string_view path,
                   const std::function<Status(const format::Entry&)>& visit, Contents contents) {
  SNAP_ASSIGN_OR_RETURN(const uint64_t start, FindStart(snapshot, path));
  EntryListReader reader(snapshot.nodes.get(), snapshot.manifest.tree());
  if (contents == Contents::kRead) reader.ReadContentsAhead();
  SNAP_RETURN_IF_ERROR(reader.tree().Seek(start));
  bool found = false;
  while (true) {
    SNAP_ASSIGN_OR_RETURN(const format::Entry* const entry, reader.Next());
    if (entry == nullptr) break;
    if (PathIsWithin(entry->path(), path)) {
      found = true;
      SNAP_RETURN_IF_ERROR(visit(*entry));
    } else if (ComparePaths(entry->path(), path) > 0) {
      break;
    }
  }
  return found || path.empty() ? Status() : NothingAt(path);
}

Result<format::Entry> FindEntry(const OpenedSnapshot& snapshot, std::string_view path) {
  SNAP_ASSIGN_OR_RETURN(const uint64_t start, FindStart(snapshot, path));
  EntryListReader reader(snapshot.nodes.get(), snapshot.manifest.tree());
  SNAP_RETURN_IF_ERROR(reader.tree().Seek(start));
  while (true) {
    SNAP_ASSIGN_OR_RETURN(const format::Entry* const entry, reader.Next());
    const int order = entry == nullptr ? 1 : ComparePaths(entry->path(), path);
    if (order == 0) return *entry;
    if (order > 0) return NothingAt(path);
  }
}

Result<format::Entry> FindContent(const OpenedSnapshot& snapshot, const format::Entry& entry) {
  const auto type = static_cast<EntryType>(entry.type());
  if (type != EntryType::kFile && type != EntryType::kVolume) {
    return Status::InvalidArgument("'" + entry.path() + "' is no file or volume but a " +
                                   std::string(EntryTypeName(type)));
  }
  if (entry.hard_link_to().empty()) return entry;
  Result<format::Entry> first = FindEntry(snapshot, entry.hard_link_to());
  if (first.status().Is(StatusCode::kNotFound) ||
      (first.ok() && (!first->hard_link_to().empty() || first->type() != entry.type()))) {
    return Status::Corruption("'" + entry.path() + "' is a hard link to no file");
  }
  return first;
}

}  // namespace snapstore
