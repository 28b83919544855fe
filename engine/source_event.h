// What the reading thread of a snapshot hands to the storing thread: entries and their bytes, in
// the order of the entry list.
#ifndef SNAPSTORE_ENGINE_SOURCE_EVENT_H_
#define SNAPSTORE_ENGINE_SOURCE_EVENT_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "base/bytes.h"
#include "engine/buffer_pool.h"
#include "engine/cut_rule.h"
#include "engine/entry_batch.h"
#include "engine/format.pb.h"
#include "snapstore/status.h"

namespace snapstore {

struct SourceEvent {
  enum class Kind : uint8_t {
    kEntries,    // a batch of whole entries
    kBegin,      // a new entry, whose content follows
    kData,       // bytes, which follow what came before
    kHole,       // zeros
    kUnchanged,  // the same bytes as the parent's content at this position
    kEnd,        // of the entry that began
    kWarning,    // a source that could not be read
  };

  Kind kind = Kind::kBegin;

  std::shared_ptr<EntryBatch> batch;  // kEntries

  // kBegin: metadata. kEnd: the metadata to store, which may have changed since kBegin.
  format::Entry entry;
  CutRule cut = CutRule::kNone;
  std::optional<format::Content> parent;  // the parent's content of the same path

  uint64_t length = 0;  // kHole, kUnchanged
  ByteSpan data;        // kData; inside `buffer`, or the caller's memory if that is empty
  PooledBuffer buffer;

  // kEnd: OK, or why the entry is dropped. kWarning: what happened to `item`.
  Status status;
  std::string item;
};

}  // namespace snapstore

#endif  // SNAPSTORE_ENGINE_SOURCE_EVENT_H_
