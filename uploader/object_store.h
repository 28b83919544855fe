// ObjectStore: the few operations snapstore needs of a place that keeps immutable objects.
//
// Implementations: DirectoryStore (local disk, EFS/NFS mount), S3Store, MemoryStore (tests), and
// wrappers that add behaviour without changing the interface (FaultStore). tests/conformance holds
// the suite that every implementation passes.
//
// Rules for every implementation:
// - An object is immutable: it is created whole by PutIfAbsent or it does not exist. A crash at any
//   instant leaves either nothing under the key or the whole object, durable.
// - NotFound means the store is certain. Anything else that went wrong is another code: "could not
//   tell" is never "absent".
// - Calls block; any number of threads may call at once.
#ifndef SNAPSTORE_UPLOADER_OBJECT_STORE_H_
#define SNAPSTORE_UPLOADER_OBJECT_STORE_H_

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "base/bytes.h"
#include "snapstore/status.h"
#include "snapstore/store_usage.h"

namespace snapstore {

// A key: one to kLengthMax bytes of [a-z0-9._-] in non-empty components joined by '/', none of them
// "." or "..". Narrow on purpose: valid as a path, an S3 key and a URL without quoting.
class ObjectKey {
 public:
  static constexpr size_t kLengthMax = 255;

  // InvalidArgument when `text` breaks the rule above.
  static Result<ObjectKey> Parse(std::string text);
  // For keys made by the program itself; REQUIRES a valid key.
  explicit ObjectKey(std::string text);

  const std::string& text() const { return text_; }
  auto operator<=>(const ObjectKey&) const = default;  // NOLINT(modernize-use-nullptr)

 private:
  std::string text_;
};

struct ObjectInfo {
  std::string key;
  uint64_t size = 0;  // bytes
  // When it was put, by the store's own clock (a server's, or a file server's), in ns since 1970.
  // List and Stat agree but for what one of them cuts off below a second. Only to be compared with
  // times of the same store.
  int64_t modified_ns = 0;
};

enum class PutOutcome {
  kCreated,  // this call made the object
  kExisted,  // an object with the key was there; it is untouched
};

class ObjectStore {
 public:
  virtual ~ObjectStore() = default;

  // Stores the concatenation of `parts` under `key` unless the key exists. When it returns, the
  // object is durable whatever the outcome. After an error the object may or may not exist.
  virtual Result<PutOutcome> PutIfAbsent(const ObjectKey& key, std::span<const ByteSpan> parts) = 0;

  // Fills `out` from `offset`. Corruption when the object ends before that.
  virtual Status GetRange(const ObjectKey& key, uint64_t offset, MutableByteSpan out) = 0;

  // The whole object. InvalidArgument when it is larger than `bytes_max`.
  virtual Result<Bytes> Get(const ObjectKey& key, size_t bytes_max) = 0;

  virtual Result<ObjectInfo> Stat(const ObjectKey& key) = 0;

  // Calls `visit` for each object whose key begins with `prefix` (empty: all), in any order, each
  // once. Stops with the first error, `visit`'s included. Objects put or deleted meanwhile may or
  // may not be seen. Foreign names that are not keys are passed over.
  virtual Status List(std::string_view prefix,
                      const std::function<Status(const ObjectInfo&)>& visit) = 0;

  // NotFound when there is no such object.
  virtual Status Delete(const ObjectKey& key) = 0;

  // Deletes all of them, in any order, with as few requests as the store can. OK when none of them
  // exists any more, those included that did not before. Else the error of one, with the number and
  // the first names of those that may still be there; all that could be deleted is, unless the
  // store cannot be reached.
  virtual Status DeleteMany(std::span<const ObjectKey> keys);

  // Ends what writers that died left half uploaded at least `age` ago, by the store's clock, and
  // what costs money without being an object. Returns how many; 0 for stores that have no such.
  virtual Result<uint64_t> AbortUploads(std::chrono::seconds age);

  // What was asked of the store since it was opened.
  virtual StoreUsage Usage() const { return {}; }

  // Whether the caps on bandwidth of the store's settings are passed over, also by transfers under
  // way. From any thread.
  virtual void LiftBandwidthLimits(bool /*lifted*/) {}

  // How many large puts at once keep the store busy; one for a disk, several for a server that is
  // far away.
  virtual unsigned PutsAtOnce() const { return 1; }
  // Likewise for reads: how many at once, of some MiB or of small objects, before more bring
  // nothing.
  virtual unsigned GetsAtOnce() const { return 1; }

  // For people: "/backup/repo", "s3://bucket/prefix".
  virtual std::string Describe() const = 0;
};

}  // namespace snapstore

#endif  // SNAPSTORE_UPLOADER_OBJECT_STORE_H_
