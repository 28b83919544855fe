// EbsVolumeReader: the blocks of an EBS snapshot for the engine, all of them or those that differ
// from an earlier snapshot.
//
// Lists are read a page at a time, and a block's token is kept until the block is read, so memory
// does not grow with the volume. Tokens expire: then the list is asked for that place once more.
// Nothing that the service says is taken on trust: indexes must ascend and lie in the volume, sizes
// must fit, and bytes their checksum.
//
// Errors: Io for answers that cannot be true; else the service's.
//
// Thread safety: as VolumeReader.
#ifndef SNAPSTORE_TOOLS_SNAPSTORE_EBS_EBS_VOLUME_READER_H_
#define SNAPSTORE_TOOLS_SNAPSTORE_EBS_EBS_VOLUME_READER_H_

#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <string>

#include "orchestrator/ec2/ebs_direct.h"
#include "snapstore/snapshot.h"

namespace snapstore::cli {

struct EbsVolumeSource {
  std::string snapshot_id = {};
  std::string earlier = {};  // only what differs from this snapshot; empty: all blocks with data
  uint64_t volume_gib = 0;
};

class EbsVolumeReader : public VolumeReader {
 public:
  // Asks for the first page of the list. `direct` must outlive the reader.
  static Ec2Result<std::unique_ptr<EbsVolumeReader>> Open(EbsDirect* direct,
                                                          EbsVolumeSource source);

  Status NextPart(uint64_t offset, uint64_t* begin, uint64_t* end) override;
  Status ReadAt(uint64_t offset, std::span<uint8_t> out) override;

  uint64_t block_bytes() const { return block_bytes_; }
  uint64_t size() const { return size_; }
  uint64_t blocks_read() const { return blocks_read_; }  // fetched
  // Whether a call of the engine's has failed: then it is not the repository's fault.
  bool failed() const { return failed_; }

 private:
  EbsVolumeReader(EbsDirect* direct, EbsVolumeSource source)
      : direct_(direct), source_(std::move(source)) {}

  Status Note(Status status);
  // Asks for the page that begins at `start`, or the one after the page at hand.
  Ec2Result<EbsBlockList> Ask(uint64_t start, const std::string& token, int size);
  Status Check(const EbsBlockList& page, uint64_t least) const;
  Status NextPage();
  Status Find(uint64_t offset, uint64_t* begin, uint64_t* end);
  Status ReadBlock(uint64_t index, std::span<uint8_t> out);
  Result<std::string> FreshToken(uint64_t index, const std::string& expired);

  EbsDirect* const direct_;
  const EbsVolumeSource source_;
  uint64_t block_bytes_ = 0;
  uint64_t size_ = 0;

  // Of the thread that calls NextPart.
  EbsBlockList page_;
  size_t next_ = 0;      // of page_.blocks
  uint64_t least_ = 0;   // what the next page may begin with
  int empty_pages_ = 0;  // in a row

  std::mutex mutex_;                        // guards what follows
  std::map<uint64_t, std::string> tokens_;  // of blocks that were named and not read; empty: zeros
  std::mutex listing_mutex_;                // held while tokens are asked for anew
  std::atomic<uint64_t> blocks_read_ = 0;
  std::atomic<bool> failed_ = false;
};

}  // namespace snapstore::cli

#endif  // SNAPSTORE_TOOLS_SNAPSTORE_EBS_EBS_VOLUME_READER_H_
