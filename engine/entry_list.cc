#include "engine/entry_list.h"

#include <fmt/format.h>
#include <xxhash.h>

#include <algorithm>

#include "base/check.h"
#include "base/status_macros.h"

namespace snapstore {
namespace {

// A leaf ends after a record whose XXH3-64 is 0 modulo kEntryCutModulus, within these bounds.
constexpr size_t kLeafBytesMin = 4 << 10;
constexpr size_t kLeafBytesMax = 128 << 10;
constexpr uint64_t kEntryCutModulus = 64;

// Entries and content references that may wait for their place at once; bounds memory.
constexpr size_t kPendingEntriesMax = 4096;
constexpr size_t kPendingRefsMax = 32768;

bool ValidPath(std::string_view path) {
  if (path.empty() || path.front() == '/' || path.back() == '/') return false;
  size_t begin = 0;
  while (begin <= path.size()) {
    size_t end = path.find('/', begin);
    if (end == std::string_view::npos) end = path.size();
    const std::string_view part = path.substr(begin, end - begin);
    if (part.empty() || part == "." || part == ".." || part.find('\0') != std::string_view::npos) {
      return false;
    }
    begin = end + 1;
  }
  return true;
}

}  // namespace

int ComparePaths(std::string_view a, std::string_view b) {
  const size_t common = std::min(a.size(), b.size());
  for (size_t i = 0; i < common; ++i) {
    if (a[i] == b[i]) continue;
    // '/' sorts before every other byte.
    const int x = a[i] == '/' ? -1 : static_cast<unsigned char>(a[i]);
    const int y = b[i] == '/' ? -1 : static_cast<unsigned char>(b[i]);
    return x - y;
  }
  if (a.size() == b.size()) return 0;
  return a.size() < b.size() ? -1 : 1;
}

bool PathIsWithin(std::string_view path, std::string_view root) {
  if (root.empty()) return true;
  return path.starts_with(root) && (path.size() == root.size() || path[root.size()] == '/');
}

Entry EntryFromProto(const format::Entry& proto) {
  Entry entry;
  entry.path = proto.path();
  entry.type = static_cast<EntryType>(proto.type());
  entry.mode = proto.mode();
  entry.uid = proto.uid();
  entry.gid = proto.gid();
  entry.mtime_ns = proto.mtime_ns();
  entry.ctime_ns = proto.ctime_ns();
  entry.size = proto.size();
  entry.inode = proto.inode();
  entry.device = proto.device();
  entry.links = proto.links();
  entry.rdev = proto.rdev();
  entry.symlink_target = proto.symlink_target();
  entry.hard_link_to = proto.hard_link_to();
  for (const format::ExtendedAttribute& xattr : proto.xattrs()) {
    entry.xattrs[xattr.name()] = xattr.value();
  }
  entry.changed_while_read = proto.changed_while_read();
  return entry;
}

void EntryToProto(const Entry& entry, format::Entry* proto) {
  proto->set_path(entry.path);
  proto->set_type(static_cast<uint32_t>(entry.type));
  proto->set_mode(entry.mode);
  proto->set_uid(entry.uid);
  proto->set_gid(entry.gid);
  proto->set_mtime_ns(entry.mtime_ns);
  proto->set_ctime_ns(entry.ctime_ns);
  proto->set_size(entry.size);
  proto->set_inode(entry.inode);
  proto->set_device(entry.device);
  proto->set_links(entry.links);
  proto->set_rdev(entry.rdev);
  proto->set_symlink_target(entry.symlink_target);
  proto->set_hard_link_to(entry.hard_link_to);
  for (const auto& [name, value] : entry.xattrs) {
    format::ExtendedAttribute* const xattr = proto->add_xattrs();
    xattr->set_name(name);
    xattr->set_value(value);
  }
  proto->set_changed_while_read(entry.changed_while_read);
}

EntryListWriter::EntryListWriter(PackWriter* packs, const HashSecret* secret)
    : secret_(secret), tree_(packs, secret) {}

Status EntryListWriter::Add(format::Entry entry, std::unique_ptr<RunListWriter> content) {
  SNAP_CHECK(ValidPath(entry.path()));
  SNAP_CHECK(last_path_.empty() || ComparePaths(last_path_, entry.path()) < 0);
  if (entry.ByteSizeLong() > kEntryBytesMax) {
    return Status::InvalidArgument(
        fmt::format("metadata of {} bytes is more than an entry may have", entry.ByteSizeLong()));
  }
  last_path_ = entry.path();
  if (content != nullptr) pending_refs_ += content->pending();
  pending_.push_back({std::move(entry), std::move(content)});
  return Drain(/*all=*/false);
}

Status EntryListWriter::Drain(bool all) {
  while (!pending_.empty()) {
    Pending& front = pending_.front();
    if (front.content != nullptr) {
      const size_t before = front.content->pending();
      SNAP_RETURN_IF_ERROR(front.content->Poll());
      pending_refs_ -= before - front.content->pending();
      const bool crowded = pending_.size() > kPendingEntriesMax || pending_refs_ > kPendingRefsMax;
      if (!front.content->Ready() && !all && !crowded) return {};
      pending_refs_ -= front.content->pending();
      format::Content* const content = front.entry.mutable_content();
      content->set_chunks(front.content->chunks());
      SNAP_RETURN_IF_ERROR(front.content->Finish(content->mutable_runs()));
    }
    SNAP_RETURN_IF_ERROR(Encode(front.entry));
    pending_.pop_front();
  }
  return {};
}

Status EntryListWriter::Encode(const format::Entry& entry) {
  const std::string record = entry.SerializeAsString();
  ByteWriter writer(&leaf_);
  writer.Varint(record.size());
  writer.Raw(AsBytes(record));
  ++leaf_entries_;
  const bool cut = leaf_.size() >= kLeafBytesMax ||
                   (leaf_.size() >= kLeafBytesMin &&
                    XXH3_64bits_withSecret(record.data(), record.size(), secret_->bytes.data(),
                                           secret_->bytes.size()) %
                            kEntryCutModulus ==
                        0);
  if (!cut) return {};
  const Bytes leaf = std::exchange(leaf_, {});
  return tree_.AddLeaf(leaf, std::exchange(leaf_entries_, 0));
}

Status EntryListWriter::Finish(format::StreamRoot* root) {
  SNAP_RETURN_IF_ERROR(Drain(/*all=*/true));
  return tree_.Finish(leaf_, leaf_entries_, root);
}

EntryListReader::EntryListReader(const NodeSource* source, const format::StreamRoot& root)
    : source_(source), tree_(source, root) {}

void EntryListReader::FetchContentLists() const {
  std::vector<NodeRef> nodes;
  size_t frames = 0;
  for (const format::Entry& entry : entries_) {
    const format::StreamRoot& root = entry.content().runs();
    if (root.depth() == 0) continue;
    const Result<std::vector<NodeRef>> children = ParseNode(AsBytes(root.nodes()), root.span());
    if (!children.ok()) continue;  // found out when it is read
    // A long list reads ahead by itself.
    for (const NodeRef& child : std::span(*children).first(std::min<size_t>(2, children->size()))) {
      if (nodes.empty() || !child.chunk.SameFrame(nodes.back().chunk)) ++frames;
      if (frames > source_->fetcher()->frames_ahead()) return source_->ReadAhead(nodes);
      nodes.push_back(child);
    }
  }
  source_->ReadAhead(nodes);
}

Result<const format::Entry*> EntryListReader::Next() {
  while (next_ == entries_.size()) {
    NodeTreeReader::Leaf leaf;
    SNAP_ASSIGN_OR_RETURN(const bool more, tree_.Next(&leaf));
    if (!more) return static_cast<const format::Entry*>(nullptr);
    SNAP_RETURN_IF_ERROR(ParseEntryLeaf(leaf.bytes, leaf.span, &entries_));
    next_ = 0;
    if (contents_ahead_ && source_->fetcher()->frames_ahead() > 0) FetchContentLists();
  }
  const format::Entry& entry = entries_[next_++];
  if (!last_path_.empty() && ComparePaths(last_path_, entry.path()) >= 0) {
    return Status::Corruption("entries are out of order");
  }
  last_path_ = entry.path();
  return &entry;
}

Status ParseEntryLeaf(ByteSpan leaf, uint64_t span, std::vector<format::Entry>* out) {
  out->clear();
  ByteReader reader(leaf);
  while (!reader.empty()) {
    const uint64_t length = reader.Varint();
    const ByteSpan record = reader.Raw(length);
    format::Entry entry;
    if (!reader.ok() || record.size() > kChunkBytesMax ||
        !entry.ParseFromArray(record.data(), static_cast<int>(record.size())) ||
        !ValidPath(entry.path()) || entry.type() < static_cast<uint32_t>(EntryType::kFile) ||
        entry.type() > static_cast<uint32_t>(EntryType::kVolume) ||
        entry.content().runs().span() != entry.size() * (entry.has_content() ? 1 : 0)) {
      return Status::Corruption("entry list is inconsistent");
    }
    out->push_back(std::move(entry));
  }
  if (out->size() != span) return Status::Corruption("entry list is inconsistent");
  return {};
}

}  // namespace snapstore
