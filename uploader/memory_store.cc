#include "uploader/memory_store.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <mutex>
#include <shared_mutex>
#include <vector>

#include "base/status_macros.h"

namespace snapstore {
namespace {

class MemoryStore final : public ObjectStore {
 public:
  explicit MemoryStore(std::function<int64_t()> clock) : clock_(std::move(clock)) {}

  Result<PutOutcome> PutIfAbsent(const ObjectKey& key, std::span<const ByteSpan> parts) override {
    auto object = std::make_shared<Stored>();
    for (const ByteSpan part : parts) {
      object->bytes.insert(object->bytes.end(), part.begin(), part.end());
    }
    const std::unique_lock lock(mutex_);
    object->modified_ns = clock_();
    const bool created = objects_.emplace(key.text(), std::move(object)).second;
    return created ? PutOutcome::kCreated : PutOutcome::kExisted;
  }

  Status GetRange(const ObjectKey& key, uint64_t offset, MutableByteSpan out) override {
    SNAP_ASSIGN_OR_RETURN(const Object object, Find(key));
    const Bytes& bytes = object->bytes;
    if (offset > bytes.size() || out.size() > bytes.size() - offset) {
      return Status::Corruption(fmt::format("{} has {} bytes, {} at {} were expected", key.text(),
                                            bytes.size(), out.size(), offset));
    }
    std::copy_n(bytes.begin() + static_cast<ptrdiff_t>(offset), out.size(), out.begin());
    return Status::Ok();
  }

  Result<Bytes> Get(const ObjectKey& key, size_t bytes_max) override {
    SNAP_ASSIGN_OR_RETURN(const Object object, Find(key));
    if (object->bytes.size() > bytes_max) {
      return Status::InvalidArgument(fmt::format("{} has {} bytes, more than the {} allowed",
                                                 key.text(), object->bytes.size(), bytes_max));
    }
    return object->bytes;
  }

  Result<ObjectInfo> Stat(const ObjectKey& key) override {
    SNAP_ASSIGN_OR_RETURN(const Object object, Find(key));
    return ObjectInfo{key.text(), object->bytes.size(), object->modified_ns};
  }

  Status List(std::string_view prefix,
              const std::function<Status(const ObjectInfo&)>& visit) override {
    std::vector<ObjectInfo> found;
    {
      const std::shared_lock lock(mutex_);
      for (auto at = objects_.lower_bound(prefix);
           at != objects_.end() && std::string_view(at->first).substr(0, prefix.size()) == prefix;
           ++at) {
        found.push_back({at->first, at->second->bytes.size(), at->second->modified_ns});
      }
    }
    for (const ObjectInfo& info : found) SNAP_RETURN_IF_ERROR(visit(info));
    return Status::Ok();
  }

  Status Delete(const ObjectKey& key) override {
    const std::unique_lock lock(mutex_);
    return objects_.erase(key.text()) == 1 ? Status::Ok() : Missing(key);
  }

  std::string Describe() const override { return "memory"; }

 private:
  struct Stored {
    Bytes bytes;
    int64_t modified_ns = 0;
  };
  using Object = std::shared_ptr<const Stored>;

  static Status Missing(const ObjectKey& key) {
    return Status::NotFound(fmt::format("no object {} in memory", key.text()));
  }

  Result<Object> Find(const ObjectKey& key) {
    const std::shared_lock lock(mutex_);
    const auto at = objects_.find(key.text());
    if (at == objects_.end()) return Missing(key);
    return at->second;
  }

  const std::function<int64_t()> clock_;
  std::shared_mutex mutex_;
  std::map<std::string, Object, std::less<>> objects_;
};

}  // namespace

std::unique_ptr<ObjectStore> NewMemoryStore(std::function<int64_t()> clock) {
  return std::make_unique<MemoryStore>(std::move(clock));
}

}  // namespace snapstore
