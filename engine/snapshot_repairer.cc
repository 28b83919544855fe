#include "engine/snapshot_repairer.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "base/status_macros.h"
#include "engine/check_report.h"
#include "engine/check_walk.h"
#include "engine/manifest.h"
#include "engine/tree_walk.h"

namespace snapstore {
namespace {

// Named in the mark of a file that is kept: file systems have little room for attributes.
constexpr size_t kLostRangesMax = 32;
// Of directories whose own entry is lost: nobody but their owner may look into them.
constexpr uint32_t kMadeDirectoryMode = 0700;

void AddLostRange(uint64_t offset, uint64_t length, std::vector<ByteRange>* ranges) {
  if (!ranges->empty() && ranges->back().offset + ranges->back().length == offset) {
    ranges->back().length += length;
  } else {
    ranges->push_back({offset, length});
  }
}

void MarkLost(const std::vector<ByteRange>& ranges, format::Entry* entry) {
  std::string text;
  for (size_t i = 0; i < std::min(ranges.size(), kLostRangesMax); ++i) {
    text += fmt::format("{}{}+{}", i == 0 ? "" : " ", ranges[i].offset, ranges[i].length);
  }
  if (ranges.size() > kLostRangesMax) text += " ...";
  auto* const xattrs = entry->mutable_xattrs();
  int at = 0;
  while (at < xattrs->size() && xattrs->Get(at).name() < kLostRangesXattr) ++at;
  if (at == xattrs->size() || xattrs->Get(at).name() != kLostRangesXattr) {
    xattrs->Add()->set_name(kLostRangesXattr);
    for (int i = xattrs->size() - 1; i > at; --i) xattrs->SwapElements(i, i - 1);
  }
  xattrs->Mutable(at)->set_value(text);
  // Whoever continues this snapshot shall read the file again.
  entry->set_changed_while_read(true);
}

}  // namespace

SnapshotRepairer::SnapshotRepairer(ChunkFetcher* fetcher, CheckScratch* scratch,
                                   const RepairRequest& request, ProgressReporter* progress,
                                   LossFn visit)
    : fetcher_(fetcher),
      scratch_(scratch),
      request_(request),
      progress_(progress),
      visit_(std::move(visit)) {}

Status SnapshotRepairer::Open(const Digest& id, const format::Manifest& manifest) {
  id_ = id.ToHex();
  Result<std::vector<PackId>> packs = ReadPackTable(manifest, fetcher_);
  have_pack_table_ = packs.ok();
  if (!packs.ok()) {
    if (!IsDamage(packs.status())) return packs.status();
    // Without the names of packs chunks are still found by their ids.
    const size_t in_tail = manifest.pack_table_tail().size() / sizeof(PackId::bytes);
    const auto in_leaves = static_cast<size_t>(manifest.pack_table_size()) * kPackTableLeafEntries;
    packs = std::vector<PackId>(in_leaves + in_tail);
    format::Manifest tail;
    tail.set_pack_table_tail(manifest.pack_table_tail());
    if (const Result<std::vector<PackId>> names = ReadPackTable(tail, fetcher_); names.ok()) {
      std::copy(names->begin(), names->end(), packs->begin() + static_cast<ptrdiff_t>(in_leaves));
    }
  }
  packs_ = std::make_unique<PackTable>(std::move(*packs));
  nodes_ = std::make_unique<NodeSource>(fetcher_, packs_.get());
  return {};
}

Status SnapshotRepairer::Repair(const format::Manifest& manifest, WriteSession* session,
                                format::Manifest* repaired) {
  session_ = session;
  if (session != nullptr) {
    entries_ = std::make_unique<EntryListWriter>(&session->packs(), &session->secret());
  }
  const TreeVisitor visitor{
      .enter = {},
      .leaf = [this](const NodeTreeReader::Leaf& leaf) { return TakeLeaf(leaf); },
      .lost =
          [this](uint64_t, uint64_t span, const Status&) {
            gap_ += span;
            return Status();
          }};
  SNAP_RETURN_IF_ERROR(WalkTree(*nodes_, manifest.tree(), visitor));
  SNAP_RETURN_IF_ERROR(EndGap(""));
  if (session == nullptr) return {};
  format::Statistics* const statistics = repaired->mutable_statistics();
  statistics->set_entries(entries_kept_);
  statistics->set_bytes_total(bytes_kept_);
  statistics->set_unreadable(statistics->unreadable() + entries_lost_);
  return entries_->Finish(repaired->mutable_tree());
}

Status SnapshotRepairer::TakeLeaf(const NodeTreeReader::Leaf& leaf) {
  std::vector<format::Entry> entries;
  if (!ParseEntryLeaf(leaf.bytes, leaf.span, &entries).ok()) {
    gap_ += leaf.span;
    return {};
  }
  for (format::Entry& entry : entries) {
    SNAP_RETURN_IF_ERROR(progress_->Poll());
    progress_->AddItems(1);
    if (!last_path_.empty() && ComparePaths(last_path_, entry.path()) >= 0) {
      ++gap_;  // out of order: it cannot be stored, nor trusted
      continue;
    }
    SNAP_RETURN_IF_ERROR(TakeEntry(std::move(entry)));
  }
  return {};
}

Status SnapshotRepairer::TakeEntry(format::Entry entry) {
  SNAP_RETURN_IF_ERROR(EndGap(entry.path()));
  last_path_ = entry.path();
  while (!directories_.empty() && !PathIsWithin(entry.path(), directories_.back())) {
    directories_.pop_back();
  }
  if (any_gap_) SNAP_RETURN_IF_ERROR(MakeParents(entry));
  if (!entry.hard_link_to().empty()) return TakeLink(std::move(entry));
  if (entry.has_content()) return TakeContent(std::move(entry));
  if (entry.type() == static_cast<uint32_t>(EntryType::kDirectory)) {
    directories_.push_back(entry.path());
  } else if (entry.links() > 1) {
    linked_.insert(entry.path());
  }
  return Keep(std::move(entry), nullptr);
}

Status SnapshotRepairer::EndGap(const std::string& next_path) {
  if (gap_ == 0) return {};
  any_gap_ = true;
  entries_lost_ += gap_;
  return Tell({.kind = Loss::Kind::kEntries,
               .path = last_path_,
               .next_path = next_path,
               .entries = std::exchange(gap_, 0)});
}

Status SnapshotRepairer::MakeParents(const format::Entry& entry) {
  const std::string& path = entry.path();
  const size_t known = directories_.empty() ? 0 : directories_.back().size() + 1;
  for (size_t slash = path.find('/', known); slash != std::string::npos;
       slash = path.find('/', slash + 1)) {
    format::Entry directory;
    directory.set_path(path.substr(0, slash));
    directory.set_type(static_cast<uint32_t>(EntryType::kDirectory));
    directory.set_mode(kMadeDirectoryMode);
    directory.set_uid(entry.uid());
    directory.set_gid(entry.gid());
    directory.set_mtime_ns(entry.mtime_ns());
    directory.set_ctime_ns(entry.ctime_ns());
    directory.set_links(1);
    directories_.push_back(directory.path());
    SNAP_RETURN_IF_ERROR(Tell({.kind = Loss::Kind::kDirectory, .path = directory.path()}));
    SNAP_RETURN_IF_ERROR(Keep(std::move(directory), nullptr));
  }
  return {};
}

Status SnapshotRepairer::TakeLink(format::Entry entry) {
  const std::string& first = entry.hard_link_to();
  const bool lost = dropped_.contains(first) || (any_gap_ && !linked_.contains(first));
  if (!lost) return Keep(std::move(entry), nullptr);
  ++entries_lost_;
  return Tell({.kind = Loss::Kind::kLink, .path = entry.path(), .size = entry.size()});
}

Status SnapshotRepairer::TakeContent(format::Entry entry) {
  SNAP_ASSIGN_OR_RETURN(std::vector<ByteRange> lost, FindLost(entry.content()));
  const bool linked = entry.links() > 1;
  if (linked && (lost.empty() || request_.keep_damaged)) linked_.insert(entry.path());
  if (lost.empty()) return Keep(std::move(entry), nullptr);
  if (linked && !request_.keep_damaged) dropped_.insert(entry.path());
  for (const ByteRange& range : lost) bytes_lost_ += range.length;
  std::unique_ptr<RunListWriter> content;
  if (request_.keep_damaged) {
    MarkLost(lost, &entry);
    if (session_ != nullptr) {
      SNAP_ASSIGN_OR_RETURN(content, Rewrite(entry.content()));
    }
  }
  SNAP_RETURN_IF_ERROR(Tell({.kind = Loss::Kind::kContent,
                             .path = entry.path(),
                             .size = entry.size(),
                             .ranges = std::move(lost),
                             .kept = request_.keep_damaged}));
  if (request_.keep_damaged) return Keep(std::move(entry), std::move(content));
  ++entries_lost_;
  return {};
}

Result<std::vector<ByteRange>> SnapshotRepairer::FindLost(const format::Content& content) {
  std::vector<ByteRange> lost;
  const TreeVisitor visitor{
      .enter = [&](const NodeRef& node, uint32_t depth, uint64_t) -> Result<bool> {
        SNAP_RETURN_IF_ERROR(progress_->Poll());
        SNAP_ASSIGN_OR_RETURN(
            const bool whole,
            scratch_->IsWhole(node.chunk.id, static_cast<uint8_t>(kRunTreeHeight + depth)));
        return !whole;
      },
      .leaf = [&](const NodeTreeReader::Leaf& leaf) { return AddLostRuns(leaf, &lost); },
      .lost =
          [&](uint64_t begin, uint64_t span, const Status&) {
            AddLostRange(begin, span, &lost);
            return Status();
          }};
  SNAP_RETURN_IF_ERROR(WalkTree(*nodes_, content.runs(), visitor));
  return lost;
}

Status SnapshotRepairer::ReadRuns(const NodeTreeReader::Leaf& leaf) {
  SNAP_RETURN_IF_ERROR(ParseRunLeaf(leaf.bytes, leaf.begin, leaf.span, nodes_.get(), &runs_));
  ids_.clear();
  for (const Run& run : runs_) {
    if (!run.hole) ids_.push_back(run.chunk.id);
  }
  SNAP_RETURN_IF_ERROR(scratch_->chunks().FindMany(ids_, &found_));
  intact_.clear();
  size_t next = 0;
  for (const Run& run : runs_) {
    intact_.push_back(run.hole ||
                      (found_[next++].has_value() && packs_->PackAt(run.chunk.pack).ok()));
  }
  return {};
}

Status SnapshotRepairer::AddLostRuns(const NodeTreeReader::Leaf& leaf,
                                     std::vector<ByteRange>* lost) {
  if (Status read = ReadRuns(leaf); !read.ok()) {
    if (!IsDamage(read)) return read;
    AddLostRange(leaf.begin, leaf.span, lost);
    return {};
  }
  for (size_t i = 0; i < runs_.size(); ++i) {
    if (!intact_[i]) AddLostRange(runs_[i].offset, runs_[i].length, lost);
  }
  return {};
}

Result<std::unique_ptr<RunListWriter>> SnapshotRepairer::Rewrite(const format::Content& content) {
  auto out = std::make_unique<RunListWriter>(&session_->packs(), &session_->secret());
  out->KeepLeaves();
  const TreeVisitor visitor{
      .enter = [&](const NodeRef& node, uint32_t depth, uint64_t) -> Result<bool> {
        if (depth > 1) return true;
        SNAP_ASSIGN_OR_RETURN(
            const bool whole,
            scratch_->IsWhole(node.chunk.id, static_cast<uint8_t>(kRunTreeHeight + depth)));
        if (whole) SNAP_RETURN_IF_ERROR(out->AddStoredLeaf(node));
        return !whole;
      },
      .leaf = [&](const NodeTreeReader::Leaf& leaf) { return RewriteLeaf(leaf, out.get()); },
      .lost = [&](uint64_t, uint64_t span, const Status&) { return out->AddHole(span); }};
  SNAP_RETURN_IF_ERROR(WalkTree(*nodes_, content.runs(), visitor));
  return out;
}

Status SnapshotRepairer::RewriteLeaf(const NodeTreeReader::Leaf& leaf, RunListWriter* out) {
  if (const Status read = ReadRuns(leaf); !read.ok()) {
    return IsDamage(read) ? out->AddHole(leaf.span) : read;
  }
  for (size_t i = 0; i < runs_.size(); ++i) {
    if (runs_[i].hole || !intact_[i]) {
      SNAP_RETURN_IF_ERROR(out->AddHole(runs_[i].length));
      continue;
    }
    for (uint64_t count = 0; count < runs_[i].count; ++count) {
      SNAP_RETURN_IF_ERROR(out->AddChunk(PendingRef(runs_[i].chunk)));
    }
  }
  return leaf.stored ? out->EndLeafHere() : Status();
}

Status SnapshotRepairer::Keep(format::Entry entry, std::unique_ptr<RunListWriter> content) {
  ++entries_kept_;
  if (entry.has_content()) bytes_kept_ += entry.size();
  return entries_ == nullptr ? Status() : entries_->Add(std::move(entry), std::move(content));
}

Status SnapshotRepairer::Tell(Loss loss) {
  ++losses_;
  loss.snapshot_id = id_;
  return visit_(loss);
}

}  // namespace snapstore
