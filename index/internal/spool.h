// Spool: records of any order in a temporary file, read back by range of their prefix. Private to
// index/.
//
// What makes sorting more records than fit into memory cheap: they come back in kParts parts, in
// the order of the prefix, each in the order of Add.
//
// Thread safety: none.
#ifndef SNAPSTORE_INDEX_INTERNAL_SPOOL_H_
#define SNAPSTORE_INDEX_INTERNAL_SPOOL_H_

#include <array>
#include <memory>
#include <string>
#include <vector>

#include "index/internal/base_table.h"

namespace snapstore::internal {

class Spool {
 public:
  static constexpr int kPartBits = 8;
  static constexpr size_t kParts = size_t{1} << kPartBits;

  // The file has no name and goes with the spool, however the process ends. `buffer_bytes` is for
  // all parts together.
  static Result<std::unique_ptr<Spool>> Create(const std::string& folder, size_t buffer_bytes);

  Status Add(const BaseRecord& record);
  uint64_t count() const { return count_; }

  // Frees the buffers; nothing may be added any more.
  Status Seal();
  uint64_t PartCount(size_t part) const { return parts_[part].count; }
  // Appends the records of `part` with first <= prefix <= last. REQUIRES: sealed.
  Status Read(size_t part, uint64_t first, uint64_t last, std::vector<BaseRecord>* out);
  // Gives the part's disk space back.
  void Discard(size_t part);

 private:
  struct Part {
    uint64_t count = 0;
    std::vector<BaseRecord> buffer;
    std::vector<uint64_t> blocks;  // offsets in the file; the last may be shorter than the others
  };

  Spool(UniqueFd file, size_t block_records)
      : file_(std::move(file)), block_records_(block_records) {}
  Status WriteOut(Part* part);

  const UniqueFd file_;
  const size_t block_records_;
  uint64_t size_ = 0;
  uint64_t count_ = 0;
  std::array<Part, kParts> parts_;
};

}  // namespace snapstore::internal

#endif  // SNAPSTORE_INDEX_INTERNAL_SPOOL_H_
