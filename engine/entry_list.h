// Entry lists: what a snapshot holds, one record an entry, ordered by path.
//
// An entry list is a node tree whose unit is one entry. Paths are ordered component by component
// (as if '/' were the smallest byte), so a directory is followed by all that is below it.
// docs/format.md, "Entry list".
//
// Thread safety: writers and readers belong to one thread at a time.
#ifndef SNAPSTORE_ENGINE_ENTRY_LIST_H_
#define SNAPSTORE_ENGINE_ENTRY_LIST_H_

#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "engine/format.pb.h"
#include "engine/node_tree.h"
#include "engine/run_list.h"
#include "snapstore/reader.h"

namespace snapstore {

// Negative, 0 or positive, in the order of entry lists.
int ComparePaths(std::string_view a, std::string_view b);
// Whether `path` is `root` or lies below it; everything lies below the empty path.
bool PathIsWithin(std::string_view path, std::string_view root);

Entry EntryFromProto(const format::Entry& proto);
void EntryToProto(const Entry& entry, format::Entry* proto);

// A leaf must fit into one chunk, whatever entry ends it.
inline constexpr size_t kEntryBytesMax = 768 << 10;

class EntryListWriter {
 public:
  // Both must outlive the writer.
  EntryListWriter(PackWriter* packs, const HashSecret* secret);

  // Adds the next entry; `content` may be null (no content, or `entry` has it already).
  // InvalidArgument, with nothing added, when its names and extended attributes take up more than
  // kEntryBytesMax. REQUIRES: ascending paths.
  Status Add(format::Entry entry, std::unique_ptr<RunListWriter> content);
  Status Finish(format::StreamRoot* root);

 private:
  struct Pending {
    format::Entry entry;
    std::unique_ptr<RunListWriter> content;
  };

  Status Drain(bool all);
  Status Encode(const format::Entry& entry);

  const HashSecret* const secret_;
  NodeTreeWriter tree_;
  std::deque<Pending> pending_;
  size_t pending_refs_ = 0;
  std::string last_path_;
  Bytes leaf_;
  uint64_t leaf_entries_ = 0;
};

class EntryListReader {
 public:
  // `source` must outlive the reader.
  EntryListReader(const NodeSource* source, const format::StreamRoot& root);

  // The contents of the entries are going to be read too: their lists are fetched ahead.
  void ReadContentsAhead() { contents_ahead_ = true; }
  // Null at the end. The pointer is valid until the next call.
  Result<const format::Entry*> Next();
  NodeTreeReader& tree() { return tree_; }

 private:
  void FetchContentLists() const;

  const NodeSource* const source_;
  bool contents_ahead_ = false;
  NodeTreeReader tree_;
  std::vector<format::Entry> entries_;
  size_t next_ = 0;
  std::string last_path_;
};

// A leaf's encoding, exposed for tests and fuzzing.
Status ParseEntryLeaf(ByteSpan leaf, uint64_t span, std::vector<format::Entry>* out);

}  // namespace snapstore

#endif  // SNAPSTORE_ENGINE_ENTRY_LIST_H_
