// SharedContent: SharedContentReader over the frames that a repository keeps decoded.
#ifndef SNAPSTORE_ENGINE_SHARED_CONTENT_H_
#define SNAPSTORE_ENGINE_SHARED_CONTENT_H_

#include <memory>
#include <mutex>
#include <string>

#include "engine/format.pb.h"
#include "engine/run_list.h"
#include "snapstore/reader.h"

namespace snapstore {

class SharedContent final : public SharedContentReader {
 public:
  // `source` must outlive this. `entry` has the content itself: it is no hard link.
  SharedContent(const NodeSource* source, const format::Entry& entry);

  uint64_t size() const override { return size_; }
  Status ReadAt(uint64_t offset, std::span<uint8_t> out) override;
  Status Visit(uint64_t offset, uint64_t length, const PartVisitor& visit) override;
  Status VisitAlong(uint64_t at, uint64_t offset, uint64_t length,
                    const PartVisitor& visit) override;
  Status NextData(uint64_t offset, uint64_t* begin, uint64_t* end) override;
  Status Prefetch(uint64_t offset, uint64_t length) override;

 private:
  Status CheckRange(uint64_t offset, uint64_t length) const;
  std::unique_ptr<RunListReader> TakeRuns();
  // For the next call. A reader that failed is not given back.
  void GiveRuns(std::unique_ptr<RunListReader> runs);

  const NodeSource* const source_;
  const std::string path_;
  const uint64_t size_;
  const format::StreamRoot root_;
  std::mutex mutex_;                     // guards what follows
  std::unique_ptr<RunListReader> idle_;  // the last one used; null while it is in use
};

}  // namespace snapstore

#endif  // SNAPSTORE_ENGINE_SHARED_CONTENT_H_
