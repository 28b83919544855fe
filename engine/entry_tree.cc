#include "engine/entry_tree.h"

#include <algorithm>

#include "base/status_macros.h"
#include "engine/entry_list.h"

namespace snapstore {
namespace {

// A parsed leaf takes up about this many times its stored bytes, and this much an entry.
constexpr size_t kParsedFactor = 2;
constexpr size_t kParsedEntryBytes = sizeof(format::Entry) + 128;
// Readers kept for the next calls; each holds the nodes that lead to one leaf.
constexpr size_t kIdleReadersMax = 4;

Status NoEntryAt(std::string_view path) {
  return Status::NotFound("nothing at '" + std::string(path) + "' in the snapshot");
}

}  // namespace

EntryLeafPtr EntryLeafCache::Find(const ChunkId& id) {
  const std::lock_guard lock(mutex_);
  return leaves_.Find(id);
}

void EntryLeafCache::Insert(const ChunkId& id, EntryLeafPtr leaf, size_t stored_bytes) {
  const size_t bytes = kParsedFactor * stored_bytes + kParsedEntryBytes * leaf->size();
  const std::lock_guard lock(mutex_);
  leaves_.Insert(id, std::move(leaf), bytes);
}

EntryTree::EntryTree(const NodeSource* source, const format::StreamRoot& root,
                     EntryLeafCache* cache)
    : source_(source), root_(root), cache_(cache) {}

bool EntryTree::LoadRecent(const std::function<bool(const Leaf&)>& fits, Leaf* leaf) const {
  const std::lock_guard lock(mutex_);
  for (const Leaf& recent : recent_) {
    if (recent.entries == nullptr || !fits(recent)) continue;
    *leaf = recent;
    return true;
  }
  return false;
}

Status EntryTree::Load(uint64_t position, Leaf* leaf) const {
  const auto holds = [position](const Leaf& recent) { return recent.Holds(position); };
  if (leaf->Holds(position) || LoadRecent(holds, leaf)) return {};
  std::unique_ptr<NodeTreeReader> tree;
  {
    const std::lock_guard lock(mutex_);
    if (!idle_.empty()) {
      tree = std::move(idle_.back());
      idle_.pop_back();
    }
  }
  if (tree == nullptr) tree = std::make_unique<NodeTreeReader>(source_, root_);
  SNAP_RETURN_IF_ERROR(tree->Seek(position));
  NodeTreeReader::Leaf stored;
  SNAP_ASSIGN_OR_RETURN(const bool more, tree->NextRef(&stored));
  // A hostile tree may lie about its spans.
  if (!more || stored.begin > position || stored.span <= position - stored.begin) {
    return Status::Corruption("entry list is inconsistent");
  }
  SNAP_ASSIGN_OR_RETURN(EntryLeafPtr entries, Parse(tree.get(), &stored));
  *leaf = {stored.begin, std::move(entries)};
  const std::lock_guard lock(mutex_);
  recent_[next_recent_++ % recent_.size()] = *leaf;
  if (idle_.size() < kIdleReadersMax) idle_.push_back(std::move(tree));
  return {};
}

Result<EntryLeafPtr> EntryTree::Parse(NodeTreeReader* tree, NodeTreeReader::Leaf* leaf) const {
  const bool keep = leaf->stored && cache_ != nullptr;
  if (keep) {
    EntryLeafPtr found = cache_->Find(leaf->ref.chunk.id);
    if (found != nullptr && found->size() == leaf->span) return found;
  }
  SNAP_RETURN_IF_ERROR(tree->ReadBytes(leaf));
  auto entries = std::make_shared<std::vector<format::Entry>>();
  SNAP_RETURN_IF_ERROR(ParseEntryLeaf(leaf->bytes, leaf->span, entries.get()));
  for (size_t i = 1; i < entries->size(); ++i) {
    if (ComparePaths((*entries)[i - 1].path(), (*entries)[i].path()) >= 0) {
      return Status::Corruption("entries are out of order");
    }
  }
  if (keep) cache_->Insert(leaf->ref.chunk.id, entries, leaf->bytes.size());
  return EntryLeafPtr(std::move(entries));
}

Result<uint64_t> EntryTree::PartitionPoint(uint64_t low, bool near, const BeforeFn& before,
                                           Leaf* leaf) const {
  const uint64_t begin = low;
  uint64_t high = size();
  bool bounded = !near;  // whether `high` was found, so that halving pays
  uint64_t step = bounded ? (high - std::min(low, high)) / 2 : 0;
  while (low < high) {
    SNAP_RETURN_IF_ERROR(Load(low + std::min(step, high - low - 1), leaf));
    if (before(leaf->entries->back())) {
      low = leaf->end();
      step = bounded ? (high - std::min(low, high)) / 2
                     : std::max<uint64_t>(2 * step, leaf->entries->size());
    } else if (before(leaf->entries->front())) {
      const auto at = std::partition_point(leaf->entries->begin(), leaf->entries->end(), before);
      return std::max(begin, leaf->begin + static_cast<uint64_t>(at - leaf->entries->begin()));
    } else {
      high = std::max(low, leaf->begin);
      bounded = true;
      step = (high - low) / 2;
    }
  }
  return low;
}

Result<uint64_t> EntryTree::EndOf(uint64_t position, Leaf* leaf) const {
  SNAP_RETURN_IF_ERROR(Load(position, leaf));
  if (leaf->at(position).type() != static_cast<uint32_t>(EntryType::kDirectory)) {
    return position + 1;
  }
  const std::string path = leaf->at(position).path();
  const auto within = [&](const format::Entry& entry) {
    return ComparePaths(entry.path(), path) <= 0 || PathIsWithin(entry.path(), path);
  };
  return PartitionPoint(position + 1, /*near=*/true, within, leaf);
}

Result<format::Entry> EntryTree::At(uint64_t position) const {
  if (position >= size()) return Status::NotFound("the snapshot has fewer entries");
  Leaf leaf;
  SNAP_RETURN_IF_ERROR(Load(position, &leaf));
  return leaf.at(position);
}

Result<uint64_t> EntryTree::LowerBound(std::string_view path) const {
  Leaf leaf;
  const auto before = [&](const format::Entry& entry) {
    return ComparePaths(entry.path(), path) < 0;
  };
  return PartitionPoint(0, /*near=*/false, before, &leaf);
}

Result<uint64_t> EntryTree::Find(std::string_view path) const {
  SNAP_ASSIGN_OR_RETURN(const uint64_t position, LowerBound(path));
  if (position < size()) {
    SNAP_ASSIGN_OR_RETURN(const format::Entry entry, At(position));
    if (entry.path() == path) return position;
  }
  return NoEntryAt(path);
}

Result<std::string> EntryTree::PrefixOf(std::optional<uint64_t> directory, Leaf* leaf) const {
  if (!directory.has_value()) return std::string();
  if (*directory >= size()) return Status::NotFound("the snapshot has fewer entries");
  SNAP_RETURN_IF_ERROR(Load(*directory, leaf));
  const format::Entry& entry = leaf->at(*directory);
  if (entry.type() != static_cast<uint32_t>(EntryType::kDirectory)) {
    return Status::InvalidArgument("'" + entry.path() + "' is no directory");
  }
  return entry.path() + "/";
}

Result<uint64_t> EntryTree::FindIn(std::optional<uint64_t> directory, std::string_view name) const {
  Leaf leaf;
  SNAP_ASSIGN_OR_RETURN(std::string path, PrefixOf(directory, &leaf));
  path += name;
  if (name.empty() || name.find('/') != std::string_view::npos) return NoEntryAt(path);
  const auto before = [&](const format::Entry& entry) {
    return ComparePaths(entry.path(), path) < 0;
  };
  const auto around = [&](const Leaf& recent) {
    return before(recent.entries->front()) && !before(recent.entries->back());
  };
  uint64_t position = directory.has_value() ? *directory + 1 : 0;
  if (LoadRecent(around, &leaf)) position = std::max(position, leaf.begin);
  SNAP_ASSIGN_OR_RETURN(position, PartitionPoint(position, /*near=*/true, before, &leaf));
  if (position < size()) {
    SNAP_RETURN_IF_ERROR(Load(position, &leaf));
    if (leaf.at(position).path() == path) return position;
  }
  return NoEntryAt(path);
}

Status EntryTree::ForEachChild(std::optional<uint64_t> directory, std::optional<uint64_t> after,
                               const VisitChildFn& visit) const {
  Leaf leaf;
  SNAP_ASSIGN_OR_RETURN(const std::string prefix, PrefixOf(directory, &leaf));
  uint64_t at = directory.has_value() ? *directory + 1 : 0;
  if (after.has_value()) {
    if (*after >= size()) return Status::InvalidArgument("no such place in the directory");
    SNAP_RETURN_IF_ERROR(Load(*after, &leaf));
    const std::string& path = leaf.at(*after).path();
    if (!path.starts_with(prefix) || path.find('/', prefix.size()) != std::string::npos) {
      return Status::InvalidArgument("no such place in the directory");
    }
    SNAP_ASSIGN_OR_RETURN(at, EndOf(*after, &leaf));
  }
  while (at < size()) {
    SNAP_RETURN_IF_ERROR(Load(at, &leaf));
    const format::Entry& entry = leaf.at(at);
    if (!entry.path().starts_with(prefix)) break;
    if (entry.path().find('/', prefix.size()) != std::string::npos) {
      return Status::Corruption("'" + entry.path() + "' has no entry for its directory");
    }
    SNAP_ASSIGN_OR_RETURN(const bool more, visit(at, entry));
    if (!more) break;
    SNAP_ASSIGN_OR_RETURN(at, EndOf(at, &leaf));
  }
  return {};
}

}  // namespace snapstore
