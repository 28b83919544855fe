// EntryBatch: neighbouring entries of the sources on their way to the storing thread.
//
// Opening and reading a small file costs more than its bytes do, and on a network mount every call
// waits for an answer. So the content of small files is read by workers, a batch each, while the
// reading thread walks on and the storing thread stores what came before.
//
// Thread safety: belongs to one thread at a time: to who fills it, then to the worker, then, after
// Wait, to who stores it.
#ifndef SNAPSTORE_ENGINE_ENTRY_BATCH_H_
#define SNAPSTORE_ENGINE_ENTRY_BATCH_H_

#include <sys/stat.h>

#include <atomic>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "base/bounded_queue.h"
#include "base/unique_fd.h"
#include "engine/buffer_pool.h"
#include "engine/busy_clock.h"
#include "engine/cut_rule.h"
#include "engine/format.pb.h"
#include "snapstore/snapshot.h"
#include "snapstore/status.h"

namespace snapstore {

// A regular file that is read as a whole.
struct SmallFile {
  std::shared_ptr<const UniqueFd> directory;
  std::string name;
  struct stat stat {};                    // as the walk found it
  Profile profile = Profile::kAuto;       // how it shall be cut
  std::optional<format::Content> parent;  // the parent's content of the same path

  // Set by Read.
  Status status;
  CutRule cut = CutRule::kNone;
  ByteSpan data;  // in the batch's buffer, or in `grown`
  Bytes grown;
};

struct BatchedEntry {
  format::Entry entry;
  bool on_the_way = false;          // a directory that only leads to sources
  std::unique_ptr<SmallFile> file;  // null: complete as it stands
};

class EntryBatch {
 public:
  // Files are read into `buffer`, which may be empty if there are none.
  void SetBuffer(PooledBuffer buffer, size_t bytes);

  bool empty() const { return entries_.empty(); }
  bool HasFiles() const { return files_ > 0; }
  // Whether the next entry belongs into another batch.
  bool Full() const;
  // Whether the batch has room for the content of a file of this size.
  bool HasRoom(uint64_t size) const;

  void Add(BatchedEntry entry);

  // Reads all files; what goes wrong with one is in its status.
  void Read();
  // Blocks until Read is done.
  void Wait();

  std::vector<BatchedEntry>& entries() { return entries_; }

 private:
  Status ReadFile(format::Entry* entry, SmallFile* file, MutableByteSpan space);

  std::vector<BatchedEntry> entries_;
  size_t files_ = 0;
  PooledBuffer buffer_;
  size_t buffer_bytes_ = 0;
  size_t used_ = 0;  // of the buffer

  std::mutex mutex_;
  std::condition_variable changed_;
  bool done_ = false;
};

// The workers. They are started as batches pile up: one is enough for a warm cache, many are needed
// where each call takes its time.
//
// Thread safety: Submit belongs to one thread.
class BatchReaders {
 public:
  BatchReaders() = default;
  // Waits for what was submitted.
  ~BatchReaders();
  BatchReaders(const BatchReaders&) = delete;
  BatchReaders& operator=(const BatchReaders&) = delete;

  void Submit(std::shared_ptr<EntryBatch> batch);

  size_t threads() const { return threads_.size(); }
  // Seconds for which workers had a batch to read, all together.
  double busy() const { return busy_.Seconds(); }

 private:
  static constexpr size_t kThreadsMax = 16;

  void Loop();

  BoundedQueue<std::shared_ptr<EntryBatch>> queue_{kThreadsMax};
  std::atomic<size_t> waiting_ = 0;  // batches that no worker has taken yet
  BusyClock busy_;
  std::vector<std::thread> threads_;
};

}  // namespace snapstore

#endif  // SNAPSTORE_ENGINE_ENTRY_BATCH_H_
