// SpoolStore: an ObjectStore that fetches each pack of metadata once, whole, and serves it from a
// scratch file from then on.
//
// For walks over all snapshots, which come back to the same packs again and again. Everything else
// goes to the store below.
//
// Thread safety: all calls may run concurrently.
#ifndef SNAPSTORE_ENGINE_SPOOL_STORE_H_
#define SNAPSTORE_ENGINE_SPOOL_STORE_H_

#include <atomic>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <utility>

#include "engine/scratch_file.h"
#include "uploader/object_store.h"

namespace snapstore {

class SpoolStore final : public ObjectStore {
 public:
  // `inner` must outlive it.
  SpoolStore(ObjectStore* inner, std::unique_ptr<ScratchFile> file)
      : inner_(inner), file_(std::move(file)) {}

  uint64_t fetches() const { return fetches_; }
  uint64_t bytes_fetched() const { return bytes_fetched_; }

  Result<PutOutcome> PutIfAbsent(const ObjectKey& key, std::span<const ByteSpan> parts) override {
    return inner_->PutIfAbsent(key, parts);
  }
  Status GetRange(const ObjectKey& key, uint64_t offset, MutableByteSpan out) override;
  Result<Bytes> Get(const ObjectKey& key, size_t bytes_max) override {
    return inner_->Get(key, bytes_max);
  }
  Result<ObjectInfo> Stat(const ObjectKey& key) override { return inner_->Stat(key); }
  Status List(std::string_view prefix,
              const std::function<Status(const ObjectInfo&)>& visit) override {
    return inner_->List(prefix, visit);
  }
  Status Delete(const ObjectKey& key) override { return inner_->Delete(key); }
  unsigned PutsAtOnce() const override { return inner_->PutsAtOnce(); }
  std::string Describe() const override { return inner_->Describe(); }

  // Says how large a pack is; only packs that were said are spooled.
  void Expect(const ObjectKey& key, uint64_t size);

 private:
  struct Spooled {
    uint64_t size = 0;
    bool fetched = false;
    uint64_t offset = 0;  // in the file, once fetched
  };

  // REQUIRES: mutex_ is held.
  Status Fetch(const ObjectKey& key, Spooled* object);

  ObjectStore* const inner_;
  const std::unique_ptr<ScratchFile> file_;
  std::atomic<uint64_t> fetches_ = 0;
  std::atomic<uint64_t> bytes_fetched_ = 0;
  std::mutex mutex_;
  std::map<std::string, Spooled> objects_;
};

}  // namespace snapstore

#endif  // SNAPSTORE_ENGINE_SPOOL_STORE_H_
