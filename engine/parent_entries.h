// ParentEntries: looks up the parent snapshot's entries for ascending paths, in one pass.
//
// Thread safety: belongs to one thread at a time.
#ifndef SNAPSTORE_ENGINE_PARENT_ENTRIES_H_
#define SNAPSTORE_ENGINE_PARENT_ENTRIES_H_

#include <memory>
#include <string_view>

#include "engine/entry_list.h"
#include "engine/repository_impl.h"

namespace snapstore {

class ParentEntries {
 public:
  // `parent` may be null (no entry is ever found) and must outlive this.
  explicit ParentEntries(const OpenedSnapshot* parent);

  // The entry at `path`, null when the parent has none. REQUIRES: ascending paths over all calls.
  // The pointer is valid until the next call.
  Result<const format::Entry*> Find(std::string_view path);

 private:
  std::unique_ptr<EntryListReader> reader_;
  const format::Entry* current_ = nullptr;  // first entry not yet passed
};

// Whether `now` certainly has the content the parent recorded: same inode, size, mtime and ctime,
// and none of these so close to the parent's snapshot that a later write could have kept them (the
// racy-timestamp guard, https://git-scm.com/docs/racy-git).
bool SameContent(const format::Entry& parent, const format::Entry& now, int64_t parent_time_ns);

}  // namespace snapstore

#endif  // SNAPSTORE_ENGINE_PARENT_ENTRIES_H_
