#include "uploader/object_store.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/check.h"
#include "uploader/internal/delete_failures.h"

namespace snapstore {
namespace {

bool IsKeyCharacter(char c) {
  return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '.' || c == '_' || c == '-';
}

bool IsComponent(std::string_view text) {
  return !text.empty() && text != "." && text != ".." &&
         std::all_of(text.begin(), text.end(), IsKeyCharacter);
}

bool IsKey(std::string_view text) {
  if (text.size() > ObjectKey::kLengthMax) return false;
  for (;;) {
    const size_t slash = text.find('/');
    if (!IsComponent(text.substr(0, slash))) return false;
    if (slash == std::string_view::npos) return true;
    text.remove_prefix(slash + 1);
  }
}

}  // namespace

Result<ObjectKey> ObjectKey::Parse(std::string text) {
  if (!IsKey(text)) return Status::InvalidArgument(fmt::format("'{}' is not an object key", text));
  return ObjectKey(std::move(text));
}

ObjectKey::ObjectKey(std::string text) : text_(std::move(text)) { SNAP_CHECK(IsKey(text_)); }

Status ObjectStore::DeleteMany(std::span<const ObjectKey> keys) {
  internal::DeleteFailures failures;
  for (size_t n = 0; n < keys.size(); ++n) {
    if (!failures.Add(keys[n].text(), Delete(keys[n]))) {
      return failures.ToStatus(keys.size(), keys.size() - n - 1);
    }
  }
  return failures.ToStatus(keys.size());
}

Result<uint64_t> ObjectStore::AbortUploads(std::chrono::seconds /*age*/) { return uint64_t{0}; }

}  // namespace snapstore
