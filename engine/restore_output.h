// RestoreOutput: one file or device that is being filled, in any order and by any thread.
//
// It is created when its first byte is written (or when it turns out to have none), kept open while
// there are few, and finished, metadata and all, as soon as its last part is done. A file that
// failed is removed; what existed before and was rewritten in place is left and reported.
//
// Thread safety: all calls may run concurrently.
#ifndef SNAPSTORE_ENGINE_RESTORE_OUTPUT_H_
#define SNAPSTORE_ENGINE_RESTORE_OUTPUT_H_

#include <atomic>
#include <cstdint>
#include <mutex>
#include <span>

#include "base/bytes.h"
#include "base/unique_fd.h"
#include "engine/restore_report.h"
#include "engine/restore_target.h"
#include "snapstore/reader.h"
#include "snapstore/status.h"

namespace snapstore {

// What all outputs of one restore share. The pointers must outlive it.
struct OutputContext {
  TargetTree* tree = nullptr;  // null when there is one output only, given open
  RestoreReport* report = nullptr;
  bool in_place = false;
  std::atomic<int> open_files = 0;
};

class RestoreOutput {
 public:
  // A file below the tree.
  RestoreOutput(OutputContext* context, Entry entry);
  // A file or device that is open already; its content alone is restored. `remove_path` is removed
  // when that fails (empty: left).
  RestoreOutput(OutputContext* context, Entry entry, UniqueFd fd, bool device,
                std::string remove_path);
  // Incomplete files are removed.
  ~RestoreOutput();
  RestoreOutput(const RestoreOutput&) = delete;
  RestoreOutput& operator=(const RestoreOutput&) = delete;

  const Entry& entry() const { return entry_; }
  bool device() const { return device_; }
  // Whether bytes that are there already have to be looked at.
  bool compares() const { return context_->in_place; }
  bool failed() const { return failed_; }
  // Bytes kept for it, roughly.
  size_t footprint() const;

  // Parts still to come; the plan itself holds one until it has all of them.
  void AddPart() { ++parts_; }
  // The last part finishes the file. An error ends the whole restore.
  Status PartDone();

  // Opens the file and keeps it open until Unpin.
  Result<int> Pin();
  void Unpin();

  // Marks the file as failed; the first call reports it.
  void Fail(const Status& status);

  // Writes `pieces` one after the other from `offset`. The caller has found that they differ.
  Status Write(int fd, uint64_t offset, std::span<const ByteSpan> pieces);
  // Writes `count` repetitions of `bytes` from `offset`, only what differs if compares().
  Status Repeat(int fd, uint64_t offset, ByteSpan bytes, uint64_t count, Bytes* scratch);
  // Makes a range zero that may hold data.
  Status Zero(int fd, uint64_t offset, uint64_t length, Bytes* scratch);

 private:
  Status OpenLocked();
  Status SetSize();
  void Wrote(uint64_t offset, uint64_t bytes);
  Status Finish();
  Status Discard();
  Status WriteDiffering(int fd, uint64_t offset, ByteSpan bytes, Bytes* scratch);
  Status WriteZeros(int fd, uint64_t offset, uint64_t length, Bytes* scratch);
  Status ZeroDevice(int fd, uint64_t offset, uint64_t length, Bytes* scratch);

  OutputContext* const context_;
  const Entry entry_;
  const bool given_open_ = false;
  const bool device_ = false;
  const std::string remove_path_;
  std::atomic<uint64_t> parts_ = 1;
  std::atomic<bool> failed_ = false;
  std::atomic<bool> finished_ = false;
  std::atomic<uint64_t> written_end_ = 0;  // of what this object wrote

  // File systems let one writer into a file at a time; the others would spin in the kernel.
  std::mutex write_mutex_;

  std::mutex mutex_;  // guards what follows
  UniqueFd fd_;
  int pins_ = 0;
  bool created_ = false;  // by this restore, and so to be removed if it fails
  bool existed_ = false;  // opened in place
};

}  // namespace snapstore

#endif  // SNAPSTORE_ENGINE_RESTORE_OUTPUT_H_
