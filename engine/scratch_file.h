// ScratchFile: bytes put aside on the local disk, in a file without a name that goes with the
// process.
//
// Thread safety: reads may run concurrently with each other and with Append.
#ifndef SNAPSTORE_ENGINE_SCRATCH_FILE_H_
#define SNAPSTORE_ENGINE_SCRATCH_FILE_H_

#include <atomic>
#include <memory>
#include <string>

#include "base/bytes.h"
#include "base/unique_fd.h"
#include "snapstore/status.h"

namespace snapstore {

class ScratchFile {
 public:
  static Result<std::unique_ptr<ScratchFile>> Create(const std::string& folder);

  // Returns where the bytes begin. One thread at a time.
  Result<uint64_t> Append(ByteSpan bytes);
  Status Read(uint64_t offset, MutableByteSpan out) const;
  uint64_t size() const { return size_; }

 private:
  explicit ScratchFile(UniqueFd fd) : fd_(std::move(fd)) {}

  const UniqueFd fd_;
  std::atomic<uint64_t> size_ = 0;
};

}  // namespace snapstore

#endif  // SNAPSTORE_ENGINE_SCRATCH_FILE_H_
