#include "orchestrator/api/node_texts.h"

#include "base/status_macros.h"
#include "orchestrator/model/json.h"

namespace snapstore::spot {
namespace {

// Of an entry, beside its text and its key.
constexpr size_t kEntryBytes = 160;

}  // namespace

void NodeTexts::Keep(const std::string& key, Known known) {
  const size_t bytes = key.size() + known.text->size() + kEntryBytes;
  if (new_bytes_ + bytes > bytes_max_ / 2) {
    old_ = std::move(new_);
    new_.clear();
    new_bytes_ = 0;
  }
  // One that is replaced counts until then.
  new_bytes_ += bytes;
  new_[key] = std::move(known);
}

Result<NodeTexts::Text> NodeTexts::Of(const StateEntry& entry) {
  {
    const std::lock_guard lock(mutex_);
    if (const auto found = new_.find(entry.key);
        found != new_.end() && found->second.revision == entry.revision) {
      return found->second.text;
    }
    if (const auto found = old_.find(entry.key);
        found != old_.end() && found->second.revision == entry.revision) {
      Known known = std::move(found->second);
      old_.erase(found);
      Text text = known.text;
      Keep(entry.key, std::move(known));
      return text;
    }
  }
  SNAP_ASSIGN_OR_RETURN(const auto node, DecodeRecord<NodeRecord>(entry.value, entry.key));
  SNAP_ASSIGN_OR_RETURN(const Json json, make_(node));
  auto text = std::make_shared<const std::string>(JsonText(json));
  const std::lock_guard lock(mutex_);
  Keep(entry.key, {entry.revision, text});
  return text;
}

}  // namespace snapstore::spot
