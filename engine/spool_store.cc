#include "engine/spool_store.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/status_macros.h"

namespace snapstore {
namespace {

constexpr size_t kPieceBytes = 4 << 20;

}  // namespace

void SpoolStore::Expect(const ObjectKey& key, uint64_t size) {
  const std::lock_guard lock(mutex_);
  objects_[key.text()].size = size;
}

Status SpoolStore::Fetch(const ObjectKey& key, Spooled* object) {
  const uint64_t begin = file_->size();
  Bytes piece;
  for (uint64_t at = 0; at < object->size; at += piece.size()) {
    piece.resize(std::min<uint64_t>(kPieceBytes, object->size - at));
    SNAP_RETURN_IF_ERROR(inner_->GetRange(key, at, piece));
    SNAP_RETURN_IF_ERROR(file_->Append(piece).status());
    bytes_fetched_ += piece.size();
    ++fetches_;
  }
  object->offset = begin;
  object->fetched = true;
  return {};
}

Status SpoolStore::GetRange(const ObjectKey& key, uint64_t offset, MutableByteSpan out) {
  uint64_t at = 0;
  {
    const std::lock_guard lock(mutex_);
    const auto found = objects_.find(key.text());
    if (found == objects_.end()) {
      bytes_fetched_ += out.size();
      ++fetches_;
    } else {
      Spooled& object = found->second;
      if (!object.fetched) SNAP_RETURN_IF_ERROR(Fetch(key, &object));
      if (offset > object.size || out.size() > object.size - offset) {
        return Status::Corruption(fmt::format("{} has {} bytes, {} at {} were expected", key.text(),
                                              object.size, out.size(), offset));
      }
      at = object.offset + offset;
    }
    if (found != objects_.end()) return file_->Read(at, out);
  }
  return inner_->GetRange(key, offset, out);
}

}  // namespace snapstore
